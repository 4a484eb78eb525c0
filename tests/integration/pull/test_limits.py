"""The limits of the configuration: an image beyond one is refused, by the limit's name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from orlop.config.limits import LimitsConfig
from orlop.errors import LimitExceeded
from orlop.model.limits import DEFAULTS
from orlop.model.mediatype import Compression
from orlop.testing.images import Layer, build_image
from orlop.testing.layers import compress, file, tar_bytes
from tests.integration.pull.rig import Store, offer, running

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

PLAIN = build_image([[file("f", b"1" * 5000), file("g")], [file("h")]])
TAR = tar_bytes([file("f", bytes(400_000))])


def windowed(log: int = 21) -> BuiltImage:
    """A layer of zstd with a window of 2 MiB, or 2 to the power of ``log``."""
    options = {int(zstd.CompressionParameter.window_log): log}
    squeeze = zstd.ZstdCompressor(options=options)
    return build_image([Layer(TAR, squeeze.compress(TAR) + squeeze.flush(), Compression.ZSTD)])


BEYOND: dict[str, tuple[dict[str, int], BuiltImage]] = {
    "manifest_bytes": ({"manifest_bytes": 100}, PLAIN),
    "config_bytes": ({"config_bytes": 100}, PLAIN),
    "layers": ({"layers": 1}, PLAIN),
    "layer_bytes": ({"layer_bytes": 4000}, PLAIN),
    "layer_ratio": (
        {"layer_ratio": 2, "layer_ratio_floor": 1000},
        build_image([Layer(TAR, compress(TAR), Compression.GZIP)]),
    ),
    "layer_entries": ({"layer_entries": 1}, PLAIN),
    "zstd_window_bytes": ({"zstd_window_bytes": 1 << 20}, windowed()),
    "worker_memory_bytes": ({"worker_memory_bytes": 64 << 20}, windowed(27)),
}


@pytest.mark.parametrize("name", BEYOND)
async def test_an_image_beyond_it(tmp_path: Path, registry: FakeRegistry, name: str) -> None:
    values, image = BEYOND[name]
    reference = offer(registry, "app", "v1", image)
    async with running(tmp_path / "root", limits=LimitsConfig(**values)) as store:
        with pytest.raises(LimitExceeded) as refused:
            await store.service.pull(reference)
        assert refused.value.limit == name
        assert store.files() == []


async def test_the_same_images_are_within_the_defaults(
    store: Store, registry: FakeRegistry
) -> None:
    for _, image in BEYOND.values():
        await store.service.pull(offer(registry, "app", "v1", image))


def test_the_defaults_are_those_of_the_model() -> None:
    assert LimitsConfig().limits == DEFAULTS
    assert set(structs.asdict(LimitsConfig())) == {*BEYOND, "layer_ratio_floor"}
