"""Debian's containerd 1.6, asked what it makes of a document."""

from __future__ import annotations

import subprocess
import tomllib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CONTAINERD: Final = "/usr/bin/containerd"


class Refused(Exception):
    """containerd does not take the document; says why."""


def dump(path: Path) -> dict[str, Any]:
    """What holds after defaults and imports; no daemon is started.

    Raises:
        Refused: the document is wrong, or something that it imports.
    """
    done = subprocess.run(
        [_CONTAINERD, "--config", path, "config", "dump"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if done.returncode:
        raise Refused(done.stderr)
    return tomllib.loads(done.stdout)


def lay_out(place: Path, files: Mapping[str, str]) -> Path:
    """Write documents; ``@`` in them is ``place``. Returns the first one.

    containerd 1.6 takes patterns from its working directory, hence absolute paths.
    """
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@", str(place)))
    return place / next(iter(files))
