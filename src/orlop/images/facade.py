"""What ``orlop.open`` gives: the image service, with images that mount themselves."""

from __future__ import annotations

import os
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.images.completion import to_the_end
from orlop.ports.service import LeaseOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from orlop.model.image import ImageConfig
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.service import ExportOptions, ImageService, ImportOptions, PullOptions


class PulledImage:
    """An image that is complete in the store.

    It stays valid as long as the ``Library`` it came from is open and nobody
    removes the image.
    """

    def __init__(self, service: ImageService, image: Image) -> None:
        self._service = service
        self._image = image

    def __repr__(self) -> str:
        return f"PulledImage({self.id})"

    @property
    def id(self) -> str:
        """The image id: digest of its config, ``sha256:…``."""
        return str(self._image.record.id)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it has, without its id."""
        return tuple(name.name for name in self._image.names if name.name != self.id)

    @property
    def size(self) -> int:
        """Bytes that it occupies: compressed content and unpacked layers."""
        return self._image.record.content_bytes + self._image.record.unpacked_bytes

    @property
    def record(self) -> Image:
        """Everything that the store knows about it."""
        return self._image

    async def config(self) -> ImageConfig:
        """Its config: user, environment, entry point and so on. Raises NotFound."""
        return (await self._service.detail(self.id)).config

    @asynccontextmanager
    async def mount(
        self,
        target: str | Path | None = None,
        *,
        writable: bool = False,
        layer: str | Path | None = None,
    ) -> AsyncIterator[Path]:
        """Mount its tree for as long as the ``async with`` lasts.

        Args:
            target: absolute path of an existing directory; None makes a temporary one.
            writable: give it a writable layer, which is dropped at the end.
            layer: absolute path of an existing directory that keeps what is written
                instead, for the next time that this image is mounted with it.

        Yields:
            The directory.

        Raises:
            PermissionDenied: mounting needs root.
            NotFound: the image has been removed, or ``target`` is no directory.
        """
        own = tempfile.mkdtemp(prefix="orlop-") if target is None else ""
        path = Path(own or target or "")
        try:
            await self._service.mount(self.id, str(path), writable=writable, layer=str(layer or ""))
            try:
                yield path
            finally:
                await to_the_end(self._service.unmount(str(path)))
        finally:
            if own:
                os.rmdir(own)


class Library:
    """An open store; made by ``orlop.open``.

    ``service`` has everything; the methods here are what most programs need.
    """

    def __init__(self, service: ImageService) -> None:
        self.service = service

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> PulledImage:
        """Fetch an image; complete and durable when this returns. Raises OrlopError."""
        image = await self.service.pull(reference, options, progress)
        return PulledImage(self.service, image)

    async def import_images(
        self,
        archive: str | Path | int,
        options: ImportOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> list[PulledImage]:
        """Take images from an archive, of OCI's form or Docker's.

        Args:
            archive: path of a file or of a directory with an OCI layout, or a descriptor,
                which stays the caller's.
            options: what to take; see ``ImportOptions``.
            progress: is told of each image, as by ``pull``.

        Raises:
            OSError: the archive cannot be opened.
            OrlopError: it is no archive, or as ``pull``.
        """
        if isinstance(archive, int):
            images = await self.service.import_images(archive, options, progress)
        else:
            with _opened(archive, os.O_RDONLY) as source:
                images = await self.service.import_images(source, options, progress)
        return [PulledImage(self.service, image) for image in images]

    async def export(
        self, texts: Sequence[str], archive: str | Path | int, options: ExportOptions | None = None
    ) -> None:
        """Write images into an archive; the same images make the same bytes.

        Args:
            texts: name the images; tags become their names in the archive.
            archive: path of a file, which is made or overwritten, or a descriptor, which
                stays the caller's.
            options: what to write; see ``ExportOptions``.

        Raises:
            OSError: the file cannot be opened.
            NotFound: an image is not here.
            FailedPrecondition: its layers were discarded, or the target takes no more bytes.
        """
        if isinstance(archive, int):
            await self.service.export(texts, archive, options)
        else:
            with _opened(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as target:
                await self.service.export(texts, target, options)

    async def get(self, text: str) -> PulledImage:
        """An image that is here, by name, id or the beginning of an id. Raises NotFound."""
        image = await self.service.find(text)
        if image is None:
            raise NotFound(f"image {text!r} is not here")
        return PulledImage(self.service, image)

    async def images(self) -> list[PulledImage]:
        """All images, sorted by id."""
        return [PulledImage(self.service, image) for image in await self.service.images()]

    async def keep(self, text: str, *, seconds: float = 0) -> str:
        """Keep an image, a blob or a snapshot from being collected; removed images, too.

        Args:
            text: names it, see ``ImageService.add_lease``.
            seconds: how long; 0 is until ``release``.

        Returns:
            The id of the lease that keeps it.

        Raises:
            NotFound: nothing here is called so.
        """
        held = await self.service.add_lease([text], LeaseOptions(seconds=seconds))
        return held.lease.id

    async def release(self, lease: str) -> None:
        """Remove a lease, and what nothing else keeps. Raises NotFound."""
        await self.service.remove_lease(lease)

    async def remove(self, text: str) -> bool:
        """Remove an image with all its names and free its space. False if there was none."""
        return await self.service.remove(text)


@contextmanager
def _opened(path: str | Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)
