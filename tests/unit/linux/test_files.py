"""System calls on files: what they do, and how their errors are told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    OrlopError,
    PermissionDenied,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)
from orlop.linux import files
from orlop.testing.file_events import FileEvents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def dirfd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(scope="module")
def file_events() -> FileEvents:
    return FileEvents()


@pytest.fixture
def full() -> Iterator[int]:
    """A file on a device that is always full."""
    fd = os.open("/dev/full", os.O_RDWR)
    yield fd
    os.close(fd)


# --- openat2 ----------------------------------------------------------------------------------


def opened(dirfd: int, path: bytes, *, flags: int = os.O_RDONLY, resolve: int = 0) -> str:
    fd = files.openat2(dirfd, path, flags, 0, resolve)
    try:
        assert not os.get_inheritable(fd)
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_openat2_opens_below_a_directory(dirfd: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    assert opened(dirfd, b"a/file") == str(tmp_path / "a/file")
    with pytest.raises(FileNotFoundError) as caught:
        opened(dirfd, b"a/missing")
    assert caught.value.filename == b"a/missing"


def test_openat2_creates_with_a_mode(dirfd: int, tmp_path: Path) -> None:
    os.close(files.openat2(dirfd, b"new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_openat2_keeps_links_in_the_root(dirfd: int, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("ours")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("../../../../etc/passwd")
    for name in (b"link", b"up", b"/etc/passwd", b"../../etc/passwd"):
        assert opened(dirfd, name, resolve=files.RESOLVE_IN_ROOT) == str(tmp_path / "etc/passwd")


@pytest.mark.parametrize(
    ("path", "resolve", "code"),
    [
        (b"link", files.RESOLVE_NO_SYMLINKS, errno.ELOOP),
        (b"link", files.RESOLVE_BENEATH, errno.EXDEV),
        (b"..", files.RESOLVE_BENEATH, errno.EXDEV),
        (b"/etc", files.RESOLVE_BENEATH, errno.EXDEV),
        (b"magic", files.RESOLVE_NO_MAGICLINKS, errno.ELOOP),
    ],
)
def test_openat2_refuses(dirfd: int, tmp_path: Path, path: bytes, resolve: int, code: int) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "magic").symlink_to("/proc/self/exe")
    with pytest.raises(OSError, match=r".") as caught:
        opened(dirfd, path, resolve=resolve)
    assert caught.value.errno == code


def test_openat2_refuses_what_the_kernel_does_not_know(dirfd: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        files.openat2(dirfd, b".", os.O_RDONLY, 0, 1 << 40)


def test_a_nul_does_not_cut_a_path_short(dirfd: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(ValueError, match="null"):
        files.openat2(dirfd, b"a\0b", os.O_RDONLY)
    with pytest.raises(ValueError, match="null"):
        files.renameat2(dirfd, b"a\0b", dirfd, b"c")


# --- names ------------------------------------------------------------------------------------


def test_renameat2_does_not_replace_when_told(dirfd: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        files.renameat2(dirfd, b"a", dirfd, b"b", files.RENAME_NOREPLACE)
    files.renameat2(dirfd, b"a", dirfd, b"b", files.RENAME_EXCHANGE)
    assert (tmp_path / "a").read_text() == "b"
    files.renameat2(dirfd, b"a", dirfd, b"b")
    assert (tmp_path / "b").read_text() == "b"
    assert os.listdir(dirfd) == ["b"]
    with pytest.raises(FileNotFoundError):
        files.renameat2(dirfd, b"a", dirfd, b"b")


def test_directories_are_made_and_removed(dirfd: int, tmp_path: Path) -> None:
    assert files.make_directory(dirfd, "d")
    assert not files.make_directory(dirfd, "d")
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    os.close(files.open_directory(dirfd, "d"))
    files.remove_directory(dirfd, "d")
    with pytest.raises(FileNotFoundError):
        files.remove_directory(dirfd, "d")


def test_links_are_not_followed(dirfd: int, tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("/etc/hostname")
    (tmp_path / "dir").symlink_to("/etc")
    with pytest.raises(OSError, match="symbolic links"):
        files.open_file(dirfd, "file", flags=os.O_RDONLY)
    with pytest.raises(OSError, match=r"."):
        files.open_directory(dirfd, "dir")
    files.remove_file(dirfd, "file")
    assert not (tmp_path / "file").is_symlink()


# --- contents ---------------------------------------------------------------------------------


def test_writing(dirfd: int, tmp_path: Path) -> None:
    fd = files.open_file(dirfd, "f", flags=os.O_RDWR | os.O_CREAT)
    try:
        assert files.write_at(fd, memoryview(b"hello"), offset=2) == 5
        files.truncate(fd, 6)
        files.change_mode(fd, 0o400)
        files.sync_file_range(fd, offset=0, length=6)
        files.fdatasync(fd)
        files.fsync(fd)
        files.syncfs(fd)
        files.fsync_dir(str(tmp_path))
        files.fsync_dir(".", dirfd=dirfd)
    finally:
        os.close(fd)
    assert (tmp_path / "f").read_bytes() == b"\0\0hell"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o400
    files.change_mode_at(dirfd, "f", mode=0o600)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_fallocate_reserves_and_punches(dirfd: int, tmp_path: Path) -> None:
    fd = files.open_file(dirfd, "f", flags=os.O_RDWR | os.O_CREAT)
    try:
        files.fallocate(fd, offset=0, length=1 << 20, mode=files.FALLOC_FL_KEEP_SIZE)
        assert os.fstat(fd).st_size == 0
        assert os.fstat(fd).st_blocks * 512 >= 1 << 20
        files.fallocate(fd, offset=0, length=1 << 16)
        assert os.fstat(fd).st_size == 1 << 16
        punch = files.FALLOC_FL_PUNCH_HOLE | files.FALLOC_FL_KEEP_SIZE
        files.fallocate(fd, offset=0, length=2 << 20, mode=punch)
        with pytest.raises(OSError, match="Invalid argument"):
            files.fallocate(fd, offset=0, length=0)
    finally:
        os.close(fd)


def test_early_write_back_tells_only_of_defects() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.sync_file_range(-1, offset=0, length=1)
    reader, writer = os.pipe()
    files.sync_file_range(writer, offset=0, length=1)  # ESPIPE: nothing to write back
    os.close(reader)
    os.close(writer)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.row("L04")
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreIO),
        (errno.EROFS, StoreIO),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EMFILE, Unavailable),
        (errno.ENOMEM, Unavailable),
        (errno.ELOOP, StoreCorrupt),
        (errno.ENOENT, NotFound),
        (errno.EEXIST, AlreadyExists),
        (errno.ENAMETOOLONG, InvalidArgument),
        (errno.EINVAL, Internal),
    ],
)
def test_translation(code: int, kind: type[OrlopError]) -> None:
    with pytest.raises(OrlopError) as caught, files.translated("write blob x"):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert caught.value.message == f"{os.strerror(code)}: write blob x"
    assert isinstance(caught.value.__cause__, OSError)


def test_translation_of_an_error_without_a_number() -> None:
    with pytest.raises(Internal, match="odd: write"), files.translated("write"):
        raise OSError("odd")


@pytest.mark.row("L03")
def test_a_real_full_device(full: int) -> None:
    with pytest.raises(StoreFull, match="No space left on device: fill"), files.translated("fill"):
        files.write_at(full, b"x", offset=0)


@pytest.mark.row("L05")
@pytest.mark.parametrize("barrier", [files.fsync, files.fdatasync, files.syncfs])
def test_any_failed_barrier_is_the_disk(barrier: object) -> None:
    assert callable(barrier)
    with pytest.raises(StoreIO, match=r"Bad file descriptor: \w+ of thing failed") as caught:
        barrier(1 << 20, what="thing")
    assert caught.value.hint


# --- replaced ---------------------------------------------------------------------------------


def test_replaced_is_durable_before_and_after_it_has_its_name(
    tmp_path: Path, file_events: FileEvents
) -> None:
    with file_events.recorded() as operations, files.replaced(str(tmp_path / "f")) as file:
        file.write(b"one")
    assert operations == ["unlink", "open", "chmod", "fsync", "rename", "fsync"]


def replace_halfway(path: str) -> None:
    with files.replaced(path) as file:
        file.write(b"two")
        raise RuntimeError("changed my mind")


def test_replaced_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    with files.replaced(str(path), mode=0o640) as file:
        file.write(b"one")
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RuntimeError, match="changed my mind"):
        replace_halfway(str(path))
    assert path.read_bytes() == b"one"
    (tmp_path / ".settings.new").write_text("left by a crash")
    with files.replaced(str(path)) as file:
        file.write(b"three")
    assert path.read_bytes() == b"three"
    assert os.listdir(tmp_path) == ["settings"]


# --- watching, weight -------------------------------------------------------------------------

SEEN = """
import os, sys
from orlop.linux import files
from orlop.testing.file_events import FileEvents
seen = []
sys.addaudithook(lambda event, args: seen.append(args[0]) if event == "orlop.files" else None)
os.chdir(sys.argv[1])
d = os.open(".", os.O_RDONLY)
files.make_directory(d, "dir")
f = files.open_file(d, "f", flags=os.O_RDWR | os.O_CREAT)
files.write_at(f, b"x", offset=0)
files.truncate(f, 0)
files.change_mode(f, 0o600)
files.change_mode_at(d, "f", mode=0o600)
files.fallocate(f, offset=0, length=1)
files.fsync(f); files.fdatasync(f); files.syncfs(f)
files.renameat2(d, b"f", d, b"g")
files.remove_file(d, "g")
files.remove_directory(d, "dir")
os.close(files.openat2(d, b"h", os.O_CREAT | os.O_WRONLY, 0o600))
files.open_file(d, "h", flags=os.O_RDONLY)
print(*seen)
"""


def test_every_change_can_be_watched(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SEEN, str(tmp_path)]
    seen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert seen == [
        "mkdir", "open", "write", "truncate", "chmod", "chmod", "fallocate",
        "fsync", "fdatasync", "syncfs", "rename", "unlink", "rmdir", "open",
    ]  # fmt: skip


def test_workers_can_afford_to_import_it() -> None:
    heavy = {"asyncio", "logging", "threading", "subprocess", "typing_extensions"}
    script = "import sys; import orlop.linux.files; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", script]
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert not heavy & set(found.stdout.split())
