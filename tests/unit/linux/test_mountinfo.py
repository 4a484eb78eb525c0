"""Mountinfo: one line is one mount."""

from __future__ import annotations

import os
import subprocess

import pytest

from orlop.linux.mountinfo import MountPoint, mounts_of, parse_mountinfo, read_mountinfo

LINE = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"


def test_a_line() -> None:
    assert parse_mountinfo(LINE + "\n") == [
        MountPoint(
            id=36,
            parent=35,
            device="98:0",
            root="/mnt1",
            target="/mnt2",
            options="rw,noatime",
            fstype="ext3",
            source="/dev/root",
            super_options="rw,errors=continue",
        )
    ]


@pytest.mark.parametrize("optional", ["", "shared:2 ", "shared:2 master:1 propagate_from:7 "])
def test_optional_fields_may_be_any_number(optional: str) -> None:
    line = f"1 0 0:1 / /a rw {optional}- tmpfs tmpfs rw"
    assert [(m.target, m.fstype) for m in parse_mountinfo(line)] == [("/a", "tmpfs")]


def test_names_are_unescaped() -> None:
    line = r"1 0 0:1 /r\134 /a\040b\011c\012d - - rw - fuse.x\040y so\040urce rw"
    (mount,) = parse_mountinfo(line.replace(" - - ", " "))
    assert (mount.root, mount.target) == ("/r\\", "/a b\tc\nd")
    assert (mount.fstype, mount.source) == ("fuse.x y", "so urce")


def test_names_that_are_not_utf_8_survive() -> None:
    name = os.fsdecode(b"/\xff\xfe")
    line = f"1 0 0:1 / {name}\\040 rw - tmpfs tmpfs rw"
    assert os.fsencode(parse_mountinfo(line)[0].target) == b"/\xff\xfe "


@pytest.mark.parametrize("line", ["", "1 2", LINE[:40], LINE.replace(" - ", " "), "x - y"])
def test_lines_that_are_cut_short_are_left_out(line: str) -> None:
    assert parse_mountinfo(f"{LINE}\n{line}\n") == parse_mountinfo(LINE)


def test_our_own() -> None:
    mounts = read_mountinfo()
    assert mounts[0].id
    assert "/proc" in {m.target for m in mounts}


def test_a_process_that_ends_has_none() -> None:
    assert mounts_of(os.getpid()) == read_mountinfo()
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert mounts_of(process.pid) is None
    assert mounts_of(process.pid) is None
