"""Shows how a pull is going, on standard error.

On a terminal: a bar for each layer, redrawn in place. Elsewhere, such as in the
log of a build: a line for each phase, and nothing in between.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orlop.cli import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    from orlop.model.digest import Digest
    from orlop.ports.observe import LayerProgress, PullProgress

_LINES: Final = frozenset({"resolving", "pulling", "syncing"})
_REFRESHES: Final = 10
"""Redraws a second; pulls report about as often."""


@contextmanager
def shown() -> Iterator[Callable[[PullProgress], None]]:
    """A place to send a pull's pictures to, as ``ImageService.pull`` does.

    Bars stay on the screen as they were last when the ``with`` ends.
    """
    if not sys.stderr.isatty():
        yield Lines().update
        return
    with _bars() as progress:
        yield Bars(progress).update


def layer_text(layer: LayerProgress) -> str:
    """What a layer is doing, in one word or two."""
    if layer.phase == "unpacking" and layer.size:
        return f"unpacking {100 * layer.unpacked // layer.size}%"
    return "done" if layer.phase == "staged" else layer.phase


class Lines:
    """One line for each phase of a pull."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def update(self, picture: PullProgress) -> None:
        """Tell what is new in this picture, if anything."""
        phase = picture.phase
        if phase not in _LINES or phase in self._told:
            return
        if phase == "pulling" and not picture.layers:
            return
        self._told.add(phase)
        render.note(f"{picture.reference}: {phase}{self._detail(picture)}")

    def _detail(self, picture: PullProgress) -> str:
        if picture.phase != "pulling":
            return ""
        wanted = sum(layer.phase != "present" for layer in picture.layers)
        if not wanted:
            return f", all {len(picture.layers)} layers are here"
        return f" {wanted} of {len(picture.layers)} layers, {render.size(picture.total)}"


class Bars:
    """A bar for each layer that is not here yet, and one for all of them together."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._whole: TaskID | None = None
        self._layers: dict[Digest, TaskID] = {}

    def update(self, picture: PullProgress) -> None:
        """Move the bars to where this picture has them."""
        if self._whole is None:
            self._whole = self._progress.add_task(
                picture.reference, total=None, phase=picture.phase
            )
        for layer in picture.layers:
            self._update_layer(layer)
        self._progress.update(
            self._whole,
            total=picture.total or None,
            completed=picture.downloaded,
            phase=picture.phase,
        )

    def _update_layer(self, layer: LayerProgress) -> None:
        text = layer_text(layer)
        task = self._layers.get(layer.digest)
        if task is None:
            task = self._progress.add_task(f"  {layer.digest.short}", total=layer.size, phase=text)
            self._layers[layer.digest] = task
        here = layer.size if layer.phase in {"present", "staged"} else layer.downloaded
        self._progress.update(task, completed=here, phase=text)


def _bars() -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        # References may hold brackets, which markup would eat.
        progress.TextColumn("{task.description}", markup=False),
        progress.TextColumn("{task.fields[phase]:<13}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=_REFRESHES,
    )
