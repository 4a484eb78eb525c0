"""What ``orlop.open`` gives: the image service, with images that mount themselves."""

from __future__ import annotations

import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.images.completion import to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orlop.model.image import ImageConfig
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.service import ImageService, PullOptions


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
        self, target: str | Path | None = None, *, writable: bool = False
    ) -> AsyncIterator[Path]:
        """Mount its tree for as long as the ``async with`` lasts.

        Args:
            target: absolute path of an existing directory; None makes a temporary one.
            writable: give it a writable layer, which is dropped at the end.

        Yields:
            The directory.

        Raises:
            PermissionDenied: mounting needs root.
            NotFound: the image has been removed, or ``target`` is no directory.
        """
        own = tempfile.mkdtemp(prefix="orlop-") if target is None else ""
        path = Path(own or target or "")
        try:
            await self._service.mount(self.id, str(path), writable=writable)
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

    async def get(self, text: str) -> PulledImage:
        """An image that is here, by name, id or the beginning of an id. Raises NotFound."""
        image = await self.service.find(text)
        if image is None:
            raise NotFound(f"image {text!r} is not here")
        return PulledImage(self.service, image)

    async def images(self) -> list[PulledImage]:
        """All images, sorted by id."""
        return [PulledImage(self.service, image) for image in await self.service.images()]

    async def remove(self, text: str) -> bool:
        """Remove an image with all its names and free its space. False if there was none."""
        return await self.service.remove(text)
