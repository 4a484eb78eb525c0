"""Finds out who serves a reference: looks at the files, then lets ``hosts`` decide.

The one way to a plan, for pulls and for those who only want it explained. Asks no
network. Blocks on the disk: call it in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orlop.config.hosts_lookup import HostsDirectories, Looked, stamp_of
from orlop.registry.hosts import Plan, plan, rules_of

if TYPE_CHECKING:
    from orlop.model.reference import Reference
    from orlop.registry.settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and how it came about.

    Attributes:
        plan: whom to ask.
        looked: places that were looked at, in order; empty when the main document
            has mirrors.
        warnings: of the file that holds.
        fresh: True when the file was read for this plan, so that its warnings are news.
    """

    plan: Plan
    looked: tuple[Looked, ...] = ()
    warnings: tuple[str, ...] = ()
    fresh: bool = False


class HostFinder:
    """Plans for references; remembers files that have not changed.

    Args:
        settings: what the main document says.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._directories = HostsDirectories(settings.directories)

    def find(self, reference: Reference) -> Planned:
        """Who serves ``reference`` at this moment.

        Raises:
            HostsInvalid: a file about its registry cannot be read or understood.
            RegistryBlocked: nobody may pull it.
            InvalidReference: its domain cannot be a host.
        """
        rules = rules_of(reference, self._settings)
        if rules is not None:
            return Planned(_stamped(plan(reference, self._settings, rules)))
        found = self._directories.find(reference.domain, reference.path)
        made = _stamped(plan(reference, self._settings, found.rules))
        return Planned(made, found.looked, found.warnings, found.fresh)


def _stamped(made: Plan) -> Plan:
    """The plan, with TLS settings that differ when a file of theirs has changed."""
    return replace(
        made,
        endpoints=tuple(
            replace(one, tls=replace(one.tls, stamp=stamp_of(one.tls.files)))
            if one.tls.files
            else one
            for one in made.endpoints
        ),
    )
