"""Documents are replaced as a whole, and nothing else is overwritten."""

import os
import stat
from pathlib import Path

import pytest

from orlop.config.replace import replace, write_new
from orlop.errors import AlreadyExists, InvalidArgument


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    assert replace(str(path), "new", backup=False) == ""
    after = path.stat()
    assert path.read_text() == "new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.listdir(tmp_path) == ["c.toml"]


def test_backups_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("0")
    path.chmod(0o600)
    names = [Path(replace(str(path), str(number), backup=True)).name for number in (1, 2, 3)]
    assert names == ["c.toml.bak", "c.toml.bak.1", "c.toml.bak.2"]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]
    assert path.read_text() == "3"
    assert stat.S_IMODE((tmp_path / names[0]).stat().st_mode) == 0o600


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "c.toml"
    real.write_text("old")
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    assert replace(str(link), "new", backup=True) == f"{real}.bak"
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_new_files(tmp_path: Path) -> None:
    texts = {"a.example/hosts.toml": "x", "_default/hosts.toml": "y"}
    directory = tmp_path / "certs.d"
    paths = write_new(str(directory), texts, private=frozenset({"_default/hosts.toml"}))
    assert [Path(path).read_text() for path in paths] == ["x", "y"]
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in paths]
    assert modes == [0o644, 0o600]


def test_a_file_that_is_there_stays_and_no_other_is_written(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "hosts.toml").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"b/hosts\.toml: it is there"):
        write_new(str(tmp_path), {"a/hosts.toml": "x", "b/hosts.toml": "y"}, private=frozenset())
    assert (tmp_path / "b" / "hosts.toml").read_text() == "mine"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["../x", "/x", ".", "a/../../x"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="leads out"):
        write_new(str(tmp_path / "d"), {name: "x"}, private=frozenset())
    assert os.listdir(tmp_path) == []
