"""What is written into a mounted image, kept for the next mount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, NotFound
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import offer, running, unmount_all

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

ONE = build_image([[directory("d"), file("d/a", b"a"), file("d/b", b"b")]])
TWO = build_image([[directory("d"), file("d/a", b"a")], [file("d/c", b"c")]])


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("image", [ONE, TWO], ids=["one layer", "two layers"])
async def test_a_layer_that_is_kept(tmp_path: Path, snapshotter: str, image: object) -> None:
    built = ONE if image is ONE else TWO
    target, layer = tmp_path / "target", tmp_path / "lay,er:1"
    target.mkdir()
    layer.mkdir()
    with FakeRegistry() as registry:
        name = offer(registry, "app", "v1", built)
        other = offer(registry, "other", "v1", TWO if built is ONE else ONE)
        async with running(tmp_path / "root", snapshotter=snapshotter) as store:
            service = store.service
            await service.pull(name)
            await service.pull(other)
            try:
                await service.mount(name, str(target), layer=str(layer))
                (target / "d" / "a").unlink()
                (target / "new").write_text("mine")
                with pytest.raises(FailedPrecondition, match="mounted on"):
                    await service.mount(name, str(tmp_path), layer=str(layer))
                await service.unmount(str(target))
                await service.mount(name, str(target))
                assert (target / "d" / "a").exists()
                await service.unmount(str(target))
                await service.mount(name, str(target), layer=str(layer))
                assert (target / "new").read_text() == "mine"
                assert not (target / "d" / "a").exists()
                await service.unmount(str(target))
                with pytest.raises(FailedPrecondition, match="another image"):
                    await service.mount(other, str(target), layer=str(layer))
                with pytest.raises(NotFound):
                    await service.mount(name, str(target), layer=str(tmp_path / "missing"))
                assert (await store.traces()).mounts == ()
            finally:
                unmount_all(tmp_path)
