"""The record that describes a plugin, and what is known about it later.

Data only. A plugin's full name is its type, a dot and its id, as in containerd:
``io.containerd.snapshotter.v1`` and ``overlayfs`` make
``io.containerd.snapshotter.v1.overlayfs``.

Life of a plugin. ``Registration.init`` is called once, after all that the
plugin requires has started. The context manager that it returns is entered,
and what that yields is the plugin's instance: others get it until the context
is left. Contexts are left in the reverse order, also after an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from orlop.errors import InvalidArgument, NotFound
from orlop.plugins.host import Host, PluginState, State

_TYPE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.v[0-9]+")
_ID = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")

Commit: TypeAlias = Callable[[], None]
"""Puts what was prepared in force; it may not fail."""

Prepare: TypeAlias = Callable[[object], Commit]
"""Gets a plugin's new configuration and judges it; changes nothing before its ``Commit``.

It may raise ``InvalidArgument``: then no plugin changes anything.
"""


class Skipped(Exception):
    """Raised by an ``init`` that has nothing to do, with the reason; not an error."""


class Draft(Protocol):
    """A document on its way to its next version; what a migration step works on.

    A key is the tuple of the names from the top of the document. Every change is
    reported to the operator.
    """

    def table(self, key: tuple[str, ...]) -> Mapping[str, object] | None:
        """What stands in a table, to look at; None if it is not there."""

    def move(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Give a value its new key; where the new one is set too, that one wins."""

    def copy(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        """Set a key as another one is, unless it is set."""

    def drop(self, key: tuple[str, ...], reason: str) -> None:
        """Take out what nobody reads any more."""


@dataclass(frozen=True, slots=True)
class Hook:
    """What a plugin offers to change while it runs.

    Attributes:
        plugin: its full name.
        section: the table that it reads.
        keys: of that table, with dots between the names of nested ones; a name
            stands for all below it.
        prepare: see ``Prepare``.
    """

    plugin: str
    section: str
    keys: tuple[str, ...]
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Context:
    """What a plugin gets when it starts, and what it may tell.

    Attributes:
        config: the ``Registration.config`` that its table holds; None without one.
        also: the further tables of ``Registration.also``, by their names.
        root: the plugin's directory for what must last; not created yet.
        state: the plugin's directory for what ends with the machine's run; ditto.
        started: instances of what it requires and wants, by full name.
        host: what runs the plugins; it knows all of them once they have started.
            None where nothing but the plugins was set up.
        daemon: they run in a daemon, which others wait for.
        registration: the plugin itself.
        exports: what ``export`` was told.
        hooks: what ``on_reload`` was told.
    """

    config: object
    root: str
    state: str
    started: Mapping[str, object] = field(default_factory=dict)
    host: Host | None = None
    registration: Registration | None = None
    exports: dict[str, str] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)
    also: Mapping[str, object] = field(default_factory=dict)
    daemon: bool = False

    def all_of(self, kind: str) -> dict[str, object]:
        """Started instances of a required or wanted type, by id."""
        return {
            name[len(kind) + 1 :]: instance
            for name, instance in self.started.items()
            if name.rpartition(".")[0] == kind
        }

    def one_of(self, kind: str) -> object:
        """The instance of a required type of which there can be one only.

        Raises:
            NotFound: none has started.
            InvalidArgument: several have.
        """
        found = self.all_of(kind)
        if not found:
            raise NotFound(f"no plugin of type {kind} has started")
        if len(found) > 1:
            raise InvalidArgument(
                f"several plugins of type {kind} have started: {', '.join(found)}"
            )
        return next(iter(found.values()))

    def export(self, name: str, fact: str) -> None:
        """Publish a fact, such as a directory; ``orlop plugins`` shows it. No secrets."""
        self.exports[name] = fact

    def on_reload(self, prepare: Prepare, *, keys: tuple[str, ...]) -> None:
        """Offer to change ``keys`` of the plugin's table while it runs; see ``Hook``."""
        if self.registration is None or self.registration.config is None:
            raise InvalidArgument("a plugin without a configuration cannot change it")
        plugin = self.registration
        self.hooks.append(Hook(plugin.name, plugin.table, keys, prepare))


Schema: TypeAlias = type[msgspec.Struct]
Init: TypeAlias = Callable[[Context], AbstractAsyncContextManager[object]]
Migrate: TypeAlias = Callable[[int, Draft], None]


@dataclass(frozen=True, slots=True)
class Registration:
    """A plugin that can be started.

    Attributes:
        type: what it is, such as ``io.containerd.snapshotter.v1``.
        id: which one of its type it is, such as ``overlayfs``; without dots.
        init: starts it, see the module.
        requires: types (all plugins of the type start before this one, and at
            least one must) or full names (exactly that one).
        wants: the same, but without harm when there is none.
        config: the frozen struct that it gets; all of its fields have defaults.
            None: it has nothing to configure.
        section: name of the table in ``[plugins]`` that it reads; "" is its full
            name. Several may read one table, each with a struct of its own.
        also: structs for further tables that it looks at, by the tables' names.
        migrate: lifts the table in a document from the given version to the
            next one. Pure.
        aliases: further names that mean it in ``disabled_plugins`` and
            ``required_plugins``, such as that of its counterpart in containerd.
        optional: when it cannot start, the rest goes on without it.
        daemon: it starts in a daemon only, as what serves others does.
    """

    type: str
    id: str
    init: Init
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    config: Schema | None = None
    section: str = ""
    also: Mapping[str, Schema] = field(default_factory=dict)
    migrate: Migrate | None = None
    aliases: tuple[str, ...] = ()
    optional: bool = False
    daemon: bool = False

    def __post_init__(self) -> None:
        if not _TYPE.fullmatch(self.type):
            raise InvalidArgument(
                f"not a type of plugins: {self.type!r}",
                hint='a type ends with its version, as "io.containerd.snapshotter.v1" does',
            )
        if not _ID.fullmatch(self.id):
            raise InvalidArgument(f"not the id of a plugin: {self.id!r}")
        for kind in self.schemas.values():
            _check_struct(self.name, kind)

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.type}.{self.id}"

    @property
    def table(self) -> str:
        """Name of the table that it reads."""
        return self.section or self.name

    @property
    def schemas(self) -> dict[str, Schema]:
        """All tables that it reads, its own first."""
        own = {} if self.config is None else {self.table: self.config}
        return {**own, **self.also}


def _check_struct(name: str, kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise InvalidArgument(f"plugin {name}: its configuration is no msgspec.Struct")
    if not kind.__struct_config__.frozen:
        raise InvalidArgument(f"plugin {name}: its configuration {kind.__name__} is not frozen")
    if lacking := [field.name for field in msgspec.structs.fields(kind) if field.required]:
        raise InvalidArgument(f"plugin {name}: {', '.join(lacking)} of {kind.__name__}: no default")


def state_of(
    plugin: Registration,
    state: State,
    reason: str = "",
    exports: Mapping[str, str] | None = None,
) -> PluginState:
    """What became of ``plugin``."""
    return PluginState(plugin.type, plugin.id, state, reason, plugin.requires, exports or {})
