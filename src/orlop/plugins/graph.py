"""The order in which plugins start.

Pure. The order depends on the registrations alone: plugins that do not need
each other keep the order in which they were registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, InvalidArgument
from orlop.plugins.registration import PluginState, Registration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Plan:
    """What starts, and what does not.

    Attributes:
        order: each plugin stands after all that it requires.
        skipped: disabled plugins, and optional ones that lack something.
    """

    order: tuple[Registration, ...]
    skipped: tuple[PluginState, ...] = ()


def plan(
    registrations: tuple[Registration, ...],
    *,
    disabled: frozenset[str] = frozenset(),
    required: frozenset[str] = frozenset(),
) -> Plan:
    """Decide which plugins start, in which order.

    Args:
        registrations: all that there is.
        disabled: full names of plugins that must not start; those that nobody
            registered are ignored, since containerd's own may be among them.
        required: full names of plugins that must start.

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
    skipped = [PluginState(name, "skipped", "disabled") for name in plugins if name in disabled]
    enabled = {name: plugin for name, plugin in plugins.items() if name not in disabled}
    skipped += _without_incomplete(enabled, disabled, required)
    for name in sorted(required):
        if name not in enabled:
            reason = next((s.reason for s in skipped if s.name == name), "there is no such plugin")
            raise InvalidArgument(f"required plugin {name} cannot start: {reason}")
    return Plan(tuple(_sorted(enabled)), tuple(skipped))


def requirements(plugin: Registration, plugins: Iterable[str]) -> tuple[str, ...]:
    """The full names among ``plugins`` that ``plugin`` requires; never its own."""
    wanted = set(plugin.requires)
    return tuple(
        name
        for name in plugins
        if name != plugin.name and (name in wanted or name.rpartition(".")[0] in wanted)
    )


def _missing(plugin: Registration, enabled: dict[str, Registration]) -> str:
    """The first requirement that nobody meets; "" if all are met."""
    found = requirements(plugin, tuple(enabled))
    met = {*found, *(name.rpartition(".")[0] for name in found)}
    return next((need for need in plugin.requires if need not in met), "")


def _without_incomplete(
    enabled: dict[str, Registration], disabled: frozenset[str], required: frozenset[str]
) -> Iterator[PluginState]:
    """Take optional plugins out of ``enabled`` until all that is left is complete."""
    again = True
    while again:
        again = False
        for name, plugin in list(enabled.items()):
            need = _missing(plugin, enabled)
            if not need:
                continue
            why = "is disabled" if need in disabled else "is not there"
            if not plugin.optional or name in required:
                raise InvalidArgument(f"plugin {name} requires {need}, which {why}")
            del enabled[name]
            yield PluginState(name, "skipped", f"it requires {need}, which {why}")
            again = True


def _sorted(plugins: dict[str, Registration]) -> Iterator[Registration]:
    """Depth first, without recursion; the stack is the path that leads to a plugin."""
    done: set[str] = set()
    for first in plugins:
        path = [first]
        while path:
            name = path[-1]
            needs = requirements(plugins[name], tuple(plugins))
            waiting = next((need for need in needs if need not in done), None)
            if name in done:
                path.pop()
            elif waiting is None:
                done.add(name)
                yield plugins[name]
                path.pop()
            elif waiting in path:
                circle = [*path[path.index(waiting) :], waiting]
                raise InvalidArgument(f"plugins require each other: {' -> '.join(circle)}")
            else:
                path.append(waiting)
