"""Plugins of third parties, found through Python's entry points.

A distribution names them in the group ``orlop.plugins``; an entry point leads
to a ``Registration`` or to several of them. This is the only module that looks
for code outside of orlop. A distribution that cannot be imported must not stop
the service, so its failure is a record and not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from orlop.plugins.registration import PluginState, Registration

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = "orlop.plugins"


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found.

    Attributes:
        registrations: in the order of the entry points' names.
        failed: entry points that lead nowhere, by their names.
    """

    registrations: tuple[Registration, ...]
    failed: tuple[PluginState, ...] = ()


def discover(points: Iterable[EntryPoint] | None = None) -> Discovered:
    """Import all plugins that are installed.

    Args:
        points: the entry points to look at; None for those of the group.
    """
    found: list[Registration] = []
    failed: list[PluginState] = []
    for point in sorted(entry_points(group=GROUP) if points is None else points):
        try:
            found += _registrations(point.load())
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything at import
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            failed.append(PluginState(point.name, "failed", f"{point.value}: {reason}"))
    return Discovered(tuple(found), tuple(failed))


def _registrations(target: object) -> list[Registration]:
    several = [target] if isinstance(target, Registration) else target
    if not isinstance(several, list | tuple):
        raise TypeError("it is neither a Registration nor a list of them")
    for item in several:
        if not isinstance(item, Registration):
            raise TypeError("one of the list is no Registration")
    return list(several)
