"""``orlop config migrate``."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
IMAGES = "io.containerd.cri.v1.images"
OLD = """\
# Mine.
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  max_concurrent_downloads = 7 # seven
  systemd_cgroup = false
"""
LOSING = OLD.replace("= false", "= true")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "config.toml"
    found.write_text(OLD)
    found.chmod(0o640)
    return found


def test_comments_are_kept_and_the_report_has_lines(run: Run, path: Path) -> None:
    code, out, err = run("config", "migrate", str(path))
    assert code == 0
    assert out.startswith("# Mine.\nversion = 4\n")
    assert "  max_concurrent_downloads = 7 # seven\n" in out
    assert f"orlop: {path}:4: moved: " in err
    assert path.read_text() == OLD


def test_the_report_as_json_has_file_and_line(run: Run, path: Path) -> None:
    report = json.loads(run("config", "migrate", str(path), "-o", "json")[1])["report"]
    assert {tuple(change) for change in report} == {
        ("kind", "old", "new", "reason", "file", "line")
    }
    lines = {change["old"].rpartition(".")[2]: change["line"] for change in report}
    assert lines == {"max_concurrent_downloads": 4, "systemd_cgroup": 5}
    assert {change["file"] for change in report} == {str(path)}


def test_in_place_with_a_backup(run: Run, path: Path) -> None:
    code, out, err = run("config", "migrate", str(path), "--in-place", "--backup")
    assert (code, out) == (0, "")
    assert f"the old document is {path}.bak" in err
    assert Path(f"{path}.bak").read_text() == OLD
    document = tomllib.loads(path.read_text())
    assert document["plugins"][IMAGES]["max_concurrent_downloads"] == 7
    assert path.stat().st_mode & 0o777 == 0o640


def test_in_place_a_second_time_changes_nothing(run: Run, path: Path) -> None:
    assert run("config", "migrate", str(path), "--in-place")[0] == 0
    before = path.read_bytes()
    code, _, err = run("config", "migrate", str(path), "--in-place", "--backup")
    assert code == 0
    assert "today's version already" in err
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_in_place_loses_nothing_without_force(run: Run, path: Path) -> None:
    path.write_text(LOSING)
    code, out, err = run("config", "migrate", str(path), "--in-place")
    assert (code, out) == (1, "")
    assert "systemd_cgroup" in err
    assert "--force" in err
    assert path.read_text() == LOSING
    assert run("config", "migrate", str(path), "--in-place", "--force")[0] == 0
    assert "systemd_cgroup" not in path.read_text()


def test_a_conflict_is_a_loss(run: Run, path: Path) -> None:
    path.write_text(f'{OLD}[plugins."{IMAGES}"]\nmax_concurrent_downloads = 8\n')
    assert run("config", "migrate", str(path), "--in-place")[0] == 1
    assert run("config", "migrate", str(path), "--in-place", "--force")[0] == 0
    document = tomllib.loads(path.read_text())
    assert document["plugins"][IMAGES]["max_concurrent_downloads"] == 8


def test_a_backup_needs_a_document_that_is_replaced(run: Run, path: Path) -> None:
    assert run("config", "migrate", str(path), "--backup")[0] == 2
