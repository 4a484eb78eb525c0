"""Which images of an archive are taken, and under which names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orlop.errors import ImageInvalid, InvalidArgument, ManifestAmbiguous
from orlop.model.reference import Reference, from_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.archive import Archive, ArchivedImage
    from orlop.ports.metadata import Image
    from orlop.ports.pull import Origin
    from orlop.ports.service import ImportOptions


class Take(Protocol):
    """Pulls one image from its origin."""

    async def __call__(self, name: Reference | None, origin: Origin, platform: str) -> Image:
        """Take it for ``platform``; "" is the configuration's. Raises OrlopError."""


async def take_images(archive: Archive, options: ImportOptions, take: Take) -> list[Image]:
    """Take what the options say from an archive, in its order.

    Returns:
        Each image once, with all the names that it has got.

    Raises:
        ImageInvalid: there is nothing in the archive, or it gives one name to two images.
        InvalidArgument: the options do not suit it.
        OrlopError: as ``take``.
    """
    if options.all_platforms and options.platforms:
        raise InvalidArgument("platforms are named, and all are wanted: choose one")
    base = _repository(options.base_name) if options.base_name else None
    images = await archive.images(base)
    if not images:
        raise ImageInvalid("the archive has no images in it")
    wanted = _named(images, options.name)
    taken: dict[tuple[str, str], Image] = {}
    for image, names in wanted:
        for platform in await _platforms(image, options):
            for name in names or (None,):
                found = await take(name, image.origin, platform)
                taken[str(found.record.id), found.record.snapshotter] = found
    return list(taken.values())


def _named(
    images: Sequence[ArchivedImage], name: str
) -> Sequence[tuple[ArchivedImage, tuple[Reference, ...]]]:
    """Every image with its names. Raises InvalidArgument, ManifestAmbiguous."""
    if not name:
        found = [(image, image.names) for image in images]
        _check_names([names for _, names in found], images)
        return found
    if len({image.origin.subject for image in images}) > 1:
        raise InvalidArgument(
            f"the archive has {len(images)} images, which cannot all be called {name}",
            hint="leave out --name; --base-name completes names that are mere tags",
        )
    return [(images[0], (from_user(name),))]


def _check_names(names: Sequence[tuple[Reference, ...]], images: Sequence[ArchivedImage]) -> None:
    """One name means one image: the last one would silently win."""
    owners: dict[Reference, str] = {}
    for own, image in zip(names, images, strict=True):
        for name in own:
            if owners.setdefault(name, image.origin.subject) != image.origin.subject:
                raise ManifestAmbiguous(f"the archive has two images that are called {name}")


async def _platforms(image: ArchivedImage, options: ImportOptions) -> Sequence[str]:
    if not options.all_platforms:
        return options.platforms or ("",)
    found = [str(platform) for platform in await image.platforms()]
    if not found:
        raise ImageInvalid(f"the archive has no manifest of {image.origin.subject}")
    return list(dict.fromkeys(found))


def _repository(text: str) -> Reference:
    """A repository, as users write it; a tag says nothing here."""
    named = from_user(text)
    return Reference(named.domain, named.path)
