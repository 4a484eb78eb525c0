"""How the daemon's doors are made: plugins that only a daemon starts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orlop.config.schema import GrpcConfig
    from orlop.control import ControlDoor, HealthDoor
    from orlop.cri import CRIDoor
    from orlop.plugins.registration import Context
    from orlop.ports.doors import Door, Entrance
    from orlop.ports.service import ImageService, NodeImageService

DOOR = "io.containerd.grpc.v1"
"""Type of the doors."""

SERVICE = "io.containerd.cri.v1.images"
"""Full name of the plugin whose instance is the ``ImageService``."""


@asynccontextmanager
async def cri_door(context: Context) -> AsyncIterator[CRIDoor]:
    """The door for kubelet and crictl."""
    from orlop import __version__
    from orlop.cri import CRIDoor

    door = CRIDoor(cast("NodeImageService", context.started[SERVICE]), version=__version__)
    context.export("services", ", ".join(door.services))
    yield door


@asynccontextmanager
async def control_door(context: Context) -> AsyncIterator[ControlDoor]:
    """The door for the command line, and for all that the CRI has no words for."""
    from orlop import __version__
    from orlop.control import ControlDoor

    service = cast("ImageService", context.started[SERVICE])
    door = ControlDoor(service, context.host, version=__version__)
    context.export("services", ", ".join(door.services))
    yield door


@asynccontextmanager
async def health_door(context: Context) -> AsyncIterator[HealthDoor]:
    """Tells who asks whether the other doors are open."""
    from orlop.control import HealthDoor

    door = HealthDoor(service for other in _doors(context) for service in other.services)
    context.export("services", ", ".join(door.services))
    yield door


@asynccontextmanager
async def entrance(context: Context) -> AsyncIterator[Entrance]:
    """The socket that all doors are behind."""
    from orlop.ports.doors import Entrance

    config = cast("GrpcConfig", context.config)
    context.export("address", config.address)
    yield Entrance(config.address, _doors(context), config.uid, config.gid)


def _doors(context: Context) -> tuple[Door, ...]:
    return tuple(cast("Mapping[str, Door]", context.all_of(DOOR)).values())
