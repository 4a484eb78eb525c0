"""Which plugins an operator means: ``disabled_plugins`` and ``required_plugins``.

Pure. A document may be containerd's, so names of its plugins are understood:
those of a counterpart of ours mean that one, those of the runtime mean nothing
here and stop nobody. What is near one of our names is taken for a slip.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument
from orlop.plugins.containerd import is_containerds, may_be_containerds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.plugins.host import PluginState
    from orlop.plugins.registration import Registration

_NEAR: Final = 0.9
"""Likeness (of ``difflib``, up to 1) from which on a name is taken for a slip."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator means.

    Attributes:
        disabled: full names of plugins that there are.
        required: ditto.
        warnings: one line for each name that means nothing here.
    """

    disabled: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def select(
    registrations: Sequence[Registration],
    *,
    disabled: Iterable[str],
    required: Iterable[str],
    failed: Sequence[PluginState] = (),
) -> Selection:
    """Find the plugins that names mean.

    Args:
        registrations: all plugins that there are.
        disabled: as the operator wrote them.
        required: ditto.
        failed: plugins that could not be imported, for the message.

    Raises:
        InvalidArgument: a required plugin is not there, and is none of containerd's.
    """
    known = _known(registrations)
    types = frozenset(plugin.type for plugin in registrations)
    disabled, required = tuple(disabled), tuple(required)
    warnings: list[str] = []
    for name in _unknown(disabled, known):
        nearest = _nearest(name, known)
        if nearest and not is_containerds(name):
            warnings.append(f"disabled_plugins: no plugin {name}, did you mean {nearest}?")
    for name in _unknown(required, known):
        near = bool(_nearest(name, known))
        if not is_containerds(name) and (near or not may_be_containerds(name, types)):
            raise _missing(name, known, failed)
        warnings.append(f"required_plugins: {name} is no plugin of an image service, ignored")
    return Selection(
        frozenset(known[name] for name in disabled if name in known),
        frozenset(known[name] for name in required if name in known),
        tuple(warnings),
    )


def _known(registrations: Iterable[Registration]) -> dict[str, str]:
    """Full names by all names that mean them."""
    known: dict[str, str] = {}
    for plugin in registrations:
        for name in (plugin.name, *plugin.aliases):
            known.setdefault(name, plugin.name)
    return known


def _unknown(names: Iterable[str], known: dict[str, str]) -> Iterator[str]:
    return (name for name in names if name not in known)


def _nearest(name: str, known: dict[str, str]) -> str:
    near = get_close_matches(name, known, 1, _NEAR)
    return near[0] if near else ""


def _missing(name: str, known: dict[str, str], failed: Sequence[PluginState]) -> InvalidArgument:
    hint = "`orlop plugins` lists all that there are"
    if nearest := _nearest(name, known):
        hint = f"did you mean {nearest}?"
    elif failed:
        hint = f"it may be one that could not be imported: {failed[0].id}: {failed[0].reason}"
    return InvalidArgument(
        f"required plugin {name} cannot start: there is no such plugin", hint=hint
    )
