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


MIRRORS = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example:5000", "http://10.0.0.7"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
  endpoint = ["https://all.example"]
"""


def test_mirrors_become_files_that_mean_the_same(run: Run, tmp_path: Path) -> None:
    document, hosts = tmp_path / "config.toml", tmp_path / "certs.d"
    document.write_text(MIRRORS)

    def asked(image: str) -> list[tuple[str, list[str]]]:
        code, out, _ = run("hosts", "explain", image, "--config", str(document), "-o", "json")
        assert code == 0
        found = json.loads(out)["hosts"]
        return [(one["url"], one["capabilities"]) for one in found]

    images = ("busybox", "quay.example/app:v1")
    before = [asked(image) for image in images]
    assert before[0][0][0] == "https://mirror.example:5000/v2"
    code, _, err = run("config", "migrate", str(document), "--in-place", "--hosts", str(hosts))
    assert code == 0
    for name in ("docker.io", "_default"):
        assert f"{hosts}/{name}/hosts.toml: written" in err
    table = tomllib.loads(document.read_text())["plugins"][IMAGES]["registry"]
    assert table == {"config_path": str(hosts)}
    assert [asked(image) for image in images] == before


def test_files_that_are_there_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    document, kept = tmp_path / "config.toml", tmp_path / "certs.d/docker.io/hosts.toml"
    document.write_text(MIRRORS)
    kept.parent.mkdir(parents=True)
    kept.write_text("# mine\n")
    code, _, err = run(
        "config", "migrate", str(document), "--in-place", "--hosts", str(kept.parents[1])
    )
    assert code == 1
    assert str(kept) in err
    assert kept.read_text() == "# mine\n"
    assert document.read_text() == MIRRORS
