"""Brings plugins up in the order of a plan, and down in the reverse one.

Decides nothing about the order and knows no plugin. A plugin that fails takes
those with it that require it; only if all of these are optional, the rest runs.
"""

from __future__ import annotations

import posixpath
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import FailedPrecondition, Internal, OrlopError
from orlop.plugins.graph import Plan, requirements
from orlop.plugins.registration import Context, PluginState, Registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@dataclass(frozen=True, slots=True)
class Started:
    """Running plugins.

    Attributes:
        instances: by full name, in the order of their start.
        states: of every plugin of the plan, running or not.
    """

    instances: Mapping[str, object]
    states: tuple[PluginState, ...]


@asynccontextmanager
async def started(
    plan: Plan,
    *,
    config: object,
    root: str,
    state: str,
    required: frozenset[str] = frozenset(),
) -> AsyncIterator[Started]:
    """Start what is planned; stop it when the context is left.

    Args:
        plan: of ``graph.plan``.
        config: the whole configuration; each plugin selects its part.
        root: directory below which each plugin has one of its own, named as it is.
        state: ditto, for what ends with the machine's run.
        required: full names of optional plugins that must start all the same.

    Raises:
        OrlopError: what a plugin raised that is not optional (Internal for
            foreign errors), or FailedPrecondition when something that it
            requires has failed.
    """
    instances: dict[str, object] = {}
    states: list[PluginState] = [*plan.skipped]
    async with AsyncExitStack() as stack:
        for plugin in plan.order:
            try:
                context = _context(plugin, plan, instances, config, root=root, state=state)
                instances[plugin.name] = await stack.enter_async_context(plugin.init(context))
            except OrlopError as error:
                if not plugin.optional or plugin.name in required:
                    raise
                states.append(PluginState(plugin.name, "failed", error.message))
            except Exception as error:  # foreign code may raise anything
                cause = " ".join(f"{type(error).__name__}: {error}".split())
                failure = Internal(f"plugin {plugin.name} cannot start: {cause}")
                if not plugin.optional or plugin.name in required:
                    raise failure from error
                states.append(PluginState(plugin.name, "failed", failure.message))
            else:
                states.append(PluginState(plugin.name, "loaded"))
        yield Started(instances, tuple(states))


def _context(
    plugin: Registration,
    plan: Plan,
    instances: Mapping[str, object],
    config: object,
    *,
    root: str,
    state: str,
) -> Context:
    """What ``plugin`` gets; raises FailedPrecondition when a requirement has failed."""
    needed = requirements(plugin, tuple(other.name for other in plan.order))
    available = {name: instances[name] for name in needed if name in instances}
    for need in plugin.requires:
        if not any(need in (name, name.rpartition(".")[0]) for name in available):
            raise FailedPrecondition(f"plugin {plugin.name} requires {need}, which has failed")
    return Context(
        plugin.config(config) if plugin.config else None,
        posixpath.join(root, plugin.name),
        posixpath.join(state, plugin.name),
        available,
    )
