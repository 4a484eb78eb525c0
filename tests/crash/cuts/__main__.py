"""Cuts the power of stores, and says what that broke.

``python -m tests.crash.cuts --rig block --fs ext4 --states 20000 --seed 1`` records a run
of work in ``.cache/cuts`` and replays states of it; ``--again`` replays the record that is
there, and ``--first`` goes on where another run ended. ``--rig clones`` clones a disk at
work. ``--honesty`` leaves out each step of the protocol in turn and shows whether the rigs
notice, and ``--peer`` whether they notice what Debian's containerd loses. Needs root, and
ends with 1 when a promise was broken, or a rig was blind.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.cuts import clones, disks, honesty, log, peer, samples, states
from tests.crash.cuts.examine import examiner
from tests.crash.cuts.record import record
from tests.crash.cuts.replay import Outcome, Recording, replay
from tests.crash.cuts.steps import STEPS

if TYPE_CHECKING:
    from types import FrameType

    from tests.crash.cuts.examine import Examiner

_RECORDS: Final = Path(__file__).resolve().parents[3] / ".cache" / "cuts"
_TELL_EVERY: Final = 250


def main() -> None:
    """See the module."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _end)
    disks.keep_mounts_private()
    with disks.workplace() as home:
        good = asyncio.run(_run(options, home))
    sys.exit(0 if good else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.crash.cuts", description="Cut the power.")
    parser.add_argument("--rig", choices=["block", "clones"], default="block")
    parser.add_argument("--fs", choices=list(disks.KINDS), default="ext4")
    parser.add_argument("--states", type=int, default=1000, help="how many disks to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="block: begin with this one")
    parser.add_argument("--until", type=int, default=None, help="block: end before this one")
    parser.add_argument("--again", action="store_true", help="block: use the record that is there")
    parser.add_argument("--pull-every", type=int, default=50, metavar="N", help="block: pull again")
    parser.add_argument("--images", choices=samples.COLLECTIONS, default="small", help="clones")
    parser.add_argument("--without", choices=list(STEPS), default="", help="leave a step out")
    parser.add_argument("--honesty", action="store_true", help="leave out each step in turn")
    parser.add_argument("--peer", action="store_true", help="clone the disk of Debian's containerd")
    return parser


async def _run(options: argparse.Namespace, home: Path) -> bool:
    async with examiner(home, options.images) as made:
        place = home / "place"
        place.mkdir()
        if options.honesty:
            return await honesty.show(
                made, place, seed=options.seed, count=options.states, only=options.without
            )
        if options.peer:
            return _peer(options, made, place)
        told = _Teller(options)
        if options.rig == "clones":
            outcome = await clones.cut(
                disks.KINDS[options.fs],
                options.states,
                seed=options.seed,
                examiner=made,
                home=place,
                collection=options.images,
                step=options.without,
                told=told,
            )
        else:
            outcome = await _block(options, made, place, told)
    told.total(outcome)
    return not outcome.violations


def _end(*_: int | FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _peer(options: argparse.Namespace, examiner: Examiner, home: Path) -> bool:
    kind = disks.KINDS[options.fs]
    clones, broken = peer.lost(kind, expected=examiner.expected, home=home, seed=options.seed)
    print(f"containerd: an acknowledged image is not whole on {broken} of {clones} disks")
    return broken > 0


async def _block(
    options: argparse.Namespace, examiner: Examiner, home: Path, told: _Teller
) -> Outcome:
    recording = _recording(options, home)
    found = states.chosen(
        recording.epochs, options.states, seed=options.seed, sector=recording.kind.sector
    )
    chosen = list(enumerate(found))[options.first : options.until]
    writes = sum(len(epoch.writes) for epoch in recording.epochs)
    print(f"{writes} writes, {len(recording.epochs)} epochs, {len(chosen)} states", flush=True)
    return await replay(
        recording,
        chosen,
        examiner=examiner,
        home=home,
        pull_every=options.pull_every,
        told=told,
    )


class _Teller:
    """Prints violations as they are found, and how far it is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._shown = 0

    def __call__(self, outcome: Outcome) -> bool:
        for disk, problems in outcome.violations[self._shown :]:
            print(f"VIOLATION {disk}", *problems, sep="\n    ", flush=True)
        self._shown = len(outcome.violations)
        if outcome.examined % _TELL_EVERY == 0:
            self.total(outcome)
        return True

    def total(self, outcome: Outcome) -> None:
        """Print what there is so far."""
        done = self._options.first + outcome.examined + outcome.repeated
        print(
            f"{self._options.rig} {self._options.fs}: {done} of {self._options.states}:"
            f" {outcome.examined} examined, {outcome.repeated} seen before,"
            f" {outcome.refused} refused, {len(outcome.violations)} violations,"
            f" {outcome.seconds:.0f} s",
            flush=True,
        )


def _recording(options: argparse.Namespace, home: Path) -> Recording:
    kind = disks.KINDS[options.fs]
    name = f"{options.fs}-{options.without or 'whole'}-{options.seed}"
    place = _RECORDS / name
    base, text = place / "base", place / "log"
    if not options.again:
        place.mkdir(parents=True, exist_ok=True)
        disks.make_disk(base, kind)
        text.unlink(missing_ok=True)
        record(base, kind, log=text, home=home, step=options.without)
    return Recording(kind, base, log.parse(text.read_bytes()))


if __name__ == "__main__":
    main()
