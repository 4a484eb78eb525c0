"""Disks of tests: fresh, of the size asked for, and gone afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.rigs.disk import kinds, loop_ext4, loop_filesystem, written_file

pytestmark = pytest.mark.root

MIB = 1 << 20
SIZES = {"ext4": 16 * MIB, "xfs": 320 * MIB, "btrfs": 128 * MIB}


def mounts() -> dict[str, tuple[str, str]]:
    """Returns kind and options of the mounts by mount point."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {fields[1]: (fields[2], fields[3]) for fields in (line.split() for line in lines)}


def attached(directory: Path) -> list[str]:
    """Returns the loop devices whose file is, or was, below a directory."""
    devices = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [device for device in devices if str(directory) in device]


def assert_nothing_left(directory: Path) -> None:
    assert not [path for path in mounts() if path.startswith(str(directory))]
    assert attached(directory) == []
    assert list(directory.iterdir()) == []


def test_ext4_can_always_be_made() -> None:
    assert kinds()[0] == "ext4"


@pytest.mark.parametrize("kind", kinds())
def test_a_file_system_of_the_kind_is_mounted_and_empty(kind: str, tmp_path: Path) -> None:
    with loop_filesystem(kind, SIZES[kind], directory=tmp_path) as path:
        assert mounts()[str(path)][0] == kind
        assert os.stat(path).st_dev != os.stat(tmp_path).st_dev
        assert [name for name in os.listdir(path) if name != "lost+found"] == []
        (path / "file").write_bytes(b"content")
        os.sync()
        assert (path / "file").read_bytes() == b"content"
    assert_nothing_left(tmp_path)


def test_each_file_system_is_a_new_one(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path) as path:
        (path / "file").touch()
    with loop_ext4(16 * MIB, tmp_path) as path:
        assert not (path / "file").exists()


def test_two_exist_beside_each_other(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path) as one, loop_ext4(16 * MIB, tmp_path) as other:
        assert os.stat(one).st_dev != os.stat(other).st_dev
        (one / "file").touch()
        assert not (other / "file").exists()
    assert_nothing_left(tmp_path)


def test_the_disk_can_be_filled(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path) as path, pytest.raises(OSError, match="No space") as caught:
        (path / "file").write_bytes(bytes(17 * MIB))
    assert caught.value.errno == errno.ENOSPC
    assert_nothing_left(tmp_path)


def test_the_image_takes_only_the_space_that_is_written(tmp_path: Path) -> None:
    with loop_ext4(1024 * MIB, tmp_path) as path:
        status = os.stat(path.parent / "image")
        assert status.st_size == 1024 * MIB
        assert status.st_blocks * 512 < 128 * MIB


def test_a_file_that_is_there_serves_one_file_system_after_the_other(tmp_path: Path) -> None:
    with written_file(16 * MIB, tmp_path) as file:
        inode = os.stat(file).st_ino
        for _ in range(2):
            with loop_ext4(16 * MIB, tmp_path, file=file) as path:
                assert attached(file)
                assert not (path / "file").exists()
                (path / "file").touch()
        status = os.stat(file)
        assert status.st_ino == inode, "it was made anew"
        assert status.st_blocks * 512 >= 16 * MIB
    assert_nothing_left(tmp_path)


def test_mount_options_are_passed_on(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path, options=["noatime", "ro"]) as path:
        options = mounts()[str(path)][1].split(",")
        assert {"noatime", "ro"} <= set(options)
        with pytest.raises(OSError, match="Read-only"):
            (path / "file").touch()


def test_the_device_goes_around_the_page_cache(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path) as path:
        device = Path(mounts_source(path)).name
        assert Path(f"/sys/block/{device}/loop/dio").read_text().strip() == "1"


def mounts_source(path: Path) -> str:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return next(line.split()[0] for line in lines if line.split()[1] == str(path))


def test_a_failure_within_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="within"), loop_ext4(16 * MIB, tmp_path):
        raise ZeroDivisionError("within")
    assert_nothing_left(tmp_path)


def test_mounts_below_are_unmounted_too(tmp_path: Path) -> None:
    with loop_ext4(16 * MIB, tmp_path) as path:
        for name in ("lower", "upper", "work", "merged"):
            (path / name).mkdir()
        options = f"lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", str(path / "merged")], check=True
        )
        assert mounts()[str(path / "merged")][0] == "overlay"
    assert_nothing_left(tmp_path)


def test_a_user_left_behind_is_told_and_the_disk_is_gone_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="busy"), loop_ext4(16 * MIB, tmp_path) as path:
        file = (path / "file").open("wb")
    try:
        assert not [point for point in mounts() if point.startswith(str(tmp_path))]
        assert list(tmp_path.iterdir()) == []
    finally:
        file.close()


def test_an_unknown_mount_option_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="mount -t ext4"),
        loop_ext4(16 * MIB, tmp_path, options=["no-such-option"]),
    ):
        pytest.fail("mounted")
    assert_nothing_left(tmp_path)


def test_a_disk_too_small_for_the_file_system_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"mkfs\.ext4"), loop_ext4(4096, tmp_path):
        pytest.fail("mounted")
    assert_nothing_left(tmp_path)
