"""Fresh file systems in files: made, mounted, and gone when the context ends.

A loop device gives a test or a measurement a disk of its own: with a size it
can fill, without inodes deleted a moment ago, and without a neighbour's dirty
pages in ``syncfs``. Needs root. It never touches other mounts or devices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MKFS = {
    # All of ext4's tables are written now: its kernel thread would write them
    # later, in the middle of a measurement.
    "ext4": (
        "mkfs.ext4",
        "-q",
        "-F",
        "-E",
        "nodiscard,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
    ),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K"),
}


def kinds() -> tuple[str, ...]:
    """Returns the file systems that this machine can make, ``ext4`` first."""
    return tuple(kind for kind, command in _MKFS.items() if shutil.which(command[0]))


@contextmanager
def written_file(size: int, directory: Path) -> Iterator[Path]:
    """Makes a file that has all of its blocks, for ``loop_filesystem``.

    A disk has its blocks before it is written to. A sparse file gets them as it is
    written, and each flush then waits for the journal of the file system below, too.

    Args:
        size: Length in bytes; all of it is written.
        directory: Where it is made.
    """
    zeros = bytes(4 << 20)
    with tempfile.NamedTemporaryFile(prefix="disk-", dir=directory, buffering=0) as file:
        for offset in range(0, size, len(zeros)):
            file.write(zeros[: size - offset])
        os.fsync(file.fileno())
        yield Path(file.name)


@contextmanager
def loop_ext4(
    size: int, directory: Path, *, options: Sequence[str] = (), file: Path | None = None
) -> Iterator[Path]:
    """Mounts a new ext4; see `loop_filesystem`."""
    with loop_filesystem("ext4", size, directory=directory, options=options, file=file) as path:
        yield path


@contextmanager
def loop_filesystem(
    kind: str,
    size: int,
    *,
    directory: Path,
    options: Sequence[str] = (),
    file: Path | None = None,
) -> Iterator[Path]:
    """Mounts a new file system that lives in a sparse file, or in one that is there.

    At the end everything below the mount point is unmounted too, the device
    is detached and the file removed, whatever happened within.

    Args:
        kind: One of `kinds`.
        size: Size of the disk in bytes; only what is written takes space.
        directory: Where the file and the mount point are made.
        options: Mount options, such as ``noatime`` or ``data=journal``.
        file: Of that size, such as ``written_file`` makes; overwritten, and it stays.

    Yields:
        The mount point, mode 0700 above it.

    Raises:
        RuntimeError: A program failed, or something still used the file
            system at the end; then it is detached lazily.
    """
    with ExitStack() as cleanup:
        home = Path(tempfile.mkdtemp(prefix="disk-", dir=directory))
        cleanup.callback(shutil.rmtree, home)
        image, path = file or home / "image", home / "mnt"
        path.mkdir()
        if file is None:
            with image.open("wb") as new:
                new.truncate(size)
        _run(*_MKFS[kind], str(image))
        _mount(image, path, kind=kind, options=options)
        cleanup.callback(_unmount, path)
        yield path


def _mount(image: Path, path: Path, *, kind: str, options: Sequence[str]) -> None:
    """Mounts through a loop device that the kernel detaches at the last unmount.

    The device reads and writes the file directly. Through the page cache,
    everything would be kept in memory twice and written twice.
    """
    device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
    try:
        _run("mount", "-t", kind, "-o", ",".join(options) or "defaults", device, str(path))
    finally:
        _run("losetup", "--detach", device)


def _unmount(path: Path) -> None:
    try:
        _run("umount", "--recursive", str(path))
    except RuntimeError:
        _run("umount", "--recursive", "--lazy", str(path))
        raise


def _run(*command: str) -> str:
    """Runs a program and returns what it printed."""
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        message = f"{result.stderr.strip() or result.returncode}: {' '.join(command)}"
        raise RuntimeError(message)
    return result.stdout
