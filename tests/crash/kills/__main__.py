"""Kills stores, and says what that broke; see the package. Needs root and gcc."""

from __future__ import annotations

import sys
from typing import Final

from tests.crash.kills.campaign import Campaign, in_shards, options
from tests.crash.kills.preloaded import preload
from tests.crash.kills.rig import rig
from tests.crash.kills.sweep import Point, kill, points

_MODULE: Final = "tests.crash.kills"


def main() -> int:
    """See the package; returns the exit code."""
    wanted = options(_MODULE, "points", 2000)
    if wanted.shard < 0:
        return in_shards(_MODULE, wanted)
    preload(_MODULE)
    with rig() as made:
        rehearsed = made.rehearsed(wanted.record.with_suffix(".changes"))
        chosen = [
            point
            for point in points(rehearsed, wanted.seed)
            if not wanted.works or point.work in wanted.works
        ]
        chosen = chosen[: wanted.count or len(chosen)]
        return 1 if Campaign[Point](wanted, lambda point: kill(made, point)).run(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
