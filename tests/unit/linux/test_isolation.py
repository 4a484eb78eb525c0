"""What processes give up: each thing in a child of its own, which then tries to use it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

BEGIN = """
import errno, os, resource, signal, socket, sys
from orlop.linux import isolation, landlock, seccomp
place = sys.argv[1]
def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"
"""


def child(action: str, place: Path | str = "") -> list[str]:
    """Lines that a child prints that has done ``action``."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", BEGIN + action, str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_tree_becomes_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    (tmp_path / "secret").write_text("x")
    said = child(
        """
fd = os.open(f"{place}/in", os.O_RDONLY)
root = isolation.enter_tree(fd)
os.close(fd)
print(os.listdir(root), os.listdir("/"), os.listdir("/.."), os.listdir("."))
print(refused(os.stat, f"{place}/secret"))
print(refused(os.stat, "../../secret"))
os.mknod("/null", 0o020666, os.makedev(1, 3))
print(refused(os.open, "/null", os.O_RDONLY))
os.symlink("/file", "/link")
print(open("/link").read())
""",
        tmp_path,
    )
    assert said == ["['file'] " * 3 + "['file']", "ENOENT", "ENOENT", "EACCES", "x"]
    assert (tmp_path / "in" / "link").is_symlink()


def test_other_processes_keep_their_mounts(tmp_path: Path) -> None:
    with open("/proc/self/mountinfo") as file:
        before = file.read()
    child("isolation.enter_tree(os.open(place, os.O_RDONLY))", tmp_path)
    with open("/proc/self/mountinfo") as file:
        assert file.read() == before


def test_a_mount_below_the_tree_is_not_seen(tmp_path: Path) -> None:
    said = child(
        """
from orlop.linux import mountcalls
isolation.leave_namespaces(mountcalls.CLONE_NEWNS)
mountcalls.mount("none", "/", fstype="", flags=mountcalls.MS_REC | mountcalls.MS_PRIVATE)
os.mkdir(f"{place}/m")
mountcalls.mount("none", f"{place}/m", fstype="tmpfs")
open(f"{place}/m/other", "w").close()
isolation.enter_tree(os.open(place, os.O_RDONLY))
print(os.listdir("/m"))
""",
        tmp_path,
    )
    assert said == ["[]"]


def test_a_child_alone_sees_nobody() -> None:
    said = child("""
parent = os.getpid()
with isolation.children_alone():
    if not os.fork():
        print(os.getpid(), os.getppid(), refused(os.kill, parent, 0), flush=True)
        os._exit(0)
os.wait()
with isolation.children_alone():
    if not os.fork():
        print(os.getpid(), flush=True)
        os._exit(0)
os.wait()
# It is back where it was: a child has an ordinary number.
if not (pid := os.fork()):
    print(os.getppid() == parent, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
""")
    assert said == ["1 0 ESRCH", "1", "True"]


def test_capabilities_are_gone_for_good(tmp_path: Path) -> None:
    said = child(
        """
isolation.keep_capabilities([isolation.CAP_CHOWN, isolation.CAP_MKNOD])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"):
    print(name, int(status[name], 16) == (0 if name in ("CapInh", "CapAmb") else 1 | 1 << 27))
os.mknod(f"{place}/device", 0o020600, os.makedev(0, 0))
os.chown(f"{place}/device", 7, 7)
print(refused(os.chmod, f"{place}/device", 0o777))
print(refused(os.chroot, place))
# Programs get nothing back, although root starts them.
print(os.popen("grep CapEff /proc/self/status").read().split()[1])
""",
        tmp_path,
    )
    assert said[:5] == [
        f"{name} True" for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")
    ]
    assert said[5:] == ["EPERM", "EPERM", "0" * 16]


def test_resources_are_bounded(tmp_path: Path) -> None:
    said = child(
        """
isolation.limit_resources(memory=64 << 20, file_bytes=1000, descriptors=20)
try:
    bytearray(128 << 20)
except MemoryError:
    print("no memory")
fd = os.open(f"{place}/file", os.O_WRONLY | os.O_CREAT)
print(os.write(fd, bytes(2000)), refused(os.write, fd, b"x"))
fds = []
print(refused(lambda: [fds.append(os.dup(1)) for _ in range(30)]))
print(resource.getrlimit(resource.RLIMIT_CORE))
""",
        tmp_path,
    )
    assert said == ["no memory", "1000 EFBIG", "EMFILE", "(0, 0)"]


def test_landlock_leaves_one_directory(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("x")
    said = child(
        """
listener = socket.create_server(("127.0.0.1", 0))
isolation.no_new_privileges()
fd = os.open(f"{place}/in", os.O_RDONLY)
landlock.restrict(fd)
os.close(os.open("made", os.O_CREAT | os.O_RDWR, dir_fd=fd))
os.mkdir("d", dir_fd=fd)
os.link("made", "d/linked", src_dir_fd=fd, dst_dir_fd=fd)
os.rename("made", "d/moved", src_dir_fd=fd, dst_dir_fd=fd)
os.truncate(f"{place}/in/d/moved", 3)
print(refused(os.open, f"{place}/secret", os.O_RDONLY))
print(refused(os.mkdir, f"{place}/new"))
print(refused(os.listdir, "/"))
if landlock.abi() >= 4:
    print(refused(socket.create_connection, listener.getsockname()))
else:
    print("EACCES")
""",
        tmp_path,
    )
    assert said == ["EACCES"] * 4


def test_the_filter_holds_for_all_threads_and_goes_to_children() -> None:
    said = child("""
import threading
go, results = threading.Event(), []
def other():
    go.wait()
    results.append(refused(os.mkdir, "/tmp/not-made"))
    results.append(os.pread(fd, 1, 0))
fd = os.open("/dev/zero", os.O_RDONLY)
thread = threading.Thread(target=other)
thread.start()
isolation.no_new_privileges()
seccomp.install(seccomp.program(os.uname().machine))
go.set()
thread.join()
print(*results, refused(os.fork))
""")
    assert said == ["EPERM b'\\x00' EPERM"]


def test_what_only_an_attacker_asks_for_kills() -> None:
    said = child("""
pid = os.fork()
if not pid:
    isolation.no_new_privileges()
    seccomp.install(seccomp.program(os.uname().machine))
    socket.socket()
    os._exit(0)
print(os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGSYS)
""")
    assert said == ["True"]
