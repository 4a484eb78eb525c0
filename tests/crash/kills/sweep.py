"""Which changes are killed at, who is killed there, and what must hold afterwards."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tests.crash.kills.campaign import Outcome
from tests.crash.kills.preloaded import Change, Role, When
from tests.crash.kills.work import WORKS, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.crash.kills.rig import Rig
    from tests.crash.kills.victim import Victim

Target = Literal["all", "daemon", "server", "workers"]
"""Who gets SIGKILL: everybody at once; the daemon alone, with which the others must end; the
fork-server or the workers, which the daemon survives."""

_SLACK: Final = 3
"""Another order of threads makes some changes more."""

_LOG_CHARACTERS: Final = 4000
_SECOND_SHARE: Final = 0.35
_PULL_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Point:
    """One kill, or two.

    Attributes:
        work: name of what is disturbed.
        role: who makes the change.
        number: the how manieth change of that role, from 1.
        when: before or after it.
        target: who is killed.
        second: the change of the recovery before which the daemon is killed again; 0: never.
        pull: pull all images at the end.
    """

    work: str
    role: Role
    number: int
    when: When
    target: Target
    second: int = 0
    pull: bool = False


def points(rehearsed: Mapping[str, Sequence[Change]], seed: int) -> list[Point]:
    """Every point there is, in an order that the seed gives; pure."""
    chance = random.Random(seed)
    recovery = len(rehearsed["start"])
    found = [
        Point(
            work,
            role,
            number,
            when,
            target=_target(chance, role),
            second=chance.randint(1, recovery) if chance.random() < _SECOND_SHARE else 0,
            pull=chance.random() < _PULL_SHARE,
        )
        for work, role, number in _places(rehearsed)
        for when in (When.BEFORE, When.AFTER)
    ]
    chance.shuffle(found)
    return found


def _places(rehearsed: Mapping[str, Sequence[Change]]) -> Iterator[tuple[str, Role, int]]:
    for work, changes in rehearsed.items():
        for role, count in sorted(Counter(change.role for change in changes).items()):
            for number in range(1, count + _SLACK + 1):
                yield work, role, number


def _target(chance: random.Random, role: Role) -> Target:
    own: tuple[Target, ...] = ("all", "daemon", "daemon", "server")
    if role is Role.WORKER:
        own = ("all", "daemon", "daemon", "server", "workers", "workers")
    return chance.choice(own)


def kill(rig: Rig, point: Point) -> Outcome:
    """Do the work, kill at the point, and judge what is left."""
    work = work_named(point.work)
    root = rig.store(work)
    rig.control.arm(point.role, point.number, point.when)
    survives = point.target in ("server", "workers")
    victim = rig.fork(root, work, again=survives)
    reached = victim.wait()
    at = ", ".join(f"{one.role.name} {one.call} {one.name}" for one in rig.control.changes()[:1])
    found: list[str] = []
    if reached == "held":
        _strike(victim, point.target)
        if survives:
            rig.control.release()
            if victim.wait() == "hangs":
                found.append("the daemon hangs after it has lost workers")
                victim.kill(group=True)
    elif reached == "hangs":
        found.append("the daemon hangs")
        victim.kill(group=True)
    found += victim.end()
    said = victim.words()
    if survives and reached == "held" and not {"done", "again"}.intersection(said):
        found.append(f"the daemon did not go on: {said}")
    if any(word.startswith("broke") for word in said):
        found.append(f"the daemon broke: {said}")
    done = "done" in said or "again" in said
    kind = f"{point.role.name} {reached}, {point.target} killed" if reached == "held" else reached
    log = rig.log.read_text(errors="replace")
    if point.second and reached == "held":
        again, more = _kill_again(rig, work, point.second)
        kind += " twice" if again else ""
        found += more
    found += rig.judge(root, work, done=done, pull=point.pull)
    if found:
        found.append(log[-_LOG_CHARACTERS:])
    return Outcome(kind, at, tuple(found))


def _strike(victim: Victim, target: Target) -> None:
    if target in ("all", "daemon"):
        victim.kill(group=target == "all")
    else:
        victim.kill_below(workers_only=target == "workers")


def _kill_again(rig: Rig, work: Work, number: int) -> tuple[bool, list[str]]:
    """Kill the next start, too; whether it came that far, and what was wrong."""
    rig.control.arm(Role.DAEMON, number, When.BEFORE)
    victim = rig.fork(rig.home / "store", _START)
    reached = victim.wait()
    victim.kill(group=True)
    left = victim.end()
    victim.words()
    return reached == "held", [*left, *(["the recovery hangs"] if reached == "hangs" else [])]


def work_named(name: str) -> Work:
    """One of ``WORKS``."""
    return next(work for work in WORKS if work.name == name)


_START: Final = work_named("start")
