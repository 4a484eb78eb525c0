"""Tells what happens: a line for each step, what came of it, and how long it took."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.ports.observe import PullProgress

_INDENT: Final = "   "
_BAR: Final = 32
_QUIET_SECONDS: Final = 1.0


def megabytes(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 1e6:.1f} MB"


@dataclass
class Story:
    """Prints steps to standard output; on a terminal, progress is redrawn in place."""

    terminal: bool = field(default_factory=sys.stdout.isatty)
    begun: float = field(default_factory=time.monotonic)
    _number: int = 0
    _last: float = 0.0
    _line: str = ""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step; its time is told when it ends well."""
        self._number += 1
        print(f"{self._number:2d} {title}", flush=True)
        begun = time.monotonic()
        yield
        self.say(f"({time.monotonic() - begun:.2f} s)")

    def say(self, text: str) -> None:
        """A line about the step."""
        self._clear()
        print(f"{_INDENT}{text}", flush=True)

    def progress(self, picture: PullProgress) -> None:
        """How far a pull is."""
        text = f"{picture.phase:10} {_bar(picture.downloaded, picture.total)}"
        layers = " ".join(f"{layer.digest.short[:6]}:{layer.phase}" for layer in picture.layers)
        if self.terminal:
            self._clear()
            self._line = f"{_INDENT}{text}  {layers}"[:118]
            print(self._line, end="", flush=True)
        elif picture.layers and time.monotonic() - self._last > _QUIET_SECONDS:
            self._last = time.monotonic()
            self.say(f"{text}  {layers}")

    def end(self) -> None:
        """The last line."""
        print(f"Done in {time.monotonic() - self.begun:.1f} s.", flush=True)

    def _clear(self) -> None:
        if self._line:
            print("\r" + " " * len(self._line) + "\r", end="")
            self._line = ""


def _bar(done: int, total: int) -> str:
    filled = _BAR * done // total if total else 0
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {megabytes(done)} of {megabytes(total)}"
