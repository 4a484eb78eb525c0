"""Reference in, files out, without a daemon.

    sudo .venv/bin/python examples/library.py docker.io/library/busybox:latest [ROOT]

Pulls the image into the store ROOT, with progress, and runs through its files.
"""

# ruff: noqa: T201 (an example prints)

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import orlop
from orlop.errors import OrlopError

if TYPE_CHECKING:
    from orlop.ports.observe import PullProgress


def show(progress: PullProgress) -> None:
    """Called about ten times a second, and once at the end."""
    print(f"{progress.phase}: {progress.downloaded} of {progress.total} bytes", file=sys.stderr)


async def main(reference: str, root: str) -> None:
    """Pull, look, and leave the image in the store."""
    async with orlop.open(root) as images:
        image = await images.pull(reference, progress=show)
        config = await image.config()
        print(f"{image.id}: {image.size} bytes, command {list(config.command)}")
        async with image.mount() as path:
            files = sum(len(names) for _, _, names in os.walk(path))
            print(f"{files} files below {sorted(os.listdir(path))}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], *sys.argv[2:] or ["/var/tmp/images"]))  # noqa: S108 (kept)
    except OrlopError as error:
        sys.exit(f"{error}\n{error.hint}".rstrip())
