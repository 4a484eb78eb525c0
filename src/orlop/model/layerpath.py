"""Paths inside a layer: bytes, relative to the image's root, never above it.

Pure text work: links are resolved by the kernel, below the root, when a path
is used. Source: OCI image-spec ``layer.md``.
"""

from __future__ import annotations

import enum

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded
from orlop.model.limits import DEFAULTS, Limits

ROOT = b"."
"""What ``normalise`` returns for the root itself."""

_WHITEOUT_PREFIX = b".wh."
_WHITEOUT_META_PREFIX = b".wh..wh."
_OPAQUE_NAME = b".wh..wh..opq"


class Whiteout(enum.Enum):
    """What a name that begins with ``.wh.`` stands for."""

    FILE = "hides one name of the lower layers"
    OPAQUE = "hides all that the lower layers have in this directory"
    META = "AUFS bookkeeping, means nothing here"


def normalise(path: bytes, limits: Limits = DEFAULTS) -> bytes:
    """A member's path as ``a/b/c``, or ``ROOT``.

    Leading slashes, ``.`` and empty components fall away; ``..`` removes the
    component before it, by text.

    An empty path is the root.

    Raises:
        ArchiveEscape: the path leads above the root.
        ArchiveInvalid: it is too long, or contains NUL.
        LimitExceeded: it has too many components.
    """
    # Nearly every path of a layer is clean already; this keeps them cheap.
    if b"/." in path or b"//" in path or path[:1] in b"/." or path[-1:] == b"/":
        path = _clean(path)
    if len(path) > limits.component_bytes:
        _check_lengths(path, limits)
    if b"\0" in path:
        raise ArchiveInvalid(f"path {shown(path)} in layer contains NUL")
    if path.count(b"/") >= limits.path_depth:
        raise LimitExceeded(
            f"path {shown(path)} in layer has more than {limits.path_depth} components",
            limit="path_depth",
        )
    return path


def whiteout(name: bytes) -> Whiteout | None:
    """What the last component of a path means; None for an ordinary name.

    Raises:
        ArchiveInvalid: it would hide nothing, ``.`` or ``..``.
    """
    if name[:4] != _WHITEOUT_PREFIX:
        return None
    if name == _OPAQUE_NAME:
        return Whiteout.OPAQUE
    if name.startswith(_WHITEOUT_META_PREFIX):
        return Whiteout.META
    if hidden_name(name) in (b"", b".", b".."):
        raise ArchiveInvalid(f"whiteout {shown(name)} in layer hides no name")
    return Whiteout.FILE


def reserved(path: bytes) -> Whiteout | None:
    """What the first component that begins with ``.wh.`` means; None when there is none.

    Raises:
        ArchiveInvalid: it would hide nothing, ``.`` or ``..``.
    """
    for component in path.split(b"/"):
        kind = whiteout(component)
        if kind is not None:
            return kind
    return None


def hidden_name(name: bytes) -> bytes:
    """The name that a ``Whiteout.FILE`` hides."""
    return name[len(_WHITEOUT_PREFIX) :]


def join(parent: bytes, name: bytes) -> bytes:
    """``name`` inside the normalised directory ``parent``."""
    return name if parent == ROOT else parent + b"/" + name


def split(path: bytes) -> tuple[bytes, bytes]:
    """Parent directory and last component of a normalised path that is not ``ROOT``."""
    parent, _, name = path.rpartition(b"/")
    return parent or ROOT, name


def shown(path: bytes) -> str:
    """A path for a message: escaped, and cut to a readable length."""
    text = repr(path)[1:]
    return text if len(text) <= 200 else text[:120] + "…" + text[-60:]


def _clean(path: bytes) -> bytes:
    components: list[bytes] = []
    for component in path.split(b"/"):
        if component == b"..":
            if not components:
                raise ArchiveEscape(f"path {shown(path)} in layer leads outside the image")
            components.pop()
        elif component not in (b"", b"."):
            components.append(component)
    return b"/".join(components) or ROOT


def _check_lengths(path: bytes, limits: Limits) -> None:
    if len(path) > limits.path_bytes:
        raise ArchiveInvalid(
            f"path {shown(path)} in layer is longer than {limits.path_bytes} bytes"
        )
    for component in path.split(b"/"):
        if len(component) > limits.component_bytes:
            raise ArchiveInvalid(
                f"name {shown(component)} in layer is longer than {limits.component_bytes} bytes"
            )
