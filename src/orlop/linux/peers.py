"""Who is connected to a Unix socket of this process, when a library has accepted it.

gRPC does not say who calls. The kernel does, of each connection, and the connections are
descriptors of this process: they are looked for among all of them.

Sources: unix(7) on SO_PEERCRED, proc(5) on /proc/self/fd.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")


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
        self._known: set[int] = set()  # inodes of sockets

    def new(self) -> list[Peer]:
        """Those who have connected since the last time.

        Raises:
            OSError: our own descriptors cannot be listed.
        """
        now: set[int] = set()
        found = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # it was closed meanwhile
                status = os.fstat(int(number))
                if not stat.S_ISSOCK(status.st_mode) or status.st_ino in now:
                    continue
                now.add(status.st_ino)
                if status.st_ino not in self._known and (peer := self._peer(int(number))):
                    found.append(peer)
        self._known = now  # the kernel gives an inode's number to another socket later
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
