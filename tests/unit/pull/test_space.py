"""What running pulls will still write."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from orlop.errors import StoreFull
from orlop.model.digest import Digest
from orlop.pull.space import Ledger

A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))
MB = 1_000_000


def test_two_that_fit_alone_but_not_together() -> None:
    ledger = Ledger()
    with ledger.entered("one", {A: 6 * MB}, free=10 * MB):
        words = (
            r"pull of two needs 5\.0 MB for its layers alone, 10\.0 MB are free,"
            r" other pulls still need 6\.0 MB: 1\.0 MB are missing"
        )
        second = ledger.entered("two", {B: 5 * MB}, free=10 * MB)
        with pytest.raises(StoreFull, match=words), second:
            pass
        assert ledger.outstanding == 6 * MB
    with ledger.entered("two", {B: 5 * MB}, free=10 * MB):
        pass
    assert ledger.outstanding == 0


def test_what_is_written_is_not_claimed_twice() -> None:
    ledger = Ledger()
    with ledger.entered("one", {A: 6 * MB}, free=10 * MB):
        ledger.set_left(A, 2 * MB)
        # 4 MB are on the disk now, and so not free.
        with ledger.entered("two", {B: 4 * MB}, free=6 * MB):
            assert ledger.outstanding == 6 * MB
    ledger.set_left(A, 1)
    assert ledger.outstanding == 0


def test_what_is_shared_counts_once() -> None:
    ledger = Ledger()
    with ExitStack() as first, ledger.entered("two", {A: 6 * MB, B: 0}, free=6 * MB):
        first.enter_context(ledger.entered("one", {A: 6 * MB, C: 0}, free=6 * MB))
        assert ledger.outstanding == 6 * MB
        first.close()
        assert ledger.outstanding == 6 * MB
    assert ledger.outstanding == 0


def test_who_wants_nothing_gets_it_on_a_full_disk() -> None:
    ledger = Ledger()
    with ledger.entered("one", {A: MB}, free=MB), ledger.entered("two", {A: MB}, free=0):
        pass
    with ledger.entered("three", {}, free=0):
        pass
