"""Applies a layer's entries to a directory tree, without ever leaving it.

How it stays inside: every parent directory is opened by its real path below the
tree's own descriptor (``orlop.unpack.directories``); the last component is made,
linked or removed by ``*at`` calls that do not follow links; attributes are set
on the descriptor just created, or with ``AT_SYMLINK_NOFOLLOW``. Files are
created with ``O_EXCL``: what stood there before is unlinked, never written
through.

Two modes (``orlop.ports.snapshots.ApplyMode``). In ``overlay`` mode the tree
holds this layer alone and the lower layers are unknown: whiteouts become
character devices 0:0, and what cannot be done without the lower layers raises
``NeedsParent``. In ``direct`` mode the tree shows everything below: whiteouts
remove what earlier layers left, and spare what this layer made.

Source: OCI image-spec ``layer.md``; kernel documentation of overlayfs.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded
from orlop.linux.files import DIRECTORY as OPEN_DIRECTORY
from orlop.linux.trees import disk_bytes, remove_tree
from orlop.model import tar
from orlop.model.layerpath import (
    ROOT,
    Whiteout,
    hidden_name,
    join,
    normalise,
    reserved,
    shown,
    split,
    whiteout,
)
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.treemanifest import Kind
from orlop.unpack import attributes, special
from orlop.unpack.directories import Directories, NeedsParent, no_directory
from orlop.unpack.journal import Journal
from orlop.unpack.lower import Lower
from orlop.unpack.regular import CREATE, RegularFile, stored_bytes
from orlop.unpack.whiteouts import Whiteouts, is_whiteout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from orlop.model.tar import Entry
    from orlop.ports.snapshots import ApplyMode

_LINK_IN_INODE: Final = 60  # shorter targets of links take no block of the disk


class Applier:
    """Applies one layer to the tree below ``root``; use it with ``with``.

    Call ``begin`` for each entry, ``write`` for each piece of its data, then
    ``finish`` once. The results are valid after ``finish``. The process's umask
    must be 0. What is done is recorded in ``journal``; without a lower layer its records
    add up to the tree, but for implied directories.

    Attributes:
        implied: directories that were made only because something below was named.
        dropped: how many attributes and devices were left out, by kind.
        inodes, disk_bytes: what was made, and the root; exact in a tree that was empty.
    """

    def __init__(
        self,
        root: int,
        mode: ApplyMode,
        limits: Limits = DEFAULTS,
        journal: Journal | None = None,
        *,
        devices: bool = True,
    ) -> None:
        self._devices = devices  # False in a user namespace: its root makes none, mknod(2)
        self.implied: set[bytes] = set()
        self.dropped: dict[str, int] = {}
        self.inodes = 0
        self.disk_bytes = 0
        self._root = root
        self._limits = limits
        self._lower = Lower() if mode == "direct" else None
        self._block = os.fstatvfs(root).f_frsize
        self._directories = Directories(root, complete=mode == "direct", limits=limits)
        self._times: dict[bytes, int] = {}  # directories whose time is set at the end
        self._late: dict[bytes, Entry] = {}  # directories whose attributes wait for the end
        self._whiteouts = Whiteouts()
        self._whiteout_devices: set[bytes] = set()  # what hard links may name
        self._journal = journal or Journal()
        self._file: RegularFile | None = None
        self._missing = 0
        if self._lower is None:
            attributes.take_default_acl(root)

    @property
    def opaque(self) -> set[bytes]:
        """Directories that hide the lower layers (``overlay`` mode)."""
        return self._whiteouts.opaque

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._directories.close()

    def begin(self, entry: Entry) -> None:
        """Make what ``entry`` describes; a regular file then waits for its data.

        Raises:
            ArchiveInvalid, ArchiveEscape, LimitExceeded: the entry is bad.
            NeedsParent: see the module.
            OSError: the file system refused; the caller translates it.
        """
        self._directories.close_stale()
        path = normalise(entry.path, self._limits)
        if path == ROOT:
            self._apply_root(entry)
            return
        if b".wh." in path and reserved(path):
            self._missing = entry.size
            self._apply_whiteout(path)
            return
        parent, name = split(path)
        above, real = self._parent(parent)
        if real != parent:
            path = join(real, name)
        if entry.type == tar.REGULAR:
            self._begin_file(path, above, name, entry)
        elif entry.type == tar.DIRECTORY:
            self._apply_directory(path, above, name, entry)
        elif entry.type == tar.HARD_LINK:
            self._apply_hard_link(path, above, name, entry)
        elif entry.type == tar.SYMLINK:
            self._apply_symlink(path, above, name, entry)
        elif entry.type == tar.CHARACTER_DEVICE and not entry.major and not entry.minor:
            # In a layer this can only be somebody's overlayfs whiteout.
            self._whiteout_devices.add(path)
            self._hide(path, above, name)
        elif self._devices or entry.type == tar.FIFO:
            self._apply_special(path, above, name, entry)
        else:
            self.dropped["device"] = self.dropped.get("device", 0) + 1

    def write(self, piece: memoryview) -> None:
        """Append data to the file that was begun last (a whiteout's data is dropped)."""
        self._missing -= len(piece)
        if self._file is None:
            return
        self._file.write(piece)
        if not self._missing:
            self._finish_file()

    def finish(self) -> None:
        """Set the times of directories, and what whiteouts and directories of one name mean.

        Raises:
            LimitExceeded: the attributes of a directory do not fit.
            OSError: the file system refused; the caller translates it.
        """
        if self._lower is None:
            gone = self._whiteouts.settle(self._directories, self.implied | self._times.keys())
            self.inodes -= len(gone)
            for path in gone:
                self._journal.mark(Kind.REMOVED, path)
        for path, entry in self._late.items():
            fd = self._directories.open(path)
            attributes.apply(fd, entry, self.dropped, fresh=False)
            self._record_directory(path, fd, entry)
        for path in self.implied:
            self._measure_directory(path)
        # Nothing is left below these from which they could have their attributes.
        self.implied -= self._whiteouts.hidden
        if ROOT not in self._times:
            self.implied.add(ROOT)
        for path, mtime in self._times.items():
            if path == ROOT:
                os.utime(self._root, ns=(mtime, mtime))
                continue
            above = self._measure_directory(path)
            os.utime(split(path)[1], ns=(mtime, mtime), dir_fd=above, follow_symlinks=False)
        self.inodes += 1
        self.disk_bytes += os.fstat(self._root).st_blocks * 512
        if self._lower is not None:
            self._lower.restore(self._directories)
        self._journal.finish()

    def _measure_directory(self, path: bytes) -> int:
        """Count a directory's own blocks; returns its parent's descriptor."""
        parent, name = split(path)
        above = self._directories.open(parent)
        self.disk_bytes += os.stat(name, dir_fd=above, follow_symlinks=False).st_blocks * 512
        return above

    # Directories.

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """Descriptor and real path of a directory, which is made if it is missing."""
        try:
            fd, real = self._directories.find(path)
        except (FileNotFoundError, NotADirectoryError):
            real = self._directories.real(path)
            fd = self._make_missing(real)
        if self._lower is not None:
            self._lower.enter(real, fd)
        return fd, real

    def _make_missing(self, path: bytes) -> int:
        """Make a directory and its missing parents; returns a descriptor of it."""
        missing = []
        fd = -1
        while fd < 0:
            missing.append(path)
            path = split(path)[0]
            try:
                fd = self._directories.open(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
        if self._lower is not None:
            self._lower.enter(path, fd)
        for directory in reversed(missing):
            self._make_implied(directory, fd)
            fd = self._directories.open(directory)
        return fd

    def _make_implied(self, path: bytes, above: int) -> None:
        name = path.rpartition(b"/")[2]
        try:
            os.mkdir(name, attributes.IMPLIED_MODE, dir_fd=above)
        except FileExistsError:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
            if self._lower is not None or not is_whiteout(found):
                raise no_directory(path, errno.ENOTDIR) from None
            os.unlink(name, dir_fd=above)
            os.mkdir(name, attributes.IMPLIED_MODE, dir_fd=above)
            self.inodes -= 1
        self.inodes += 1
        self.implied.add(path)
        self._journal.mark(Kind.IMPLIED, path)
        if not self._inherits_nothing(path):
            attributes.reset(self._directories.open(path))
        self._note(path)

    def _inherits_nothing(self, path: bytes) -> bool:
        """True when what is made at ``path`` has the owner and mode that it was made with."""
        return self._lower is None or not self._lower.hands_down(split(path)[0])

    def _apply_root(self, entry: Entry) -> None:
        if entry.type != tar.DIRECTORY:
            raise ArchiveEscape("layer replaces the image's root by something else")
        self._directory_attributes(ROOT, self._root, entry, fresh=False)
        self._times[ROOT] = entry.mtime
        self._note(ROOT)

    def _apply_directory(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        fresh = True
        try:
            os.mkdir(name, entry.mode & 0o1777, dir_fd=above)
        except FileExistsError:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
            fresh = not stat.S_ISDIR(found.st_mode)
            if fresh:
                self._remove(path, above, name)
                os.mkdir(name, entry.mode & 0o1777, dir_fd=above)
                # What was there has hidden a directory of the lower layers.
                self._whiteouts.hidden.add(path)
        if fresh:
            self.inodes += 1
        inherits_nothing = self._inherits_nothing(path)
        if not fresh or not inherits_nothing or attributes.needed(entry):
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=above)
            try:
                self._directory_attributes(path, fd, entry, fresh=fresh and inherits_nothing)
            finally:
                os.close(fd)
        else:
            self._journal.entry(Kind.DIRECTORY, path, entry)
        self.implied.discard(path)
        self._times[path] = entry.mtime
        self._note(path)

    def _directory_attributes(self, path: bytes, fd: int, entry: Entry, *, fresh: bool) -> None:
        if not fresh:
            attributes.reset(fd)
        if attributes.inherited_by_children(entry):
            # Set at the end: until then, children would take group or ACL from it.
            self._late[path] = entry
        else:
            self._late.pop(path, None)
            attributes.apply(fd, entry, self.dropped, fresh=fresh)
        self._record_directory(path, fd, entry)

    def _record_directory(self, path: bytes, fd: int, entry: Entry) -> None:
        xattrs = attributes.present(fd) if entry.xattrs else None
        self._journal.entry(Kind.DIRECTORY, path, entry, xattrs=xattrs)

    # Whiteouts.

    def _apply_whiteout(self, path: bytes) -> None:
        parent, name = split(path)
        kind = whiteout(name)
        if b".wh." in parent and (kind_above := reserved(parent)):
            if kind_above is Whiteout.META:
                return
            raise ArchiveInvalid(f"layer puts {shown(path)} below a whiteout")
        if kind is Whiteout.META:
            return
        above, real = self._parent(parent)
        if kind is Whiteout.FILE:
            hidden = hidden_name(name)
            self._hide(join(real, hidden), above, hidden)
        elif self._lower is None:
            self._whiteouts.opaque.add(real)
        else:
            self._lower.empty(real, above, self._remove)

    def _hide(self, path: bytes, above: int, name: bytes) -> None:
        """Hide what the lower layers have at ``path``."""
        if self._lower is not None:
            self._lower.delete(path, above, name, self._remove)
        elif self._whiteouts.hide(path, above, name):
            self.inodes += 1
            self._journal.mark(Kind.WHITEOUT, path)

    # Files.

    def _begin_file(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        try:
            fd = os.open(name, CREATE, entry.mode, dir_fd=above)
        except FileExistsError:
            self._remove(path, above, name)
            fd = os.open(name, CREATE, entry.mode, dir_fd=above)
        self._file = RegularFile(fd, path, entry, fresh=self._inherits_nothing(path))
        self._missing = entry.size
        self.inodes += 1
        self.disk_bytes += stored_bytes(entry, self._block)
        self._note(path)
        if not entry.size:
            self._finish_file()

    def _finish_file(self) -> None:
        file, self._file = self._file, None
        assert file is not None
        self.disk_bytes += file.finish(self.dropped, self._journal)

    def _apply_hard_link(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        target, found = self._link_target(path, normalise(entry.link, self._limits))
        above = self._directories.open(split(path)[0])  # the search may have closed it
        if found is None:
            # One whiteout, made by overlayfs, can have many names.
            self._whiteout_devices.add(path)
            self._hide(path, above, name)
            return
        try:
            there = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                self._note(path)
                return
            self._remove(path, above, name)
        source, source_name = split(target)
        try:
            os.link(
                source_name,
                name,
                src_dir_fd=self._directories.open(source),
                dst_dir_fd=above,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            raise ArchiveInvalid(
                f"hard link {shown(path)} in layer replaces {shown(target)}, which it points at"
            ) from None
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            raise LimitExceeded(
                f"{shown(target)} in layer has more hard links than the file system allows",
                limit="layer_entries",
            ) from error
        self._journal.link(path, target)
        self._note(path)

    def _link_target(self, path: bytes, target: bytes) -> tuple[bytes, os.stat_result | None]:
        """Real path of what a hard link points at, and what it is; None for a whiteout."""
        if target == ROOT:
            raise _bad_link(path, target, "a directory")
        parent, name = split(target)
        found = None
        try:
            fd, real = self._directories.find(parent)
            target = join(real, name)
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            pass
        if target == path:
            raise _bad_link(path, target, "itself")
        if found is None or (self._lower is None and is_whiteout(found)):
            if target in self._whiteout_devices:
                return target, None
            if self._lower is not None or target in self._whiteouts.hidden:
                raise _bad_link(path, target, "nothing")
            raise NeedsParent
        if stat.S_ISDIR(found.st_mode):
            raise _bad_link(path, target, "a directory")
        return target, found

    def _apply_symlink(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        if not entry.link or b"\0" in entry.link or len(entry.link) > self._limits.link_bytes:
            raise ArchiveInvalid(f"symbolic link {shown(path)} in layer has no usable target")
        try:
            os.symlink(entry.link, name, dir_fd=above)
        except FileExistsError:
            self._remove(path, above, name)
            os.symlink(entry.link, name, dir_fd=above)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise LimitExceeded(
                f"target of {shown(path)} in layer is longer than the file system allows",
                limit="link_bytes",
            ) from error
        self.inodes += 1
        if len(entry.link) >= _LINK_IN_INODE:
            self.disk_bytes += self._block
        self._journal.entry(Kind.SYMLINK, path, entry)
        self._finish_special(path, above, name, entry)

    def _apply_special(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        try:
            special.make(name, above, entry)
        except FileExistsError:
            self._remove(path, above, name)
            special.make(name, above, entry)
        self.inodes += 1
        self._journal.entry(special.kind(entry), path, entry, size=special.device(entry))
        self._finish_special(path, above, name, entry)

    def _finish_special(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        attributes.apply_unopened(name, above, entry, self.dropped)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)
        self._note(path)

    # What stands in the way.

    def _note(self, path: bytes) -> None:
        if self._lower is not None:
            self._lower.name(path)

    def _remove(self, path: bytes, above: int, name: bytes) -> None:
        """Remove ``path``, whatever it is, before something else takes its name."""
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=above)
            self._journal.mark(Kind.REMOVED, path)
            if found.st_nlink == 1:
                self.inodes -= 1
                self.disk_bytes -= disk_bytes(found, self._block)
            if stat.S_ISLNK(found.st_mode):
                self._directories.forget()
            return
        self._directories.forget()
        removed = remove_tree(name, above, block=self._block)
        self.inodes -= removed.inodes
        self.disk_bytes -= removed.disk
        base = split(path)[0]
        for relative in removed.paths:
            self._journal.mark(Kind.REMOVED, join(base, relative))
            self._forget(join(base, relative))

    def _forget(self, path: bytes) -> None:
        self.implied.discard(path)
        self._whiteouts.forget(path)
        self._whiteout_devices.discard(path)
        self._times.pop(path, None)
        self._late.pop(path, None)
        if self._lower is not None:
            self._lower.forget(path)


def _bad_link(path: bytes, target: bytes, what: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"hard link {shown(path)} in layer points at {shown(target)}, which is {what}"
    )
