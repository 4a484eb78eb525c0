"""Owner, mode and extended attributes on real files."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model import tar
from orlop.model.tar import Entry
from orlop.unpack import attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

CAPABILITY_1 = struct.pack("<3I", 0x01000000, 1, 0)
CAPABILITY_2 = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
CAPABILITY_3 = struct.pack("<6I", 0x03000000, 1 << 10, 0, 0, 0, 1000)
ACCESS_ACL = struct.pack(
    "<I" + "HHI" * 5,
    2,
    *(1, 6, 0xFFFFFFFF),
    *(2, 4, 1000),
    *(4, 4, 0xFFFFFFFF),
    *(16, 4, 0xFFFFFFFF),
    *(32, 0, 0xFFFFFFFF),
)


def entry(
    type_: int = tar.REGULAR,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    xattrs: dict[bytes, bytes] | None = None,
) -> Entry:
    made = Entry(b"path", type_, 0)
    made.mode, made.uid, made.gid, made.xattrs = mode, uid, gid, xattrs
    return made


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o644)
    yield fd
    os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "directory").mkdir(mode=0o755)
    fd = os.open(tmp_path / "directory", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def mode_of(fd: int) -> int:
    return os.fstat(fd).st_mode & 0o7777


def applied(fd: int, what: Entry, *, fresh: bool = True) -> dict[str, int]:
    dropped: dict[str, int] = {}
    attributes.apply(fd, what, dropped, fresh=fresh)
    return dropped


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (entry(), False),
        (entry(mode=0o1777), False),
        (entry(mode=0o2755), True),
        (entry(mode=0o4755), True),
        (entry(uid=1), True),
        (entry(gid=1), True),
        (entry(xattrs={b"user.a": b""}), True),
    ],
)
def test_needed(what: Entry, expected: bool) -> None:
    assert attributes.needed(what) is expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (entry(tar.DIRECTORY), False),
        (entry(tar.DIRECTORY, mode=0o2755), True),
        (entry(tar.DIRECTORY, xattrs={b"user.a": b""}), False),
        (entry(tar.DIRECTORY, xattrs={b"system.posix_acl_default": b""}), True),
    ],
)
def test_inherited_by_children(what: Entry, expected: bool) -> None:
    assert attributes.inherited_by_children(what) is expected


@pytest.mark.parametrize("mode", [0o0, 0o644, 0o1777, 0o2711, 0o4755, 0o6777, 0o7777])
@pytest.mark.parametrize("owner", [(0, 0), (5, 0), (0, 6), (5, 6)])
@pytest.mark.parametrize("type_", [tar.REGULAR, tar.DIRECTORY])
def test_owner_and_mode(tmp_path: Path, mode: int, owner: tuple[int, int], type_: int) -> None:
    """As ``Applier`` does it: made with the bits that the kernel takes, then completed."""
    path = tmp_path / "made"
    what = entry(type_, mode=mode, uid=owner[0], gid=owner[1])
    if type_ == tar.DIRECTORY:
        path.mkdir(mode=mode & 0o1777)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    else:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        assert applied(fd, what) == {}
        found = os.fstat(fd)
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (mode, *owner)
    finally:
        os.close(fd)


def test_what_is_not_fresh_gets_everything(file: int) -> None:
    os.fchown(file, 7, 8)
    os.fchmod(file, 0o4711)
    assert applied(file, entry(mode=0o600), fresh=False) == {}
    found = os.fstat(file)
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o600, 0, 0)


@pytest.mark.parametrize("value", [CAPABILITY_2, CAPABILITY_3])
def test_capability_survives_owner_and_mode(file: int, value: bytes) -> None:
    what = entry(mode=0o4755, uid=5, xattrs={b"security.capability": value})
    assert applied(file, what) == {}
    # The kernel may return another revision of the same capabilities.
    found = os.getxattr(file, "security.capability")
    assert found[4:12] == value[4:12]
    assert mode_of(file) == 0o4755


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0\0\0\2",
        CAPABILITY_2[:-1],
        CAPABILITY_2 + b"\0",
        CAPABILITY_3[:-4],
        CAPABILITY_1[:-4],
        b"\x02\0\0\0" + CAPABILITY_2[4:],
        struct.pack("<5I", 0x02000002, 0, 0, 0, 0),
        struct.pack("<5I", 0x04000000, 0, 0, 0, 0),
    ],
)
def test_malformed_capability(file: int, value: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="malformed"):
        applied(file, entry(xattrs={b"security.capability": value}))


def test_capability_of_something_that_is_no_file(directory: int, tmp_path: Path) -> None:
    xattrs = {b"security.capability": CAPABILITY_2}
    with pytest.raises(ArchiveInvalid, match="no file"):
        applied(directory, entry(tar.DIRECTORY, xattrs=xattrs))
    os.symlink("x", tmp_path / "link")
    above = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ArchiveInvalid, match="no file"):
            attributes.apply_unopened(b"link", above, entry(tar.SYMLINK, xattrs=xattrs), {})
    finally:
        os.close(above)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"trusted.overlay.opaque", "xattr trusted"),
        (b"trusted.overlay.redirect", "xattr trusted"),
        (b"trusted.anything", "xattr trusted"),
        (b"user.overlay.opaque", "xattr user"),
        (b"user.overlay.metacopy", "xattr user"),
        (b"security.selinux", "xattr security"),
        (b"security.ima", "xattr security"),
        (b"security.evm", "xattr security"),
        (b"system.other", "xattr system"),
        (b"made.up", "xattr"),
        (b"user", "xattr user"),
        (b"\xff\xfe", "xattr"),
    ],
)
def test_dropped(file: int, name: bytes, kind: str) -> None:
    assert applied(file, entry(xattrs={name: b"y", b"user.kept": b"k"})) == {kind: 1}
    assert os.listxattr(file) == ["user.kept"]


def test_dropped_is_counted_by_few_kinds(file: int) -> None:
    xattrs = {b"kind%d.x" % number: b"" for number in range(50)} | {b"trusted.a": b""}
    assert applied(file, entry(xattrs=xattrs)) == {"xattr": 50, "xattr trusted": 1}


def test_user_attributes(file: int) -> None:
    xattrs = {b"user.a": b"\0\xff", b"user.empty": b"", b"user.overlayer": b"3"}
    assert applied(file, entry(xattrs=xattrs)) == {}
    assert {os.fsencode(name): os.getxattr(file, name) for name in os.listxattr(file)} == xattrs


def test_access_acl_comes_before_the_mode(file: int) -> None:
    assert applied(file, entry(mode=0o640, xattrs={b"system.posix_acl_access": ACCESS_ACL})) == {}
    assert os.getxattr(file, "system.posix_acl_access") == ACCESS_ACL
    assert mode_of(file) == 0o640


@pytest.mark.parametrize("value", [b"", b"garbage", ACCESS_ACL[:-3], ACCESS_ACL[:20]])
def test_malformed_acl_is_dropped(file: int, value: bytes) -> None:
    os.fchmod(file, 0o644)
    dropped = applied(file, entry(xattrs={b"system.posix_acl_access": value}))
    assert dropped in ({"xattr system": 1}, {})
    assert os.listxattr(file) == []
    assert mode_of(file) == 0o644


def test_default_acl_of_a_file_is_dropped(file: int) -> None:
    what = entry(xattrs={b"system.posix_acl_default": ACCESS_ACL})
    assert applied(file, what) == {"xattr system": 1}


def test_too_many_for_an_inode(file: int) -> None:
    xattrs = {b"user.%d" % number: bytes(1000) for number in range(1000)}
    with pytest.raises(LimitExceeded, match="do not fit") as caught:
        applied(file, entry(xattrs=xattrs))
    assert caught.value.limit == "xattr_value_bytes"


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_unopened(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.touch(mode=0o604)
    if kind == "link":
        os.symlink("victim", tmp_path / kind)
        what = entry(tar.SYMLINK, mode=0o4777, uid=4, gid=5, xattrs={b"user.a": b"1"})
    else:
        os.mkfifo(tmp_path / kind, 0o6711)
        what = entry(tar.FIFO, mode=0o6711, uid=4, gid=5, xattrs={b"user.a": b"1"})
    dropped: dict[str, int] = {}
    above = os.open(tmp_path, os.O_RDONLY)
    try:
        attributes.apply_unopened(kind.encode(), above, what, dropped)
    finally:
        os.close(above)
    found = (tmp_path / kind).lstat()
    assert (found.st_uid, found.st_gid) == (4, 5)
    assert dropped == {"xattr user": 1}
    if kind == "fifo":
        assert found.st_mode & 0o7777 == 0o6711
    assert (victim.stat().st_mode & 0o7777, victim.stat().st_uid) == (0o604, 0)


def test_clear_takes_what_images_can_give(file: int) -> None:
    applied(file, entry(xattrs={b"user.a": b"1", b"system.posix_acl_access": ACCESS_ACL}))
    os.setxattr(file, "trusted.ours", b"kept")
    attributes.clear(file)
    assert os.listxattr(file) == ["trusted.ours"]


def test_reset(directory: int) -> None:
    os.fchown(directory, 5, 6)
    os.fchmod(directory, 0o3700)
    os.setxattr(directory, "user.a", b"1")
    os.setxattr(directory, "system.posix_acl_default", ACCESS_ACL)
    attributes.reset(directory)
    found = os.fstat(directory)
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o755, 0, 0)
    assert os.listxattr(directory) == []


def test_default_acl_is_taken_and_given_back(directory: int) -> None:
    assert attributes.take_default_acl(directory) is None
    attributes.give_default_acl(directory, ACCESS_ACL)
    assert attributes.take_default_acl(directory) == ACCESS_ACL
    assert os.listxattr(directory) == []
    assert attributes.take_default_acl(directory) is None


def test_owners_that_there_are_not_become_root() -> None:
    dropped: dict[str, int] = {}
    owners = attributes.Owners(1, 10, dropped)
    for uid, gid, expected in ((0, 9, (0, 9)), (1, 9, (0, 9)), (0, 10, (0, 0)), (7, 99, (0, 0))):
        made = entry(uid=uid, gid=gid)
        owners.adopt(made)
        assert (made.uid, made.gid) == expected
    assert dropped == {"owner": 3}
