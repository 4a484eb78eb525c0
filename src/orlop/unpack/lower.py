"""What the lower layers left in the tree, when a layer is applied in ``direct`` mode.

Whiteouts delete what lower layers left and spare what this layer made, in
whatever order they come; so it is recorded what this layer made. And a
directory that this layer does not name must look afterwards as it did before,
although something was made in it; so it is recorded what it looked like.

Paths are real ones (``orlop.unpack.directories``).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from orlop.linux.files import DIRECTORY
from orlop.model.layerpath import ROOT, join, split
from orlop.unpack import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.unpack.directories import Directories

    Remove = Callable[[bytes, int, bytes], None]
    """Removes a path, by the descriptor of its directory and its name there."""


class _Before(NamedTuple):
    """A directory's times in nanoseconds, and the ACL that it hands down."""

    accessed: int
    modified: int
    default_acl: bytes | None


class Lower:
    """The record of one layer.

    Attributes:
        made: every path that this layer made or named.
    """

    def __init__(self) -> None:
        self.made: set[bytes] = set()
        self._in_use: set[bytes] = set()  # directories below which this layer has something
        self._before: dict[bytes, _Before | None] = {}
        self._setgid: set[bytes] = set()

    def enter(self, path: bytes, fd: int) -> None:
        """Say that something will be made or removed in the directory ``path``.

        Its default ACL is put aside, so that nothing inherits it.
        """
        if path in self._before:
            return
        above = path
        while above not in self._in_use:
            self._in_use.add(above)
            above = ROOT if above == ROOT else split(above)[0]
        if path in self.made:
            self._before[path] = None
            return
        found = os.fstat(fd)
        if found.st_mode & stat.S_ISGID:
            self._setgid.add(path)
        acl = attributes.take_default_acl(fd)
        self._before[path] = _Before(found.st_atime_ns, found.st_mtime_ns, acl)

    def name(self, path: bytes) -> None:
        """Say that this layer has made ``path``, or says all about this directory."""
        self.made.add(path)
        if path in self._before:
            self._before[path] = None

    def empty(self, path: bytes, fd: int, remove: Remove) -> None:
        """Remove what the lower layers have in an open directory."""
        for child in os.listdir(fd):
            name = os.fsencode(child)
            self.delete(join(path, name), fd, name, remove)

    def delete(self, path: bytes, above: int, name: bytes, remove: Remove) -> None:
        """Remove what the lower layers have at ``path``, but nothing that this layer made.

        Raises:
            OSError: the file system refused.
        """
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return
        if path not in self.made and path not in self._in_use:
            remove(path, above, name)
        elif stat.S_ISDIR(found.st_mode):
            fd = os.open(name, DIRECTORY, dir_fd=above)
            try:
                self.empty(path, fd, remove)
                if path not in self.made:
                    # It is a new directory, which only what this layer put in it needs.
                    attributes.reset(fd)
                    self.name(path)
            finally:
                os.close(fd)

    def hands_down(self, directory: bytes) -> bool:
        """True when what is made in this directory gets its group."""
        return directory in self._setgid

    def forget(self, path: bytes) -> None:
        """Say that ``path`` has been removed."""
        self.made.discard(path)
        self._in_use.discard(path)
        self._setgid.discard(path)
        self._before.pop(path, None)

    def restore(self, directories: Directories) -> None:
        """Give directories that the layer does not name back what they had."""
        for path, before in self._before.items():
            if before is None:
                continue
            fd = directories.open(path)
            if before.default_acl is not None:
                attributes.give_default_acl(fd, before.default_acl)
            if os.fstat(fd).st_mtime_ns != before.modified:
                os.utime(fd, ns=(before.accessed, before.modified))
