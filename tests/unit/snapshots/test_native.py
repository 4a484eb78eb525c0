"""The native format: copies and binds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound
from orlop.ports.snapshots import Mount
from orlop.snapshots.native import Native

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.store_calls import StoreCalls

pytestmark = pytest.mark.root


@pytest.fixture
def native(tmp_path: Path) -> Native:
    made = Native(str(tmp_path))
    made.recover(set())
    return made


def test_recipes_are_binds(native: Native) -> None:
    root = f"{native.root}/snapshots"
    layers = [native.tree(3), native.tree(2)]
    rw, ro = ("rw", "rbind"), ("ro", "rbind")
    assert native.mounts(9, layers, writable=True) == [Mount("bind", f"{root}/9/fs", rw)]
    assert native.mounts(9, layers, writable=False) == [Mount("bind", f"{root}/3/fs", ro)]
    assert native.mounts(9, [], writable=False) == [Mount("bind", f"{root}/9/fs", ro)]


def test_a_layer_begins_as_a_copy_of_the_topmost(native: Native) -> None:
    assert not native.independent
    first = native.stage([])
    os.mkdir(f"{first.fs}/dir")
    os.close(os.open(f"{first.fs}/dir/file", os.O_CREAT | os.O_WRONLY))
    os.link(f"{first.fs}/dir/file", f"{first.fs}/link")
    os.chmod(first.fs, 0o1700)
    second = native.stage([first.fs, "/is/not/looked/at"])
    assert os.listdir(second.root) == ["fs"]
    assert sorted(os.listdir(second.fs)) == ["dir", "link"]
    assert os.path.samefile(f"{second.fs}/link", f"{second.fs}/dir/file")
    assert os.stat(f"{second.fs}/link").st_nlink == 2
    assert os.stat(second.fs).st_mode == os.stat(first.fs).st_mode
    assert native.measure(second) == native.measure(first)
    for mode in ("direct", "overlay"):
        with native.target(second, [first.fs], mode) as fd:
            assert os.fstat(fd).st_ino == os.stat(second.fs).st_ino
    assert native.settle(second, [first.fs], implied=[b"."], opaque=[b"dir"])
    assert os.listxattr(f"{second.fs}/dir") == []


def test_only_writers_get_a_copy(native: Native, calls: StoreCalls) -> None:
    parent = native.stage([])
    os.mkdir(f"{parent.fs}/dir")
    with calls.watched() as seen:
        assert os.listdir(native.start([parent.fs], writable=True).fs) == ["dir"]
    assert seen[-1] == "fsync"
    assert os.listdir(native.start([parent.fs], writable=False).fs) == []


def test_a_parent_that_is_gone_leaves_nothing(native: Native) -> None:
    with pytest.raises(NotFound):
        native.stage([native.tree(77)])
    assert os.listdir(f"{native.root}/staging") == []
