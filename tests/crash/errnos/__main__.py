"""Lets changes fail, and says what that broke; see the package. Needs root and gcc."""

from __future__ import annotations

import sys
from typing import Final

from tests.crash.errnos.inject import Injection, inject, injections
from tests.crash.kills.campaign import Campaign, in_shards, options
from tests.crash.kills.preloaded import Kind, preload
from tests.crash.kills.rig import rig

_MODULE: Final = "tests.crash.errnos"


def main() -> int:
    """See the package; returns the exit code."""
    wanted = options(_MODULE, "injections", 5000)
    if wanted.shard < 0:
        return in_shards(_MODULE, wanted)
    preload(_MODULE)
    with rig() as made:
        rehearsed = {
            kind: made.rehearsed(wanted.record.with_suffix(f".{kind.name.lower()}s"), kind)
            for kind in Kind
        }
        chosen = [
            one
            for one in injections(rehearsed, wanted.seed)
            if not wanted.works or one.work in wanted.works
        ]
        chosen = chosen[: wanted.count or len(chosen)]
        return 1 if Campaign[Injection](wanted, lambda one: inject(made, one)).run(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
