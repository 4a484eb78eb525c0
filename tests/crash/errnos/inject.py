"""Lets one change fail, and judges what the daemon says, does next, and leaves."""

from __future__ import annotations

import errno
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.crash.errnos.cases import REMOVALS, errnos_of, may_go_on, may_say
from tests.crash.kills.campaign import Outcome
from tests.crash.kills.preloaded import Change, Kind, Role, When
from tests.crash.kills.sweep import work_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.crash.kills.rig import Rig

_PULL_SHARE: Final = 0.1
_DATABASE: Final = "meta.db"
_PROBE: Final = "directory"
"""The only change of an overlay that the daemon itself makes, and its name there."""

_SAID_LIMIT: Final = 2000


@dataclass(frozen=True, slots=True)
class Injection:
    """One failure.

    Attributes:
        kind: what fails.
        work: name of what is disturbed.
        role: who makes the call.
        number: the how manieth of that kind and role, from 1.
        error: name of the errno with which it fails.
        pull: pull all images at the end.
    """

    kind: Kind
    work: str
    role: Role
    number: int
    error: str
    pull: bool = False


def injections(
    rehearsed: Mapping[Kind, Mapping[str, Sequence[Change]]], seed: int
) -> list[Injection]:
    """Every injection there is, in an order that the seed gives; pure."""
    chance = random.Random(seed)
    found = []
    for kind, works in rehearsed.items():
        for work, changes in works.items():
            numbers: dict[Role, int] = defaultdict(int)
            for change in changes:
                numbers[change.role] += 1
                found += [
                    Injection(
                        kind,
                        work,
                        change.role,
                        numbers[change.role],
                        errno.errorcode[error],
                        pull=chance.random() < _PULL_SHARE,
                    )
                    for error in errnos_of(kind, change.call)
                ]
    chance.shuffle(found)
    return found


def inject(rig: Rig, injection: Injection) -> Outcome:
    """Do the work, let the change fail, do it again if it failed, and judge."""
    work = work_named(injection.work)
    error = getattr(errno, injection.error)
    root = rig.store(work)
    rig.control.arm(
        injection.role, injection.number, When.INSTEAD, kind=injection.kind, error=error
    )
    victim = rig.fork(root, work, again=True)
    found = []
    if victim.wait() == "hangs":
        found.append("the daemon hangs")
        victim.kill(group=True)
    found += victim.end()
    said = victim.words()
    changes = rig.control.changes()
    if not changes:
        return Outcome("not reached", violations=tuple(found))
    change = changes[0]
    at = f"{change.role.name} {change.call} {change.name}: {injection.error}"
    if error not in errnos_of(injection.kind, change.call):
        # The threads came in another order than at the rehearsal.
        return Outcome("void", violations=tuple(found))
    allowed = may_say(
        change.call, error, database=_DATABASE in change.name, probe=change.name == _PROBE
    )
    if len(work.adds) > 1:
        allowed |= {"Unavailable"}  # what a pull hears of the other's failure
    kind, wrong = judge_words(said, allowed)
    found += wrong
    log = rig.log.read_text(errors="replace")
    # An interpreter that cannot start says so in its own way.
    starting = injection.kind is Kind.NEED and change.role is Role.SERVER
    if "Traceback" in log and not starting:
        found.append("a traceback was logged")
    # A removal needs descriptors itself; what it leaves goes with the next start.
    removal = change.call in REMOVALS or any(": remove " in line for line in said)
    if not removal and "StoreIO" not in kind:
        found += [f"{place} is left in staging" for place in _staged(root)]
    done = bool({"done", "again"}.intersection(said))
    found += rig.judge(root, work, done=done, pull=injection.pull)
    if found:
        found += [f"it said: {said}", log[-_SAID_LIMIT:]]
    return Outcome(kind, at, tuple(found))


def judge_words(said: Sequence[str], allowed: frozenset[str]) -> tuple[str, list[str]]:
    """What a victim's words come to, and what is wrong with them; pure.

    Args:
        said: see ``tests.crash.kills.victim``.
        allowed: classes of errors that it may fail with.

    Returns:
        A word or two for the count, and a line for each fault.
    """
    errors = [line.split(" ", 2) for line in said if line.startswith(("failed", "ended", "broke"))]
    if not errors:
        whole = "done" in said and "closed" in said
        return "succeeded", [] if whole else [f"it ended without a word: {said}"]
    first = errors[0][1]
    found = [f"it said {kind}: {text}" for _, kind, text in errors if kind not in allowed]
    if errors[0][0] == "ended" and len(errors) == 1 and "opened" not in said:
        return f"{first} at the start", found
    if may_go_on(first) and "again" not in said:
        found.append(f"the same work failed again after {first}")
    return first, found


def _staged(root: Path) -> list[Path]:
    return list(root.glob("io.containerd.snapshotter.v1.*/staging/*"))
