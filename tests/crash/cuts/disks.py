"""Disks of the rigs: files behind loop devices, made, mounted, cloned and taken away.

All mounts are made in a mount namespace of this process's own, and loop devices detach
themselves when nobody uses them: whatever ends this process leaves nothing behind.

Source: loop(4), ioctl_ficlonerange(2), mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.linux import mountcalls

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LO_FLAGS_AUTOCLEAR: Final = 4
_BLKFLSBUF: Final = 0x1261
_FICLONE: Final = 0x40049409
# struct loop_config: descriptor and block size, then struct loop_info64, whose flags
# come after six numbers of 64 and three of 32 bits, then reserved words.
_LOOP_CONFIG: Final = struct.Struct("<II 40x 12x I 176x 64x")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A kind of file system, and how the rigs use it.

    Attributes:
        size: of a small disk, in bytes.
        make: the command that makes it, without the disk.
        lazy: mount options that keep it from writing before it must.
        again: mount options for a copy of a disk.
        sector: what a disk must write in one piece, in bytes. Btrfs asks for 4 KiB: its
            superblock has one copy only that knows of the last fsync.
    """

    name: str
    size: int
    make: tuple[str, ...]
    lazy: str = ""
    again: str = ""
    sector: int = 512


_MIB: Final = 1 << 20
KINDS: Final = {
    kind.name: kind
    for kind in (
        FileSystem(
            "ext4",
            64 * _MIB,
            (
                *("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=8"),
                *("-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
            ),
            lazy="commit=300,noauto_da_alloc",
        ),
        FileSystem(
            "xfs",
            300 * _MIB,
            ("mkfs.xfs", "-q", "-f", "-K"),
            again="nouuid",
        ),
        FileSystem(
            "btrfs",
            256 * _MIB,
            ("mkfs.btrfs", "-q", "-f", "-K", "-d", "single", "-m", "single"),
            lazy="commit=300",
            sector=4096,
        ),
    )
}


class DoesNotMountError(Exception):
    """The kernel refuses a file system."""


def keep_mounts_private() -> None:
    """Give this process mounts of its own; before it starts threads."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(mountcalls.CLONE_NEWNS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: unshare")
    mountcalls.mount("none", "/", fstype="", flags=mountcalls.MS_REC | mountcalls.MS_PRIVATE)


def make_disk(path: Path, kind: FileSystem, *, size: int = 0) -> None:
    """Make an empty file system in a new sparse file."""
    with path.open("wb") as file:
        file.truncate(size or kind.size)
    subprocess.run([*kind.make, str(path)], check=True, capture_output=True, env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop device; its descriptor keeps it attached."""

    path: str
    fd: int

    @property
    def cache(self) -> str:
        """What the kernel takes the disk's cache for: ``write back`` or ``write through``."""
        name = os.path.basename(self.path)
        return Path(f"/sys/block/{name}/queue/write_cache").read_text().strip()

    def forget(self) -> None:
        """Drop what the kernel remembers of the disk: its file was changed behind its back."""
        fcntl.ioctl(self.fd, _BLKFLSBUF)


@contextmanager
def attached(path: Path, *, sector: int = 512) -> Iterator[Loop]:
    """A loop device on a file."""
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        loop = _attach(backing, sector)
    finally:
        os.close(backing)
    try:
        yield loop
    finally:
        os.close(loop.fd)


def _attach(backing: int, sector: int) -> Loop:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                config = _LOOP_CONFIG.pack(backing, sector, _LO_FLAGS_AUTOCLEAR)
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
                return Loop(name, fd)
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
    finally:
        os.close(control)


@contextmanager
def mounted(device: str, target: Path, kind: FileSystem, *, options: str = "") -> Iterator[Path]:
    """A file system on a directory that exists. Raises DoesNotMountError."""
    try:
        mountcalls.mount(device, str(target), fstype=kind.name, data=options)
    except OSError as error:
        raise DoesNotMountError(f"does not mount: {error}") from error
    try:
        yield target
    finally:
        mountcalls.unmount(str(target))


def clone(source: Path, target: Path) -> None:
    """A new file with the same blocks, at one instant between writes."""
    with source.open("rb") as old, target.open("wb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


@contextmanager
def workplace() -> Iterator[Path]:
    """A file system in memory that ends with the block, or with the process."""
    with tempfile.TemporaryDirectory(prefix="cuts-") as path:
        mountcalls.mount("none", path, fstype="tmpfs", data="mode=0700,size=100%")
        try:
            yield Path(path)
        finally:
            mountcalls.unmount(path, detach=True)
