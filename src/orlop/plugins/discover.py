"""Plugins of third parties, found through Python's entry points.

A distribution names them in the group ``orlop.plugins``; an entry point leads
to a ``Registration`` or to several of them. This is the only module that looks
for code outside of orlop. A distribution that cannot be imported must not stop
the service, so its failure is a record and not an error; what it brings is
optional, and cannot take the place of what is in the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from orlop.plugins.host import PluginState
from orlop.plugins.registration import Registration, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = "orlop.plugins"


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found.

    Attributes:
        registrations: in the order of the entry points' names; all optional.
        failed: entry points that lead nowhere, and plugins whose name is taken.
    """

    registrations: tuple[Registration, ...] = ()
    failed: tuple[PluginState, ...] = ()


def discover(
    points: Iterable[EntryPoint] | None = None, *, taken: Iterable[str] = ()
) -> Discovered:
    """Import all plugins that are installed.

    Args:
        points: the entry points to look at; None for those of the group.
        taken: full names that are in use.
    """
    found: dict[str, Registration] = {}
    failed: list[PluginState] = []
    used = set(taken)
    for point in sorted(entry_points(group=GROUP) if points is None else points):
        try:
            registrations = _registrations(point.load())
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything at import
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            failed.append(PluginState(GROUP, point.name, "failed", f"{point.value}: {reason}"))
            continue
        for one in registrations:
            if one.name in used:
                reason = f"{point.value}: another plugin has this name"
                failed.append(state_of(one, "failed", reason))
            else:
                used.add(one.name)
                found[one.name] = replace(one, optional=True)
    return Discovered(tuple(found.values()), tuple(failed))


def _registrations(target: object) -> list[Registration]:
    several = [target] if isinstance(target, Registration) else target
    if not isinstance(several, list | tuple):
        raise TypeError("it is neither a Registration nor a list of them")
    for item in several:
        if not isinstance(item, Registration):
            raise TypeError("one of the list is no Registration")
    return list(several)
