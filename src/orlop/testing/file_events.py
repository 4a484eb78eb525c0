"""A look at every operation that changes the disk, and faults put into it.

Built on the audit event of ``orlop.linux.files``. SQLite's own writes are not
seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Watcher: TypeAlias = Callable[[str, object], None]
"""Told an operation's name (``fsync``, ``rename``, …) and its subject (a descriptor or a
name) before it is done; what it raises, the operation raises."""


class FileEvents:
    """Calls at most one watcher at a time.

    Make one for a process and keep it: an audit hook cannot be taken out again.
    """

    def __init__(self) -> None:
        self._watcher: Watcher | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "orlop.files" and self._watcher is not None:
            self._watcher(str(arguments[0]), arguments[1])

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Call ``watcher`` for each operation of the block, on whatever thread."""
        self._watcher = watcher
        try:
            yield
        finally:
            self._watcher = None

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """The names of the block's operations, in order."""
        operations: list[str] = []
        with self.watched(lambda operation, _: operations.append(operation)):
            yield operations

    @contextmanager
    def failing(self, operation: str, code: int, *, after: int = 0) -> Iterator[None]:
        """Let ``operation`` fail.

        Args:
            operation: its name.
            code: the errno it fails with.
            after: how many of its occurrences still work.
        """
        seen = 0

        def watcher(found: str, _: object) -> None:
            nonlocal seen
            seen += found == operation
            if found == operation and seen > after:
                raise OSError(code, "injected")

        with self.watched(watcher):
            yield
