"""The sections of a document: which plugin table means what.

A section is one table ``[plugins."NAME"]`` with its schema and, where older
documents wrote it differently, the step that lifts them. The built-in sections
are in ``BUILTIN_SECTIONS``; third parties hand theirs to ``orlop.config.load``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.config.keys import (
    DIFF,
    GC,
    GRPC,
    IMAGES,
    METADATA,
    METRICS,
    NATIVE,
    OVERLAYFS,
    PLUGINS,
    TRANSFER,
    VERIFIER,
)
from orlop.config.moves import GRPC_KEYS, lift_grpc, lift_images, lift_metrics
from orlop.config.related import (
    DiffConfig,
    MetadataConfig,
    NativeConfig,
    OverlayfsConfig,
    SchedulerConfig,
    TransferConfig,
    VerifierConfig,
)
from orlop.config.schema import GrpcConfig, ImageConfig, MetricsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from orlop.config.draft import Step
    from orlop.config.keys import Key


@dataclass(frozen=True, slots=True)
class Section:
    """One table ``[plugins."NAME"]`` that a plugin of ours or of a third party reads.

    Attributes:
        name: the plugin's full name, such as ``io.containerd.gc.v1.scheduler``.
        schema: a frozen struct whose fields all have defaults, annotated as
            ``orlop.config.annotate`` tells.
        migrate: called for each version n below today's that a document is lifted
            from, with n and the draft; pure. None if older documents wrote it alike.
        others: further keys of the table, which another program reads.
    """

    name: str
    schema: type[msgspec.Struct]
    migrate: Step | None = None
    others: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """Where the table stands."""
        return (*PLUGINS, self.name)


BUILTIN_SECTIONS: tuple[Section, ...] = (
    Section(
        GRPC[1], GrpcConfig, lift_grpc, others=frozenset(GRPC_KEYS) - {"address", "uid", "gid"}
    ),
    Section(METRICS[1], MetricsConfig, lift_metrics),
    Section(IMAGES[1], ImageConfig, lift_images),
    Section(TRANSFER[1], TransferConfig),
    Section(OVERLAYFS[1], OverlayfsConfig),
    Section(NATIVE[1], NativeConfig),
    Section(METADATA[1], MetadataConfig),
    Section(GC[1], SchedulerConfig),
    Section(VERIFIER[1], VerifierConfig),
    Section(DIFF[1], DiffConfig),
)
"""What orlop itself reads, in the order in which people are shown it."""


def steps(sections: Sequence[Section]) -> tuple[Step, ...]:
    """The migration steps of these sections and of the built-in ones."""
    return tuple(
        section.migrate for section in (*BUILTIN_SECTIONS, *sections) if section.migrate is not None
    )
