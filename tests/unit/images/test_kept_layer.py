"""Writable layers that are kept: whose they are, and how they are mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, NotFound, PermissionDenied
from orlop.images import kept_layer
from orlop.ports.snapshots import Mount

if TYPE_CHECKING:
    from pathlib import Path


def test_claims(tmp_path: Path) -> None:
    layer = str(tmp_path)
    kept_layer.claim(layer, "sha256:1")
    assert sorted(os.listdir(layer)) == sorted(kept_layer.PARTS)
    (tmp_path / "fs" / "mine").touch()
    kept_layer.claim(layer, "sha256:1")
    assert (tmp_path / "fs" / "mine").exists()
    with pytest.raises(FailedPrecondition, match="another image"):
        kept_layer.claim(layer, "sha256:2")


def test_what_cannot_be_claimed(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        kept_layer.claim(str(tmp_path / "missing"), "sha256:1")
    (tmp_path / "theirs").touch()
    with pytest.raises(NotFound):
        kept_layer.claim(str(tmp_path / "theirs"), "sha256:1")
    with pytest.raises(FailedPrecondition, match="not empty"):
        kept_layer.claim(str(tmp_path), "sha256:1")
    (tmp_path / "theirs").unlink()
    (tmp_path / "chain").symlink_to("/etc/passwd")
    with pytest.raises(FailedPrecondition):
        kept_layer.claim(str(tmp_path), "sha256:1")


@pytest.mark.root
def test_directories_of_others(tmp_path: Path) -> None:
    for mode, owner in ((0o775, 0), (0o757, 0), (0o700, 1000)):
        tmp_path.chmod(mode)
        os.chown(tmp_path, owner, 0)
        with pytest.raises(PermissionDenied):
            kept_layer.claim(str(tmp_path), "sha256:1")
        assert os.listdir(tmp_path) == []


def test_over_a_single_layer() -> None:
    view = [Mount("bind", "/s/a:b", ("ro", "rbind"))]
    found = kept_layer.over(view, "/l,x")
    assert (found.type, found.options) == (
        "overlay",
        (
            *("index=off", "metacopy=off", "redirect_dir=nofollow"),
            *("lowerdir=/s/a\\:b", "upperdir=/l\\,x/fs", "workdir=/l\\,x/work"),
        ),
    )


def test_over_several_layers() -> None:
    view = [Mount("overlay", "overlay", ("index=off", "lowerdir=/b:/a"))]
    found = kept_layer.over(view, "/l")
    assert found.options == ("index=off", "lowerdir=/b:/a", "upperdir=/l/fs", "workdir=/l/work")
