"""Leaves out each step of the protocol in turn: a rig that does not notice is blind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.crash.cuts import clones, disks, log, states
from tests.crash.cuts.record import record
from tests.crash.cuts.replay import Recording, replay
from tests.crash.cuts.steps import NEEDLESS, STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.cuts.examine import Examiner
    from tests.crash.cuts.replay import Outcome


async def show(examiner: Examiner, home: Path, *, seed: int, count: int, only: str = "") -> bool:
    """Print a table: a line for each step, and after how many disks each rig noticed.

    Args:
        count: how many disks to try with each rig.
        only: a single step.

    Returns:
        True when somebody noticed that each step was missing, but for the needless ones.
    """
    rigs = [f"block {name}" for name in disks.KINDS] + ["clones ext4"]
    print("| Step left out |", " | ".join(rigs), "|\n|---|" + "---|" * len(rigs), flush=True)
    blind = []
    for step in [only] if only else STEPS:
        found = [
            await noticed(examiner, home, rig=rig, step=step, seed=seed, count=count)
            for rig in rigs
        ]
        if not any(found) and step not in NEEDLESS:
            blind.append(step)
        cells = [str(count) if count else "no" for count in found]
        print(f"| `{step}` |", " | ".join(cells), "|", flush=True)
    if blind:
        print("nobody noticed:", *blind)
    return not blind


async def noticed(
    examiner: Examiner, home: Path, *, rig: str, step: str, seed: int, count: int
) -> int:
    """How many disks were examined until one broke a promise; 0 when none of ``count`` did.

    Args:
        rig: ``block`` or ``clones``, and the file system.
        step: to leave out.
    """

    def told(outcome: Outcome) -> bool:
        return not outcome.violations

    kind = disks.KINDS[rig.partition(" ")[2]]
    if rig.startswith("clones"):
        outcome = await clones.cut(
            kind, min(count, 100), seed=seed, examiner=examiner, home=home, step=step, told=told
        )
    else:
        recording = record_one(kind, home, step=step)
        chosen = states.chosen(recording.epochs, count, seed=seed, sector=kind.sector)
        outcome = await replay(
            recording, list(enumerate(chosen)), examiner=examiner, home=home, told=told
        )
    return outcome.examined if outcome.violations else 0


def record_one(kind: disks.FileSystem, home: Path, *, step: str = "") -> Recording:
    """Record one run of work, in memory."""
    base, text = home / "base", home / "log"
    disks.make_disk(base, kind)
    text.unlink(missing_ok=True)
    record(base, kind, log=text, home=home, step=step)
    return Recording(kind, base, log.parse(text.read_bytes()))
