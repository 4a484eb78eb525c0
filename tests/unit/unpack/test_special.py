"""Special files, each as its tar member says."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from orlop.linux.files import DIRECTORY
from orlop.model import tar
from orlop.model.tar import Entry
from orlop.model.treemanifest import Kind
from orlop.unpack import special

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


def member(type_: int) -> Entry:
    """A special file with the numbers of a disk's first partition."""
    entry = Entry(b"x", type_, 0)
    entry.mode, entry.major, entry.minor = 0o640, 8, 1
    return entry


@pytest.mark.parametrize(
    ("type_", "kind", "bits"),
    [
        (tar.CHARACTER_DEVICE, Kind.CHARACTER_DEVICE, stat.S_IFCHR),
        (tar.BLOCK_DEVICE, Kind.BLOCK_DEVICE, stat.S_IFBLK),
        (tar.FIFO, Kind.FIFO, stat.S_IFIFO),
    ],
)
def test_each_kind(tmp_path: Path, type_: int, kind: Kind, bits: int) -> None:
    entry = member(type_)
    above = os.open(tmp_path, DIRECTORY)
    try:
        special.make(b"made", above, entry)
        with pytest.raises(FileExistsError):
            special.make(b"made", above, entry)
    finally:
        os.close(above)
    found = (tmp_path / "made").lstat()
    assert special.kind(entry) is kind
    assert stat.S_IFMT(found.st_mode) == bits
    if kind is not Kind.FIFO:
        assert found.st_rdev == special.device(entry) == os.makedev(8, 1)
