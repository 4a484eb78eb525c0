"""What a process gives up before it reads what strangers wrote.

One function for each thing. They work on the calling thread (capabilities,
``no_new_privileges``) or process, and nothing that was given up can be had again.

Sources: unshare(2), pivot_root(2), open_tree(2), capabilities(7), prctl(2), capset(2),
setrlimit(2), pid_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orlop.linux import mountcalls
from orlop.linux.files import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

# Bits of capabilities(7).
CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_MKNOD: Final = 27
CAP_SETFCAP: Final = 31

_MOUNT_ATTRIBUTES: Final = 0x2 | 0x4 | 0x8  # MOUNT_ATTR_NOSUID, NODEV, NOEXEC

_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECURE: Final = 0b101111  # NOROOT and NO_SETUID_FIXUP with their locks, KEEP_CAPS locked off
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST_CAPABILITY: Final = 63

_libc = ctypes.CDLL(None, use_errno=True)


def leave_namespaces(kinds: int) -> None:
    """Have namespaces of ``kinds`` (``CLONE_*``) that nobody else is in.

    Raises:
        OSError: the kernel refused.
    """
    if _libc.unshare(ctypes.c_int(kinds)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: leave namespaces {kinds:#x}")


@contextmanager
def children_alone() -> Iterator[None]:
    """A process that is forked in the block is the first of a process namespace of its own.

    It sees no other process, and the kernel ends all that it starts when it ends. It must
    not leave the block itself.

    Raises:
        OSError: the kernel refused.
    """
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        leave_namespaces(CLONE_NEWPID)
        try:
            yield
        finally:
            if _libc.setns(ours, CLONE_NEWPID) != 0:
                code = ctypes.get_errno()
                raise OSError(code, f"{os.strerror(code)}: return to a process namespace")
    finally:
        os.close(ours)


def enter_tree(directory: int) -> int:
    """Make a directory the root of all this process can see; nothing in it can be executed.

    It gets a mount namespace of its own. Descriptors that were opened before still lead
    outside, and are the caller's to close.

    Args:
        directory: a descriptor of it; stays open.

    Returns:
        A descriptor of the same directory in the new namespace; the caller's.

    Raises:
        OSError: the kernel refused.
    """
    tree = mountcalls.clone_descriptor(directory)
    try:
        mountcalls.set_attributes(tree, _MOUNT_ATTRIBUTES)
        leave_namespaces(mountcalls.CLONE_NEWNS)
        private = mountcalls.MS_REC | mountcalls.MS_PRIVATE
        mountcalls.mount("none", "/", fstype="", flags=private)
        mountcalls.attach(tree, "/")
        os.fchdir(tree)
        # With one place for both, the old root lies on top of the new one (pivot_root(2)).
        mountcalls.pivot_root(".", ".")
        mountcalls.unmount(".", detach=True)
        os.chdir("/")
    finally:
        os.close(tree)
    return os.open("/", DIRECTORY)


def keep_capabilities(kept: Iterable[int]) -> None:
    """Give up all capabilities but ``kept``, for this thread and those that it starts.

    Raises:
        OSError: the kernel refused.
    """
    mask = sum(1 << number for number in kept)
    for number in range(_LAST_CAPABILITY + 1):
        # Those that the kernel does not have end the list.
        if not mask >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break
    _prctl(_PR_SET_SECUREBITS, _SECURE, "lock the user's powers")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    wanted = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(header, wanted) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: give up capabilities")


def no_new_privileges() -> None:
    """No program that this process starts can have more rights than it has.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "give up new privileges")


def limit_resources(*, memory: int, file_bytes: int, descriptors: int) -> None:
    """Bound what this process can take, whatever it is made to do.

    Args:
        memory: bytes of its own data (RLIMIT_DATA); allocations beyond fail.
        file_bytes: length of the longest file that it may write.
        descriptors: highest number of open files.

    Raises:
        OSError: the kernel refused.
    """
    for what, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))


def _prctl(option: int, value: int, doing: str) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: {doing}")
