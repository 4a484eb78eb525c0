"""A filter of system calls for the process that reads what strangers wrote.

``program`` is pure: it writes the filter in the kernel's classic BPF. ``install``
puts it in force, for all threads of the process and for good.

What the filter says, in this order: another architecture's calls kill the process; the
calls that only an attacker would make kill it; memory that is to be executed is
refused; what the work needs is allowed; all else fails with EPERM, so that a C library
which tries something newer first goes on with what is older.

Sources: seccomp(2), bpf(4), asm/unistd_64.h, asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orlop.linux.mountcalls import system_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALLOWED: Final = frozenset(
    {
        # Bytes of files and of the control socket.
        "read write readv writev pread64 pwrite64 lseek close dup fcntl poll ppoll",
        "sendto recvfrom sendmsg recvmsg fallocate ftruncate sync_file_range",
        # The tree. That no path leads out of it is the mount namespace's business.
        "openat openat2 mkdirat mknodat unlinkat renameat renameat2 linkat symlinkat",
        "readlinkat newfstatat statx fstat fstatfs getdents64 fchdir",
        "fchmod fchmodat fchmodat2 fchown fchownat utimensat",
        "fgetxattr fsetxattr flistxattr fremovexattr",
        # Memory, threads that are there already, time, the end.
        "mmap mprotect munmap mremap madvise brk membarrier",
        "futex sched_yield sched_getaffinity set_robust_list rseq gettid getpid getppid",
        "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall",
        "clock_gettime clock_nanosleep nanosleep gettimeofday getrandom getrusage sysinfo",
        "umask exit exit_group",
    }
)
"""What the work needs, in groups."""

KILLED: Final = frozenset(
    {
        "execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd",
        "socket connect bind mount umount2 pivot_root chroot move_mount open_tree fsopen",
        "unshare setns kill tkill pidfd_send_signal open_by_handle_at",
        "bpf io_uring_setup perf_event_open userfaultfd keyctl memfd_create",
        "init_module finit_module kexec_load",
    }
)
"""What nobody but an attacker asks for, in groups."""

_X86_64: Final = (
    "read:0 write:1 close:3 fstat:5 poll:7 lseek:8 mmap:9 mprotect:10 munmap:11 brk:12"
    " rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 pread64:17 pwrite64:18 readv:19"
    " writev:20 sched_yield:24 mremap:25 madvise:28 dup:32 nanosleep:35 getpid:39 socket:41"
    " connect:42 sendto:44 recvfrom:45 sendmsg:46 recvmsg:47 bind:49 execve:59 exit:60"
    " kill:62 fcntl:72 ftruncate:77 fchdir:81 fchmod:91 fchown:93 umask:95 gettimeofday:96"
    " getrusage:98 sysinfo:99 ptrace:101 getppid:110 sigaltstack:131 fstatfs:138"
    " pivot_root:155 chroot:161 mount:165 umount2:166 init_module:175 gettid:186"
    " fsetxattr:190 fgetxattr:193 flistxattr:196 fremovexattr:199 tkill:200 futex:202"
    " sched_getaffinity:204 getdents64:217 restart_syscall:219 clock_gettime:228"
    " clock_nanosleep:230 exit_group:231 kexec_load:246 keyctl:250 openat:257 mkdirat:258"
    " mknodat:259 fchownat:260 newfstatat:262 unlinkat:263 renameat:264 linkat:265"
    " symlinkat:266 readlinkat:267 fchmodat:268 ppoll:271 unshare:272 set_robust_list:273"
    " sync_file_range:277 utimensat:280 fallocate:285 perf_event_open:298"
    " open_by_handle_at:304 setns:308 process_vm_readv:310 process_vm_writev:311"
    " finit_module:313 renameat2:316 getrandom:318 memfd_create:319 bpf:321 execveat:322"
    " userfaultfd:323 membarrier:324 statx:332 rseq:334"
)
_GENERIC: Final = (
    "fsetxattr:7 fgetxattr:10 flistxattr:13 fremovexattr:16 dup:23 fcntl:25 mknodat:33"
    " mkdirat:34 unlinkat:35 symlinkat:36 linkat:37 renameat:38 umount2:39 mount:40"
    " pivot_root:41 fstatfs:44 ftruncate:46 fallocate:47 fchdir:50 chroot:51 fchmod:52"
    " fchmodat:53 fchownat:54 fchown:55 openat:56 close:57 getdents64:61 lseek:62 read:63"
    " write:64 readv:65 writev:66 pread64:67 pwrite64:68 ppoll:73 readlinkat:78 newfstatat:79"
    " fstat:80 sync_file_range:84 utimensat:88 exit:93 exit_group:94 unshare:97 futex:98"
    " set_robust_list:99 nanosleep:101 kexec_load:104 init_module:105 clock_gettime:113"
    " clock_nanosleep:115 ptrace:117 sched_getaffinity:123 sched_yield:124 restart_syscall:128"
    " kill:129 tkill:130 sigaltstack:132 rt_sigaction:134 rt_sigprocmask:135 rt_sigreturn:139"
    " getrusage:165 umask:166 gettimeofday:169 getpid:172 getppid:173 gettid:178 sysinfo:179"
    " socket:198 bind:200 connect:203 sendto:206 recvfrom:207 sendmsg:211 recvmsg:212 brk:214"
    " munmap:215 mremap:216 keyctl:219 execve:221 mmap:222 mprotect:226 madvise:233"
    " perf_event_open:241 open_by_handle_at:265 setns:268 process_vm_readv:270"
    " process_vm_writev:271 finit_module:273 renameat2:276 getrandom:278 memfd_create:279"
    " bpf:280 execveat:281 userfaultfd:282 membarrier:283 statx:291 rseq:293"
)
_SAME_EVERYWHERE: Final = (
    "pidfd_send_signal:424 io_uring_setup:425 open_tree:428 move_mount:429 fsopen:430"
    " openat2:437 pidfd_getfd:438 fchmodat2:452"
)

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_KILL: Final = 0x80000000  # SECCOMP_RET_KILL_PROCESS
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCHITECTURE: Final = 4
_THIRD_ARGUMENT: Final = 32  # its lower half; both machines are little-endian
_PROT_EXEC: Final = 4
_X32: Final = 0x40000000  # calls of x86-64's other ABI start here

_MACHINES: Final = {
    "x86_64": (0xC000003E, 317, _X86_64),
    "aarch64": (0xC00000B7, 277, _GENERIC),
}
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC

_INSTRUCTION: Final = struct.Struct("=HBBI")


class _Program(ctypes.Structure):
    """``struct sock_fprog`` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def numbers(machine: str) -> Mapping[str, int]:
    """The numbers of the calls by name, as far as this filter speaks of them.

    Raises:
        OSError: ENOSYS, a machine that is not known here.
    """
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no system call filter for {machine}")
    listed = f"{_MACHINES[machine][2]} {_SAME_EVERYWHERE}"
    return {name: int(number) for name, _, number in (one.partition(":") for one in listed.split())}


@lru_cache(maxsize=1)
def program(machine: str) -> bytes:
    """The filter for a machine, as uname(2) names it; made once, before workers are.

    Raises:
        OSError: ENOSYS, a machine that is not known here.
    """
    known = numbers(machine)
    allowed = [known[name] for name in _names(ALLOWED) if name in known]
    killed = [known[name] for name in _names(KILLED) if name in known]
    mapping = [known["mmap"], known["mprotect"]]
    body = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, _MACHINES[machine][0], yes=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, no=1),
        _instruction(_RETURN, _KILL),
    ]
    for number in mapping:
        body += [
            _instruction(_EQUAL, number, no=4),
            _instruction(_LOAD, _THIRD_ARGUMENT),
            _instruction(_ANY_BIT, _PROT_EXEC, no=1),
            _instruction(_RETURN, _REFUSE),
            _instruction(_RETURN, _ALLOW),
        ]
    for verdict, called in ((_ALLOW, allowed), (_KILL, killed)):
        for number in called:
            if number not in mapping:
                body += [_instruction(_EQUAL, number, no=1), _instruction(_RETURN, verdict)]
    body.append(_instruction(_RETURN, _REFUSE))
    return b"".join(body)


def install(filter_program: bytes) -> None:
    """Put a filter in force for all threads of this process; it cannot be taken away.

    The process must have given up new privileges (``isolation.no_new_privileges``).

    Raises:
        OSError: the kernel knows no filters, or refused this one.
    """
    count = len(filter_program) // _INSTRUCTION.size
    described = _Program(count, filter_program)
    call = _MACHINES[os.uname().machine][1]
    address = ctypes.addressof(described)
    system_call("filter system calls", call, _SET_MODE_FILTER, _ALL_THREADS, address)


def _names(groups: Iterable[str]) -> list[str]:
    return sorted(name for group in groups for name in group.split())


def _instruction(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; ``yes`` and ``no`` are how many to skip when a test holds, or not."""
    return _INSTRUCTION.pack(code, yes, no, value)
