"""The judge of stores finds what is wrong with one; without that its silence means nothing."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import apsw
import pytest

from orlop.app import embedded
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file
from tests.crash.invariants import Expectation, captured, violations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    image = build_image([[directory("etc"), file("etc/a", b"a" * 9000)], [file("b", b"b")]])
    with FakeRegistry() as registry:
        for blob in image.blobs.values():
            registry.add_blob(blob)
        registry.add_manifest("judge", "1", image.manifest, image.media_type)
        yield registry.address


@pytest.fixture(scope="module")
def whole(address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "store"

    async def pull() -> None:
        async with embedded(root=str(root)) as service:
            await service.pull(f"{address}/judge:1")

    asyncio.run(pull())
    return root


@pytest.fixture(scope="module")
def images(whole: Path) -> Mapping[str, Expectation]:
    return asyncio.run(captured(whole))


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    for path in (whole, *whole.rglob("*")):
        shutil.copystat(path, tmp_path / "store" / path.relative_to(whole))
    return tmp_path / "store"


async def test_a_good_store(store: Path, images: Mapping[str, Expectation], address: str) -> None:
    name = f"{address}/judge:1"
    assert len(images[name].layers) == 2
    found = await violations(store, acknowledged=images, pulls={name: images[name]}, processes=True)
    assert found == []


async def test_what_was_acknowledged_is_missed(
    tmp_path: Path, images: Mapping[str, Expectation]
) -> None:
    found = await violations(tmp_path / "empty", acknowledged=images)
    assert len(found) == len(images)
    assert all(line.endswith("acknowledged, and not there") for line in found)


async def test_what_was_removed_is_noticed(store: Path, images: Mapping[str, Expectation]) -> None:
    found = await violations(store, removed=images)
    assert sorted(found) == sorted(f"{name}: removed, and there again" for name in images)


async def test_a_flipped_bit_in_a_blob(store: Path) -> None:
    blob = max(store.glob("*content*/blobs/sha256/*"), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    assert any(blob.name in line for line in await violations(store))


async def test_a_lost_blob(store: Path) -> None:
    blob = next(store.glob("*content*/blobs/sha256/*"))
    blob.unlink()
    assert any(blob.name in line for line in await violations(store))


async def test_a_changed_tree(store: Path, images: Mapping[str, Expectation]) -> None:
    (path,) = store.glob("*overlayfs/snapshots/*/fs/etc/a")
    path.write_bytes(b"b" * 9000)
    found = await violations(store, acknowledged=images)
    assert any("etc/a: sha256 is" in line for line in found)


async def test_a_changed_mode(store: Path, images: Mapping[str, Expectation]) -> None:
    (path,) = store.glob("*overlayfs/snapshots/*/fs/etc")
    path.chmod(0o700)
    found = await violations(store, acknowledged=images)
    assert any("etc: mode is 0700, not 0755" in line for line in found)


async def test_wrong_accounts(store: Path) -> None:
    database = apsw.Connection(str(store / "io.containerd.metadata.v1.sqlite/meta.db"))
    database.execute("UPDATE total SET bytes = bytes + 1")
    database.close()
    assert [line[:12] for line in await violations(store)] == ["the accounts"]


async def test_a_store_that_does_not_open(store: Path) -> None:
    path = store / "io.containerd.metadata.v1.sqlite/meta.db"
    path.write_bytes(b"no database" * 1000)
    assert any("StoreCorrupt" in line for line in await violations(store))
