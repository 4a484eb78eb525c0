"""What runs the plugins, as those see it that show it or steer it: doors and commands.

Promises and records only, light enough for a client. ``orlop.app`` keeps them for
plugins of its process,
``orlop.control.client`` for those of a daemon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

State: TypeAlias = Literal["loaded", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class PluginState:
    """What became of a plugin.

    Attributes:
        type: its type; for one that could not be imported, the group of its
            entry point.
        id: its id; ditto, the entry point's name.
        reason: why it was skipped or failed; one line.
        requires: types and names, as it was registered.
        exports: facts that it publishes.
    """

    type: str
    id: str
    state: State
    reason: str = ""
    requires: tuple[str, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.type}.{self.id}"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a configuration that was read again.

    Attributes:
        applied: keys that have changed and hold from now on, as TOML writes them.
        restart: keys that have changed and hold after a restart.
        warnings: what the operator should know, one line each.
    """

    applied: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@runtime_checkable
class Host(Protocol):
    """Knows all plugins, and can read the configuration again."""

    async def plugins(self) -> Sequence[PluginState]:
        """What became of each plugin, in the order of their start."""

    async def reload(self) -> Reloaded:
        """Read the configuration again, and apply what can be applied to running parts.

        All of it is judged before any of it is applied. Work that has begun keeps
        the settings that it began with.

        Raises:
            InvalidArgument: a value is wrong, nothing has changed; the message
                begins with the file and the line.
            OrlopError: a document cannot be read; ditto.
            FailedPrecondition: no document belongs to this process.
        """
