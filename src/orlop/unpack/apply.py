"""Applies a layer's entries to a directory tree, without ever leaving it.

How it stays inside: every parent directory is opened by ``openat2`` below the
tree's own descriptor with ``RESOLVE_IN_ROOT``; the last component is made,
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
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from orlop.errors import ArchiveEscape, ArchiveInvalid
from orlop.linux.files import (
    DIRECTORY as OPEN_DIRECTORY,
)
from orlop.linux.files import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    openat2,
    sync_file_range,
)
from orlop.linux.trees import remove_tree
from orlop.model import tar
from orlop.model.layerpath import (
    ROOT,
    Whiteout,
    follow,
    hidden_name,
    join,
    normalise,
    shown,
    split,
    whiteout,
)
from orlop.model.limits import DEFAULTS, Limits
from orlop.unpack import attributes

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from orlop.model.tar import Entry
    from orlop.ports.snapshots import ApplyMode

_RESOLVE: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_OPEN_PARENT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_DIRECTORIES: Final = 256
_MAX_LINKS: Final = 40
_EARLY_BYTES: Final = 1 << 20  # smaller files cost more to ask for than they gain


class NeedsParent(Exception):
    """This layer cannot be applied without the layers below it."""


class Applier:
    """Applies one layer to the tree below ``root``; use it with ``with``.

    Call ``begin`` for each entry, ``write`` for each piece of its data, then
    ``finish`` once. The results are valid after ``finish``.

    Attributes:
        implied: directories that were made only because something below was named.
        opaque: directories that hide the lower layers (``overlay`` mode).
        dropped: how many attributes were left out, by kind.
        inodes, disk_bytes: what was made; exact in ``overlay`` mode only.
    """

    def __init__(self, root: int, mode: ApplyMode, limits: Limits = DEFAULTS) -> None:
        self.implied: set[bytes] = set()
        self.opaque: set[bytes] = set()
        self.dropped: dict[str, int] = {}
        self.inodes = 0
        self.disk_bytes = 0
        self._root = root
        self._overlay = mode == "overlay"
        self._limits = limits
        self._block = os.fstatvfs(root).f_frsize
        self._directories: OrderedDict[bytes, int] = OrderedDict()
        self._stale: list[int] = []  # closed before the next entry, not under its hands
        self._times: dict[bytes, int] = {}  # directories whose time is set at the end
        self._late: dict[bytes, Entry] = {}  # directories whose attributes wait for the end
        self._whiteouts: set[bytes] = set()
        self._made: set[bytes] = set()  # every path of this layer (direct mode only)
        self._root_named = False
        # The file that is being written.
        self._file = -1
        self._entry: Entry | None = None
        self._missing = 0
        self._regions: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._forget_directories()
        self._close_stale()

    def begin(self, entry: Entry) -> None:
        """Make what ``entry`` describes; a regular file then waits for its data.

        Raises:
            ArchiveInvalid, ArchiveEscape, LimitExceeded: the entry is bad.
            NeedsParent: see the class.
            OSError: the file system refused; the caller translates it.
        """
        if self._stale:
            self._close_stale()
        path = normalise(entry.path, self._limits)
        if path == ROOT:
            self._apply_root(entry)
            return
        parent, name = split(path)
        hidden = whiteout(name)
        if hidden is not None:
            self._apply_whiteout(hidden, parent, name)
            self._entry, self._missing = None, entry.size
            return
        if entry.type == tar.REGULAR:
            self._begin_file(path, parent, name, entry)
        elif entry.type == tar.DIRECTORY:
            self._apply_directory(path, parent, name, entry)
        elif entry.type == tar.HARD_LINK:
            self._apply_hard_link(path, parent, name, entry)
        elif entry.type == tar.SYMLINK:
            self._apply_symlink(path, parent, name, entry)
        elif entry.type == tar.CHARACTER_DEVICE and not entry.major and not entry.minor:
            # In a layer this can only be somebody's overlayfs whiteout.
            self._apply_whiteout(Whiteout.FILE, parent, b".wh." + name)
        else:
            self._apply_special(path, parent, name, entry)

    def write(self, piece: memoryview) -> None:
        """Append data to the file that was begun last (a whiteout's data is dropped)."""
        self._missing -= len(piece)
        if self._entry is None:
            return
        if self._regions:
            self._write_regions(piece)
        else:
            _write_all(self._file, piece)
        if not self._missing:
            self._finish_file()

    def finish(self) -> None:
        """Set the times of directories, and what whiteouts and directories of one name mean."""
        for path in self._whiteouts & (self.implied | self._times.keys()):
            # The lower directory is deleted and a new one stands in its place.
            self.opaque.add(path)
            self.implied.discard(path)
        self._drop_hidden_whiteouts()
        if not self._root_named:
            self.implied.add(ROOT)
        for path, entry in self._late.items():
            attributes.apply(self._existing(path), entry, self.dropped, fresh=False)
        for path in self.implied - {ROOT}:
            self._measure_directory(path)
        for path, mtime in self._times.items():
            if path == ROOT:
                os.utime(self._root, ns=(mtime, mtime))
                continue
            above = self._measure_directory(path)
            os.utime(split(path)[1], ns=(mtime, mtime), dir_fd=above, follow_symlinks=False)

    def _measure_directory(self, path: bytes) -> int:
        """Count a directory's own blocks; returns its parent's descriptor."""
        parent, name = split(path)
        above = self._existing(parent)
        self.disk_bytes += os.stat(name, dir_fd=above, follow_symlinks=False).st_blocks * 512
        return above

    # Directories.

    def _existing(self, path: bytes) -> int:
        """A descriptor of a directory that is there."""
        known = self._directories.get(path)
        if known is not None:
            self._directories.move_to_end(path)
            return known
        if path == ROOT:
            return self._root
        fd = openat2(self._root, path, _OPEN_PARENT, resolve=_RESOLVE)
        self._directories[path] = fd
        if len(self._directories) > _KEPT_DIRECTORIES:
            os.close(self._directories.popitem(last=False)[1])
        return fd

    def _parent(self, path: bytes, links: int = 0) -> int:
        """A descriptor of a directory, which is made if it is missing."""
        try:
            return self._existing(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                raise _no_directory(path, error.errno) from error
            raise
        parent, name = split(path)
        above = self._parent(parent, links)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                return self._behind_link(path, above, name, links)
            if not self._overlay or not _is_whiteout(found):
                raise _no_directory(path, errno.ENOTDIR) from None
            os.unlink(name, dir_fd=above)
            os.mkdir(name, 0o755, dir_fd=above)
            self.inodes -= 1
        self.inodes += 1
        self.implied.add(path)
        self._note(path)
        return self._existing(path)

    def _behind_link(self, path: bytes, above: int, name: bytes, links: int) -> int:
        """A directory for a symbolic link that leads to nothing that is here."""
        if self._overlay:
            raise NeedsParent
        if links >= _MAX_LINKS:
            raise _no_directory(path, errno.ELOOP)
        target = os.readlink(name, dir_fd=above)
        return self._parent(follow(split(path)[0], target), links + 1)

    def _forget_directories(self) -> None:
        self._stale.extend(self._directories.values())
        self._directories.clear()

    def _close_stale(self) -> None:
        for fd in self._stale:
            os.close(fd)
        self._stale.clear()

    def _apply_root(self, entry: Entry) -> None:
        if entry.type != tar.DIRECTORY:
            raise ArchiveEscape("layer replaces the image's root by something else")
        self._root_named = True
        self._directory_attributes(ROOT, self._root, entry, fresh=False)
        self._times[ROOT] = entry.mtime

    def _apply_directory(self, path: bytes, parent: bytes, name: bytes, entry: Entry) -> None:
        above = self._parent(parent)
        fresh = True
        try:
            os.mkdir(name, entry.mode & 0o1777, dir_fd=above)
        except FileExistsError:
            fresh = not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
            if fresh:
                self._remove(path, above, name)
                os.mkdir(name, entry.mode & 0o1777, dir_fd=above)
        if fresh:
            self.inodes += 1
        if not fresh or not self._overlay or attributes.needed(entry):
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=above)
            try:
                self._directory_attributes(path, fd, entry, fresh=fresh)
            finally:
                os.close(fd)
        self.implied.discard(path)
        self._times[path] = entry.mtime
        self._note(path)

    def _directory_attributes(self, path: bytes, fd: int, entry: Entry, *, fresh: bool) -> None:
        if attributes.inherited_by_children(entry):
            # Set at the end: until then, children would take group or ACL from it.
            self._late[path] = entry
        else:
            self._late.pop(path, None)
            attributes.apply(fd, entry, self.dropped, fresh=fresh and self._overlay)

    # Whiteouts.

    def _apply_whiteout(self, kind: Whiteout, parent: bytes, name: bytes) -> None:
        if kind is Whiteout.META:
            return
        if not self._overlay:
            self._delete_lower(kind, parent, name)
            return
        above = self._parent(parent)
        if kind is Whiteout.OPAQUE:
            self.opaque.add(parent)
            return
        hidden = hidden_name(name)
        self._whiteouts.add(join(parent, hidden))
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=above)
            self.inodes += 1
        except FileExistsError:
            pass  # what this layer itself put there wins, in any order

    def _drop_hidden_whiteouts(self) -> None:
        """Remove whiteouts below opaque directories: they would show up in listings."""
        if not self.opaque:
            return
        for path in sorted(self._whiteouts):
            parent, name = split(path)
            if not _is_below(parent, self.opaque):
                continue
            above = self._existing(parent)
            if _is_whiteout(os.stat(name, dir_fd=above, follow_symlinks=False)):
                os.unlink(name, dir_fd=above)
                self.inodes -= 1

    def _delete_lower(self, kind: Whiteout, parent: bytes, name: bytes) -> None:
        """Direct mode: remove what lower layers left, keep what this layer made."""
        try:
            above = self._existing(parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        if kind is Whiteout.OPAQUE:
            names = [os.fsencode(n) for n in os.listdir(above)]
        else:
            names = [hidden_name(name)]
        for victim in names:
            self._delete_lower_path(join(parent, victim), above, victim)

    def _delete_lower_path(self, path: bytes, above: int, name: bytes) -> None:
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return
        if path not in self._made:
            self._remove(path, above, name)
        elif stat.S_ISDIR(found.st_mode):
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=above)
            try:
                for child in os.listdir(fd):
                    encoded = os.fsencode(child)
                    self._delete_lower_path(join(path, encoded), fd, encoded)
            finally:
                os.close(fd)

    # Files.

    def _begin_file(self, path: bytes, parent: bytes, name: bytes, entry: Entry) -> None:
        above = self._parent(parent)
        try:
            fd = os.open(name, _CREATE, entry.mode, dir_fd=above)
        except FileExistsError:
            self._remove(path, above, name)
            fd = os.open(name, _CREATE, entry.mode, dir_fd=above)
        self._file = fd
        self._entry = entry
        self._missing = entry.size
        self.inodes += 1
        self.disk_bytes += -(-entry.size // self._block) * self._block
        self._note(path)
        if entry.sparse is not None:
            self._regions = [region for region in reversed(entry.sparse) if region[1]]
            os.ftruncate(fd, entry.real_size)
        if not entry.size:
            self._finish_file()

    def _write_regions(self, piece: memoryview) -> None:
        while len(piece):
            offset, length = self._regions.pop()
            part = piece[:length]
            os.lseek(self._file, offset, os.SEEK_SET)
            _write_all(self._file, part)
            if len(part) < length:
                self._regions.append((offset + len(part), length - len(part)))
            piece = piece[len(part) :]

    def _finish_file(self) -> None:
        fd, entry = self._file, self._entry
        assert entry is not None
        self._file, self._entry, self._regions = -1, None, []
        try:
            if not self._overlay or attributes.needed(entry):
                attributes.apply(fd, entry, self.dropped, fresh=self._overlay)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
            if entry.size >= _EARLY_BYTES:
                # The barrier that publishes the image is then short.
                sync_file_range(fd, offset=0, length=0)
        finally:
            os.close(fd)

    def _apply_hard_link(self, path: bytes, parent: bytes, name: bytes, entry: Entry) -> None:
        target = normalise(entry.link, self._limits)
        if target == path:
            raise ArchiveInvalid(f"hard link {shown(path)} in layer points at itself")
        above = self._parent(parent)
        found = self._link_target(path, target)
        if stat.S_ISDIR(found.st_mode):
            raise ArchiveInvalid(f"hard link {shown(path)} in layer points at a directory")
        source_parent, source_name = split(target)
        try:
            there = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                return
            self._remove(path, above, name)
        os.link(
            source_name,
            name,
            src_dir_fd=self._existing(source_parent),
            dst_dir_fd=self._parent(parent),
            follow_symlinks=False,
        )
        self._note(path)

    def _link_target(self, path: bytes, target: bytes) -> os.stat_result:
        """What a hard link points at, in this tree."""
        if target == ROOT:
            raise ArchiveInvalid(f"hard link {shown(path)} in layer points at a directory")
        parent, name = split(target)
        try:
            found = os.stat(name, dir_fd=self._existing(parent), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            if self._overlay and target not in self._whiteouts:
                raise NeedsParent from None
            raise ArchiveInvalid(
                f"hard link {shown(path)} in layer points at {shown(target)}, which is not there"
            ) from None
        if self._overlay and _is_whiteout(found):
            raise ArchiveInvalid(
                f"hard link {shown(path)} in layer points at {shown(target)}, which it deletes"
            )
        return found

    def _apply_symlink(self, path: bytes, parent: bytes, name: bytes, entry: Entry) -> None:
        if not entry.link or b"\0" in entry.link or len(entry.link) >= self._limits.path_bytes:
            raise ArchiveInvalid(f"symbolic link {shown(path)} in layer has no usable target")
        above = self._parent(parent)
        try:
            os.symlink(entry.link, name, dir_fd=above)
        except FileExistsError:
            self._remove(path, above, name)
            os.symlink(entry.link, name, dir_fd=above)
        self.inodes += 1
        if len(entry.link) >= 60:
            self.disk_bytes += self._block
        self._finish_special(path, above, name, entry)

    def _apply_special(self, path: bytes, parent: bytes, name: bytes, entry: Entry) -> None:
        kinds = {
            tar.CHARACTER_DEVICE: stat.S_IFCHR,
            tar.BLOCK_DEVICE: stat.S_IFBLK,
            tar.FIFO: stat.S_IFIFO,
        }
        mode = kinds[entry.type] | entry.mode
        device = os.makedev(entry.major, entry.minor)
        above = self._parent(parent)
        try:
            os.mknod(name, mode, device, dir_fd=above)
        except FileExistsError:
            self._remove(path, above, name)
            os.mknod(name, mode, device, dir_fd=above)
        self.inodes += 1
        self._finish_special(path, above, name, entry)

    def _finish_special(self, path: bytes, above: int, name: bytes, entry: Entry) -> None:
        attributes.apply_unopened(name, above, entry, self.dropped)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)
        self._note(path)

    # What stands in the way.

    def _note(self, path: bytes) -> None:
        if not self._overlay:
            self._made.add(path)

    def _remove(self, path: bytes, above: int, name: bytes) -> None:
        """Remove ``path``, whatever it is, before something else takes its name."""
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=above)
            if found.st_nlink == 1:
                self.inodes -= 1
                self.disk_bytes -= found.st_blocks * 512
            if stat.S_ISLNK(found.st_mode):
                self._forget_directories()
            return
        self._forget_directories()
        removed = remove_tree(name, above)
        self.inodes -= removed.inodes
        self.disk_bytes -= removed.bytes
        below = path + b"/"
        for known in (self.implied, self.opaque, self._whiteouts, self._made):
            known.difference_update({p for p in known if p == path or p.startswith(below)})
        for gone in [p for p in self._times if p == path or p.startswith(below)]:
            del self._times[gone]
            self._late.pop(gone, None)


def _no_directory(path: bytes, code: int) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"layer puts something below {shown(path)}, which is no directory ({os.strerror(code)})"
    )


def _is_below(path: bytes, tops: set[bytes]) -> bool:
    """True when ``path`` is one of ``tops``, or inside one."""
    while path not in tops:
        if path == ROOT:
            return False
        path = split(path)[0]
    return True


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _write_all(fd: int, data: memoryview) -> None:
    while True:
        written = os.write(fd, data)
        if written == len(data):
            return
        data = data[written:]
