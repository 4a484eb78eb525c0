"""Watches the system calls that change the store, and makes one of them fail.

Every change goes through ``orlop.linux.files``, which raises an audit event
first. Audit hooks cannot be taken out again, so there is one for the process.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoreCalls:
    """Sees the calls of all threads while ``watched``."""

    def __init__(self) -> None:
        self._failing = ""
        self._code = 0
        self._seen: list[str] | None = None
        sys.addaudithook(self._hook)

    @contextmanager
    def watched(self, failing: str = "", code: int = errno.EIO) -> Iterator[list[str]]:
        """The names of the calls, in order; the first one named ``failing`` fails."""
        self._failing, self._code, self._seen = failing, code, []
        try:
            yield self._seen
        finally:
            self._seen = None

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "orlop.files" or self._seen is None:
            return
        operation = str(arguments[0])
        self._seen.append(operation)
        if operation == self._failing:
            self._failing = ""
            raise OSError(self._code, os.strerror(self._code))


@functools.cache
def store_calls() -> StoreCalls:
    """The one of this process."""
    return StoreCalls()
