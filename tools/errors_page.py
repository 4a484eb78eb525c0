#!/usr/bin/env python3
"""Writes docs/errors.md: every error of orlop, and how each door shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.cli.exits import exit_code
from orlop.cri.status import pull_status, status
from orlop.errors import LimitExceeded, OrlopError, RegistryRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "errors.md"

HEAD: Final = """\
# Errors

Everything that orlop refuses or fails to do ends in one of these errors. The
library raises them (`orlop.errors`), the two gRPC services send them as a
status, and the command line ends with an exit code and one line on standard
error, `orlop: CAUSE`, and with a second one if there is something to be done
about it.

A message names the thing and the cause, cause first where there are several. It
never holds a secret. `ORLOP_DEBUG=1` in the environment of a command adds the
place in the program that an error came from.

- **Kind** is the text by which orlop.v1 names the error. Beside the gRPC status
  the trailing metadata `orlop-error-bin` holds it, the message and the hint.
- **Status** is the gRPC status of a call. PullImage of the CRI has a status of
  its own for the errors that kubelet tells apart by their text.
- **Exit** is the exit code of a command: 0 done, 1 failed, 2 usage, 3 not found,
  4 damaged image, 5 refused by policy, 75 try again later, 128 + N ended by
  signal N.

`make docs` writes this page.

"""

COLUMNS: Final = ("Error", "What happened", "Kind", "Status", "PullImage", "Exit")


def page() -> str:
    """The whole page."""
    lines = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(kind, depth)) for kind, depth in _tree(OrlopError)]
    return HEAD + "\n".join(lines) + "\n"


def _tree(kind: type[OrlopError], depth: int = 0) -> Iterator[tuple[type[OrlopError], int]]:
    """All errors below ``kind`` in the order of the source, and how far below."""
    for child in kind.__subclasses__():
        if child.__module__ == kind.__module__:
            yield child, depth
            yield from _tree(child, depth + 1)


def _cells(kind: type[OrlopError], depth: int) -> list[str]:
    error = _example(kind)
    usual, pull = status(error).code.name, pull_status("", error).code.name
    return [
        f"{'· ' * depth}`{kind.__name__}`",
        (kind.__doc__ or "").partition("\n")[0].rstrip(".").replace("``", "`"),
        f"`{kind.reference}`",
        usual,
        "" if pull == usual else pull,
        str(exit_code(error)),
    ]


def _example(kind: type[OrlopError]) -> OrlopError:
    if issubclass(kind, LimitExceeded):
        return kind("", limit="")
    if issubclass(kind, RegistryRejected):
        return kind("", status=0)
    return kind("")


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
