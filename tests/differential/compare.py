"""Whether programs agree on archives; what they do not agree on is explained, or reported."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.differential.archives import ODD, Archive, with_members, write
from tests.differential.programs import Outcome, by_orlop, by_program
from tests.rigs.tree import Node, differences

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH: Final = 200


@dataclass
class Report:
    """What came of many archives.

    Attributes:
        compared: comparisons, by program.
        refused: archives that orlop does not take.
        explained: disagreements, by what is odd and with whom.
        unexplained: the others: archive, program and how they differ.
    """

    archives: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    explained: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexplained: list[tuple[Archive, str, list[str]]] = field(default_factory=list)

    def add(self, archive: Archive, program: str, lines: list[str]) -> None:
        """Count a comparison, whose differences are ``lines``."""
        self.compared[program] += 1
        if not lines:
            return
        why = [name for name in archive.odd if program in ODD[name].programs]
        if why:
            self.explained[why[0], program] += 1
        else:
            self.unexplained.append((archive, program, lines))


def compare(numbers: Sequence[int], programs: Sequence[str], report: Report) -> None:
    """Unpack the archives with these numbers by everybody."""
    archives = [write(number) for number in numbers]
    with tempfile.TemporaryDirectory(prefix="differential-") as directory:
        work = Path(directory)
        ours = {archive.number: by_orlop(archive, work) for archive in archives}
        for archive in archives:
            report.archives += 1
            report.refused += bool(ours[archive.number][0].refused)
            one, other = ours[archive.number]
            report.add(archive, "itself", _differ(one, other))
        for program in programs:
            for archive, theirs in zip(archives, by_program(program, archives, work), strict=True):
                report.add(archive, program, _differ(ours[archive.number][1], theirs))


def reduced(archive: Archive, program: str) -> tuple[Archive, list[str]]:
    """As few members as show the same disagreement, and what that is."""
    best, lines = archive, _alone(archive, program)
    again = True
    while again:
        again = False
        for position in range(len(best.members)):
            members = best.members[:position] + best.members[position + 1 :]
            candidate = with_members(best, members)
            found = _alone(candidate, program)
            if found:
                best, lines, again = candidate, found, True
                break
    return best, lines


def _alone(archive: Archive, program: str) -> list[str]:
    work = Path(tempfile.mkdtemp(prefix="differential-"))
    try:
        one, other = by_orlop(archive, work)
        if program != "itself":
            one, (other,) = other, by_program(program, [archive], work)
        return _differ(one, other)
    finally:
        shutil.rmtree(work)


def _differ(ours: Outcome, theirs: Outcome) -> list[str]:
    if ours.refused and theirs.refused:
        return []
    if ours.refused or theirs.refused:
        return [f"orlop: {ours.refused or 'taken'}", f"other: {theirs.refused or 'taken'}"]
    return differences(_timeless(theirs.nodes, ours), _timeless(ours.nodes, ours))


def _timeless(nodes: dict[bytes, Node], ours: Outcome) -> dict[bytes, Node]:
    """Nobody knows the time of a directory that no member describes."""
    return {
        path: replace(node, mtime_ns=0) if path in ours.implied else node
        for path, node in nodes.items()
    }
