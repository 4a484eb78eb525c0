"""Something to serve for a daemon that a test runs: both doors, on a service of its choice."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.control import ControlDoor, HealthDoor
from orlop.cri import CRIDoor
from orlop.plugins.host import PluginState, Reloaded
from orlop.ports.doors import Entrance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from orlop.errors import OrlopError
    from orlop.ports.service import NodeImageService

VERSION = "1.2.3"


@dataclass
class Rig:
    """An ``orlop.daemon.Served``, and an ``orlop.plugins.host.Host``.

    Attributes:
        reloads: how often the configuration was to be read again.
        reloaded: what became of it, or the error.
        states: the plugins that it says it has.
    """

    service: NodeImageService
    address: str
    drain_seconds: float = 5.0
    reloads: int = 0
    reloaded: Reloaded | OrlopError = field(default_factory=Reloaded)
    states: tuple[PluginState, ...] = ()

    @property
    def entrance(self) -> Entrance:
        cri = CRIDoor(self.service, version=VERSION)
        control = ControlDoor(self.service, self, version=VERSION)
        health = HealthDoor((*cri.services, *control.services))
        return Entrance(self.address, (cri, control, health))

    async def plugins(self) -> Sequence[PluginState]:
        return self.states

    async def reload(self) -> Reloaded:
        self.reloads += 1
        if isinstance(self.reloaded, Reloaded):
            return self.reloaded
        raise self.reloaded


def opening(rig: Rig) -> Callable[[], AbstractAsyncContextManager[Rig]]:
    """What ``orlop.daemon.serve`` opens ``rig`` with."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Rig]:
        yield rig

    return opened
