"""Whether the preloaded library sees every change that the kernel sees; needs strace.

    python -m tests.crash.kills.traced pull remove

does each work once under ``strace -f``, and compares what that says with what the library
has counted: system call by system call, in the daemon, its fork-server and its workers.
Stores into memory that a file backs (the index of SQLite's log) are no calls, and mounts
change no file; both are left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.crash.kills.preloaded import Role, When, preload
from tests.crash.kills.rig import rig
from tests.crash.kills.sweep import work_named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.crash.kills.rig import Rig
    from tests.crash.kills.work import Work

_MODULE: Final = "tests.crash.kills.traced"

_CALLS: Final = (
    "open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,"
    "fallocate,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,mknod,mknodat,chmod,fchmod,fchmodat,?fchmodat2,chown,fchown,lchown,"
    "fchownat,utime,utimes,futimesat,utimensat,setxattr,lsetxattr,fsetxattr,removexattr,"
    "lremovexattr,fremovexattr,fsync,fdatasync,syncfs,sync,sync_file_range,copy_file_range,"
    "sendfile,splice,tee,ioctl,fsconfig,io_uring_setup"
)
"""All that change a file or its durability, and those that may, when they are told so."""

_SAME: Final = {
    "open": "openat",
    "openat2": "openat",
    "creat": "openat",
    "rename": "renameat2",
    "renameat": "renameat2",
    "pwrite": "pwrite64",
    "ftruncate64": "ftruncate",
    "fallocate64": "fallocate",
    "futimens": "utimensat",
    "fchmodat2": "fchmodat",
    "mkfifo": "mknodat",
    "mkfifoat": "mknodat",
    "mknod": "mknodat",
    "sendfile64": "sendfile",
}
"""What the C library makes of a call, and calls that are one for us."""

_NO_FILES: Final = frozenset({"mount", "umount", "umount2"})
_ONLY_WITH: Final = {
    "open": r"O_CREAT|O_TRUNC|O_TMPFILE",
    "openat": r"O_CREAT|O_TRUNC|O_TMPFILE",
    "openat2": r"O_CREAT|O_TRUNC|O_TMPFILE",
    "ioctl": r"FICLONE|FIDEDUPERANGE|FS_IOC_SETFLAGS|FS_IOC_FSSETXATTR",
    "fsconfig": r"FSCONFIG_CMD_CREATE",
}
_ELSEWHERE: Final = re.compile(r"<(?:socket|pipe|anon_inode|/proc|/dev/null|UNIX|TCP)|\"/proc/")
_LINE: Final = re.compile(r"^\d+ +(\w+)\((.*)$")


def seen_by_strace(lines: Iterable[str], *, log: str) -> Counter[str]:
    """The changes of files that a trace tells of, by system call; pure.

    Args:
        lines: of ``strace -f -y``.
        log: path of a file that is not the store's.
    """
    seen: Counter[str] = Counter()
    for line in lines:
        # A call that another thread interrupts has two lines, of which the first has all.
        found = _LINE.match(line)
        if not found or "ERESTART" in line:
            continue
        call, words = found[1], found[2]
        if call in _ONLY_WITH and not re.search(_ONLY_WITH[call], words):
            continue
        if call != "fsconfig" and (_ELSEWHERE.search(words) or f"<{log}>" in words):
            continue
        seen[_SAME.get(call, call)] += 1
    return seen


def compare(made: Rig, work: Work, trace: Path) -> list[str]:
    """Do ``work`` under strace; a line for each kind of call that is not counted right."""
    root = made.store(work)
    made.control.arm(Role.DAEMON, 1, When.BEFORE, log=True)
    victim = made.fork(root, work)
    # It stands at its first change, and has started nobody: strace misses nothing.
    if victim.wait() != "held" or victim.children():
        raise AssertionError(f"{work.name} does not begin with a change")
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={_CALLS}"]
    with subprocess.Popen(
        [*command, "-p", str(victim.pid)], stderr=subprocess.PIPE, text=True
    ) as strace:
        assert strace.stderr is not None
        strace.stderr.readline()  # says that it is attached
        made.control.release()
        if victim.wait() != "ended" or victim.end() or victim.words()[-1:] != ["closed"]:
            raise AssertionError(f"{work.name}: {victim.said}: {made.log.read_text()}")
        strace.communicate()
    counted = Counter(
        _SAME.get(change.call, change.call)
        for change in made.control.changes()
        if change.call not in _NO_FILES
    )
    seen = seen_by_strace(trace.read_text().splitlines(), log=str(made.log))
    print(f"{work.name}: {counted.total()} counted, {seen.total()} seen by strace")
    return [
        f"{work.name}: {call}: {counted[call]} counted, {seen[call]} seen by strace"
        for call in sorted(counted.keys() | seen.keys())
        if counted[call] != seen[call]
    ]


def main() -> int:
    """See the module; returns the exit code."""
    preload(_MODULE)
    with rig() as made:
        trace = made.log.with_name("trace")
        found = [line for name in sys.argv[1:] for line in compare(made, work_named(name), trace)]
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
