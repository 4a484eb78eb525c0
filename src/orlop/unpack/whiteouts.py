"""Deletions in a tree that holds one layer alone (``overlay`` mode), as overlayfs has them.

A whiteout is a character device 0:0 in place of what is hidden. A directory
that hides what all lower layers have in it is *opaque*; it is only noted here,
because a worker may not write the attribute that says so.

Paths are real ones (``orlop.unpack.directories``).
Source: kernel documentation of overlayfs, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from orlop.model.layerpath import ROOT, split

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from orlop.unpack.directories import Directories


class Whiteouts:
    """The deletions of one layer.

    Attributes:
        hidden: paths that the layer deletes from the lower layers.
        opaque: directories that hide the lower layers.
    """

    def __init__(self) -> None:
        self.hidden: set[bytes] = set()
        self.opaque: set[bytes] = set()

    def hide(self, path: bytes, above: int, name: bytes) -> bool:
        """Hide what the lower layers have at ``path``; True when that has made an inode.

        What this layer itself has there wins, in whatever order they come.
        """
        self.hidden.add(path)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=above)
        except FileExistsError:
            return False
        return True

    def forget(self, path: bytes) -> None:
        """Say that the directory ``path``, or what was in one, has been removed."""
        self.hidden.discard(path)
        self.opaque.discard(path)

    def settle(self, directories: Directories, made: AbstractSet[bytes]) -> list[bytes]:
        """Say what whiteouts mean now that the layer is complete.

        Args:
            directories: of the tree.
            made: the directories that the layer has.

        Returns:
            What is gone: whiteouts below opaque directories, which would show up in
            listings.
        """
        # The lower directory is deleted and a new one stands in its place.
        self.opaque |= self.hidden & made
        if not self.opaque:
            return []
        removed = []
        for path in sorted(self.hidden):
            parent, name = split(path)
            if not self._is_hidden(parent):
                continue
            above = directories.open(parent)
            if is_whiteout(os.stat(name, dir_fd=above, follow_symlinks=False)):
                os.unlink(name, dir_fd=above)
                removed.append(path)
        return removed

    def _is_hidden(self, directory: bytes) -> bool:
        """True when the directory is opaque, or inside one that is."""
        while directory not in self.opaque:
            if directory == ROOT:
                return False
            directory = split(directory)[0]
        return True


def is_whiteout(found: os.stat_result) -> bool:
    """True for a character device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
