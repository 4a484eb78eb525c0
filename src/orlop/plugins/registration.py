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
from typing import Literal, TypeAlias

from orlop.errors import InvalidArgument, NotFound

_TYPE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.v[0-9]+")
_ID = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")

State: TypeAlias = Literal["loaded", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a plugin gets when it starts.

    Attributes:
        config: what ``Registration.config`` selected, None if it selects nothing.
        root: the plugin's directory for what must last; not created yet.
        state: the plugin's directory for what ends with the machine's run; ditto.
        started: instances of what it requires, by full name.
    """

    config: object
    root: str
    state: str
    started: Mapping[str, object] = field(default_factory=dict)

    def all_of(self, kind: str) -> dict[str, object]:
        """Started instances of a required type, by id."""
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


Init: TypeAlias = Callable[[Context], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Registration:
    """A plugin that can be started.

    Attributes:
        type: what it is, such as ``io.containerd.snapshotter.v1``.
        id: which one of its type it is, such as ``overlayfs``; without dots.
        init: starts it, see the module.
        requires: types (all plugins of the type start before this one, and at
            least one must) or full names (exactly that one).
        config: selects from the whole configuration what the plugin gets; None
            if it needs nothing. It may raise ``InvalidArgument``. The caller of
            ``start.started`` fixes what the configuration is.
        optional: when it cannot start, the rest goes on without it.
    """

    type: str
    id: str
    init: Init
    requires: tuple[str, ...] = ()
    config: Callable[[object], object] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if not _TYPE.fullmatch(self.type):
            raise InvalidArgument(
                f"not a type of plugins: {self.type!r}",
                hint='a type ends with its version, as "io.containerd.snapshotter.v1" does',
            )
        if not _ID.fullmatch(self.id):
            raise InvalidArgument(f"not the id of a plugin: {self.id!r}")

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.type}.{self.id}"


@dataclass(frozen=True, slots=True)
class PluginState:
    """What became of a plugin.

    Attributes:
        name: its full name, or that of the entry point that should have brought it.
        reason: why it was skipped or failed; one line.
    """

    name: str
    state: State
    reason: str = ""
