"""Whether a run outlived its boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.linux.boot import Run

if TYPE_CHECKING:
    from pathlib import Path


def found(root: Path, boot: str) -> tuple[bool, bool]:
    run = Run(str(root), boot)
    return run.marked, run.lost_power


def test_a_run_that_marks_and_ends(tmp_path: Path) -> None:
    run = Run(str(tmp_path), "one")
    assert not run.marked
    run.mark()
    assert found(tmp_path, "one") == (True, False)
    assert found(tmp_path, "two") == (True, True)
    run.settle()
    assert found(tmp_path, "two") == (False, False)
    run.settle()


def test_the_doubt_stays_until_it_is_settled(tmp_path: Path) -> None:
    Run(str(tmp_path), "one").mark()
    assert found(tmp_path, "two") == found(tmp_path, "three") == (True, True)
    run = Run(str(tmp_path), "two")
    run.mark()
    assert not run.lost_power
    assert found(tmp_path, "two") == (True, False)


def test_the_kernels_own_id(tmp_path: Path) -> None:
    Run(str(tmp_path)).mark()
    assert found(tmp_path, "") == (True, False)
