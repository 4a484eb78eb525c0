"""Programs that run by themselves, and end with all they have started."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from orlop.linux import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOOK = """
import json, os, signal, sys
blocked = sorted(int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
fds = [fd for fd in range(200) if os.path.exists(f"/proc/self/fd/{fd}")]
json.dump({"fds": fds, "env": dict(os.environ), "blocked": blocked, "argv": sys.argv[1:],
           "session": os.getsid(0) == os.getpid(), "third": os.read(3, 99).decode()}, sys.stdout)
"""


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


def start(*arguments: str, descriptors: dict[int, int]) -> programs.Process:
    return programs.spawn(
        sys.executable, ["program", *arguments], environment={"A": "1"}, descriptors=descriptors
    )


def ended(process: programs.Process) -> int:
    assert select.select([process.pidfd], [], [], 10)[0]
    return programs.reap(process)


def test_it_has_what_it_is_given_and_nothing_else(null: int) -> None:
    third, out = os.memfd_create("third"), os.memfd_create("out")
    os.write(third, b"words")
    os.lseek(third, 0, os.SEEK_SET)
    stranger = os.dup(null)
    os.set_inheritable(stranger, True)
    try:
        process = start("-I", "-c", LOOK, "x", descriptors={0: null, 1: out, 2: 2, 3: third})
        assert ended(process) == 0
        found = json.loads(os.pread(out, 9999, 0))
    finally:
        for fd in (third, out, stranger):
            os.close(fd)
    # The interpreter's own listing may be one more.
    assert found["fds"][:4] == [0, 1, 2, 3]
    assert stranger not in found["fds"]
    assert set(found["env"]) - {"LC_CTYPE"} == {"A"}
    assert (found["blocked"], found["session"], found["third"]) == ([], True, "words")
    assert found["argv"] == ["x"]


def test_sources_and_targets_may_be_the_same_numbers(null: int, tmp_path: Path) -> None:
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        swapped = {0: null, 1: other, 2: null, null: other, other: null}
        code = f"import os; os.write({null}, b'here'); os.write({other}, b'gone')"
        assert ended(start("-I", "-c", code, descriptors=swapped)) == 0
        assert os.pread(other, 99, 0) == b"here"
    finally:
        os.close(other)


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM)],
)
def test_the_end_is_told(null: int, code: str, status: int) -> None:
    process = start("-I", "-c", code, descriptors={0: null, 1: null, 2: null})
    assert select.select([process.pidfd], [], [], 10)[0]
    assert programs.status(process) == programs.status(process) == status
    assert programs.reap(process) == status


def test_its_children_are_killed_with_it(null: int) -> None:
    reader, writer = os.pipe()
    code = "import os, time; os.fork() or time.sleep(60)"
    try:
        process = start("-I", "-c", code, descriptors={0: null, 1: writer, 2: null})
        os.close(writer)
        assert select.select([process.pidfd], [], [], 10)[0]
        assert not select.select([reader], [], [], 0)[0]  # the child has the other end
        programs.kill(process)
        programs.reap(process)
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_signals_that_python_ignores_are_not_ignored_by_it(null: int) -> None:
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    out = os.memfd_create("out")
    try:
        process = programs.spawn(
            "/bin/sh",
            ["sh", "-c", 'while read -r key value; do echo "$key $value"; done </proc/$$/status'],
            environment={},
            descriptors={0: null, 1: out, 2: null},
        )
        assert ended(process) == 0
        fields = dict(line.split(" ", 1) for line in os.pread(out, 9999, 0).decode().splitlines())
    finally:
        os.close(out)
    ignored = {one for one in signal.valid_signals() if int(fields["SigIgn:"], 16) >> (one - 1) & 1}
    assert ignored == set()


@pytest.mark.parametrize(
    ("make", "errno"),
    [
        (lambda path: None, 2),
        (lambda path: path.write_text("#!/bin/sh\n"), 13),
        (lambda path: (path.write_text("no program"), path.chmod(0o700)), 8),
    ],
)
def test_what_cannot_be_run(
    null: int, tmp_path: Path, make: Callable[[Path], object], errno: int
) -> None:
    path = tmp_path / "program"
    make(path)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=os.strerror(errno)):
        programs.spawn(str(path), ["x"], environment={}, descriptors={0: null, 1: null, 2: null})
    assert os.listdir("/proc/self/fd") == before
