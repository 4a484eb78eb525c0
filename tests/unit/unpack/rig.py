"""Applies layers to real directories, in each of the ways in which the service does it.

``Images`` makes the tree that a container would see: of a lower layer and an upper
one, the upper applied in either mode. In ``overlay`` mode that is a mount of
overlayfs over both, after the snapshotter has settled the upper one.
"""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.model.limits import DEFAULTS, Limits
from orlop.model.tar import Entry, TarParser
from orlop.snapshots import settle
from orlop.testing import layers
from orlop.unpack.apply import Applier
from orlop.unpack.directories import NeedsParent
from tests.rigs.tree import Node, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.ports.snapshots import ApplyMode

Member = layers.Entry | bytes
MODES: tuple[ApplyMode, ...] = ("overlay", "direct")


@dataclass(frozen=True, slots=True)
class Applied:
    """What the applier said."""

    implied: frozenset[bytes]
    opaque: frozenset[bytes]
    dropped: dict[str, int]
    inodes: int
    disk_bytes: int


def apply_archive(
    root: Path, archive: bytes, mode: ApplyMode, *, limits: Limits = DEFAULTS, chunk: int = 65536
) -> Applied:
    """Apply an uncompressed archive to ``root`` as a worker does."""
    parser = TarParser(limits)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Applier(fd, mode, limits) as applier:
            for at in range(0, len(archive), chunk):
                for event in parser.feed(archive[at : at + chunk]):
                    if isinstance(event, Entry):
                        applier.begin(event)
                    else:
                        applier.write(event)
            parser.close()
            applier.finish()
            return Applied(
                frozenset(applier.implied),
                frozenset(applier.opaque),
                dict(applier.dropped),
                applier.inodes,
                applier.disk_bytes,
            )
    finally:
        os.close(fd)


def apply_layer(
    root: Path, members: Sequence[Member], mode: ApplyMode, *, limits: Limits = DEFAULTS
) -> Applied:
    """The same for the members of an archive."""
    return apply_archive(root, layers.tar_bytes(members), mode, limits=limits)


class Images:
    """Makes images below ``work``; unmounts them when its block ends."""

    def __init__(self, work: Path, cleanup: ExitStack) -> None:
        self._work = work
        self._cleanup = cleanup
        self._made = 0

    def make(self, mode: ApplyMode, upper: Sequence[Member], lower: Sequence[Member] = ()) -> Image:
        """Apply ``upper`` over ``lower``.

        In ``overlay`` mode ``Image.alone`` says whether that was possible; if not, it
        has been applied again in ``direct`` mode, as the pull does.
        """
        self._made += 1
        work = self._work / f"image{self._made}"
        below = work / "lower"
        below.mkdir(parents=True)
        apply_layer(below, lower, "direct")
        if mode == "direct":
            return Image(below, apply_layer(below, upper, "direct"), alone=False)
        above = work / "upper"
        above.mkdir()
        try:
            applied = apply_layer(above, upper, "overlay")
        except NeedsParent:
            return Image(below, apply_layer(below, upper, "direct"), alone=False)
        if not _settled(above, below, applied):
            return Image(below, apply_layer(below, upper, "direct"), alone=False)
        merged = work / "merged"
        merged.mkdir()
        self._cleanup.enter_context(_overlay(merged, above, below))
        return Image(merged, applied, alone=True)


@dataclass(frozen=True, slots=True)
class Image:
    """A tree as a container sees it, and what the applier said about the upper layer."""

    root: Path
    applied: Applied
    alone: bool

    def nodes(self) -> dict[bytes, Node]:
        """Everything about every file."""
        return tree(self.root)

    def shape(self) -> dict[str, object]:
        """Every path below the root with its content in short; see ``shape``."""
        return shape(self.root)


def shape(root: Path) -> dict[str, object]:
    """``bytes`` of a file, ``"dir"``, ``"-> TARGET"``, ``"char 1:3"``, ``"fifo"``, by path."""
    found: dict[str, object] = {}
    for where, directories, files in os.walk(os.fsencode(root)):
        for name in (*directories, *files):
            path = os.path.join(where, name)
            found[os.fsdecode(os.path.relpath(path, os.fsencode(root)))] = _content(path)
    return dict(sorted(found.items()))


def _content(path: bytes) -> object:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return "-> " + os.fsdecode(os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        return Path(os.fsdecode(path)).read_bytes()
    if stat.S_ISDIR(status.st_mode):
        return "dir"
    if stat.S_ISFIFO(status.st_mode):
        return "fifo"
    kind = "char" if stat.S_ISCHR(status.st_mode) else "block"
    return f"{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _settled(above: Path, below: Path, applied: Applied) -> bool:
    own = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
    lower = os.open(below, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not settle.inherit(
            own, lower, implied=sorted(applied.implied), opaque=sorted(applied.opaque)
        ):
            return False
        settle.mark_opaque(own, sorted(applied.opaque))
        return True
    finally:
        os.close(own)
        os.close(lower)


@contextmanager
def _overlay(target: Path, *lowers: Path) -> Iterator[None]:
    options = "lowerdir=" + ":".join(map(str, lowers))
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)
