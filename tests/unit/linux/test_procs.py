"""Processes that end with their parent, and keep to themselves."""

from __future__ import annotations

import ast
import ctypes
import errno
import signal
import subprocess
import sys
import time

import pytest

from orlop.linux import procs

ORPHAN = """
import os, sys, time
from orlop.linux import procs
ready, tell = os.pipe()
parent = os.getpid()
child = os.fork()
if not child:
    procs.die_with_parent(parent)
    os.write(tell, b"1")
    time.sleep(60)
os.read(ready, 1)
print(child, flush=True)
sys.stdin.read()
"""


def run_child(action: str) -> subprocess.CompletedProcess[str]:
    program = f"import os, sys\nfrom orlop.linux import procs\n{action}"
    return subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
    )


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_child_dies_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-c", ORPHAN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    end = time.monotonic() + 10
    while is_running(child) and time.monotonic() < end:
        time.sleep(0.005)
    assert not is_running(child)


def test_parent_that_is_gone_already() -> None:
    done = run_child("procs.die_with_parent(1); print('lives')")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_parent_that_lives() -> None:
    done = run_child("procs.die_with_parent(os.getppid()); print('lives')")
    assert (done.returncode, done.stdout) == (0, "lives\n")


_BEHIND = """
parent, ourselves = os.getpid(), os.pidfd_open(os.getpid())
if os.fork():
    {parent}
while os.getppid() == parent and {orphan}:
    pass
procs.die_with_parent_outside(ourselves)
print('lives')
"""


def test_parent_outside_that_has_ended() -> None:
    # The child has our pipe, which ends when it does.
    done = run_child(_BEHIND.format(parent="os._exit(0)", orphan=True))
    assert (done.returncode, done.stdout) == (0, "")


def test_parent_outside_that_lives() -> None:
    done = run_child(_BEHIND.format(parent="os.wait(); os._exit(0)", orphan=False))
    assert (done.returncode, done.stdout) == (0, "lives\n")


@pytest.mark.root
def test_hidden_memory() -> None:
    # What cannot be dumped belongs to root, whoever runs it.
    action = """
os.setgid(65534), os.setuid(65534)
before = os.stat('/proc/self/maps').st_uid
procs.hide_memory()
print(before, os.stat('/proc/self/maps').st_uid)
"""
    shown = "import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)"
    done = run_child(action.replace("before =", f"{shown}\nbefore ="))
    assert done.stdout.split() == ["65534", "0"]


def test_descriptors_are_closed() -> None:
    action = """
extra = [os.open('/dev/null', os.O_RDONLY) for _ in range(20)]
high = os.dup2(extra[0], 900)
kept = [extra[3], extra[4], extra[10], high]
procs.close_all_but(kept)
names = sorted(map(int, os.listdir('/proc/self/fd')))
listing = [fd for fd in names if fd not in (2, *kept)]
os.write(2, repr((len(listing), [fd for fd in (2, *kept) if fd not in names])).encode())
"""
    # One descriptor more: that of the listing itself.
    assert run_child(action).stderr == "(1, [])"


def test_all_but_none() -> None:
    action = "procs.close_all_but([])\nos.write(2, repr(os.listdir('/proc/self/fd')).encode())"
    assert sorted(ast.literal_eval(run_child(action).stderr)) == ["0", "2"]


def test_refusal_is_an_error() -> None:
    # No kernel refuses these calls, so the answer is given here.
    ctypes.set_errno(errno.EPERM)
    procs._check(0, "call")
    with pytest.raises(PermissionError, match="call: Operation not permitted"):
        procs._check(-1, "call")


def test_the_soft_limit_of_descriptors_becomes_the_hard_one() -> None:
    program = (
        "import resource\n"
        "from orlop.linux.procs import allow_descriptors\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "allow_descriptors()\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
