"""What a block device has read and written, as the kernel counts it.

Source: Documentation/block/stat.rst of Linux; a sector is 512 bytes there, whatever
the device's own sectors are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Transfers:
    """Finished requests of a device and their bytes.

    Attributes:
        reads: Requests to read.
        read_bytes: What they brought.
        writes: Requests to write.
        written_bytes: What they took.
    """

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int

    def __sub__(self, earlier: Transfers) -> Transfers:
        """What was transferred since ``earlier``."""
        return Transfers(
            reads=self.reads - earlier.reads,
            read_bytes=self.read_bytes - earlier.read_bytes,
            writes=self.writes - earlier.writes,
            written_bytes=self.written_bytes - earlier.written_bytes,
        )


def parse(line: str) -> Transfers:
    """Reads the ``stat`` file of a device."""
    fields = [int(field) for field in line.split()]
    return Transfers(
        reads=fields[0],
        read_bytes=fields[2] * _SECTOR,
        writes=fields[4],
        written_bytes=fields[6] * _SECTOR,
    )


def transfers(path: Path) -> Transfers:
    """Returns the counts of the device that a file system is on.

    Args:
        path: Something on the file system.
    """
    device = os.stat(path).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return parse(stat.read_text())
