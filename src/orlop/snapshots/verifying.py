"""Verifying a tree against its manifest: what the disk has lost, added or changed.

Names and attributes are compared on one walk; then the bytes of files are read from the
disk (``orlop.linux.diskread``) by as many threads as there are processors. Nothing is
changed, and nothing that the manifest says is ever opened as a path.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreCorrupt
from orlop.linux import files
from orlop.linux.diskread import DiskReader
from orlop.model import treemanifest
from orlop.model.digest import Digest
from orlop.model.layerpath import ROOT, join, shown
from orlop.model.treemanifest import Kind
from orlop.snapshots import sealing
from orlop.snapshots.walk import Cursor, Visitor, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orlop.model.treemanifest import Node

    Spend = Callable[[int], None]
    """Told how many bytes will be read; blocks for as long as that is too much."""

_MOST_MANIFEST_BYTES: Final = 1 << 28
_BATCH: Final = 64  # files that one thread reads before it looks for other work
_MOST_SHOWN: Final = 20
_MISSING_TIMES: Final = frozenset({Kind.WHITEOUT, Kind.IMPLIED})
_SECOND: Final = 1_000_000_000


def verify(own: int, manifest: str, spend: Spend) -> list[str]:
    """Compare the tree ``fs`` in a snapshot's directory with its manifest.

    Args:
        own: directory descriptor of the snapshot's directory.
        manifest: digest of the manifest, as the snapshot's record has it.
        spend: see ``Spend``.

    Returns:
        What differs, one text each, the first twenty and how many more; empty for a
        tree that is whole.

    Raises:
        StoreCorrupt: the manifest is missing or damaged.
        OSError: the disk cannot be read.
    """
    tree = treemanifest.parse(_read_manifest(own, Digest.parse(manifest)))
    with Cursor("fs", dir_fd=own) as cursor:
        root = os.dup(cursor.fd)
        try:
            comparison = _Comparison(tree)
            comparison.root(cursor.fd)
            walk(cursor, comparison)
            differences = [*comparison.differences, *comparison.missing()]
            differences += _compare_contents(root, comparison.files, spend)
        finally:
            os.close(root)
    left = len(differences) - _MOST_SHOWN
    return differences[:_MOST_SHOWN] + ([f"and {left} differences more"] if left > 0 else [])


def _read_manifest(own: int, digest: Digest) -> bytes:
    try:
        fd = files.open_file(own, sealing.NAME, flags=os.O_RDONLY)
    except FileNotFoundError:
        raise StoreCorrupt("its manifest is missing") from None
    try:
        if os.fstat(fd).st_size > _MOST_MANIFEST_BYTES:
            raise StoreCorrupt("its manifest is too long")
        data = b"".join(bytes(chunk) for _, chunk in DiskReader().chunks(fd))
    finally:
        os.close(fd)
    hasher = digest.hasher()
    hasher.update(data)
    if hasher.hexdigest() != digest.hex:
        raise StoreCorrupt(f"its manifest is not {digest}")
    return data


class _Comparison(Visitor):
    """Compares names and attributes, and collects files whose bytes are to be read."""

    __slots__ = ("_inodes", "_path", "_seen", "_tree", "differences", "files")

    def __init__(self, tree: Mapping[bytes, Node]) -> None:
        self.differences: list[str] = []
        self.files: list[tuple[bytes, Node]] = []
        self._tree = tree
        self._seen: set[bytes] = set()
        self._inodes: dict[int, int] = {}  # inode numbers, by the identity of the node
        self._path = ROOT

    def root(self, fd: int) -> None:
        self._seen.add(ROOT)
        node = self._tree.get(ROOT)
        if node is not None:
            self._directory(ROOT, node, fd)

    def missing(self) -> list[str]:
        """What the manifest has and the walk has not seen."""
        return [f"{shown(path)}: missing" for path in sorted(self._tree.keys() - self._seen)]

    def directory(self, fd: int) -> list[str]:
        below = []
        for text in os.listdir(fd):
            name = os.fsencode(text)
            path = join(self._path, name)
            self._seen.add(path)
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            node = self._tree.get(path)
            if node is None:
                self.differences.append(f"{shown(path)}: extra")
            elif stat.S_ISDIR(found.st_mode):
                below.append(text)
            else:
                self._compare(path, node, sealing.look(fd, name, found), found)
        return below

    def entering(self, fd: int, name: str) -> None:
        self._path = join(self._path, os.fsencode(name))
        below = sealing.open_below(fd, os.fsencode(name), flags=os.O_DIRECTORY)
        try:
            self._directory(self._path, self._tree[self._path], below)
        finally:
            os.close(below)

    def left(self, fd: int, name: str) -> None:  # noqa: ARG002 - the path says it
        self._path = self._path.rpartition(b"/")[0] or ROOT

    def _directory(self, path: bytes, node: Node, fd: int) -> None:
        found = os.fstat(fd)
        if node.kind is Kind.IMPLIED:
            return
        self._compare(path, node, sealing.look(fd, b".", found), found)
        if node.kind is Kind.DIRECTORY and (node.xattrs or None) != sealing.attributes_of(fd):
            self.differences.append(f"{shown(path)}: extended attributes")

    def _compare(self, path: bytes, node: Node, is_: Node, found: os.stat_result) -> None:
        for difference in _attributes(node, is_):
            self.differences.append(f"{shown(path)}: {difference}")
        first = self._inodes.setdefault(id(node), found.st_ino)
        if first != found.st_ino:
            self.differences.append(f"{shown(path)}: no hard link any more")
        elif node.kind is is_.kind is Kind.FILE and node.size == is_.size:
            self.files.append((path, node))


def _attributes(was: Node, is_: Node) -> list[str]:
    """What differs between two inodes, bytes and extended attributes aside."""
    if was.kind is not is_.kind:
        return [f"{_word(is_.kind)} instead of {_word(was.kind)}"]
    if was.kind in _MISSING_TIMES:
        return []
    found = []
    if was.size != is_.size:
        found.append(f"size {is_.size} instead of {was.size}")
    if was.mode != is_.mode and was.kind is not Kind.SYMLINK:
        found.append(f"mode {is_.mode:o} instead of {was.mode:o}")
    if (was.uid, was.gid) != (is_.uid, is_.gid):
        found.append(f"owner {is_.uid}:{is_.gid} instead of {was.uid}:{was.gid}")
    if was.target != is_.target:
        found.append("target of the link")
    if not _same_time(was.mtime, is_.mtime):
        found.append("time of modification")
    return found


def _same_time(was: int, is_: int) -> bool:
    """True also when the file system keeps whole seconds only, or 32 bits of them."""
    seconds, rest = divmod(is_, _SECOND)
    return was == is_ or (not rest and seconds in (was // _SECOND, 0x7FFFFFFF))


def _word(kind: Kind) -> str:
    return kind.name.lower().replace("_", " ")


def _compare_contents(root: int, listed: Sequence[tuple[bytes, Node]], spend: Spend) -> list[str]:
    """Read files and compare their bytes and extended attributes; each inode once."""
    once = list({id(node): (path, node) for path, node in reversed(listed)}.values())
    batches = [once[at : at + _BATCH] for at in range(0, len(once), _BATCH)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = threads.map(lambda batch: _compare_batch(root, batch, spend), batches)
        return sorted(difference for differences in found for difference in differences)


def _compare_batch(root: int, batch: Sequence[tuple[bytes, Node]], spend: Spend) -> list[str]:
    differences = []
    reader = DiskReader()
    for path, node in batch:
        spend(node.size)
        fd = sealing.open_below(root, path)
        try:
            if (node.xattrs or None) != sealing.attributes_of(fd):
                differences.append(f"{shown(path)}: extended attributes")
            if sealing.checksum_of(reader, fd).value != node.checksum:
                differences.append(f"{shown(path)}: content")
        finally:
            os.close(fd)
    return differences
