"""The directories of the tree that a layer is applied to: found, and opened once each.

A path in a layer may lead through symbolic links. They are followed here, name
by name and never above the tree's root, so that everybody else deals with
*real* paths: normalised and free of links. A real path is opened by
``openat2`` below the root, and the kernel refuses any link in it.

Nothing here makes, changes or removes anything.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from orlop.errors import ArchiveInvalid
from orlop.linux.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from orlop.model.layerpath import ROOT, join, normalise, shown, split

if TYPE_CHECKING:
    from orlop.model.limits import Limits

_RESOLVE: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KEPT: Final = 256
_KEPT_LINKED: Final = 4096
_MAX_LINKS: Final = 40  # as the kernel, see path_resolution(7)
_MAX_STEPS: Final = 1024  # links of links could ask for far more work than a path is long


class NeedsParent(Exception):
    """This layer cannot be applied without the layers below it."""


class Directories:
    """Open directories below ``root``, found by real path or by any path.

    Descriptors that it returns are its own. They stay open until
    ``close_stale`` is called after ``forget``, or until some hundred others
    were opened.

    Args:
        root: descriptor of the tree's root; the caller's.
        complete: True when the tree shows all lower layers. Otherwise a link that leads
            to something that is not here raises ``NeedsParent``.
        limits: bound the length and depth of real paths.
    """

    def __init__(self, root: int, *, complete: bool, limits: Limits) -> None:
        self._root = root
        self._complete = complete
        self._limits = limits
        self._opened: OrderedDict[bytes, int] = OrderedDict()
        self._linked: dict[bytes, bytes] = {}  # paths through links, and what they really are
        self._stale: list[int] = []

    def open(self, real: bytes) -> int:
        """A descriptor of the directory with this real path.

        Raises:
            FileNotFoundError, NotADirectoryError: there is none.
            OSError: as the kernel says; ELOOP when the path is not real.
        """
        known = self._opened.get(real)
        if known is not None:
            self._opened.move_to_end(real)
            return known
        if real == ROOT:
            return self._root
        fd = openat2(self._root, real, _OPEN, resolve=_RESOLVE)
        self._opened[real] = fd
        if len(self._opened) > _KEPT:
            os.close(self._opened.popitem(last=False)[1])
        return fd

    def find(self, path: bytes) -> tuple[int, bytes]:
        """Descriptor and real path of the directory that ``path`` leads to.

        Raises:
            FileNotFoundError, NotADirectoryError: there is none; ``real`` knows
                where it would be.
            ArchiveInvalid, LimitExceeded: links lead in circles or too deep.
            NeedsParent: see the class.
        """
        real = self._linked.get(path, path)
        try:
            return self.open(real), real
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        real = self._follow(path)
        if len(self._linked) >= _KEPT_LINKED:
            self._linked.clear()
        self._linked[path] = real
        return self.open(real), real

    def real(self, path: bytes) -> bytes:
        """The real path of what ``find`` has just not found."""
        return self._linked.get(path, path)

    def forget(self) -> None:
        """Say that a directory or a link has been removed: nothing that was known is sure."""
        self._stale.extend(self._opened.values())
        self._opened.clear()
        self._linked.clear()

    def close_stale(self) -> None:
        """Close what was forgotten."""
        for fd in self._stale:
            os.close(fd)
        self._stale.clear()

    def close(self) -> None:
        """Close all descriptors."""
        self.forget()
        self.close_stale()

    def _follow(self, path: bytes) -> bytes:
        """The real path of ``path``, of which the end need not be there."""
        todo = path.split(b"/")[::-1]
        own = len(todo)  # names of ``path`` itself still to do; what a link adds stands above
        real = ROOT
        links = 0
        for _ in range(_MAX_STEPS):
            if not todo:
                return normalise(real, self._limits)
            name = todo.pop()
            of_link = len(todo) >= own
            own = min(own, len(todo))
            if name == b"..":
                real = ROOT if real == ROOT else split(real)[0]
            elif name not in (b"", b"."):
                target = self._read_link(path, real, name, of_link=of_link)
                if target is None:
                    real = join(real, name)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    break
                real = ROOT if target[:1] == b"/" else real
                todo += target.split(b"/")[::-1]
        raise no_directory(path, errno.ELOOP)

    def _read_link(self, path: bytes, real: bytes, name: bytes, *, of_link: bool) -> bytes | None:
        """The target of the link ``name``; None when it is something else, or nothing."""
        try:
            return os.readlink(name, dir_fd=self.open(real))
        except (FileNotFoundError, NotADirectoryError):
            if of_link and not self._complete:
                raise NeedsParent from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise no_directory(path, error.errno) from error
            if error.errno != errno.EINVAL:
                raise
        return None


def no_directory(path: bytes, code: int) -> ArchiveInvalid:
    """The error for a layer that puts something below ``path``, which can hold nothing."""
    return ArchiveInvalid(
        f"layer puts something below {shown(path)}, which is no directory ({os.strerror(code)})"
    )
