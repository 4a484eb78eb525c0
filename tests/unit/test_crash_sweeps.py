"""The choice of points, injections and verdicts of the crash sweeps."""

from __future__ import annotations

import errno

import pytest

from tests.crash.errnos.cases import ERRNOS, may_say
from tests.crash.errnos.inject import injections, judge_words
from tests.crash.kills.campaign import summary
from tests.crash.kills.preloaded import Change, Kind, Role, When
from tests.crash.kills.sweep import points
from tests.crash.kills.traced import seen_by_strace

_OPEN = Change(Role.DAEMON, "open", "lock")
_WRITE = Change(Role.WORKER, "write", "")
_REHEARSED = {"start": [_OPEN, _OPEN], "pull": [_OPEN, _WRITE, _OPEN, _WRITE, _WRITE]}


def test_every_change_is_a_point_before_and_after() -> None:
    found = {(one.work, one.role, one.number, one.when) for one in points(_REHEARSED, 1)}
    for when in (When.BEFORE, When.AFTER):
        for number in (1, 2):
            assert ("start", Role.DAEMON, number, when) in found
            assert ("pull", Role.DAEMON, number, when) in found
        for number in (1, 2, 3):
            assert ("pull", Role.WORKER, number, when) in found


def test_the_same_seed_gives_the_same_points() -> None:
    assert points(_REHEARSED, 4) == points(_REHEARSED, 4)
    assert points(_REHEARSED, 4) != points(_REHEARSED, 5)


def test_only_a_change_of_a_worker_kills_workers_alone() -> None:
    found = [one for seed in range(50) for one in points(_REHEARSED, seed)]
    assert {one.role for one in found if one.target == "workers"} == {Role.WORKER}
    assert {one.target for one in found} == {"all", "daemon", "server", "workers"}


def test_every_change_fails_with_each_of_its_errnos() -> None:
    found = injections({Kind.CHANGE: _REHEARSED}, 1)
    assert len(found) == 4 * len(ERRNOS["open"]) + 3 * len(ERRNOS["write"])
    last = {one.error for one in found if (one.role, one.number) == (Role.WORKER, 3)}
    assert last == {errno.errorcode[error] for error in ERRNOS["write"]}


def test_every_need_fails_for_want_of_something() -> None:
    needs = {"pull": [_OPEN, Change(Role.SERVER, "fork", "")]}
    found = injections({Kind.NEED: needs}, 1)
    assert {(one.role, one.error) for one in found} == {
        *((Role.DAEMON, error) for error in ("EMFILE", "ENFILE", "ENOMEM")),
        *((Role.SERVER, error) for error in ("EAGAIN", "ENOMEM")),
    }


@pytest.mark.parametrize(
    ("call", "error", "allowed"),
    [
        ("write", errno.ENOSPC, "StoreFull"),
        ("mkdirat", errno.EDQUOT, "StoreFull"),
        ("unlinkat", errno.EIO, "StoreIO"),
        ("fsync", errno.ENOSPC, "StoreIO"),
        ("open", errno.EMFILE, "Unavailable"),
        ("fchmod", errno.EPERM, "PermissionDenied"),
    ],
)
def test_what_may_be_said(call: str, error: int, allowed: str) -> None:
    assert may_say(call, error, database=False) == {allowed}


def test_errors_that_can_mean_something_else() -> None:
    assert may_say("open", errno.EIO, database=True) == {"StoreIO", "Unavailable"}
    assert may_say("fsetxattr", errno.ENOSPC, database=False) == {"StoreFull", "LimitExceeded"}
    tried = may_say("mkdirat", errno.EROFS, database=False, probe=True)
    assert tried == {"StoreIO", "FailedPrecondition"}


@pytest.mark.parametrize(
    ("said", "kind", "faults"),
    [
        (["opened", "done", "closed"], "succeeded", 0),
        (["opened", "failed StoreFull no space", "again", "closed"], "StoreFull", 0),
        (["ended StoreFull no space"], "StoreFull at the start", 0),
        (["opened", "failed StoreFull no space", "failed StoreFull no", "closed"], "StoreFull", 1),
        (["opened", "failed Internal what", "again", "closed"], "Internal", 1),
        (["opened", "done"], "succeeded", 1),
        ([], "succeeded", 1),
    ],
)
def test_what_a_victim_says(said: list[str], kind: str, faults: int) -> None:
    found = judge_words(said, frozenset({"StoreFull"}))
    assert (found[0], len(found[1])) == (kind, faults)


def test_a_disk_that_failed_need_not_be_used_again() -> None:
    said = ["opened", "failed StoreIO eio", "failed StoreIO refused", "closed"]
    assert judge_words(said, frozenset({"StoreIO"})) == ("StoreIO", [])


def test_a_summary_counts() -> None:
    lines: list[dict[str, object]] = [
        {"kind": "ended", "at": "a", "seconds": 1.5, "violations": []},
        {"kind": "ended", "at": "b", "seconds": 0.5, "violations": ["x"]},
    ]
    assert summary(lines) == [
        "2 trials at 2 kinds of changes: 1 with a violation",
        "2 seconds in all processes",
        "  2 ended",
    ]


_TRACE = """
10 openat(3</store>, "lock", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 4</store/lock>
10 openat(3</store>, "lock", O_RDONLY|O_CLOEXEC) = 5</store/lock>
11 write(9<socket:[77]>, "GET", 3) = 3
11 write(2</tmp/log>, "word", 4) = 4
11 write(6</etc/a>, "data", 4 <unfinished ...>
10 futimens(4</store/lock>, NULL) = 0
11 <... write resumed>) = 4
12 ioctl(7</store/a>, FICLONE, 8</store/b>) = -1 EOPNOTSUPP (Operation not supported)
12 ioctl(7</store/a>, TCGETS, 0x7ffd) = -1 ENOTTY (Inappropriate ioctl for device)
12 renameat(3</store>, "a", 3</store>, "b") = 0
11 +++ exited with 0 +++
"""


def test_what_strace_sees() -> None:
    seen = seen_by_strace(_TRACE.splitlines(), log="/tmp/log")
    assert seen == {"openat": 1, "write": 1, "utimensat": 1, "ioctl": 1, "renameat2": 1}
