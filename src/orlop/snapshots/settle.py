"""Settling: what only the layers below can tell a layer that was filled without them.

A layer that is unpacked before its parents creates directories that it does not
name (*implied* directories). In the image they keep the attributes that the
layers below gave them. Opaque directories are marked here, too, because the
worker may not write ``trusted`` attributes.

The layer's own tree is trusted no further than its root: paths are resolved by
the kernel inside it. Below, nothing but plain directories is looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Literal

from orlop.linux import files
from orlop.snapshots.attributes import copy_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = b"."
OPAQUE: Final = "overlay.opaque"
"""Attribute of a directory that hides the lower layers, without its namespace."""

_OWN: Final = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS | files.RESOLVE_NO_XDEV
_BELOW: Final = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS
_NAME_ONLY: Final = os.O_PATH | os.O_NOFOLLOW


def inherit(tree: int, below: int, *, implied: Sequence[bytes], opaque: Sequence[bytes]) -> bool:
    """Give implied directories the attributes that the layers below have for them.

    Args:
        tree: directory descriptor of the layer's own tree.
        below: directory descriptor of all the layers below, as one tree.
        implied: paths of ``tree``, parents first.
        opaque: directories of ``tree`` that hide what is below them.

    Returns:
        False when something other than a directory is below an implied directory, when
        the whole root is opaque, or when a whiteout has nothing to hide: overlayfs cannot
        show the one and would list the other.

    Raises:
        OSError: the file system refused.
    """
    if ROOT in opaque:
        return False
    hidden = set(opaque)  # below these nothing is looked up
    for path in implied:
        inside = _is_within(path, hidden)
        source: int | Literal["nothing", "other"] = (
            "nothing" if inside else _open_below(below, path)
        )
        if source == "other":
            return False
        if source == "nothing":
            if _has_whiteouts(tree, path):
                return False
            hidden.add(path)
            continue
        try:
            target = _open_own(tree, path)
            try:
                copy_attributes(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
    return True


def mark_opaque(tree: int, paths: Sequence[bytes], *, namespace: str = "trusted") -> None:
    """Make overlayfs hide the lower layers' contents of these directories.

    Args:
        tree: directory descriptor of the layer's own tree.
        paths: the directories.
        namespace: of the attribute, ``user`` where only root of a user namespace mounts.

    Raises:
        OSError: a path is no directory of the tree, or the file system refused.
    """
    for path in paths:
        fd = _open_own(tree, path)
        try:
            os.setxattr(fd, f"{namespace}.{OPAQUE}", b"y")
        finally:
            os.close(fd)


def _is_within(path: bytes, directories: set[bytes]) -> bool:
    """Whether one of the path's parents is among ``directories``."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        if path in directories:
            return True
    return False


def _has_whiteouts(tree: int, path: bytes) -> bool:
    """Whether there are whiteouts in a directory of the layer's own."""
    fd = _open_own(tree, path)
    try:
        with os.scandir(fd) as entries:
            return any(_is_whiteout(entry.stat(follow_symlinks=False)) for entry in entries)
    finally:
        os.close(fd)


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _open_own(tree: int, path: bytes) -> int:
    return files.openat2(tree, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_OWN)


def _open_below(below: int, path: bytes) -> int | Literal["nothing", "other"]:
    """Open a directory of the lower layers, or say what is there instead.

    A link or a file on the way counts as nothing: the layer names a directory in its
    place (else it would be implied, and have been seen before), so that what the link
    leads to is not below.
    """
    try:
        return files.openat2(below, path, files.DIRECTORY, resolve=_BELOW)
    except FileNotFoundError:
        return "nothing"
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    try:
        name = files.openat2(below, path, _NAME_ONLY, resolve=_BELOW)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
            raise
        return "nothing"
    try:
        found = os.fstat(name)
    finally:
        os.close(name)
    # A single lower layer is looked at as it is, with the whiteouts in it.
    return "nothing" if _is_whiteout(found) else "other"
