"""Who is connected to a Unix socket of this process, when a library has accepted it.

gRPC does not say who calls. The kernel does, of each connection, and the connections are
descriptors of this process: they are looked for among all of them.

A daemon that downloads has hundreds of descriptors, and each call looks. The looking is
done with the interpreter's lock held: every function of ``os`` lets it go, and then other
threads take it, hundreds of times.

Sources: unix(7) on SO_PEERCRED, socket(7) on SO_COOKIE, getdents64(2), proc(5) on
/proc/self/fd.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.linux.files import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIALS: Final = struct.Struct("3i")

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_getdents: Final = getattr(_libc, "getdents64", None) or _libc.getdents  # musl's name
_ENTRY: Final = struct.Struct("=QqHB")  # struct linux_dirent64, up to the name
_BUFFER_BYTES: Final = 32 << 10

_SO_COOKIE: Final = 57
"""A number of a socket that no other gets as long as the kernel runs."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A process, as it was when it connected.

    Attributes:
        pid: 0 when it is in another process namespace.
        uid, gid: its user and group.
        program: its name (proc(5), comm), as far as it is still there.
    """

    pid: int
    uid: int
    gid: int
    program: str


class Peers:
    """The connections to one listening socket.

    Args:
        name: the path that the socket was bound to, before anybody moved it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: set[int] = set()  # cookies

    def new(self) -> list[Peer]:
        """Those who have connected since the last time.

        Raises:
            OSError: our own descriptors cannot be listed.
        """
        cookies = dict(_sockets())
        came = [number for cookie, number in cookies.items() if cookie not in self._known]
        self._known = set(cookies)
        found = []
        for number in came:
            with suppress(OSError):  # it was closed meanwhile
                if peer := self._peer(number):
                    found.append(peer)
        return found

    def _peer(self, number: int) -> Peer | None:
        """Who is at the other end of a connection to our socket; None for other sockets."""
        with socket.socket(fileno=os.dup(number)) as connection:
            if connection.family != socket.AF_UNIX or connection.getsockname() != self._name:
                return None
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(raw)
        return Peer(pid, uid, gid, _program(pid))


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _sockets() -> Iterator[tuple[int, int]]:
    """The cookie and the number of each descriptor that is a socket."""
    cookie = ctypes.c_uint64()
    size = ctypes.c_uint32(ctypes.sizeof(cookie))
    for number in _descriptors():
        if not _libc.getsockopt(
            number, socket.SOL_SOCKET, _SO_COOKIE, ctypes.byref(cookie), ctypes.byref(size)
        ):
            yield cookie.value, number


def _descriptors() -> list[int]:
    """The numbers of all descriptors of this process."""
    found: list[int] = []
    directory = os.open("/proc/self/fd", DIRECTORY)
    try:
        buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
        while (length := _getdents(directory, buffer, _BUFFER_BYTES)) > 0:
            found += _numbers(buffer.raw[:length])
        if length < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), "/proc/self/fd")
    finally:
        os.close(directory)
    return found


def _numbers(entries: bytes) -> Iterator[int]:
    """The names among directory entries that are numbers: all but "." and ".."."""
    at = 0
    while at < len(entries):
        _, _, length, _ = _ENTRY.unpack_from(entries, at)
        name = entries[at + _ENTRY.size : at + length].partition(b"\0")[0]
        if name.isdigit():
            yield int(name)
        at += length
