"""Space on file systems, as the kernel counts it."""

from __future__ import annotations

import os


def free_share(path: str) -> float:
    """What is left of the file system of ``path``: of its bytes or of its inodes, if fewer.

    As kubelet counts: what root alone may use is not free.

    Returns:
        From 0.0, full, to 1.0, empty.

    Raises:
        OSError: as statvfs(3).
    """
    found = os.statvfs(path)
    inodes = found.f_favail / found.f_files if found.f_files else 1.0  # btrfs counts none
    return min(found.f_bavail / found.f_blocks if found.f_blocks else 1.0, inodes)
