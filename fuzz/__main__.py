"""Runs one target, or all of them, for a time: ``python -m fuzz [--seconds N] [TARGET...]``.

Each runs in a process of its own (the fuzzer ends it in its own way). What it finds is
written to ``.cache/fuzz/TARGET``, next to the inputs that reached something new; those
that are worth keeping go to ``fuzz/corpus`` with ``--keep``, small and few.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz.corpus import CORPUS, inputs, keep
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

WORK: Final = Path(".cache/fuzz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; returns 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--keep", action="store_true", help="add to fuzz/corpus what is new")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    failed = [
        name
        for name in options.targets or TARGETS
        if not _fuzz(name, options.seconds, keeping=options.keep)
    ]
    return 1 if failed else 0


def _fuzz(name: str, seconds: int, *, keeping: bool) -> bool:
    """Run one target in a process of its own; True when nothing was found."""
    found = WORK / name
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(name)):
        (found / f"seed-{number}").write_bytes(data)
    started = time.monotonic()
    command = [sys.executable, "-m", "fuzz.inside", name, str(seconds), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    took = time.monotonic() - started
    runs = _runs(done.stderr)
    verdict = "nothing found" if not done.returncode else "FOUND SOMETHING"
    print(f"{name}: {runs} runs in {took:.0f} s, {len(inputs(name))} inputs kept: {verdict}")
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-6000:], sep="\n")
    if keeping:
        print(f"{name}: {keep(name, found)} inputs added to {CORPUS / name}")
    return not done.returncode


def _runs(log: str) -> str:
    """How many inputs were tried, by the fuzzer's last words."""
    lines = [line for line in log.splitlines() if line.startswith("Done ")]
    return lines[-1].split()[1] if lines else "an unknown number of"


if __name__ == "__main__":
    sys.exit(main())
