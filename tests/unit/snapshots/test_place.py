"""A place for snapshots outside of the store's root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, StoreCorrupt, StoreLocked
from orlop.snapshots.place import own_place

if TYPE_CHECKING:
    from pathlib import Path


def test_no_place() -> None:
    with own_place("", "/somewhere"), own_place("", "/somewhere"):
        pass


def test_a_place_is_one_stores(tmp_path: Path) -> None:
    place = tmp_path / "above" / "place"
    for _ in range(2):
        with own_place(str(place), "/var/lib/one"):
            (place / "snapshots").mkdir(exist_ok=True)
            with pytest.raises(StoreLocked), own_place(str(place), "/var/lib/one"):
                pass
    with (
        pytest.raises(FailedPrecondition, match="the store in /var/lib/one"),
        own_place(str(place), "/var/lib/two"),
    ):
        pass


def test_what_belongs_to_others_is_left_alone(tmp_path: Path) -> None:
    """containerd's own directory looks just like ours."""
    tmp_path.chmod(0o700)
    (tmp_path / "snapshots" / "1" / "fs").mkdir(parents=True)
    (tmp_path / "metadata.db").touch()
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(FailedPrecondition, match="another program"),
        own_place(str(tmp_path), "/var/lib/one"),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_file_system_is_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "lost+found").mkdir()
    with own_place(str(tmp_path), "/var/lib/one"):
        assert (tmp_path / "owner").read_text() == "/var/lib/one"


def test_a_place_that_others_can_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "something").touch()
    with pytest.raises(StoreCorrupt, match="0755"), own_place(str(tmp_path), "/var/lib/one"):
        pass
