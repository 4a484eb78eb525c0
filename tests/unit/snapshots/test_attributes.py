"""Attributes go from one inode to another, all but overlayfs's own."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from orlop.snapshots.attributes import copy_attributes, copy_node_attributes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

# Version 2; owner rwx, user 1000 rwx, group r-x, mask rwx, others r-x: see linux/posix_acl_xattr.h.
ACL = bytes.fromhex(
    "02000000 01000700ffffffff 02000700e8030000 04000500ffffffff 10000700ffffffff 20000500ffffffff"
)


def copied(source: Path, target: Path) -> None:
    one, two = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    try:
        copy_attributes(one, two)
    finally:
        os.close(one)
        os.close(two)


def test_a_directory(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    os.chown(source, 1234, 5678)
    source.chmod(0o3751)
    os.setxattr(source, "user.kept", b"\0\xff")
    os.setxattr(source, "trusted.kept", b"")
    os.setxattr(source, "trusted.overlay.opaque", b"y")
    os.setxattr(source, "system.posix_acl_default", ACL)
    os.setxattr(target, "user.extra", b"1")
    os.setxattr(target, "trusted.overlay.origin", b"own")
    os.utime(source, ns=(1_000_000_001, -5_000_000_003))
    copied(source, target)
    found = target.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o3751)
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, -5_000_000_003)
    assert {name: os.getxattr(target, name) for name in os.listxattr(target)} == {
        "user.kept": b"\0\xff",
        "trusted.kept": b"",
        "trusted.overlay.origin": b"own",
        "system.posix_acl_default": ACL,
    }


def test_the_mode_agrees_with_an_acl(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    os.setxattr(source, "system.posix_acl_access", ACL)
    copied(source, target)
    assert os.getxattr(target, "system.posix_acl_access") == ACL
    assert target.stat().st_mode == source.stat().st_mode


def test_a_program_keeps_its_powers(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.touch()
    target.touch()
    os.chown(source, 5, 6)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(source, "security.capability", capability)
    source.chmod(0o6755)
    copied(source, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o6755
    assert os.getxattr(target, "security.capability") == capability


@pytest.mark.parametrize("kind", ["link", "fifo", "device", "socket"])
def test_nodes_that_are_not_opened(tmp_path: Path, kind: str) -> None:
    places = []
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        node = tmp_path / name / "node"
        if kind == "link":
            node.symlink_to("/nowhere")
        else:
            types = {"fifo": stat.S_IFIFO, "device": stat.S_IFBLK, "socket": stat.S_IFSOCK}
            os.mknod(node, types[kind] | 0o600, os.makedev(250, 251))
        places.append(os.open(tmp_path / name, os.O_RDONLY))
    source = tmp_path / "source" / "node"
    os.chown(source, 11, 22, follow_symlinks=False)
    if kind != "link":
        source.chmod(0o4642)
    os.setxattr(source, "trusted.mark", b"yes", follow_symlinks=False)
    os.utime(source, ns=(7, 8), follow_symlinks=False)
    copy_node_attributes(places[0], places[1], "node")
    for place in places:
        os.close(place)
    was, found = source.lstat(), (tmp_path / "target" / "node").lstat()
    assert (found.st_uid, found.st_gid, found.st_mode) == (11, 22, was.st_mode)
    assert found.st_mtime_ns == 8
    copy = tmp_path / "target" / "node"
    assert os.getxattr(copy, "trusted.mark", follow_symlinks=False) == b"yes"
