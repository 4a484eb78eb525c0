"""Results as people and programs read them: aligned tables and JSON.

Everything that comes from an image or a registry is escaped before it reaches a
terminal. JSON is ASCII, two spaces deep, and its keys never change their meaning:

* *image*: ``id``, ``names`` (all of them, sorted), ``manifest``, ``platform``,
  ``snapshotter``, ``chain_id``, ``user``, ``content_bytes``, ``unpacked_bytes``,
  ``synced``, ``pinned``, ``created_at``.
* Times are RFC 3339 in UTC, or null when unknown; sizes are bytes; digests are
  ``sha256:…``.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from orlop.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.errors import OrlopError
    from orlop.ports.metadata import Image

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
_SHORT_ID = 12


def say(text: str) -> None:
    """Print one line (or several) on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a line that is no result, on standard error."""
    typer.echo(f"orlop: {printable(text)}", err=True)


def error(problem: OrlopError) -> None:
    """Print an error and what can be done about it, on standard error."""
    _tell("orlop:", problem.message, colour=typer.colors.RED)
    if problem.hint:
        hint(problem.hint)


def hint(text: str) -> None:
    """Print what the user can do about the line before, on standard error."""
    _tell("hint:", text, colour=typer.colors.CYAN)


def _tell(word: str, text: str, *, colour: str) -> None:
    """Print a line; on a terminal its first word is coloured, unless NO_COLOR is set."""
    shown = typer.style(word, fg=colour, bold=True)
    plain = False if os.environ.get("NO_COLOR") else None
    typer.echo(f"{shown} {printable(text)}", err=True, color=plain)


def document(value: object) -> None:
    """Print a JSON document."""
    say(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns under a head; the last column is not padded."""
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(padded).rstrip())


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print ``NAME: value`` lines, aligned; a name that repeats is shown once."""
    width = max(len(name) for name, _ in pairs) + 1
    before = ""
    for name, value in pairs:
        shown = "" if name == before else f"{name}:"
        say(f"{shown:{width}} {printable(value)}".rstrip())
        before = name


def printable(text: str) -> str:
    """``text`` with everything escaped that could steer a terminal or end the line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def size(count: int) -> str:
    """Bytes in decimal units with two or three digits: ``512 B``, ``4.3 MB``, ``120 MB``."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if value < 999.5 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """A length of time: ``0.8 s``, ``12 s``, ``3m05s``, ``1h02m``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def time(nanoseconds: int) -> str | None:
    """RFC 3339 in UTC, to the second; None for 0, which means unknown."""
    if nanoseconds == 0:
        return None
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def short_id(id_: str) -> str:
    """The first 12 digits of an image id, as tables show it."""
    return id_.rpartition(":")[2][:_SHORT_ID]


def names(image: Image) -> tuple[str, ...]:
    """The names that people use: tagged ones, else those with a digest; never ids."""
    all_names = [name.name for name in image.names if "/" in name.name]
    tagged = [name for name in all_names if "@" not in name]
    return tuple(tagged or all_names)


def familiar(name: str) -> str:
    """The short form of a canonical image name: ``busybox:latest``."""
    return Reference.parse(name).familiar


def image_json(image: Image, *, pinned: bool) -> dict[str, object]:
    """An image as JSON; the keys are in this module's docstring."""
    record = image.record
    return {
        "id": str(record.id),
        "names": [name.name for name in image.names],
        "manifest": str(record.manifest),
        "platform": record.platform,
        "snapshotter": record.snapshotter,
        "chain_id": record.chain_id,
        "user": record.user,
        "content_bytes": record.content_bytes,
        "unpacked_bytes": record.unpacked_bytes,
        "synced": record.synced,
        "pinned": pinned,
        "created_at": time(record.created_at),
    }
