"""The root directory: whose it is, and who may change it now."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreCorrupt, StoreLocked
from orlop.linux.root import lock_root, open_root

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_root_is_made_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    os.close(open_root(str(path)))
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    os.close(open_root(str(path)))


def test_an_empty_directory_of_ours_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "root"
    path.mkdir(mode=0o755)
    os.close(open_root(str(path)))
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.row("L01")
@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770])
def test_a_full_directory_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root"
    path.mkdir()
    (path / "planted").write_text("x")
    path.chmod(mode)
    with pytest.raises(StoreCorrupt, match=f"mode 0{mode:o}") as caught:
        open_root(str(path))
    assert "chmod 0700" in caught.value.hint


@pytest.mark.row("L01")
def test_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    for name in ("link", "dangling", "file"):
        with pytest.raises(StoreCorrupt, match=f"{name} is a symbolic link or no directory"):
            open_root(str(tmp_path / name))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.row("L01")
@pytest.mark.root
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    with pytest.raises(StoreCorrupt, match="belongs to user 12345"):
        open_root(str(path))


def test_refusing_leaks_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir(mode=0o755)
    (tmp_path / "full/x").write_text("x")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreCorrupt):
        lock_root(str(tmp_path / "full"))
    with lock_root(str(tmp_path / "root")), pytest.raises(StoreLocked):
        lock_root(str(tmp_path / "root"))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.row("L12")
def test_one_owner_at_a_time(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    with lock_root(root) as lock:
        assert lock.root == root
        with pytest.raises(StoreLocked, match=f"{root} is in use by process {os.getpid()}"):
            lock_root(root)
    lock.release()
    lock_root(root).release()


@pytest.mark.row("L12")
def test_another_process_is_named(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    script = (
        "import sys; from orlop.linux.root import lock_root; lock = lock_root(sys.argv[1]);"
        " print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid}"):
            lock_root(root)
        holder.kill()
    lock_root(root).release()  # the kernel gives a dead process's lock back


@pytest.mark.row("L12")
def test_removing_the_lock_file_does_not_let_a_second_one_in(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with lock_root(str(root)):
        (root / "lock").unlink()
        with pytest.raises(StoreLocked):
            lock_root(str(root))


@pytest.mark.row("L12")
def test_a_child_that_lives_on_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = lock_root(str(tmp_path / "root"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    try:
        lock.release()
        lock_root(str(tmp_path / "root")).release()
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(child, 0)
