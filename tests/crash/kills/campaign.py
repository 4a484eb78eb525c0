"""Long runs of many small trials: in two processes, with a record, to be continued.

A trial is a frozen dataclass; its text is its name in the record. ``Campaign.run`` does
what the record does not have yet. Each line of the record is one trial.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar, cast

_ROOT: Final = Path(__file__).parents[3]
_RECORDS: Final = _ROOT / ".cache" / "kills"
_TELL_EVERY: Final = 100
_STOPPED_SECONDS: Final = 15.0
"""A trial that takes longer was itself stopped, or hangs."""

Trial = TypeVar("Trial", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        kind: in one word, for the count.
        at: the change at which it happened.
        violations: what was wrong; none if all was well.
    """

    kind: str
    at: str = ""
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Attributes:
        count: how many trials; 0 is all that there are.
        seed: chooses and orders them.
        shards: processes that share the work.
        shard: which of them this is; -1 starts them all.
        record: path of the record, without the shard's number.
        works: names of the work to disturb; none is all.
    """

    count: int
    seed: int
    shards: int
    shard: int
    record: Path
    works: tuple[str, ...]


def options(module: str, counted: str, default: int) -> Options:
    """Read the command line of ``python -m module``; ``counted`` is the name of the number."""
    name = module.rpartition(".")[2]
    parser = argparse.ArgumentParser(prog=module)
    parser.add_argument(f"--{counted}", type=int, default=default, dest="count")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=2, help="processes that share the work")
    parser.add_argument("--shard", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, default=None, help="is continued if it is there")
    parser.add_argument("--work", action="append", default=[], help="disturb only this one")
    given = parser.parse_args()
    record = given.record or _RECORDS / f"{name}-{given.seed}-{_sources()}"
    return Options(
        given.count, given.seed, given.shards, given.shard, record, tuple(sorted(given.work))
    )


@dataclass
class Campaign(Generic[Trial]):
    """Some of many trials."""

    options: Options
    run_one: Callable[[Trial], Outcome]

    def run(self, trials: Sequence[Trial]) -> int:
        """Do this shard's share; returns how many have shown a violation."""
        path = _record(self.options, self.options.shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {line["trial"] for line in _lines(path)}
        bad = 0
        with path.open("a") as record:
            for number, trial in enumerate(trials):
                text = json.dumps(asdict(trial), sort_keys=True)  # type: ignore[call-overload] # a dataclass
                if number % self.options.shards != self.options.shard or text in known:
                    continue
                began = time.monotonic()
                outcome = self._once(trial, text)
                seconds = round(time.monotonic() - began, 3)
                bad += bool(outcome.violations)
                if outcome.violations:
                    print(f"{text}: {outcome.at}", *outcome.violations, sep="\n    ", flush=True)
                line = {"trial": text, "seconds": seconds, **asdict(outcome)}
                record.write(json.dumps(line) + "\n")
                record.flush()
                if number % _TELL_EVERY < self.options.shards:
                    print(f"{number} of {len(trials)}", file=sys.stderr, flush=True)
        return bad

    def _once(self, trial: Trial, text: str) -> Outcome:
        """Do a trial; again when it shows something, and timers may have run out meanwhile."""
        began = time.monotonic()
        outcome = self.run_one(trial)
        if outcome.violations and time.monotonic() - began > _STOPPED_SECONDS:
            print(f"{text}: again, after", *outcome.violations, sep="\n    ", flush=True)
            outcome = self.run_one(trial)
        return outcome


def in_shards(module: str, wanted: Options) -> int:
    """Start a process for each shard, wait, and print what the records say.

    Returns:
        The exit code: 1 when a trial has shown a violation, or a shard has failed.
    """
    # What matters is given again, so that a default is decided in one place only.
    command = [sys.executable, "-m", module, *sys.argv[1:], "--record", str(wanted.record)]
    shards = [
        subprocess.Popen([*command, "--shard", str(number)]) for number in range(wanted.shards)
    ]
    try:
        codes = [shard.wait() for shard in shards]
    except BaseException:
        for shard in shards:
            shard.terminate()
        raise
    lines = [line for number in range(wanted.shards) for line in _lines(_record(wanted, number))]
    print(*summary(lines), sep="\n")
    return 1 if any(codes) or any(line["violations"] for line in lines) else 0


def summary(lines: Iterable[dict[str, object]]) -> list[str]:
    """What a record says, in some lines; pure."""
    lines = list(lines)
    kinds = Counter(str(line["kind"]) for line in lines)
    places = {str(line["at"]) for line in lines}
    bad = sum(bool(line["violations"]) for line in lines)
    seconds = sum(cast("float", line["seconds"]) for line in lines)
    return [
        f"{len(lines)} trials at {len(places)} kinds of changes: {bad} with a violation",
        f"{seconds:.0f} seconds in all processes",
        *(f"  {number} {kind}" for kind, number in kinds.most_common()),
    ]


def _sources() -> str:
    """A word for what is tried and how: trials of other sources are no part of the record."""
    sources = hashlib.sha256()
    for below in (_ROOT / "src", _ROOT / "tests" / "crash"):
        for path in sorted((*below.rglob("*.py"), *below.rglob("*.c"))):
            sources.update(path.read_bytes())
    return sources.hexdigest()[:12]


def _record(wanted: Options, shard: int) -> Path:
    return wanted.record.with_name(f"{wanted.record.name}-{shard}-of-{wanted.shards}.jsonl")


def _lines(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
