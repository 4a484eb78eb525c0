"""The composition root: configuration and plugins become a running image service.

``in_stock`` is what there is, ``opened`` starts it in its order and yields the
service; ``embedded`` is the same for one process that needs no daemon. What is
decided is decided in a room: here the rooms are put together.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
from msgspec import structs

from orlop.builtin import CRI, ENTRANCE, builtin
from orlop.config.keys import IMAGES, PLUGINS, show
from orlop.config.load import load
from orlop.config.schema import Config, GrpcConfig, ImageConfig
from orlop.config.sections import BUILTIN_SECTIONS, Section
from orlop.doors import SERVICE
from orlop.errors import FailedPrecondition, InvalidArgument, OrlopError
from orlop.images.facade import Library
from orlop.linux.root import lock_root, open_root
from orlop.plugins import reload
from orlop.plugins.discover import discover
from orlop.plugins.graph import plan
from orlop.plugins.host import Reloaded
from orlop.plugins.names import select
from orlop.plugins.registration import Hook
from orlop.plugins.start import Setting, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import msgspec

    from orlop.config.draft import Draft, Step
    from orlop.config.load import Loaded
    from orlop.plugins.host import PluginState
    from orlop.plugins.names import Selection
    from orlop.plugins.registration import Commit, Registration
    from orlop.plugins.start import Started
    from orlop.ports.doors import Entrance
    from orlop.ports.service import ImageService


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is to start.

    Attributes:
        registrations: what is in the box, then what others brought.
        failed: what others brought in vain.
    """

    registrations: tuple[Registration, ...]
    failed: tuple[PluginState, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each plugin that was brought in vain."""
        return tuple(f"plugin {one.name} cannot be used: {one.reason}" for one in self.failed)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Tables of a document that are read for plugins of third parties."""
        own = {section.name for section in BUILTIN_SECTIONS}
        found: dict[str, Section] = {}
        for plugin in self.registrations:
            for table, schema in plugin.schemas.items():
                if table not in own:
                    step = _step(plugin) if table == plugin.table else None
                    found.setdefault(table, Section(table, schema, step))
        return tuple(found.values())

    def select(self, config: Config) -> Selection:
        """The plugins that the operator means. Raises InvalidArgument, see ``names.select``."""
        return select(
            self.registrations,
            disabled=config.disabled_plugins,
            required=config.required_plugins,
            failed=self.failed,
        )

    def load(self, path: str | None = None) -> Loaded:
        """Read the configuration, with the tables of all plugins; see ``config.load``."""
        return load(path, sections=self.sections)


def in_stock() -> Stock:
    """What is in the box, and what installed distributions bring."""
    own = builtin()
    others = discover(taken=[plugin.name for plugin in own])
    return Stock((*own, *others.registrations), others.failed)


class App:
    """Running plugins; implements ``orlop.plugins.host.Host``. Made by ``opened``.

    Attributes:
        config: what it was opened with.
        warnings: what the operator should know about the plugins, one line each.
    """

    def __init__(
        self,
        config: Config,
        stock: Stock,
        *,
        read: Callable[[], Loaded] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.warnings = warnings
        self._stock = stock
        self._read = read
        self._running: Started | None = None
        self._tables = _tables(config, stock.sections)
        self._reloading = asyncio.Lock()

    @property
    def service(self) -> ImageService:
        """The image service."""
        return cast("ImageService", self._started().instances[SERVICE])

    @property
    def entrance(self) -> Entrance:
        """Where the doors are.

        Raises:
            InvalidArgument: the plugin that opens them does not run.
        """
        found = self._started().instances.get(ENTRANCE)
        if found is None:
            raise InvalidArgument(
                f"plugin {ENTRANCE} is disabled: a daemon without it serves nobody",
                hint="take it out of disabled_plugins",
            )
        return cast("Entrance", found)

    @property
    def drain_seconds(self) -> float:
        """How long running calls may go on when the daemon is told to stop."""
        return cast("ImageConfig", self._tables[IMAGES[1]]).drain_timeout.seconds

    @property
    def states(self) -> tuple[PluginState, ...]:
        """What became of each plugin, those that run first."""
        return (*self._started().states, *self._stock.failed)

    async def plugins(self) -> Sequence[PluginState]:
        """See ``Host``."""
        return self.states

    async def reload(self) -> Reloaded:
        """See ``Host``; what has changed is logged, too, key by key."""
        if self._read is None:
            raise FailedPrecondition("this process has no configuration to read again")
        async with self._reloading:
            loaded = await asyncio.to_thread(self._read)
            hooks = (*self._started().hooks, _DRAINING)
            new = _tables(loaded.config, self._stock.sections)
            found = reload.changes(self._tables, new, hooks)
            tables = reload.in_force(self._tables, new, found.applied)
            commits = reload.prepare(found, tables, hooks)
            self._tables = tables
            for commit in commits:
                _put_in_force(commit)
        reloaded = Reloaded(
            tuple(map(_shown, found.applied)), tuple(map(_shown, found.restart)), loaded.warnings
        )
        _log(reloaded)
        return reloaded

    def run(self, running: Started) -> None:
        """Tell it what has started; for ``opened`` only."""
        self._running = running

    def _started(self) -> Started:
        if self._running is None:
            raise FailedPrecondition("the plugins have not started yet")
        return self._running


def _put_in_force(commit: Commit) -> None:
    """A plugin that breaks its promise must not keep the others from their new values."""
    try:
        commit()
    except Exception:  # noqa: BLE001 - foreign code may raise anything
        structlog.get_logger().exception("configuration not applied, by a defect of a plugin")


def _step(plugin: Registration) -> Step | None:
    """The plugin's migration; a defect in it ends in an error that names the plugin."""
    migrate = plugin.migrate
    if migrate is None:
        return None

    def step(version: int, draft: Draft) -> None:
        try:
            migrate(version, draft)
        except OrlopError:
            raise
        except Exception as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise InvalidArgument(
                f"plugin {plugin.name} cannot lift its table from version {version}: {cause}"
            ) from error

    return step


def _keep(_: object) -> Commit:
    """The daemon asks when it ends: there is nothing to tell it before."""
    return lambda: None


_DRAINING = Hook("orlop", IMAGES[1], ("drain_timeout",), _keep)


@asynccontextmanager
async def opened(
    config: Config,
    stock: Stock | None = None,
    *,
    daemon: bool = False,
    read: Callable[[], Loaded] | None = None,
) -> AsyncIterator[App]:
    """Lock the root, start all plugins, and stop them again.

    Args:
        config: what holds.
        stock: what there is to start; None looks for it.
        daemon: start what only a daemon has, too: doors and metrics.
        read: reads the configuration again; None when there is nothing to read.

    Raises:
        StoreLocked: somebody else works on this root.
        OrlopError: a plugin that is needed cannot start; its message names it.
    """
    stock = stock or in_stock()
    chosen = stock.select(config)
    order = plan(
        stock.registrations, disabled=chosen.disabled, required=chosen.required, daemon=daemon
    )
    warnings = chosen.warnings
    if daemon and CRI in chosen.disabled:
        # Documents for machines without Kubernetes say so; nobody shall look for long.
        warnings += (f"disabled_plugins: without {CRI} kubelet and crictl are not served",)
    app = App(config, stock, read=read, warnings=warnings)
    with lock_root(config.root):
        os.close(open_root(config.state))
        setting = Setting(config.section, config.root, config.state, app, daemon)
        async with started(order, setting, required=chosen.required) as running:
            app.run(running)
            yield app


@asynccontextmanager
async def embedded_app(
    *, root: str, state: str = "", loaded: Loaded | None = None
) -> AsyncIterator[App]:
    """All that works inside this process, on the store in ``root``; it has no doors.

    Args:
        root: directory of the store; made if it is not there.
        state: directory for what ends with the machine's run; "" is ``ROOT/state``.
        loaded: configuration; None reads the machine's (or takes the defaults).

    Raises:
        OrlopError: as ``opened``.
    """
    stock = in_stock()
    config = (loaded or stock.load()).config
    config = with_directories(config, root=root, state=state or os.path.join(root, "state"))
    async with opened(config, stock) as app:
        yield app


@asynccontextmanager
async def embedded(
    *, root: str, state: str = "", loaded: Loaded | None = None
) -> AsyncIterator[ImageService]:
    """The image service inside this process; see ``embedded_app``."""
    async with embedded_app(root=root, state=state, loaded=loaded) as app:
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


def at_home(config: Config, environ: Mapping[str, str]) -> Config:
    """The configuration of a user: what is left at its default is in the user's directories.

    Source: XDG Base Directory Specification.
    """
    stock, grpc_stock = Config(), GrpcConfig()
    run = environ.get("XDG_RUNTIME_DIR", "")
    data = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", ""), ".local/share")
    if config.root == stock.root and os.path.isabs(data):
        config = structs.replace(config, root=os.path.join(data, "orlop"))
    if not os.path.isabs(run):
        return config
    own = os.path.join(run, "orlop")
    if config.state == stock.state:
        config = structs.replace(config, state=own)
    if config.grpc.address == grpc_stock.address:
        grpc = structs.replace(config.grpc, address=f"unix://{own}/orlop.sock")
        config = structs.replace(config, grpc=grpc)
    return config


def _tables(config: Config, more: Sequence[Section]) -> dict[str, msgspec.Struct]:
    """Every table that is read, by its name; "" is the top of the document."""
    none = Config()
    tables: dict[str, msgspec.Struct] = {
        section.name: config.section(section.name, section.schema)
        for section in (*BUILTIN_SECTIONS, *more)
    }
    # How the document was written, and what is compared as a table of its own.
    tables[""] = structs.replace(
        config,
        version=none.version,
        imports=none.imports,
        grpc=none.grpc,
        images=none.images,
        metrics=none.metrics,
        sections=none.sections,
        plugins=none.plugins,
    )
    return tables


def _shown(key: reload.Key) -> str:
    table, name = key
    return show((*((*PLUGINS, table) if table else ()), *name.split(".")))


def _log(reloaded: Reloaded) -> None:
    log = structlog.get_logger()
    for warning in reloaded.warnings:
        log.warning("configuration", message=warning)
    for key in reloaded.applied:
        log.info("configuration applied", key=key)
    for key in reloaded.restart:
        log.warning("configuration needs a restart", key=key)
    if not (reloaded.applied or reloaded.restart):
        log.info("configuration unchanged")
