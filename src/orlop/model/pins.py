"""Pinned images: those that the configuration protects from kubelet's collection."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument, InvalidReference
from orlop.model import labels
from orlop.model.reference import from_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.model.digest import Digest

PINNED: Final[Mapping[str, str]] = MappingProxyType(
    {labels.CRI_PINNED: labels.CRI_PINNED_VALUE, labels.PINNED_BY: labels.PINNED_BY_CONFIGURATION}
)
"""Labels of the names of an image that the configuration pins."""


class Pins:
    """The images of ``pinned_images``.

    Args:
        references: as users write them: short, with a tag or a digest; "" is none.

    Raises:
        InvalidArgument: one of them is no reference.
    """

    def __init__(self, references: Iterable[str] = ()) -> None:
        self._names = frozenset(_normalised(text) for text in references if text)
        self._digests = frozenset(name.partition("@")[2] for name in self._names if "@" in name)

    def cover(self, names: Iterable[str], manifest: Digest) -> bool:
        """True when an image with these names is pinned.

        A digest also means the manifest of an image that was pulled by its index.
        """
        if str(manifest) in self._digests:
            names = [*names]
            names += [f"{_repository(name)}@{manifest}" for name in names]
        return not self._names.isdisjoint(names)

    def labels(self, names: Iterable[str], manifest: Digest) -> Mapping[str, str]:
        """Labels for the names of an image, for its being pinned or not."""
        return PINNED if self.cover(names, manifest) else {}


def relabelled(found: Mapping[str, str], *, pinned: bool) -> Mapping[str, str]:
    """Labels of a name as they are to be: what the configuration did not pin stays pinned."""
    if pinned:
        return {**found, **PINNED}
    if labels.PINNED_BY not in found:
        return found
    return {key: value for key, value in found.items() if key not in PINNED}


def _repository(name: str) -> str:
    """The part of a normalised name before its tag or digest."""
    name = name.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return path if colon and "/" not in tag else name


def _normalised(text: str) -> str:
    try:
        return str(from_user(text))
    except InvalidReference as error:
        raise InvalidArgument(f"pinned image {text!r}: {error.message}") from error
