"""Stand-ins for what the image service is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.errors import FailedPrecondition, NotFound, Unavailable
from orlop.model.digest import Digest
from orlop.ports.gc import DiskUsage, Explanation
from orlop.ports.metadata import Image, ImageName, ImageRecord, Target
from orlop.ports.service import GCReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from orlop.ports.gc import Protection
    from orlop.ports.observe import PullProgress
    from orlop.ports.pull import PullRequest
    from orlop.ports.snapshots import Mount

SPACE = "k8s.io"


def record(hexadecimal: str, *, manifest: str = "", chain_id: str = "") -> ImageRecord:
    """An image record whose id begins with ``hexadecimal``."""
    return ImageRecord(
        id=Digest("sha256", hexadecimal.ljust(64, "0")),
        manifest=Digest("sha256", (manifest or "f").ljust(64, "f")),
        platform="linux/amd64",
        snapshotter="plain",
        chain_id=chain_id,
        user="",
        content_bytes=1,
        unpacked_bytes=1,
        synced=True,
        created_at=1,
    )


def name(text: str, image: ImageRecord, **labels: str) -> ImageName:
    """A name of that image."""
    target = Target("application/vnd.oci.image.manifest.v1+json", image.manifest, 7)
    return ImageName(text, target, image.id, labels, 1, 1)


@dataclass
class Mounted:
    """A ``Mounter`` without a kernel."""

    places: dict[str, Sequence[Mount]] = field(default_factory=dict)
    failure: Exception | None = None

    def mount(self, mounts: Sequence[Mount], target: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.places[target] = mounts

    def unmount(self, target: str) -> None:
        if self.failure is not None:
            raise self.failure
        if target not in self.places:
            raise NotFound(f"nothing is mounted on {target}")
        del self.places[target]

    def is_mounted(self, target: str) -> bool:
        return target in self.places


@dataclass
class Collected:
    """A ``GarbageCollector`` that counts."""

    runs: list[bool] = field(default_factory=list)
    busy: bool = False

    def protect(self, owner: str = "") -> AbstractAsyncContextManager[Protection]:
        raise FailedPrecondition("nobody pulls here")

    async def make_room(self) -> None:
        raise FailedPrecondition("nobody pulls here")

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        return [Explanation(namespace, "name", text, 0, ())]

    async def disk_usage(self, namespace: str) -> DiskUsage:
        return DiskUsage(namespace, (), 0, 0, 0, 0, 0)

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        self.runs.append(dry_run)
        if self.busy:
            raise Unavailable("the store keeps changing")
        return GCReport(0, 0, 0, 0)


@dataclass
class Asked:
    """A ``Puller`` that remembers what was asked."""

    answer: Image | None = None
    requests: list[PullRequest] = field(default_factory=list)

    async def pull(
        self, request: PullRequest, progress: Callable[[PullProgress], None] | None = None
    ) -> Image:
        self.requests.append(request)
        assert self.answer is not None
        return self.answer

    async def repair(self, request: PullRequest, target: Target) -> Image:
        del target
        return await self.pull(request)

    def pulls(self) -> Sequence[PullProgress]:
        return []
