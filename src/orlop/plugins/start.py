"""Brings plugins up in the order of a plan, and down in the reverse one.

Decides nothing about the order and knows no plugin. A plugin that fails takes
those with it that require it; only if all of these are optional, the rest runs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from orlop.errors import FailedPrecondition, Internal, OrlopError, Unavailable
from orlop.linux.files import as_store_error
from orlop.plugins.graph import Plan, predecessors, requirements
from orlop.plugins.registration import Context, Hook, Registration, Skipped, state_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orlop.plugins.host import Host, PluginState, State

Section: TypeAlias = Callable[[str, type[msgspec.Struct]], msgspec.Struct]
"""Gives the table of a name as a struct of a kind."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all plugins are started with.

    Attributes:
        section: the configuration, table by table.
        root: directory below which each plugin has one of its own, named as it is.
        state: ditto, for what ends with the machine's run.
        host, daemon: see ``Context``.
    """

    section: Section
    root: str
    state: str
    host: Host | None = None
    daemon: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """Running plugins.

    Attributes:
        instances: by full name, in the order of their start.
        states: of every plugin of the plan, running or not.
        hooks: what running plugins offer to change.
    """

    instances: Mapping[str, object]
    states: tuple[PluginState, ...]
    hooks: tuple[Hook, ...] = ()


@asynccontextmanager
async def started(
    plan: Plan, setting: Setting, *, required: frozenset[str] = frozenset()
) -> AsyncIterator[Started]:
    """Start what is planned; stop it when the context is left.

    Args:
        plan: of ``graph.plan``.
        setting: what every plugin gets.
        required: full names of optional plugins that must start all the same.

    Raises:
        OrlopError: what a plugin raised that is not optional, with the plugin's
            name in front (Internal for foreign errors), or FailedPrecondition
            when something that it requires has not
            started.
    """
    instances: dict[str, object] = {}
    states: list[PluginState] = []
    hooks: list[Hook] = []
    async with AsyncExitStack() as stack:
        for plugin in plan.order:
            try:
                context = _context(plugin, plan, instances, setting)
                instances[plugin.name] = await stack.enter_async_context(plugin.init(context))
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                failure = _failure(plugin.name, error)
                if not plugin.optional or plugin.name in required:
                    raise failure from (None if failure is error else error)
                reached: State = "skipped" if isinstance(error, Skipped) else "failed"
                reason = str(error) if reached == "skipped" else failure.message
                states.append(state_of(plugin, reached, reason))
            else:
                states.append(state_of(plugin, "loaded", exports=context.exports))
                hooks += context.hooks
        yield Started(instances, (*states, *plan.skipped), tuple(hooks))


def _failure(name: str, error: Exception) -> OrlopError:
    """The error with the plugin's name in front; foreign code may have raised anything."""
    if isinstance(error, Skipped):
        return FailedPrecondition(f"plugin {name} cannot start: {error}")
    if isinstance(error, OrlopError):
        if not error.message.startswith(f"plugin {name} "):
            error.message = f"plugin {name} cannot start: {error.message}"
        return error
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, OSError) and isinstance(as_store_error(error, name), Unavailable):
        return Unavailable(f"plugin {name} cannot start: {cause}")  # no descriptors, no memory
    return Internal(f"plugin {name} cannot start: {cause}")


def _context(
    plugin: Registration, plan: Plan, instances: Mapping[str, object], setting: Setting
) -> Context:
    """What ``plugin`` gets; raises FailedPrecondition when a requirement has not started."""
    names = tuple(other.name for other in plan.order if other.name in instances)
    needed = requirements(plugin, names)
    for need in plugin.requires:
        if not any(need in (name, name.rpartition(".")[0]) for name in needed):
            raise FailedPrecondition(f"plugin {plugin.name} requires {need}, which has not started")
    return Context(
        None if plugin.config is None else setting.section(plugin.table, plugin.config),
        posixpath.join(setting.root, plugin.name),
        posixpath.join(setting.state, plugin.name),
        {name: instances[name] for name in predecessors(plugin, names)},
        setting.host,
        plugin,
        also={name: setting.section(name, kind) for name, kind in plugin.also.items()},
        daemon=setting.daemon,
    )
