"""Looking into a root file system without being led out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, ImageInvalid, LimitExceeded
from orlop.linux.rootfiles import SystemRootFiles

if TYPE_CHECKING:
    from pathlib import Path

FILES = SystemRootFiles()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    return root


def read(root: Path, path: str = "etc/passwd", limit: int = 100) -> bytes:
    return FILES.read(str(root), path, limit=limit)


def test_reading(root: Path) -> None:
    assert read(root) == b"inside"
    assert read(root, limit=6) == b"inside"
    with pytest.raises(LimitExceeded):
        read(root, limit=5)
    assert read(root, "etc/group") == b""
    assert read(root, "etc/passwd/below") == b""


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "passwd"])
def test_links_are_resolved_inside(root: Path, target: str) -> None:
    (root / "etc" / "link").symlink_to(target)
    assert read(root, "etc/link") == b"inside"


def test_what_is_outside_is_not_there(root: Path) -> None:
    for target in (f"{root}/../secret", "../../secret"):
        (root / "etc" / "link").symlink_to(target)
        assert read(root, "etc/link") == b""
        (root / "etc" / "link").unlink()


def test_what_is_no_file(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "loop").symlink_to("loop")
    for path in ("fifo", "etc", "loop"):
        with pytest.raises(ImageInvalid):
            read(root, path)


def test_directories_are_made(root: Path) -> None:
    FILES.make_directory(str(root), "/srv/app/../work")
    assert sorted(os.listdir(root / "srv")) == ["work"]
    assert (root / "srv" / "work").stat().st_mode & 0o7777 == 0o755
    FILES.make_directory(str(root), "/srv/work")
    FILES.make_directory(str(root), "/")
    (root / "link").symlink_to("/srv")
    FILES.make_directory(str(root), "/link/more")
    assert (root / "srv" / "more").is_dir()


@pytest.mark.parametrize("path", ["/etc/passwd", "/out/below", "/etc/passwd/x", "/a\0b", "/loop"])
def test_directories_that_cannot_be_made(root: Path, path: str) -> None:
    (root / "out").symlink_to("../../elsewhere")
    (root / "loop").symlink_to("loop")
    with pytest.raises(ImageInvalid):
        FILES.make_directory(str(root), path)
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


def test_removal(root: Path) -> None:
    FILES.remove(str(root), "etc")
    FILES.remove(str(root), "etc")
    assert os.listdir(root) == []
    (root / "file").touch()
    with pytest.raises(FailedPrecondition):
        FILES.remove(str(root), "file")
