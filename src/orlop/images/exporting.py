"""Images become the members of an archive.

The archive is an OCI layout that also has Docker's ``manifest.json``, or a Docker
archive alone. An image that is exported for one platform is named by its manifest.
With all platforms it keeps its index, if everything that this lists is here;
otherwise it gets a new one, of the manifests that are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import (
    FailedPrecondition,
    InvalidArgument,
    InvalidReference,
    NoMatchingPlatform,
    StoreCorrupt,
)
from orlop.model import archive as documents
from orlop.model import manifest as manifests
from orlop.model import mediatype
from orlop.model.archive import DockerImage, Named
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.image import parse_config
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.platform import Platform, rank
from orlop.model.reference import from_user
from orlop.ports.archive import ArchiveMember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orlop.images.runtimes import Runtimes
    from orlop.model.manifest import Manifest
    from orlop.model.reference import Reference
    from orlop.ports.archive import ArchiveWriter
    from orlop.ports.content import Provider
    from orlop.ports.gc import Protector
    from orlop.ports.metadata import Image
    from orlop.ports.service import ArchiveFormat, ExportOptions


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported under one name, or under none.

    Attributes:
        images: one for each platform, the preferred one first.
        name: with a tag.
        whole: keep the index, or make one.
    """

    images: tuple[Image, ...]
    name: Reference | None = None
    whole: bool = False


def choose(
    text: str, images: Sequence[Image], options: ExportOptions, runtimes: Runtimes
) -> Chosen:
    """What of the images that ``text`` names is exported.

    Args:
        text: as the user wrote it; its tag is the name in the archive, an id names nothing.
        images: all that it names, at least one.
        options: which platforms.
        runtimes: tell which of several images is preferred.

    Raises:
        InvalidArgument: the options make no sense.
        NoMatchingPlatform: there is none for a platform that is wanted.
    """
    if options.all_platforms and options.platforms:
        raise InvalidArgument("platforms are named, and all are wanted: choose one")
    preferred = runtimes.prefer(images) or images[0]
    if options.all_platforms:
        found = [preferred, *sorted(images, key=lambda image: image.record.platform)]
    elif options.platforms:
        found = [_for_platform(text, images, platform) for platform in options.platforms]
    else:
        found = [preferred]
    by_manifest = {image.record.manifest: image for image in reversed(found)}
    ordered = dict.fromkeys(image.record.manifest for image in found)
    return Chosen(
        tuple(by_manifest[digest] for digest in ordered),
        _tag(text, preferred),
        whole=options.all_platforms or len(ordered) > 1,
    )


def _for_platform(text: str, images: Sequence[Image], platform: str) -> Image:
    wanted = Platform.parse(platform)
    ranks = {
        at: found
        for at, image in enumerate(images)
        if (found := rank(wanted, _parsed(image.record.platform))) is not None
    }
    if not ranks:
        here = ", ".join(sorted({image.record.platform for image in images}))
        raise NoMatchingPlatform(
            f"image {text!r} is not here for {wanted}",
            hint=f"it is here for {here}; pull it with --platform {wanted}",
        )
    return images[min(ranks, key=lambda at: ranks[at])]


def _parsed(platform: str) -> Platform:
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return Platform(system, architecture, variant)


def _tag(text: str, image: Image) -> Reference | None:
    """The name with a tag that ``text`` is, if it is one of the image's."""
    try:
        reference = from_user(text)
    except InvalidReference:
        return None
    known = str(reference) in {name.name for name in image.names}
    return reference if known and reference.tag is not None else None


@dataclass(frozen=True, slots=True)
class _Content:
    """The documents of one image."""

    image: Image
    manifest: Manifest
    descriptor: Descriptor

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All that belongs to it."""
        return (self.descriptor, self.manifest.config, *self.manifest.layers)


class Exporter:
    """Writes images that are in the store into archives."""

    def __init__(
        self,
        store: Provider,
        protector: Protector,
        writer: ArchiveWriter,
        *,
        limits: Limits = DEFAULTS,
    ) -> None:
        self._store = store
        self._protector = protector
        self._writer = writer
        self._limits = limits

    async def export(
        self, chosen: Sequence[Chosen], target: int, archive_format: ArchiveFormat
    ) -> None:
        """Write them to the descriptor ``target``.

        Nothing is written before everything is known to be here.

        Raises:
            FailedPrecondition: layers were discarded, or the target takes no more bytes.
            NotFound, StoreCorrupt: something is missing or damaged.
        """
        async with self._protector.protect() as protection:
            images = [image for one in chosen for image in one.images]
            await protection.add([image.record.manifest for image in images])
            contents = await asyncio.to_thread(lambda: self._contents(images))
            await protection.add(
                [blob.digest for content in contents.values() for blob in content.blobs]
            )
            await asyncio.to_thread(lambda: self._require(contents.values()))
            if archive_format == "docker":
                members = _docker_members(chosen, contents)
            else:
                members = await asyncio.to_thread(lambda: self._layout(chosen, contents))
            await self._writer.write(members, target)

    def _contents(self, images: Iterable[Image]) -> dict[Digest, _Content]:
        return {image.record.manifest: self._content(image) for image in images}

    def _content(self, image: Image) -> _Content:
        digest = image.record.manifest
        raw = self._store.read(digest, self._limits.manifest_bytes)
        manifest = manifests.parse(
            raw, media_type="", limits=self._limits, algorithm=digest.algorithm
        )
        if not isinstance(manifest, manifests.Manifest):
            raise StoreCorrupt(f"manifest {digest} of image {image.record.id} is an index")
        config = parse_config(
            self._store.read(manifest.config.digest, self._limits.config_bytes),
            limits=self._limits,
            algorithm=manifest.config.digest.algorithm,
        )
        descriptor = Descriptor(manifest.media_type, digest, len(raw), platform=config.platform)
        return _Content(image, manifest, descriptor)

    def _require(self, contents: Iterable[_Content]) -> None:
        for content in contents:
            for layer in content.manifest.layers:
                if self._store.stat(layer.digest) is None:
                    raise FailedPrecondition(
                        f"layer {layer.digest} of image {content.image.record.id} was discarded"
                        " when it had been unpacked: the image cannot be exported",
                        hint="turn discard_unpacked_layers off, and pull the image again",
                    )

    def _layout(
        self, chosen: Sequence[Chosen], contents: dict[Digest, _Content]
    ) -> list[ArchiveMember]:
        entries: list[Named] = []
        indexes: dict[str, bytes] = {}
        for one in chosen:
            own = [contents[image.record.manifest] for image in one.images]
            index = self._index(one, own) if one.whole else None
            if index is None:
                entries += [Named(content.descriptor, one.name) for content in own]
            else:
                descriptor, raw = index
                indexes[documents.blob_path(descriptor.digest)] = raw
                entries.append(Named(descriptor, one.name))
        blobs = {
            documents.blob_path(blob.digest): blob
            for content in contents.values()
            for blob in content.blobs
        }
        docker = documents.docker_document(
            _docker_images(chosen, contents, documents.blob_path, documents.blob_path)
        )
        members = [
            _document(documents.LAYOUT_FILE, documents.layout_document()),
            _document(documents.INDEX_FILE, documents.index_document(entries)),
            _document(documents.DOCKER_FILE, docker),
        ]
        for name in sorted({*blobs, *indexes}):
            if name in indexes:
                members.append(_document(name, indexes[name]))
            else:
                members.append(ArchiveMember(name, blobs[name].size, blobs[name].digest))
        return members

    def _index(
        self, chosen: Chosen, contents: Sequence[_Content]
    ) -> tuple[Descriptor, bytes] | None:
        """The index of an image, as it was or new; None when its name is a manifest's."""
        target = next(
            (
                name.target
                for name in chosen.images[0].names
                if name.name == str(chosen.name) and name.target.media_type in mediatype.INDEX_TYPES
            ),
            None,
        )
        if target is not None:
            raw = self._store.read(target.digest, self._limits.manifest_bytes)
            index = manifests.parse(
                raw,
                media_type=target.media_type,
                limits=self._limits,
                algorithm=target.digest.algorithm,
            )
            here = {content.descriptor.digest for content in contents}
            assert isinstance(index, manifests.Index)
            if {entry.digest for entry in index.manifests} <= here:
                return Descriptor(target.media_type, target.digest, target.size), raw
        if len(contents) == 1:
            return None
        raw = documents.index_document([Named(content.descriptor, None) for content in contents])
        return Descriptor(mediatype.OCI_INDEX, Digest.of(raw), len(raw)), raw


def _docker_members(
    chosen: Sequence[Chosen], contents: dict[Digest, _Content]
) -> list[ArchiveMember]:
    """A Docker archive: it knows no platforms, so that each image is for the preferred one."""
    images = _docker_images(chosen, contents, _docker_config, _docker_layer)
    members: dict[str, ArchiveMember] = {}
    for one in chosen:
        manifest = contents[one.images[0].record.manifest].manifest
        paths = {_docker_config(manifest.config.digest): manifest.config}
        paths |= {_docker_layer(layer.digest): layer for layer in manifest.layers}
        members |= {
            name: ArchiveMember(name, blob.size, blob.digest) for name, blob in paths.items()
        }
    return [
        _document(documents.DOCKER_FILE, documents.docker_document(images)),
        *(members[name] for name in sorted(members)),
    ]


def _docker_images(
    chosen: Sequence[Chosen],
    contents: dict[Digest, _Content],
    config_path: Callable[[Digest], str],
    layer_path: Callable[[Digest], str],
) -> list[DockerImage]:
    """What Docker is told: each image once, with all its names."""
    names: dict[Digest, list[str]] = {}
    for one in chosen:
        tags = names.setdefault(one.images[0].record.manifest, [])
        if one.name is not None and str(one.name) not in tags:
            tags.append(str(one.name))
    listed = []
    for digest, tags in names.items():
        manifest = contents[digest].manifest
        layers = tuple(layer_path(layer.digest) for layer in manifest.layers)
        listed.append(DockerImage(config_path(manifest.config.digest), layers, tuple(tags)))
    return listed


def _docker_config(digest: Digest) -> str:
    return f"{digest.hex}.json"


def _docker_layer(digest: Digest) -> str:
    return f"{digest.hex}.tar"


def _document(name: str, raw: bytes) -> ArchiveMember:
    return ArchiveMember(name, len(raw), raw)
