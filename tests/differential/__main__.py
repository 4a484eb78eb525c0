"""``python -m tests.differential``: many archives by everybody; as root."""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.differential.archives import BSDTAR, ODD, TAR, UMOCI
from tests.differential.compare import BATCH, Report, compare, reduced


def main() -> int:
    """Compare, and print what came of it; 1 when a disagreement has no explanation."""
    arguments = argparse.ArgumentParser(prog="python -m tests.differential")
    arguments.add_argument("--archives", type=int, default=10_000)
    arguments.add_argument("--umoci", type=int, default=1000, help="how many of them umoci gets")
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    options = arguments.parse_args()
    first = options.seed * 1_000_000
    print(f"seed {options.seed}", flush=True)
    report = Report()
    started = time.monotonic()
    for done in range(0, options.archives, BATCH):
        numbers = range(first + done, first + min(done + BATCH, options.archives))
        programs = [TAR, BSDTAR, *([UMOCI] if done < options.umoci else [])]
        compare(numbers, programs, report)
    print(f"{report.archives} archives in {time.monotonic() - started:.0f} s")
    print(f"  {report.refused} that orlop refuses")
    for program, count in report.compared.items():
        print(f"  {count} compared with {program}")
    for (name, program), count in sorted(report.explained.items()):
        print(f"  {count} explained: {name} ({program}: {ODD[name].why})")
    for archive, program, _ in report.unexplained[:5]:
        small, lines = reduced(archive, program)
        print(f"UNEXPLAINED: archive {archive.number}, {program}, odd: {sorted(archive.odd)}")
        print("\n".join(f"    {line}" for line in lines))
        print("\n".join(f"    {member!r}" for member in small.members))
    print(f"{len(report.unexplained)} without an explanation")
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
