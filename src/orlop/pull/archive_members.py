"""Files of an archive by their names: of a tar archive, or of a directory.

Names lead nowhere else: nothing is ever written under one. Links are followed
once, inside a tar archive, because old Docker archives have the same layer under
several names; a directory's links are refused.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import ArchiveEscape, ArchiveInvalid, ImageInvalid, LimitExceeded, NotFound
from orlop.linux import files
from orlop.model import tar
from orlop.model.layerpath import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from orlop.model.limits import Limits

_RESOLVE: Final = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file's bytes are: in ``fd``, from ``offset`` on."""

    fd: int
    offset: int
    size: int

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes from ``offset`` on; b"" at the end."""
        return os.pread(self.fd, min(count, self.size - offset), self.offset + offset)


class Members(Protocol):
    """The files of an archive. Methods block; call them from a thread."""

    def has(self, name: str) -> bool:
        """True when there is such a file."""

    def opened(self, name: str) -> AbstractContextManager[Member]:
        """A file, for as long as the ``with`` lasts.

        Raises:
            NotFound: there is none of this name.
            ArchiveInvalid: it is not a regular file.
        """


def read_whole(members: Members, name: str, limit: int, *, field: str) -> bytes:
    """A whole document of an archive; blocks.

    Args:
        members: of the archive.
        name: of the document.
        limit: bytes that it may have.
        field: of ``Limits``, that says so.

    Raises:
        NotFound: there is none.
        LimitExceeded: it is longer.
    """
    with members.opened(name) as member:
        if member.size > limit:
            raise LimitExceeded(
                f"{name} of the archive has {member.size} bytes, more than {limit}", limit=field
            )
        raw = member.read(0, limit)
        if len(raw) != member.size:
            raise _truncated()
        return raw


class TarMembers:
    """The files of a tar archive in ``fd``, which stays its opener's."""

    def __init__(self, fd: int, places: Mapping[str, _Place]) -> None:
        self._fd = fd
        self._places = places

    @classmethod
    def indexed(cls, fd: int, limits: Limits) -> TarMembers:
        """Read all headers of the archive, and nothing else; blocks.

        Raises:
            ArchiveInvalid: it is no tar archive, ends too early, has two files of one name.
            ArchiveEscape: a name leads out of it.
            LimitExceeded: it has more than ``archive_members`` members.
        """
        try:
            return cls(fd, _index(fd, replace(limits, layer_entries=limits.archive_members)))
        except LimitExceeded as error:
            if error.limit != "layer_entries":
                raise
            raise LimitExceeded(
                f"image archive has more than {limits.archive_members} members",
                limit="archive_members",
            ) from error
        except ArchiveInvalid as error:
            # The parser's archives are layers, mostly.
            message = error.message.replace("layer archive", "image archive", 1)
            raise type(error)(message, hint=error.hint) from error

    def has(self, name: str) -> bool:
        """See ``Members``."""
        return name in self._places

    @contextmanager
    def opened(self, name: str) -> Iterator[Member]:
        """See ``Members``."""
        place = self._places.get(name)
        if place is not None and place.link:
            place = self._places.get(place.link)
        if place is None:
            raise NotFound(f"{shown(name.encode())} is not in the archive")
        if place.link or place.offset < 0:
            raise ArchiveInvalid(f"{shown(name.encode())} of the archive is no file")
        yield Member(self._fd, place.offset, place.size)


class DirectoryMembers:
    """The files below the directory ``fd``, which stays its opener's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def has(self, name: str) -> bool:
        """See ``Members``."""
        try:
            with self.opened(name):
                return True
        except (NotFound, ImageInvalid):
            return False

    @contextmanager
    def opened(self, name: str) -> Iterator[Member]:
        """See ``Members``."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        if "\0" in name:
            raise NotFound(f"{shown(name.encode())} is not in the layout")
        try:
            fd = files.openat2(self._fd, name.encode(), flags, resolve=_RESOLVE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV, errno.ENXIO):
                raise ArchiveInvalid(f"{shown(name.encode())} of the layout is no file") from error
            raise NotFound(
                f"{shown(name.encode())} is not in the layout: {error.strerror}"
            ) from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ArchiveInvalid(f"{shown(name.encode())} of the layout is no file")
            yield Member(fd, 0, found.st_size)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class _Place:
    """A member: where its data is (offset -1: it has none), or what it is a link to."""

    offset: int = -1
    size: int = 0
    link: str = ""


def _index(fd: int, limits: Limits) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    parser = tar.TarParser(limits)
    at, end = 0, os.fstat(fd).st_size
    if end < tar.BLOCK:
        raise ArchiveInvalid(f"no image archive: it has {end} bytes")
    while not parser.ended and (block := os.pread(fd, tar.BLOCK, at)):
        at += len(block)
        for entry in parser.feed(block):
            if not isinstance(entry, tar.Entry):
                continue  # of an extension header; a file's data is passed over
            if entry.size + -entry.size % tar.BLOCK > end - at:
                raise _truncated()
            name = _name(entry.path)
            # Directories say nothing, and are named twice by many tools.
            if entry.type != tar.DIRECTORY:
                if name in places:
                    raise ArchiveInvalid(f"image archive has two files {shown(entry.path)}")
                places[name] = _place(entry, name, at)
            at += parser.skip()
    parser.close()
    return places


def _place(entry: tar.Entry, name: str, at: int) -> _Place:
    if entry.sparse is not None:
        raise ArchiveInvalid(f"image archive has a sparse file {shown(entry.path)}")
    if entry.type == tar.REGULAR:
        return _Place(at, entry.size)
    if entry.type == tar.HARD_LINK:
        return _Place(link=_name(entry.link))
    if entry.type == tar.SYMLINK:
        target = os.fsdecode(entry.link)
        return _Place(link=_name(os.fsencode(posixpath.join(posixpath.dirname(name), target))))
    return _Place()


def _name(path: bytes) -> str:
    """A member's name without ``.`` and double slashes. Raises ArchiveEscape."""
    name = posixpath.normpath(os.fsdecode(path))
    if name.startswith(("/", "../")) or name == "..":
        raise ArchiveEscape(f"image archive has a path that leads out of it: {shown(path)}")
    return name


def _truncated() -> ArchiveInvalid:
    return ArchiveInvalid("image archive is truncated: it ends inside a member")
