"""Many power cuts: rounds of work, every instant of each, and states of each instant."""

from __future__ import annotations

import logging
import random
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.crash.cuts import steps
from tests.crash.sim import calls
from tests.crash.sim.database import SimulatedVFS
from tests.crash.sim.disk import new
from tests.crash.sim.examine import FIRST, Examiner
from tests.crash.sim.models import MODELS, Choice
from tests.crash.sim.store import mount_nothing
from tests.crash.sim.verdicts import Verdicts
from tests.crash.sim.workload import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.crash.sim.calls import Kernel
    from tests.crash.sim.disk import Call, Cell, Value
    from tests.crash.sim.examine import Examined, Seen
    from tests.crash.sim.models import Model
    from tests.crash.sim.workload import Recording

_MEMORY: Final = "/dev/shm"
_PER_INSTANT: Final = 16
"""States of one instant in one model; so all parts of four changes are looked at."""

_WHOLE_ROUND: Final = 40_000
"""About as many states has a round; a run of fewer looks at some instants only."""

_CUT_AGAIN: Final = 100
"""Of so many disks that are opened one loses its power again meanwhile."""

_INSTANTS_AGAIN: Final = 12
_PER_INSTANT_AGAIN: Final = 2
_OF_A_START: Final = frozenset({"wal-own-blocks", "wal-restart"})
"""Steps of recovery, too: SQLite reads with the settings that it has written with."""

_PULL_AGAIN: Final = 50
"""On one of so many disks that are opened all images are pulled again."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A state, as what it can be made from again.

    Attributes:
        model: name of the model.
        call: how many calls had been made.
        choice: what of the rest was there.
    """

    model: str
    call: int
    choice: Choice

    def __str__(self) -> str:
        kept = ",".join(map(str, self.choice.kept))
        return f"{self.model}:{self.call}:{kept}:{self.choice.garbled}"

    @classmethod
    def parse(cls, text: str) -> Cut:
        """Read what ``str`` gives. Raises ValueError."""
        model, call, kept, garbled = text.split(":")
        if model not in MODELS:
            raise ValueError(f"no such model: {model}")
        positions = tuple(int(one) for one in kept.split(",") if one)
        return cls(model, int(call), Choice(positions, int(garbled)))


@dataclass(slots=True)
class Tally:
    """What a run has looked at; tallies can be added.

    Attributes:
        rounds: how often the work was done.
        instants: calls after which the power was cut, in each model.
        states: that were made, by model.
        again: those of them in which a recovery was cut.
        distinct: disks that differ in anything, each round for itself.
        opened: disks that differ in something that was read, and were opened.
        pulled: those of them on which all images were pulled again.
        violations: states that were not as they must be.
    """

    rounds: int = 0
    instants: int = 0
    states: Counter[str] = field(default_factory=Counter)
    again: int = 0
    distinct: int = 0
    opened: int = 0
    pulled: int = 0
    violations: int = 0

    @property
    def total(self) -> int:
        """All states."""
        return self.states.total()

    def add(self, other: Tally) -> None:
        """Add another run's."""
        self.rounds += other.rounds
        self.instants += other.instants
        self.states += other.states
        self.again += other.again
        self.distinct += other.distinct
        self.opened += other.opened
        self.pulled += other.pulled
        self.violations += other.violations


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        seed: of the first round.
        states: how many to make.
        models: names.
        without: a step of the protocol that is left out.
        most: violations after which to end.
        every: do each so-manieth round; others do the rest.
        first: the first of them.
    """

    seed: int
    states: int
    models: Sequence[str] = tuple(MODELS)
    without: str = ""
    most: int = 3
    every: int = 1
    first: int = 0


@contextmanager
def simulation() -> Iterator[Kernel]:
    """Make this process work on simulated disks; it is of no other use afterwards."""
    with tempfile.TemporaryDirectory(dir=_MEMORY) as memory:
        kernel = calls.install(memory)
        vfs = SimulatedVFS(kernel)
        mount_nothing()
        logging.disable()  # the store says much about what it finds
        try:
            yield kernel
        finally:
            vfs.unregister()


def run(plan: Plan) -> Tally:
    """Do it, in this process; see ``simulation``."""
    tally = Tally()
    with simulation() as kernel, steps.left_out(_in_recovery(plan.without)):
        examiner = Examiner(kernel)
        number = plan.first
        while tally.total < plan.states and tally.violations < plan.most:
            seed = plan.seed + number
            _Round(plan, seed, record(kernel, seed, without=plan.without), examiner, tally).run()
            print(f"{tally.total} of {plan.states} states", file=sys.stderr, flush=True)
            number += plan.every
    return tally


def replay(seed: int, cuts: Sequence[Cut], *, without: str = "") -> list[str]:
    """Make one state again and judge it; a second cut is one of the first one's recovery."""
    with simulation() as kernel, steps.left_out(_in_recovery(without)):
        recording = record(kernel, seed, without=without)
        promised = recording.promised(cuts[0].call)
        examiner = Examiner(kernel)
        done: Sequence[Call] = recording.calls
        cells: Mapping[Cell, Value] = new()
        first = FIRST
        for cut in cuts:
            model = _model_at(cut, cells, done)
            with model.durable.changed(model.cells(cut.choice)):
                cells = dict(model.durable.cells)
            examined = examiner.examine(cells, first=first)
            done, first = examined.calls, first + FIRST
        return examined.seen.broken(promised)


def _in_recovery(step: str) -> str:
    """A step that recovery leaves out, too, as the one program would that does not have it."""
    return step if step in _OF_A_START else ""


def _model_at(cut: Cut, cells: Mapping[Cell, Value], done: Sequence[Call]) -> Model:
    model = MODELS[cut.model](cells)
    for call in done[: cut.call]:
        model.feed(call)
    return model


class _Round:
    """One run of work, and what power cuts could have left of it."""

    def __init__(
        self, plan: Plan, seed: int, recording: Recording, examiner: Examiner, tally: Tally
    ) -> None:
        self._plan = plan
        self._seed = seed
        self._recording = recording
        self._examiner = examiner
        self._tally = tally
        self._verdicts: Verdicts[Seen] = Verdicts()
        self._distinct: set[int] = set()
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Look at the instants in every model, until there is enough."""
        self._tally.rounds += 1
        models = [MODELS[name](new()) for name in self._plan.models]
        share = self._plan.states / _WHOLE_ROUND
        for number, call in enumerate(self._recording.calls, 1):
            if self._enough():
                break
            promised = self._recording.promised(number)
            for model in models:
                model.feed(call)
                if self._chance.random() >= share:
                    continue
                self._tally.instants += 1
                self._look(model, number, promised, _PER_INSTANT)
        self._tally.distinct += len(self._distinct)

    def _enough(self) -> bool:
        tally, plan = self._tally, self._plan
        return tally.total >= plan.states or tally.violations >= plan.most

    def _look(
        self,
        model: Model,
        number: int,
        promised: Mapping[str, frozenset[str]],
        count: int,
        before: Cut | None = None,
    ) -> None:
        """Look at states of one instant."""
        tally = self._tally
        for choice in model.states(self._chance, count):
            if self._enough():
                return
            tally.states[model.name] += 1
            tally.again += before is not None
            cut = Cut(model.name, number, choice)
            with model.durable.changed(model.cells(choice)):
                self._distinct.add(hash((before, model.durable.digest)))
                seen = self._verdicts.find(model.durable.cells)
                if seen is None:
                    seen = self._open(model, cut, promised, before)
            self._judge(seen, promised, cut, before)

    def _open(
        self,
        model: Model,
        cut: Cut,
        promised: Mapping[str, frozenset[str]],
        before: Cut | None,
    ) -> Seen:
        tally = self._tally
        tally.opened += 1
        cells = model.durable.cells
        first = FIRST if before is None else 2 * FIRST
        examined = self._examiner.examine(cells, first=first)
        self._verdicts.add(examined.asked, examined.seen)
        if before is None and tally.opened % _CUT_AGAIN == 0:
            self._cut_again(dict(cells), examined, cut, promised)
        if tally.opened % _PULL_AGAIN == 0:
            tally.pulled += 1
            again = self._examiner.examine(cells, first=first, pull=True)
            self._judge(again.seen, promised, cut, before)
        return examined.seen

    def _cut_again(
        self,
        cells: Mapping[Cell, Value],
        examined: Examined,
        cut: Cut,
        promised: Mapping[str, frozenset[str]],
    ) -> None:
        """Cut the power of a recovery at some instants."""
        model = MODELS[cut.model](cells)
        length = len(examined.calls)
        chosen = set(self._chance.sample(range(1, length + 1), min(_INSTANTS_AGAIN, length)))
        for number, call in enumerate(examined.calls, 1):
            model.feed(call)
            if number in chosen:
                self._look(model, number, promised, _PER_INSTANT_AGAIN, cut)

    def _judge(
        self,
        seen: Seen,
        promised: Mapping[str, frozenset[str]],
        cut: Cut,
        before: Cut | None,
    ) -> None:
        problems = seen.broken(promised)
        if problems and not self._enough():
            where = f"{before}/{cut}" if before else str(cut)
            self._tally.violations += 1
            lines = (f"VIOLATION {self._seed} {where}", *problems)
            print("\n    ".join(lines), file=sys.stderr, flush=True)
