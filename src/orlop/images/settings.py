"""What the image service can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.platform import Platform

NAMESPACE = "k8s.io"
"""Where kubelet's images are; containerd's CRI plugin uses the same name."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a runtime handler needs; empty fields mean the service's own."""

    platform: str = ""
    snapshotter: str = ""


@dataclass(frozen=True, slots=True)
class Unpack:
    """Where images of one platform are unpacked, where nobody says otherwise.

    Attributes:
        platform: "" is the service's own.
        snapshotter: "" is the service's own.
        optional: without effect when the snapshotter is not loaded.
    """

    platform: str = ""
    snapshotter: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Defaults and policy of the image service.

    Attributes:
        platform: of this machine, unless a pull says otherwise.
        snapshotter: that images are unpacked into.
        namespace: that calls without one work in.
        pinned: references that kubelet must not collect, as users write them.
        runtimes: by name of the CRI runtime handler.
        unpack: by platform, the first that suits counts.
        check_platforms: pulls for platforms that ``unpack`` does not name are refused.
        content_root: directory of the blobs; "" is with the default snapshotter.
        stats_seconds: how long usage may be reported again as it was.
    """

    platform: Platform
    snapshotter: str = "overlayfs"
    namespace: str = NAMESPACE
    pinned: tuple[str, ...] = ()
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    unpack: tuple[Unpack, ...] = ()
    check_platforms: bool = False
    content_root: str = ""
    stats_seconds: float = 0.0
