"""The order in which plugins start.

Pure. The order depends on the registrations alone: plugins that do not need
each other keep the order in which they were registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, InvalidArgument
from orlop.plugins.registration import Registration, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.plugins.host import PluginState

_DISABLED = "disabled"
_DAEMONS = "only a daemon starts it"


@dataclass(frozen=True, slots=True)
class Plan:
    """What starts, and what does not.

    Attributes:
        order: each plugin stands after all that it requires and wants.
        skipped: disabled plugins, and optional ones that lack something.
    """

    order: tuple[Registration, ...]
    skipped: tuple[PluginState, ...] = ()


def plan(
    registrations: tuple[Registration, ...],
    *,
    disabled: frozenset[str] = frozenset(),
    required: frozenset[str] = frozenset(),
    daemon: bool = True,
) -> Plan:
    """Decide which plugins start, in which order.

    Args:
        registrations: all that there is.
        disabled: full names of plugins that must not start.
        required: full names of plugins that must start.
        daemon: False leaves out what only a daemon has, and what requires that.

    Raises:
        AlreadyExists: two plugins have one name.
        InvalidArgument: a requirement is missing, a required plugin is not
            there or is disabled, or plugins require each other in a circle.
    """
    plugins: dict[str, Registration] = {}
    for registration in registrations:
        if registration.name in plugins:
            raise AlreadyExists(f"plugin {registration.name} is registered twice")
        plugins[registration.name] = registration
    absent = {name: _DISABLED for name in plugins if name in disabled}
    if not daemon:
        absent |= _of_daemons(plugins)
        required -= {name for name, why in absent.items() if why == _DAEMONS}
    skipped = [state_of(plugins[name], "skipped", why) for name, why in absent.items()]
    enabled = {name: plugin for name, plugin in plugins.items() if name not in absent}
    order: list[Registration] | None = None
    while order is None:
        skipped += _without_incomplete(enabled, absent, required)
        try:
            order = list(_sorted(enabled))
        except _Circle as circle:
            skipped.append(_without_one_of(circle, enabled, required))
    for name in sorted(required):
        if name not in enabled:
            reason = next((s.reason for s in skipped if s.name == name), "there is no such plugin")
            raise InvalidArgument(f"required plugin {name} cannot start: {reason}")
    return Plan(tuple(order), tuple(skipped))


def requirements(plugin: Registration, plugins: Iterable[str]) -> tuple[str, ...]:
    """The full names among ``plugins`` that ``plugin`` requires; never its own."""
    return _named(plugin, plugin.requires, plugins)


def predecessors(plugin: Registration, plugins: Iterable[str]) -> tuple[str, ...]:
    """The full names among ``plugins`` that ``plugin`` requires or wants; never its own."""
    return _named(plugin, (*plugin.requires, *plugin.wants), plugins)


def _named(
    plugin: Registration, wanted: tuple[str, ...], plugins: Iterable[str]
) -> tuple[str, ...]:
    return tuple(
        name
        for name in plugins
        if name != plugin.name and (name in wanted or name.rpartition(".")[0] in wanted)
    )


def _missing(plugin: Registration, enabled: Iterable[str]) -> str:
    """The first requirement that nobody meets; "" if all are met."""
    found = requirements(plugin, enabled)
    met = {*found, *(name.rpartition(".")[0] for name in found)}
    return next((need for need in plugin.requires if need not in met), "")


def _of_daemons(plugins: dict[str, Registration]) -> dict[str, str]:
    """What only a daemon has, and why: plugins for daemons, and all that cannot be without."""
    found = {name: _DAEMONS for name, plugin in plugins.items() if plugin.daemon}
    complete = {name for name, plugin in plugins.items() if not _missing(plugin, plugins)}
    before = -1
    while len(found) > before:
        before = len(found)
        left = [name for name in plugins if name not in found]
        found |= {
            name: _DAEMONS for name in left if name in complete and _missing(plugins[name], left)
        }
    return found


def _without_incomplete(
    enabled: dict[str, Registration], absent: dict[str, str], required: frozenset[str]
) -> Iterator[PluginState]:
    """Take optional plugins out of ``enabled`` until all that is left is complete."""
    again = True
    while again:
        again = False
        for name, plugin in list(enabled.items()):
            need = _missing(plugin, enabled)
            if not need:
                continue
            why = "is disabled" if _is_disabled(need, absent) else "is not there"
            if not plugin.optional or name in required:
                raise InvalidArgument(f"plugin {name} requires {need}, which {why}")
            del enabled[name]
            yield state_of(plugin, "skipped", f"it requires {need}, which {why}")
            again = True


def _is_disabled(need: str, absent: dict[str, str]) -> bool:
    """True for a disabled plugin, and for a type whose plugins are disabled."""
    return any(
        why == _DISABLED and need in (name, name.rpartition(".")[0]) for name, why in absent.items()
    )


class _Circle(Exception):
    """Plugins that require each other; the first one is also the last."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"plugins require each other: {' -> '.join(names)}")
        self.names = names


def _sorted(plugins: dict[str, Registration]) -> Iterator[Registration]:
    """Depth first, without recursion; the stack is the path that leads to a plugin."""
    done: set[str] = set()
    for first in plugins:
        path = [first]
        while path:
            name = path[-1]
            needs = predecessors(plugins[name], plugins)
            waiting = next((need for need in needs if need not in done), None)
            if name in done:
                path.pop()
            elif waiting is None:
                done.add(name)
                yield plugins[name]
                path.pop()
            elif waiting in path:
                raise _Circle([*path[path.index(waiting) :], waiting])
            else:
                path.append(waiting)


def _without_one_of(
    circle: _Circle, enabled: dict[str, Registration], required: frozenset[str]
) -> PluginState:
    """Break a circle: take the last optional plugin in it out of ``enabled``."""
    for name in reversed(list(enabled)):
        if name in circle.names and enabled[name].optional and name not in required:
            return state_of(enabled.pop(name), "skipped", str(circle))
    raise InvalidArgument(str(circle))
