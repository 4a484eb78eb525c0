"""Whether the machine lost its power while the last run was at work.

A file in the root directory holds the boot's id for as long as somebody works there
without a barrier. One that is found at a start was left by a run that did not end; when
it names another boot, whatever that run had not synced may be lost. A process that was
killed alone has lost nothing: the kernel still had its writes.

Source: proc(5) on /proc/sys/kernel/random/boot_id.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from orlop.linux import files

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_NAME: Final = "running"
_MOST_BYTES: Final = 64


class Run:
    """One run on the root directory ``root``, whose lock is the caller's.

    Args:
        root: the directory.
        boot_id: of this boot; "" asks the kernel.

    Attributes:
        lost_power: True when a run that did not end did not outlive its boot either.
        marked: True while the mark is there.

    Raises:
        OrlopError: the mark cannot be read.
    """

    def __init__(self, root: str, boot_id: str = "") -> None:
        self._root = root
        self._path = os.path.join(root, _NAME)
        with files.translated(f"read {self._path}"):
            self._boot = boot_id or _read(_BOOT_ID)
            left = _read(self._path)
        self.marked = bool(left)
        self.lost_power = left not in ("", self._boot)

    def mark(self) -> None:
        """Say that something may be written that is not synced.

        Raises:
            StoreFull, StoreIO: the disk.
        """
        with files.translated(f"write {self._path}"), files.replaced(self._path) as file:
            file.write(self._boot.encode())
        self.marked, self.lost_power = True, False

    def settle(self) -> None:
        """Say that all that was written is durable, or known not to be.

        Raises:
            StoreIO: the disk.
        """
        directory = os.open(self._root, files.DIRECTORY)
        try:
            with files.translated(f"remove {self._path}"), suppress(FileNotFoundError):
                files.remove_file(directory, _NAME)
        finally:
            os.close(directory)
        self.marked = self.lost_power = False


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
