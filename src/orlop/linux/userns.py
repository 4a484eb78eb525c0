"""Being root of a namespace of one's own, for those who are not root of the machine.

``become_root`` puts the rest of a program into a user namespace in which its user is
root, with mounts and processes of its own, so that the same code works there: it owns
files of many ids where the machine grants them, mounts overlays and isolates workers.

Three processes are left: the one that was started, outside of the process namespace, the
first one inside, which buries orphans, and the program. Signals go from one to the next,
the exit status comes back, and when one of the first two dies, so does all below it.

Sources: user_namespaces(7), pid_namespaces(7), newuidmap(1), subuid(5), sigwaitinfo(2).
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import PermissionDenied
from orlop.linux import isolation, procs
from orlop.linux.mountcalls import CLONE_NEWNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CLONE_NEWUSER: Final = 0x10000000

WHOLE: Final = (0, 0, 0xFFFFFFFF)
"""The map of the machine's own user namespace: inside, outside, count."""

_KINDS: Final = ("uid", "gid")
_FORWARDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
_BY_PROCESSES: Final = 0  # si_code of what kill(2) sends, and less; the kernel's own are greater
_HINT: Final = (
    "run it as root, or permit namespaces: user.max_user_namespaces > 0,"
    " kernel.unprivileged_userns_clone = 1, kernel.apparmor_restrict_unprivileged_userns = 0"
)


def is_initial() -> bool:
    """True in the machine's own user namespace, whose root is root."""
    return _ids("uid") == WHOLE


def granted() -> tuple[int, int]:
    """How many users and groups there are here, from 0 on, when the maps have no gaps."""
    users, groups = (sum(_ids(kind)[2::3]) for kind in _KINDS)
    return users, groups


def become_root() -> None:
    """Go on as root of a user namespace; returns only in the process that goes on.

    The user's own id is 0 inside. The others are those that ``/etc/subuid`` and
    ``/etc/subgid`` grant, from 1 on, when newuidmap(1) is installed; otherwise there are
    none. Nothing happens to root. The process must have one thread.

    Raises:
        PermissionDenied: the kernel does not permit it.
        SystemExit: in the process that was started, with the status of the program.
    """
    if not os.geteuid():
        return
    user, group = os.geteuid(), os.getegid()
    try:
        _enter_user_namespace(user, group)
        isolation.leave_namespaces(CLONE_NEWNS | isolation.CLONE_NEWPID)
    except OSError as error:
        raise PermissionDenied(
            f"a user namespace is needed without root, and there is none: {error.strerror}",
            hint=_HINT,
        ) from error
    _descend(first=True)
    _descend(first=False)


def id_ranges(text: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """What ``/etc/subuid`` grants: first id and count, in the file's order.

    Args:
        text: of the file; lines that make no sense are left out, as newuidmap does.
        names: whose lines count: the user's name and number.
    """
    wanted = set(names)
    found = []
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if name in wanted and first.isdecimal() and count.isdecimal() and int(count):
            found.append((int(first), int(count)))
    return found


def map_words(own: int, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """A map as newuidmap(1) wants it: the user becomes 0, the others follow."""
    words = [0, own, 1]
    inside = 1
    for first, count in ranges:
        words += [inside, first, count]
        inside += count
    return [str(word) for word in words]


def _enter_user_namespace(user: int, group: int) -> None:
    """Have a user namespace of our own, whose maps a child outside of it writes."""
    wanted = [
        (kind, map_words(own, _granted(kind, user)))
        for kind, own in zip(_KINDS, (user, group), strict=True)
    ]
    told, tell = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if not helper:
        os.close(tell)
        _write_maps(told, parent, wanted)
    os.close(told)
    try:
        isolation.leave_namespaces(CLONE_NEWUSER)
        os.write(tell, b"x")
    finally:
        os.close(tell)  # with nothing in it when there is no namespace
        os.waitpid(helper, 0)
    for kind, own in zip(_KINDS, (user, group), strict=True):
        if not _read(f"/proc/self/{kind}_map"):
            if kind == "gid":
                _write("/proc/self/setgroups", "deny")
            _write(f"/proc/self/{kind}_map", f"0 {own} 1")


def _ids(kind: str) -> tuple[int, ...]:
    """Our map: inside, outside and count of each range."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        return tuple(map(int, file.read().split()))


def _granted(kind: str, user: int) -> list[tuple[int, int]]:
    names = [str(user)]
    with suppress(KeyError):
        names.append(pwd.getpwuid(user).pw_name)
    return id_ranges(_read(f"/etc/sub{kind}"), names)


def _write_maps(told: int, process: int, wanted: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Have newuidmap and newgidmap write the maps of ``process``; never returns."""
    try:
        if os.read(told, 1):
            for kind, words in wanted:
                if len(words) > len(WHOLE):  # more than the user alone
                    _run_mapper(f"new{kind}map", process, words)
    finally:
        os._exit(0)


def _run_mapper(program: str, process: int, words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            [program, str(process), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        return
    except OSError as error:
        cause = str(error)
    else:
        cause = " ".join(done.stderr.split())
        if not done.returncode:
            return
    os.write(2, f"orlop: no ids but your own: {cause}\n".encode())


def _descend(*, first: bool) -> None:
    """Fork; the child returns, the parent lives for it and ends with its status."""
    signals = _FORWARDED | {signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have ignored it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        status = _attend(child, signals)
        if not first:
            os._exit(status)
        raise SystemExit(status)
    # In a new process namespace, the parent outside has no number.
    procs.die_with_parent(0 if first else parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _attend(child: int, signals: Iterable[int]) -> int:
    """Pass signals on to ``child`` and bury the dead, until it ends; its exit status."""
    while True:
        heard = signal.sigwaitinfo(signals)
        if heard.si_signo != signal.SIGCHLD:
            # What a terminal sends, its kernel sends to every process on it.
            if heard.si_code <= _BY_PROCESSES:
                os.kill(child, heard.si_signo)
            continue
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    return code if code >= 0 else 128 - code


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
