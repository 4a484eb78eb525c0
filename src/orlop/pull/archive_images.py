"""Images of an archive, each as a ``Remote`` that a pull takes it from.

So an import is a pull: the same plan, limits, verification and publication. An
image of a Docker archive gets a manifest of Docker's second schema, which the
archive has not. Its layers are mostly not compressed, and are then named by the
diffIDs of the config: that the bytes hash to it is checked as they are copied, as
for any blob.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    DigestMismatch,
    ImageInvalid,
    LimitExceeded,
    ManifestInvalid,
    SizeMismatch,
)
from orlop.model import archive as documents
from orlop.model import manifest as manifests
from orlop.model import mediatype
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.image import parse_config
from orlop.model.mediatype import Compression
from orlop.model.quote import quote
from orlop.ports.registry import Resolved
from orlop.pull.archive_members import read_whole
from orlop.pull.completion import in_thread
from orlop.pull.descriptors import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from orlop.model.archive import DockerImage
    from orlop.model.limits import Limits
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.ports.registry import Traffic
    from orlop.pull.archive_members import Member, Members

_HEAD_BYTES: Final = 4
"""What tells how a layer is compressed."""


class ArchiveOrigin:
    """Implements ``Origin`` and ``Remote`` for one image of an archive.

    A slow disk is no stalled registry: what is read here counts as no traffic.

    Args:
        members: of the archive, which must be open as long as this is used.
        target: the index or manifest.
        place: see ``Origin``; the archive's.
        documents: those that the archive does not have as such.
        places: names of members by digest, of blobs that are not where a layout has them.
    """

    def __init__(
        self,
        members: Members,
        target: Descriptor,
        *,
        place: str,
        documents: Mapping[Digest, bytes] | None = None,
        places: Mapping[Digest, str] | None = None,
    ) -> None:
        self.target = target
        self.place = place
        self._members = members
        self._documents = documents or {}
        self._places = places or {}

    @property
    def subject(self) -> str:
        """See ``Origin``."""
        return f"archive@{self.target.digest}"

    def remote(self, traffic: Traffic) -> ArchiveOrigin:  # noqa: ARG002 - see the class
        """See ``Origin``."""
        return self

    async def resolve(self) -> Resolved:
        """See ``Remote``."""
        return Resolved(self.target)

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        """See ``Remote``."""
        digest = descriptor.digest
        if descriptor.size > limit:
            raise LimitExceeded(
                f"document {digest} has {descriptor.size} bytes, more than {limit}",
                limit=_limit_of(descriptor),
            )
        raw = self._documents.get(digest)
        if raw is None:
            raw = await in_thread(
                lambda: read_whole(
                    self._members, self._place(digest), limit, field=_limit_of(descriptor)
                )
            )
        if len(raw) != descriptor.size:
            raise _other_size(descriptor, len(raw))
        found = Digest.of(raw, digest.algorithm)
        if found != digest:
            raise DigestMismatch(f"the archive has {found} under the name of {digest}")
        return raw

    async def prove(self, descriptor: Descriptor) -> None:
        """See ``Remote``: who has the bytes may have them; a name alone proves nothing."""
        found = await in_thread(lambda: self._hashed(descriptor.digest))
        if found != descriptor.digest:
            raise DigestMismatch(f"the archive has {found} under the name of {descriptor.digest}")

    def _hashed(self, digest: Digest) -> Digest:
        with self._members.opened(self._place(digest)) as member:
            return _hash(member, digest.algorithm)

    @asynccontextmanager
    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[_Stream]:
        """See ``Remote``."""
        with ExitStack() as opened:
            opening = self._members.opened(self._place(descriptor.digest))
            member = await in_thread(lambda: opened.enter_context(opening))
            if member.size != descriptor.size:
                raise _other_size(descriptor, member.size)
            end = min(offset + length, member.size) if length else member.size
            yield _Stream(member, descriptor, offset, end)

    def has(self, digest: Digest) -> bool:
        """True when the archive has the blob or document; blocks."""
        return digest in self._documents or self._members.has(self._place(digest))

    def _place(self, digest: Digest) -> str:
        return self._places.get(digest) or documents.blob_path(digest)


class _Stream:
    """Implements ``BlobStream``."""

    def __init__(self, member: Member, descriptor: Descriptor, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self._member = member
        self._descriptor = descriptor
        self._at = start

    @property
    def waiting(self) -> int:
        return 0

    async def read(self) -> bytes:
        wanted = min(PIECE_BYTES, self.end - self._at)
        data = await in_thread(lambda: self._member.read(self._at, wanted))
        self._at += len(data)
        if wanted and not data:
            raise _other_size(self._descriptor, self._at)
        return data


@dataclass(frozen=True, slots=True)
class ImageOfArchive:
    """Implements ``orlop.ports.archive.ArchivedImage``."""

    origin: ArchiveOrigin
    limits: Limits
    names: tuple[Reference, ...] = ()

    async def platforms(self) -> Sequence[Platform]:
        """See the port."""
        found: dict[Platform, None] = {}
        await self._collect(self.origin.target, 0, found)
        return tuple(found)

    async def _collect(self, entry: Descriptor, depth: int, found: dict[Platform, None]) -> None:
        if not await in_thread(lambda: self.origin.has(entry.digest)):
            return
        raw = await self.origin.document(entry, limit=self.limits.manifest_bytes)
        document = _parse(raw, entry, self.limits)
        if isinstance(document, manifests.Index):
            if depth >= self.limits.index_depth:
                raise LimitExceeded(
                    f"index {self.origin.target.digest} nests more than"
                    f" {self.limits.index_depth} indexes",
                    limit="index_depth",
                )
            for one in filter(manifests.leads_to_image, document.manifests):
                await self._collect(one, depth + 1, found)
        elif entry.platform is not None:
            found[entry.platform] = None
        else:
            raw = await self.origin.document(document.config, limit=self.limits.config_bytes)
            config = parse_config(
                raw, limits=self.limits, algorithm=document.config.digest.algorithm
            )
            found[config.platform] = None


@dataclass(frozen=True, slots=True)
class OpenArchive:
    """Implements ``orlop.ports.archive.Archive``.

    Attributes:
        members: of the archive.
        sniff: tells from a layer's first bytes how it is compressed.
        place: names the archive.
    """

    members: Members
    limits: Limits
    sniff: Callable[[bytes], Compression] = field(repr=False)
    place: str = field(default_factory=lambda: f"archive-{secrets.token_hex(8)}")

    async def images(self, base: Reference | None = None) -> Sequence[ImageOfArchive]:
        """See the port."""
        if await in_thread(lambda: self.members.has(documents.INDEX_FILE)):
            return await in_thread(lambda: self._layout(base))
        if await in_thread(lambda: self.members.has(documents.DOCKER_FILE)):
            return await in_thread(self._docker)
        raise ImageInvalid(
            f"no archive of images: it has neither {documents.INDEX_FILE}"
            f" nor {documents.DOCKER_FILE}"
        )

    def _read(self, name: str) -> bytes:
        limit = self.limits.manifest_bytes
        return read_whole(self.members, name, limit, field="manifest_bytes")

    def _layout(self, base: Reference | None) -> Sequence[ImageOfArchive]:
        if not self.members.has(documents.LAYOUT_FILE):
            raise ImageInvalid(f"no OCI layout: {documents.LAYOUT_FILE} is missing")
        documents.check_layout(self._read(documents.LAYOUT_FILE), self.limits)
        index = manifests.parse(
            self._read(documents.INDEX_FILE), media_type=mediatype.OCI_INDEX, limits=self.limits
        )
        assert isinstance(index, manifests.Index)
        images = []
        for entry in filter(manifests.leads_to_image, index.manifests):
            name = documents.entry_name(entry.annotations, base)
            names = () if name is None else (name,)
            # What the layout says about the platform proves nothing: the config is asked.
            origin = ArchiveOrigin(self.members, replace(entry, platform=None), place=self.place)
            images.append(ImageOfArchive(origin, self.limits, names))
        return images

    def _docker(self) -> Sequence[ImageOfArchive]:
        listed = documents.parse_docker(self._read(documents.DOCKER_FILE), self.limits)
        return [self._docker_image(image) for image in listed]

    def _docker_image(self, image: DockerImage) -> ImageOfArchive:
        raw = read_whole(self.members, image.config, self.limits.config_bytes, field="config_bytes")
        config = parse_config(raw, limits=self.limits)
        if len(image.layers) != len(config.diff_ids):
            raise ManifestInvalid(
                f"{documents.DOCKER_FILE} lists {len(image.layers)} layers of"
                f" {quote(image.config)}, which has {len(config.diff_ids)} diffIDs"
            )
        layers = [
            self._docker_layer(name, diff_id)
            for name, diff_id in zip(image.layers, config.diff_ids, strict=True)
        ]
        manifest = documents.docker_manifest((config.digest, len(raw)), layers)
        target = Descriptor(mediatype.DOCKER_MANIFEST, Digest.of(manifest), len(manifest))
        origin = ArchiveOrigin(
            self.members,
            target,
            place=self.place,
            documents={target.digest: manifest, config.digest: raw},
            places={
                digest: name for name, (digest, _, _) in zip(image.layers, layers, strict=True)
            },
        )
        return ImageOfArchive(origin, self.limits, documents.tag_names(image.tags))

    def _docker_layer(self, name: str, diff_id: Digest) -> tuple[Digest, int, Compression]:
        """Digest, size and compression of a layer."""
        with self.members.opened(name) as member:
            compression = self.sniff(member.read(0, _HEAD_BYTES))
            digest = diff_id if compression is Compression.NONE else _hash(member)
            return digest, member.size, compression


def _hash(member: Member, algorithm: str = "sha256") -> Digest:
    hasher = Digest.of(b"", algorithm).hasher()
    at = 0
    while data := member.read(at, PIECE_BYTES):
        hasher.update(data)
        at += len(data)
    return Digest(algorithm, hasher.hexdigest())


def _parse(raw: bytes, entry: Descriptor, limits: Limits) -> manifests.Manifest | manifests.Index:
    return manifests.parse(
        raw, media_type=entry.media_type, limits=limits, algorithm=entry.digest.algorithm
    )


def _limit_of(descriptor: Descriptor) -> str:
    kinds = mediatype.MANIFEST_TYPES | mediatype.INDEX_TYPES
    return "manifest_bytes" if descriptor.media_type in kinds else "config_bytes"


def _other_size(descriptor: Descriptor, size: int) -> SizeMismatch:
    return SizeMismatch(
        f"the archive has {size} bytes under the name of {descriptor.digest},"
        f" which has {descriptor.size}"
    )
