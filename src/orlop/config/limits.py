"""The table ``limits`` of the image service: caps on what strangers may ask for.

Its keys are fields of ``orlop.model.limits.Limits``, which says for each why it is as it
is. Those that are not here follow from a specification or from the kernel.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, structs

from orlop.config.annotate import key
from orlop.model.limits import DEFAULTS, Limits

_MAX_LAYERS = 500  # what overlayfs stacks
_MAX_BYTES = 1 << 50
_MIB = 1 << 20

_Bytes = Meta(ge=1, le=_MAX_BYTES)
_Document = Meta(ge=1, le=64 * _MIB)


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """Caps on what registries and images may ask for."""

    manifest_bytes: Annotated[
        int, _Document, key("Longest manifest or index, in bytes; it is held in memory.")
    ] = DEFAULTS.manifest_bytes
    config_bytes: Annotated[
        int, _Document, key("Longest image config, in bytes; it is held in memory.")
    ] = DEFAULTS.config_bytes
    layers: Annotated[int, Meta(ge=1, le=_MAX_LAYERS), key("Most layers of an image.")] = (
        DEFAULTS.layers
    )
    layer_bytes: Annotated[
        int, _Bytes, key("Longest layer, uncompressed, and longest file in one, in bytes.")
    ] = DEFAULTS.layer_bytes
    layer_ratio: Annotated[
        int, Meta(ge=1, le=1 << 20), key("Most bytes that one compressed byte may become.")
    ] = DEFAULTS.layer_ratio
    layer_ratio_floor: Annotated[
        int, _Bytes, key("Uncompressed bytes of a layer from which on layer_ratio holds.")
    ] = DEFAULTS.layer_ratio_floor
    layer_entries: Annotated[
        int, Meta(ge=1, le=1 << 30), key("Most files, directories and links of a layer.")
    ] = DEFAULTS.layer_entries
    zstd_window_bytes: Annotated[
        int,
        Meta(ge=_MIB, le=2048 * _MIB),
        key("Largest window of a zstd layer, in bytes of memory; a power of two."),
    ] = DEFAULTS.zstd_window_bytes

    worker_memory_bytes: Annotated[
        int,
        Meta(ge=64 * _MIB, le=_MAX_BYTES),
        key("Most memory of a process that unpacks a layer, in bytes."),
    ] = DEFAULTS.worker_memory_bytes

    @property
    def limits(self) -> Limits:
        """All limits, with those of this table."""
        return Limits(**structs.asdict(self))
