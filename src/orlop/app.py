"""The composition root: configuration and plugins become a running image service.

No logic: everything that decides is in a room. ``opened`` starts the plugins of
``orlop.builtin`` and of third parties in their order and yields the service;
``embedded`` is the same for one process that needs no daemon.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from msgspec import structs

from orlop.builtin import SERVICE, builtin
from orlop.config.load import load
from orlop.images.facade import Library
from orlop.linux.root import lock_root, open_root
from orlop.plugins.discover import discover
from orlop.plugins.graph import plan
from orlop.plugins.start import started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.config.load import Loaded
    from orlop.config.schema import Config
    from orlop.plugins.registration import PluginState
    from orlop.ports.service import ImageService


@dataclass(frozen=True, slots=True)
class App:
    """A running image service, and what became of each plugin."""

    service: ImageService
    config: Config
    plugins: tuple[PluginState, ...]


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[App]:
    """Lock the root, start all plugins, and stop them again.

    Raises:
        StoreLocked: somebody else works on this root.
        OrlopError: a plugin that is needed cannot start; its message names it.
    """
    discovered = discover()
    order = plan(
        (*builtin(), *discovered.registrations),
        disabled=frozenset(config.disabled_plugins),
        required=frozenset(config.required_plugins),
    )
    with lock_root(config.root):
        os.close(open_root(config.state))
        async with started(
            order,
            config=config,
            root=config.root,
            state=config.state,
            required=frozenset(config.required_plugins),
        ) as running:
            service = cast("ImageService", running.instances[SERVICE])
            yield App(service, config, (*running.states, *discovered.failed))


@asynccontextmanager
async def embedded(
    *, root: str, state: str = "", loaded: Loaded | None = None
) -> AsyncIterator[ImageService]:
    """The service inside this process, on the store in ``root``.

    Args:
        root: directory of the store; made if it is not there.
        state: directory for what ends with the machine's run; "" is ``ROOT/state``.
        loaded: configuration; None reads the machine's (or takes the defaults).

    Raises:
        OrlopError: as ``opened``.
    """
    config = (loaded or load()).config
    config = with_directories(config, root=root, state=state or os.path.join(root, "state"))
    async with opened(config) as app:
        yield app.service


@asynccontextmanager
async def library(root: str = "/var/lib/orlop", *, state: str = "") -> AsyncIterator[Library]:
    """Open a store for this process: ``async with orlop.open(root) as images``.

    Args:
        root: directory of the store; made if it is not there. Nobody else may have it
            open, neither a daemon nor another process.
        state: see ``embedded``.

    Raises:
        StoreLocked: somebody else works on this root.
        OrlopError: the store cannot be opened.
    """
    async with embedded(root=root, state=state) as service:
        yield Library(service)


def with_directories(config: Config, *, root: str, state: str) -> Config:
    """The same configuration on other directories."""
    return structs.replace(config, root=os.path.abspath(root), state=os.path.abspath(state))
