"""The log of a disk: what was recorded comes back, in epochs."""

from __future__ import annotations

import pytest

from tests.crash.cuts.log import Epoch, Write, parse, record


def test_flushes_divide_a_log_into_epochs() -> None:
    log = b"".join(
        [
            record("mark", data=b"before"),
            record("write", offset=4096, data=b"a" * 512),
            record("mark", data=b"between"),
            record("flush"),
            record("zero", offset=512, length=1024),
            record("mark", data=b"after"),
        ]
    )
    assert parse(log) == [
        Epoch((Write(4096, b"a" * 512),), ((0, "before"), (1, "between"))),
        Epoch((Write(512, bytes(1024)),), ((1, "after"),)),
    ]


def test_an_empty_log_is_one_epoch() -> None:
    assert parse(b"") == [Epoch((), ())]


@pytest.mark.parametrize("missing", [1, 512, 520])
def test_a_log_that_ends_too_early_is_refused(missing: int) -> None:
    log = record("flush") + record("write", offset=0, data=bytes(512))
    with pytest.raises(ValueError, match="ends in the middle"):
        parse(log[:-missing])


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="no such record"):
        parse(b"?" * 17)


def test_marks_count_from_the_write_after_which_they_were_made() -> None:
    writes = tuple(Write(n, b"x") for n in range(3))
    epoch = Epoch(writes, ((0, "a"), (2, "b"), (3, "c")))
    assert epoch.marks_before(0) == ["a"]
    assert epoch.marks_before(1) == ["a"]
    assert epoch.marks_before(2) == ["a", "b"]
    assert epoch.marks_before(3) == ["a", "b", "c"]
