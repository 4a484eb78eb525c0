"""``python -m tests.crash.sim``: cuts the power of a simulated disk in many ways.

``--states N`` in all, ``--model`` of one model only, ``--without STEP`` with a step of the
protocol left out, which must be noticed, ``--honesty`` with each of them in turn. What is
wrong goes to the standard error, with the state that ``--replay`` wants.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.crash.cuts.steps import STEPS
from tests.crash.sim.models import MODELS
from tests.crash.sim.run import Cut, Plan, Tally, replay, run

GUARDS: Final = {
    "blob-rename-noreplace": "a blob is replaced by one of the same bytes that is synced, too",
    "wal-restart": "it takes garbage in two cuts, and many more states than others",
}
"""Steps that need not be noticed, and why."""

_UNSYNCED: Final = {"blob-fsync": 8}
"""Rounds without a barrier, for steps that only those take."""

_STATES: Final = 1_000_000
_PROCESSES: Final = 2


def main() -> None:
    """See the module."""
    options = _options()
    if options.replay:
        sys.exit(_replay(options.replay, options.without))
    models = (options.model,) if options.model else tuple(MODELS)
    plan = Plan(options.seed, options.states, models, options.without)
    if options.honesty:
        sys.exit(not _honest(plan, options.processes))
    sys.exit(bool(_run(plan, options.processes).violations))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.sim", description=__doc__)
    parser.add_argument("--states", type=int, default=_STATES, help="how many to make")
    parser.add_argument("--seed", type=int, default=1, help="of the first round of work")
    parser.add_argument("--model", choices=list(MODELS), default="", help="of the disk; all")
    parser.add_argument("--without", choices=list(STEPS), default="", help="leave a step out")
    parser.add_argument("--honesty", action="store_true", help="each step, or that one, in a table")
    parser.add_argument("--processes", type=int, default=_PROCESSES, help="how many work at once")
    parser.add_argument("--replay", default="", metavar="STATE", help="make this state again")
    return parser.parse_args()


def parallel(plan: Plan, processes: int) -> Tally:
    """Do the rounds of a plan in so many processes, which share the states evenly."""
    each = -(-plan.states // processes)
    plans = [
        Plan(
            plan.seed,
            min(each, plan.states - each * number),
            plan.models,
            plan.without,
            every=processes,
            first=number,
        )
        for number in range(processes)
    ]
    total = Tally()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, max_tasks_per_child=1) as pool:
        for tally in pool.map(run, plans):
            total.add(tally)
    return total


def _run(plan: Plan, processes: int) -> Tally:
    begun = time.monotonic()
    tally = parallel(plan, processes)
    by_model = ", ".join(f"{count} {name}" for name, count in sorted(tally.states.items()))
    print(
        f"{tally.total} states ({by_model}; {tally.again} of them cut a recovery) after"
        f" {tally.instants} instants of {tally.rounds} rounds: {tally.distinct} distinct,"
        f" {tally.opened} opened, {tally.pulled} pulled again,"
        f" {tally.violations} violations, {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    return tally


def _honest(plan: Plan, processes: int) -> bool:
    """Print a line for each step, and after how many states each model noticed it."""
    print("| Step left out |", " | ".join(plan.models), "|\n|---|" + "---|" * len(plan.models))
    blind = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, max_tasks_per_child=1) as pool:
        for step in [plan.without] if plan.without else STEPS:
            seed = _UNSYNCED.get(step, plan.seed)
            plans = [Plan(seed, plan.states, (model,), step, most=1) for model in plan.models]
            found = [tally.total if tally.violations else 0 for tally in pool.map(run, plans)]
            if not any(found) and step not in GUARDS:
                blind.append(step)
            cells = [str(count) if count else "no" for count in found]
            print(f"| `{step}` |", " | ".join(cells), "|", flush=True)
    if blind:
        print("nobody noticed:", *blind)
    return not blind


def _replay(text: str, without: str) -> bool:
    """Print what is wrong with a state; True if something is."""
    seed, _, where = text.partition(" ")
    problems = replay(int(seed), [Cut.parse(cut) for cut in where.split("/")], without=without)
    print(*problems or ["nothing is wrong"], sep="\n")
    return bool(problems)


if __name__ == "__main__":
    main()
