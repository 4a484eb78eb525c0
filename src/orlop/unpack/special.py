"""Special files: character devices, block devices and fifos."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from orlop.model import tar
from orlop.model.treemanifest import Kind

if TYPE_CHECKING:
    from orlop.model.tar import Entry

_TYPES: Final = {
    tar.CHARACTER_DEVICE: (stat.S_IFCHR, Kind.CHARACTER_DEVICE),
    tar.BLOCK_DEVICE: (stat.S_IFBLK, Kind.BLOCK_DEVICE),
    tar.FIFO: (stat.S_IFIFO, Kind.FIFO),
}


def kind(entry: Entry) -> Kind:
    """What the tree's manifest calls it."""
    return _TYPES[entry.type][1]


def device(entry: Entry) -> int:
    """Its device number."""
    return os.makedev(entry.major, entry.minor)


def make(name: bytes, above: int, entry: Entry) -> None:
    """Make one in an open directory.

    Args:
        name: of the file.
        above: descriptor of the directory.
        entry: the tar member.

    Raises:
        FileExistsError: something else has the name.
        OSError: the file system refused.
    """
    os.mknod(name, _TYPES[entry.type][0] | entry.mode, device(entry), dir_fd=above)
