"""What is left of a file system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.linux.space import free_share
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.root
def test_bytes_and_inodes(tmp_path: Path) -> None:
    with loop_ext4(16 << 20, tmp_path) as disk:
        empty = free_share(str(disk))
        assert 0.5 < empty <= 1
        (disk / "half").write_bytes(bytes(8 << 20))
        os.sync()
        bytes_left = free_share(str(disk))
        assert bytes_left < empty - 0.4
        (disk / "half").unlink()
        while os.statvfs(disk).f_favail > 100:
            os.mknod(disk / str(os.statvfs(disk).f_favail))
        assert free_share(str(disk)) < 0.05


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        free_share(str(tmp_path / "missing"))
