"""What a worker gives up before it reads the first byte of a layer.

Several layers of defence, each of its own kind, so that one hole is not the end. The
first line is not here: ``apply`` never follows a path out of its tree. ``enter`` closes
the doors that have to be closed by a single thread; ``filter_calls`` is the last step,
when the worker's threads are there.

A layer that the kernel (or a container around us) does not allow is missing; whether
that is good enough is the daemon's decision, and is made before anything is read.
"""

from __future__ import annotations

import enum
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.linux import isolation, landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.limits import Limits

_DESCRIPTORS: Final = 512
"""Open files of a worker: the directories that it keeps open, and a few."""

_CAPABILITIES: Final = (
    isolation.CAP_CHOWN,
    isolation.CAP_DAC_OVERRIDE,
    isolation.CAP_FOWNER,
    isolation.CAP_FSETID,
    isolation.CAP_MKNOD,
    isolation.CAP_SETFCAP,
)


class Fence(enum.IntFlag):
    """The layers of a worker's isolation."""

    PROCESSES = 1
    """A process namespace of its own: there is nobody to trace or to signal."""
    ROOT = 2
    """The layer's tree is all of the file system that it can name."""
    NETWORK = 4
    """Network and IPC namespaces without anything in them."""
    LIMITS = 8
    """Bounds of memory, file length and descriptors."""
    CAPABILITIES = 16
    """Six of root's powers are left, and no program can bring one back."""
    LANDLOCK = 32
    """The kernel's second check of each path."""
    PATHS = 64
    """Python has no directory to look for modules in."""
    FINDERS = 128
    """Python has nobody to look for modules."""
    CALLS = 256
    """A list of allowed system calls."""


EVERY: Final = Fence(511)
NONE: Final = Fence(0)


@dataclass(slots=True)
class Jail:
    """A worker's isolation, as far as it has come.

    Attributes:
        wanted: what is to be in force; tests leave something out.
        target: descriptor of the tree; another one after ``enter``.
        missing: what the kernel did not allow.
        reason: the first refusal in the kernel's words; "" for none.
    """

    wanted: Fence
    target: int
    missing: Fence = NONE
    reason: str = ""

    def enter(self, limits: Limits) -> None:
        """Close every door but the last; the process must have one thread."""
        self._try(Fence.NETWORK, self._leave_network)
        self._try(Fence.ROOT, self._enter_tree)
        self._try(Fence.LIMITS, lambda: _limit(limits))
        self._try(Fence.CAPABILITIES, lambda: isolation.keep_capabilities(_CAPABILITIES))
        if self.wanted & (Fence.LANDLOCK | Fence.CALLS):  # without it neither can be had
            isolation.no_new_privileges()
        self._try(Fence.LANDLOCK, lambda: landlock.restrict(self.target))
        # A layer's tree is our root from now on: its modules must never be ours.
        self._try(Fence.PATHS, _forget_paths)
        self._try(Fence.FINDERS, sys.meta_path.clear)

    def filter_calls(self) -> None:
        """Allow what the work needs and nothing else, for all threads of the process."""
        self._try(Fence.CALLS, lambda: seccomp.install(seccomp.program(os.uname().machine)))

    def note_missing(self, fence: Fence, error: OSError) -> None:
        """A layer that somebody else could not put up."""
        self.missing |= fence
        self.reason = self.reason or str(error)

    def _try(self, fence: Fence, put_up: Callable[[], None]) -> None:
        if not fence & self.wanted:
            return
        try:
            put_up()
        except OSError as error:
            self.note_missing(fence, error)

    def _leave_network(self) -> None:
        isolation.leave_namespaces(isolation.CLONE_NEWNET | isolation.CLONE_NEWIPC)

    def _enter_tree(self) -> None:
        outside = self.target
        self.target = isolation.enter_tree(outside)
        os.close(outside)


def _limit(limits: Limits) -> None:
    isolation.limit_resources(
        memory=limits.worker_memory_bytes,
        file_bytes=limits.layer_bytes,
        descriptors=_DESCRIPTORS,
    )


def _forget_paths() -> None:
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
