"""The documents of an image, to be spoiled before a registry offers them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.model import mediatype as media
from orlop.model.digest import Digest
from orlop.testing.images import Json, build_image
from orlop.testing.layers import file

if TYPE_CHECKING:
    from tests.hostile.site import Site

IMAGE = build_image([[file("one", b"1")], [file("two", b"2")]])
OTHER = Digest.of(b"other")
MEBIBYTE = 1 << 20


@dataclass
class Draft:
    """The documents of an image, to be spoiled before they are published.

    Attributes:
        raw: of the manifest, when no JSON makes it.
        raw_config: the same of the config.
        called: media type that the registry gives for the manifest.
    """

    manifest: dict[str, Json] = field(default_factory=lambda: json.loads(IMAGE.manifest))
    config: dict[str, Json] = field(default_factory=lambda: json.loads(IMAGE.config))
    raw: bytes | None = None
    raw_config: bytes | None = None
    called: str = media.OCI_MANIFEST

    @property
    def layers(self) -> list[dict[str, Json]]:
        found = self.manifest["layers"]
        assert isinstance(found, list)
        return found  # type: ignore[return-value] # of objects

    @property
    def described(self) -> dict[str, Json]:
        """The descriptor of the config."""
        found = self.manifest["config"]
        assert isinstance(found, dict)
        return found

    @property
    def process(self) -> dict[str, Json]:
        found = self.config["config"]
        assert isinstance(found, dict)
        return found

    def publish(self, site: Site) -> str:
        """Offer all of it; the config's descriptor tells the truth unless it was changed."""
        config = (
            self.raw_config if self.raw_config is not None else json.dumps(self.config).encode()
        )
        before = json.loads(IMAGE.manifest)["config"]
        new = {"digest": str(Digest.of(config)), "size": len(config)}
        for key, value in new.items():
            if (
                isinstance(self.manifest.get("config"), dict)
                and self.described.get(key) == before[key]
            ):
                self.described[key] = value  # type: ignore[assignment] # text or number
        raw = self.raw if self.raw is not None else json.dumps(self.manifest).encode()
        for blob in (config, *IMAGE.blobs.values()):
            site.registry.add_blob(blob)
        reference = site.offer(IMAGE)
        path, _, tag = reference.removeprefix(f"{site.registry.address}/").rpartition(":")
        site.registry.add_manifest(path, tag, raw, self.called)
        return reference
