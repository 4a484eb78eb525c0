"""Doors: what a daemon offers to its clients, as gRPC services on one socket.

A door is a plugin of type ``io.containerd.grpc.v1``. It translates; whatever it
is asked to do, another plugin does. The daemon makes the server, opens the
socket when all doors are in place, and drains it at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import grpc.aio

Watch: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Entered, perhaps twice, while a call is at work; errors and cancellation pass through.

Nothing that a watched call works on is closed before the context is left.
"""


class Door(Protocol):
    """One or several gRPC services."""

    @property
    def services(self) -> tuple[str, ...]:
        """Full names of the services, such as ``runtime.v1.ImageService``."""

    def register(self, server: grpc.aio.Server, watch: Watch) -> None:
        """Add the services to a server that has not started; called once.

        Args:
            server: the daemon's; it starts and stops it.
            watch: what every call that works on something has to enter.
        """

    def stop(self) -> None:
        """The daemon is about to end: tell clients that wait for news; calls go on."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where a daemon's doors are.

    Attributes:
        address: ``unix:///PATH`` of the socket.
        doors: in the order in which they are registered.
        uid: who owns the socket; 0 is the daemon's user.
        gid: whose members may use it, too; 0 is nobody.
    """

    address: str
    doors: tuple[Door, ...]
    uid: int = 0
    gid: int = 0
