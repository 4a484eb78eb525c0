"""Verdicts that are shared by all disks that are the same to whoever opened them.

Opening a disk is a function of what it reads: with the same answers it asks the same
questions, and comes to the same end. So a verdict is kept under the questions and answers
that led to it, as a tree of questions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.crash.sim.disk import Cell, Value

V = TypeVar("V")


@dataclass(slots=True)
class _Node(Generic[V]):
    """Questions that all have answered alike, then one that they have not, or the verdict."""

    cells: Sequence[Cell]
    values: Sequence[Value]
    verdict: V | None = None
    parting: Cell | None = None
    children: dict[Value, _Node[V]] = field(default_factory=dict)


class Verdicts(Generic[V]):
    """See the module."""

    def __init__(self) -> None:
        self._root: _Node[V] | None = None

    def find(self, disk: Mapping[Cell, Value]) -> V | None:
        """What was said of a disk that is the same to whoever opens it; None if nothing was."""
        node = self._root
        ask = disk.get
        while node is not None:
            for cell, value in zip(node.cells, node.values, strict=True):
                found = ask(cell)
                if found is not value and found != value:
                    return None
            if node.parting is None:
                return node.verdict
            node = node.children.get(ask(node.parting))
        return None

    def add(self, asked: Mapping[Cell, Value], verdict: V) -> None:
        """Keep a verdict on a disk that had these answers, in the order of the questions.

        Raises:
            AssertionError: with the same answers other questions were asked before, so that
                opening a disk is no function of what it reads.
        """
        cells, values = list(asked), list(asked.values())
        node, at = self._root, 0
        if node is None:
            self._root = _Node(cells, values, verdict)
            return
        while True:
            for own, (cell, value) in enumerate(zip(node.cells, node.values, strict=True)):
                assert at < len(cells), f"it ended before {cell} was asked for"
                assert cells[at] == cell, f"{cells[at]} was asked for, not {cell}"
                if values[at] != value:
                    _split(node, own)
                    break
                at += 1
            assert node.parting is not None, "the same disk twice"
            assert cells[at] == node.parting, f"{cells[at]} was asked for, not {node.parting}"
            child = node.children.get(values[at])
            at += 1
            if child is None:
                node.children[values[at - 1]] = _Node(cells[at:], values[at:], verdict)
                return
            node = child


def _split(node: _Node[V], at: int) -> None:
    """Let ways part at the question ``at`` of a node."""
    rest = _Node(
        node.cells[at + 1 :], node.values[at + 1 :], node.verdict, node.parting, node.children
    )
    node.parting = node.cells[at]
    node.children = {node.values[at]: rest}
    node.cells, node.values, node.verdict = node.cells[:at], node.values[:at], None
