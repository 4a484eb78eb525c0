"""Mountinfo: which mounts there are.

Reads what the kernel tells in ``/proc/*/mountinfo`` and changes nothing.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of mountinfo; see proc_pid_mountinfo(5).

    Attributes:
        id: unique while the mount exists.
        parent: id of the mount that it stands on.
        device: ``major:minor``.
        root: the directory of the file system that is mounted.
        target: where, as seen from the process's root.
        options: of the mount.
        fstype: ``ext4``, ``overlay``, …
        source: what the file system calls its source.
        super_options: of the file system, shared by all of its mounts.
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    fstype: str
    source: str
    super_options: str


def parse_mountinfo(text: str) -> list[MountPoint]:
    """The mounts of a mountinfo file, in its order. Lines that are cut short are left out.

    Args:
        text: as ``os.fsdecode`` gives it, so that names which are not UTF-8 survive.
    """
    found = []
    for line in text.split("\n"):
        head, dash, tail = line.partition(" - ")
        before, after = head.split(" "), tail.split(" ")
        if not dash or len(before) < 6 or len(after) < 3:
            continue
        found.append(
            MountPoint(
                id=int(before[0]),
                parent=int(before[1]),
                device=before[2],
                root=_unescape_octal(before[3]),
                target=_unescape_octal(before[4]),
                options=before[5],
                fstype=_unescape_octal(after[0]),
                source=_unescape_octal(after[1]),
                super_options=" ".join(after[2:]),
            )
        )
    return found


def read_mountinfo() -> list[MountPoint]:
    """The mounts that the calling thread sees.

    Raises:
        OSError: /proc is not mounted.
    """
    with open("/proc/thread-self/mountinfo", "rb") as file:
        return parse_mountinfo(os.fsdecode(file.read()))


def mounts_of(process: int) -> list[MountPoint] | None:
    """The mounts that a process sees; None when it has ended, or must not be looked at."""
    try:
        with open(f"/proc/{process}/mountinfo", "rb") as file:
            return parse_mountinfo(os.fsdecode(file.read()))
    except OSError as error:
        # EINVAL: it has left its namespaces, as one does that ends.
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.EINVAL):
            return None
        raise


def mounted_directories() -> set[str]:
    """Directories that any process has mounted: roots of bind mounts, layers of overlays.

    They are named as whoever mounted them did, roots as seen from their file system's
    root. Mounts of processes that end meanwhile are left out.

    Raises:
        OSError: /proc is not mounted.
    """
    found: set[str] = set()
    seen: set[str] = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
            if namespace in seen:
                continue
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        points = mounts_of(int(process))
        if points is None:
            continue
        seen.add(namespace)
        for point in points:
            found.add(point.root)
            if point.fstype == "overlay":
                options = _unescape_octal(point.super_options)
                found.update(part.rstrip("/") for part in re.split(r"[:,=]", options))
    return found


def _unescape_octal(field: str) -> str:
    if "\\" not in field:
        return field
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes((int(m[1], 8) & 0xFF,)), os.fsencode(field))
    return os.fsdecode(raw)
