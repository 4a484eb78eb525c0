"""A fork-server whose workers attack: ``attacker.py NAME PLACE FD PID``.

Everything is the real one up to the moment at which a worker would read the layer. Then it
does what somebody would who had taken it over, from the inside of its jail, and says
whether that worked.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from orlop.errors import Internal
from orlop.unpack import frames, worker

if TYPE_CHECKING:
    from collections.abc import Callable

WORKED = "the attack worked"
STOPPED = "stopped"

_libc = ctypes.CDLL(None, use_errno=True)
_PARENT = os.getpid()  # of the workers: the fork-server
_DAEMON = os.getppid()


class Attack:
    """What a worker can reach for.

    Attributes:
        place: a directory outside of the tree, with a file ``secret`` in it.
        target: descriptor of the tree.
    """

    def __init__(self, place: str, target: int) -> None:
        self.place = place
        self.target = target

    # The file system.

    def read_outside(self) -> None:
        with open(f"{self.place}/secret", "rb") as file:
            file.read()

    def write_outside(self) -> None:
        os.close(os.open(f"{self.place}/new", os.O_CREAT | os.O_WRONLY))

    def climb_out(self) -> None:
        up = "../" * 40
        os.close(os.open(f"{up}{self.place}/secret", os.O_RDONLY, dir_fd=self.target))

    def rename_outside(self) -> None:
        os.close(os.open("mine", os.O_CREAT | os.O_WRONLY, dir_fd=self.target))
        os.rename("mine", f"{self.place}/new", src_dir_fd=self.target)

    def link_in(self) -> None:
        os.link(f"{self.place}/secret", "stolen", dst_dir_fd=self.target)

    def through_proc(self) -> None:
        os.close(os.open(f"/proc/self/root/{self.place}/secret", os.O_RDONLY))

    def write_proc(self) -> None:
        os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))

    def read_environment(self) -> None:
        os.close(os.open(f"/proc/{_PARENT}/environ", os.O_RDONLY))

    def by_handle(self) -> None:
        # struct file_handle: length, type, and room for the kernel's own words.
        handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 8 + 128)
        mount = ctypes.c_int()
        if _libc.name_to_handle_at(self.target, b".", handle, ctypes.byref(mount), 0) != 0:
            # The filter does not know the call: any handle does for the next one.
            handle.value = struct.pack("=Ii", 8, 1)
        opened = _libc.open_by_handle_at(self.target, handle, os.O_RDONLY)
        if ctypes.get_errno() == errno.ESTALE:
            return  # it was looked up
        _check(opened)

    # Mounts and namespaces.

    def mount(self) -> None:
        os.mkdir("m", dir_fd=self.target)
        _check(_libc.mount(b"none", b"m", b"tmpfs", 0, None))

    def remount(self) -> None:
        remount_and_bind = 32 | 4096
        _check(_libc.mount(b"none", b"/", None, remount_and_bind, None))

    def new_user_namespace(self) -> None:
        def mount_as_root_of_its_own() -> None:
            _check(_libc.unshare(0x10000000))
            _check(_libc.unshare(0x20000))
            _check(_libc.mount(b"none", b"/", b"tmpfs", 0, None))

        _in_child(mount_as_root_of_its_own)

    def join_namespace(self) -> None:
        fd = _libc.syscall(434, _PARENT, 0)  # pidfd_open(2)
        _check(fd)
        _check(_libc.setns(fd, 0x04000000))

    def change_root(self) -> None:
        _check(_libc.chroot(b"/"))

    # Other processes.

    def kill_parent(self) -> None:
        os.kill(_PARENT, 0)

    def signal_daemon(self) -> None:
        os.kill(_DAEMON, 0)

    def trace_parent(self) -> None:
        attach_without_stop = 0x4206
        _check(_libc.ptrace(attach_without_stop, _PARENT, 0, 0))
        detach = 17
        _libc.ptrace(detach, _PARENT, 0, 0)

    def read_parents_memory(self) -> None:
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.c_char()), 1)
        done = _libc.process_vm_readv(_PARENT, vector, 1, vector, 1, 0)
        if done < 0 and ctypes.get_errno() == errno.EFAULT:
            return  # it was allowed to look
        _check(done)

    def outlive(self) -> None:
        if not os.fork():
            time.sleep(0.5)
            os.close(os.open("survivor", os.O_CREAT | os.O_WRONLY, dir_fd=self.target))
            os._exit(0)

    def execute(self) -> None:
        _in_child(lambda: os.execv("/bin/sh", ["sh", "-c", f"touch {self.place}/new"]))

    # The network.

    def connect(self) -> None:
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", int(os.path.basename(self.place))))

    def connect_abstract(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("\0orlop-" + os.path.basename(self.place))

    def connect_by_path(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self.place}/socket")

    def raw_socket(self) -> None:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()

    # Root's powers.

    def set_user(self) -> None:
        _check(_libc.syscall(_SETUID, 12345))

    def set_host_name(self) -> None:
        name = os.uname().nodename.encode()
        _check(_libc.sethostname(name, len(name)))

    def read_kernel_log(self) -> None:
        size_of_buffer = 10
        _check(_libc.klogctl(size_of_buffer, None, 0))

    def stop_swapping(self) -> None:
        answer = _libc.swapoff(b"nothing")
        if ctypes.get_errno() == errno.ENOENT:
            return  # it may, and there is only nothing of this name
        _check(answer)

    def account(self) -> None:
        _check(_libc.acct(None))

    def hurry(self) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, -5)

    # The interpreter.

    def lazy_import(self) -> None:
        # Not code of an attacker: ours, that finds what an image has put where Python looks.
        for directory in _MODULES:
            above = os.dup(self.target)
            for name in directory.strip("/").split("/"):
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=above)
                above = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
            os.close(os.open("planted.py", os.O_CREAT | os.O_WRONLY, dir_fd=above))
        importlib.invalidate_caches()
        importlib.import_module("planted")


_MODULES = [directory for directory in sys.path if directory.startswith("/")]
_SETUID = 105 if os.uname().machine == "x86_64" else 146


def _in_child(attack: Callable[[], None]) -> None:
    """Attack from a new process; what a process with threads cannot do, it can."""
    if not os.fork():
        try:
            attack()
            os._exit(0)
        finally:
            os._exit(1)
    if os.wait()[1]:
        raise PermissionError(errno.EPERM, "the child did not succeed")


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def main() -> None:
    """Be a fork-server whose workers do what ``sys.argv`` names."""
    name, place = sys.argv[1:3]
    del sys.argv[1:3]

    def attack(
        job: frames.Job, control: socket.socket, stream: worker._Stream, target: int, manifest: int
    ) -> None:
        del manifest
        os.fchdir(target)
        method: Callable[[], None] = getattr(Attack(place, target), name)
        try:
            method()
        except (OSError, ImportError) as error:
            raise Internal(f"{STOPPED}: {error}") from error
        raise Internal(WORKED)

    worker.apply = attack
    worker.main()


if __name__ == "__main__":
    main()
