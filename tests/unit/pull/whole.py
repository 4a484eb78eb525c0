"""Whole pulls with a fake registry and without a disk: what they need, and one image."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.model.reference import from_user
from orlop.ports.observe import NOBODY, PullEnded
from orlop.ports.pull import PullRequest
from orlop.pull.pipeline import Parts, Pipeline, PullSettings
from orlop.testing.images import BuiltImage, build_image, build_layer
from orlop.testing.layers import file

if TYPE_CHECKING:
    from orlop.metadata.store import MetadataStore
    from orlop.ports.snapshots import Snapshotter
    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.memory_store import MemoryStore
    from tests.unit.pull.rig import Hands, Trees

IMAGE = build_image(
    [build_layer([file(name, os.urandom(300_000))], Compression.NONE) for name in "abc"]
)


@dataclass
class Ended:
    """An observer that remembers the ends of pulls."""

    events: list[PullEnded] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def pull_started(self, reference: str) -> None:
        self.started.append(reference)

    def pull_ended(self, event: PullEnded) -> None:
        self.events.append(event)

    layer_unpacked = staticmethod(NOBODY.layer_unpacked)
    attribute_dropped = staticmethod(NOBODY.attribute_dropped)


@dataclass(frozen=True)
class Plain:
    """A snapshotter of which a pull needs the name and the staging only."""

    staging: Trees
    name: str = "plain"


@dataclass
class Bench:
    parts: Parts
    registry: FakeRegistry
    trees: Trees
    hands: Hands
    store: MemoryStore
    metadata: MetadataStore
    observer: Ended
    failures: dict[str, Exception]

    def pipeline(self, **settings: float) -> Pipeline:
        return Pipeline(self.parts, PullSettings(**settings))  # type: ignore[arg-type]

    def offer(self, image: BuiltImage = IMAGE, name: str = "app") -> PullRequest:
        for blob in image.blobs.values():
            self.registry.add_blob(blob)
        self.registry.add_manifest(name, "v1", image.manifest, image.media_type)
        return PullRequest(
            from_user(f"{self.registry.address}/{name}:v1"),
            Platform("linux", "amd64"),
            cast("Snapshotter", Plain(self.trees)),
            "k8s.io",
        )

    def asked(self, image: BuiltImage = IMAGE) -> list[str]:
        """Paths of the layers that were fetched, in order."""
        layers = {str(layer.digest) for layer in image.layers}
        requests = [one for one in self.registry.requests if one.method == "GET"]
        paths = [request.path.rpartition("/")[2] for request in requests]
        return [path for path in paths if path in layers]
