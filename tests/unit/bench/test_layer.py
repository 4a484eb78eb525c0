"""Overlayfs's marks become the whiteouts of the OCI layer format."""

import os
import stat
from pathlib import Path

import pytest

from bench.layer import OPAQUE_ATTRIBUTE, translate_whiteouts

pytestmark = pytest.mark.root


def test_device_becomes_whiteout_and_attribute_becomes_opaque_marker(tmp_path: Path) -> None:
    inner = tmp_path / "etc"
    inner.mkdir()
    (inner / "kept").write_bytes(b"x")
    os.mknod(inner / "gone", stat.S_IFCHR, 0)
    os.setxattr(inner, OPAQUE_ATTRIBUTE, b"y")
    os.utime(inner, ns=(5, 7))
    assert translate_whiteouts(tmp_path) == 2
    assert sorted(path.name for path in inner.iterdir()) == [".wh..wh..opq", ".wh.gone", "kept"]
    assert OPAQUE_ATTRIBUTE not in os.listxattr(inner)
    assert inner.stat().st_mtime_ns == 7


def test_other_devices_stay(tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert translate_whiteouts(tmp_path) == 0
    assert (tmp_path / "null").is_char_device()
