"""A process that changes a tree without end: ``neighbour.py ROOT OUTSIDE PARENT``.

It exchanges directories of the tree with links that lead outside, and never follows one
itself. It says how often it did so, a line at a time, until its parent ends.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from contextlib import suppress

from orlop.linux.files import RENAME_EXCHANGE, renameat2

NAMES = ("a", "b", "c", "sub")
PLACES = ("", "deep")
"""Directories whose ``NAMES`` change; they themselves stay."""
_TURNS = 40
_PAUSE = 0.0005  # the applier shall come to an end now and then


def relink(place: int, name: str, target: str) -> None:
    """Have a directory ``name``, and a link beside it to exchange it with."""
    evil = f"evil-{name}"
    try:
        os.unlink(evil, dir_fd=place)
    except IsADirectoryError:
        shutil.rmtree(evil, dir_fd=place, ignore_errors=True)
    except FileNotFoundError:
        pass
    with suppress(OSError):
        os.symlink(target, evil, dir_fd=place)
    with suppress(OSError):
        os.mkdir(name, dir_fd=place)


def main() -> None:
    """Be the neighbour."""
    path, outside, parent = sys.argv[1:]
    places = [os.open(f"{path}/{name}", os.O_RDONLY | os.O_DIRECTORY) for name in PLACES]
    targets = (outside, f"{outside}/dir", "../outside", "../../outside/dir", f"{outside}/file")
    chance, done = random.Random(5), 0
    while os.getppid() == int(parent):
        for place in places:
            for name in NAMES:
                relink(place, name, chance.choice(targets))
        for _ in range(_TURNS):
            for name in NAMES:
                for place in places:
                    with suppress(OSError):  # the applier has put something else there
                        evil = f"evil-{name}".encode()
                        renameat2(place, name.encode(), place, evil, RENAME_EXCHANGE)
                        done += 1
        print(done, flush=True)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
