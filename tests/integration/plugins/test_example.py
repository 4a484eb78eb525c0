"""The example of a plugin, installed as users do it, in daemons and commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.rigs.running import Result, Running, orlop

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "plugin"
NAME: Final = "io.orlop.observer.v1.journal"
TABLE: Final = f'[plugins."{NAME}"]\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed, beside a plugin that is broken."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(EXAMPLE, source)
    target = tmp_path_factory.mktemp("target")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--target", target, source),
        ],
        check=True,
        timeout=60,
    )
    broken = target / "orlop_broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: orlop-broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[orlop.plugins]\nbroken = orlop_absent:PLUGIN\n")
    return {"PYTHONPATH": str(target)}


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plugin") as path:
        yield Path(path)


def states(result: Result) -> dict[str, dict[str, object]]:
    assert result.code == 0, result.err
    return {one["id"]: one for one in json.loads(result.out)}


def test_it_takes_part_in_a_daemon(installed: dict[str, str], home: Path) -> None:
    image = build_image([[file("etc/word", b"word")]])
    with FakeRegistry() as registry, Running(home, **installed) as daemon:
        for blob in image.blobs.values():
            registry.add_blob(blob)
        registry.add_manifest("team/app", "v1", image.manifest, image.media_type)
        name = f"{registry.address}/team/app:v1"

        found = states(daemon.run("plugins", "-o", "json"))
        journal = home / "root" / NAME / "pulls.jsonl"
        assert found["journal"]["state"] == "loaded"
        assert found["journal"]["exports"] == {"path": str(journal)}
        assert found["broken"]["state"] == "failed"
        assert "No module named 'orlop_absent'" in str(found["broken"]["reason"])
        assert "plugin=orlop.plugins.broken" in daemon.log.read_text()

        assert daemon.run("pull", name).code == 0
        daemon.write(f"{TABLE}failures_only = true\n")
        daemon.hang_up()
        assert f'{NAME}\\".failures_only' in daemon.wait_for("configuration applied")
        assert daemon.run("pull", name).code == 0
        assert daemon.run("pull", f"{name}2").code == 3
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        assert [(one["reference"], one["failed"]) for one in lines] == [
            (name, None),
            (f"{name}2", "not found"),
        ]
        assert daemon.stop() == 0


def test_it_works_without_a_daemon(installed: dict[str, str], home: Path) -> None:
    result = orlop("plugins", "--root", f"{home}/root", environment=installed)
    assert result.code == 0
    (line,) = (line for line in result.out.splitlines() if " journal " in line)
    assert line.split()[:3] == ["io.orlop.observer.v1", "journal", "loaded"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ('failures_only = "yes"', "expected bool"),
        ('path = "relative"', "not an absolute path"),
    ],
)
def test_its_table_is_judged_as_our_own(
    installed: dict[str, str], home: Path, line: str, cause: str
) -> None:
    path = home / "config.toml"
    path.write_text(f"version = 4\n{TABLE}{line}\n")
    for command in (
        ["config", "check", "--config", str(path)],
        ["daemon", "--config", str(path), "--root", f"{home}/root"],
    ):
        result = orlop(*command, environment=installed)
        assert result.code != 0
        assert result.err.startswith(f"orlop: {path}:3: ")
        assert cause in result.err


def test_its_keys_are_known_migrated_and_explained(installed: dict[str, str], home: Path) -> None:
    path = home / "config.toml"
    path.write_text(f'version = 2\n{TABLE}file = "/var/log/pulls"\nfailure_only = true\n')
    result = orlop("config", "dump", "--config", str(path), "-o", "json", environment=installed)
    table = json.loads(result.out)["plugins"][NAME]
    assert (table["path"], table["failures_only"]) == ("/var/log/pulls", False)
    assert f"{path}:4: " in result.err
    assert "did you mean failures_only?" in result.err
    assert "Leave out pulls that succeed." in orlop("config", "default", environment=installed).out
    result = orlop("config", "check", "--config", str(path), environment=installed)
    assert "plugin orlop.plugins.broken cannot be used: " in result.err
    result = orlop("config", "migrate", str(path), environment=installed)
    assert f'plugins."{NAME}".file -> plugins."{NAME}".path' in result.err
    result = orlop(
        "config", "explain", "failures_only", "--config", str(path), environment=installed
    )
    assert "Leave out pulls that succeed." in result.out


def test_what_cannot_start_can_be_required(installed: dict[str, str], home: Path) -> None:
    path = home / "config.toml"
    blocked = home / "file"
    blocked.touch()
    table = f'{TABLE}path = "{blocked}/pulls"\n'
    with Running(home, table, **installed) as daemon:
        found = states(daemon.run("plugins", "-o", "json"))["journal"]
        assert found["state"] == "failed"
        assert f"plugin {NAME} cannot start: " in str(found["reason"])
        assert daemon.stop() == 0
    daemon.write(f'required_plugins = ["{NAME}"]\n{table}')
    result = orlop(*daemon.arguments(), environment=installed)
    assert result.code == 1
    assert result.err.startswith(f"orlop: plugin {NAME} cannot start: ")
    path.write_text('version = 4\nrequired_plugins = ["com.example.broken.v1.x"]\n')
    result = orlop(*daemon.arguments(), environment=installed)
    assert result.code != 0
    assert "required plugin com.example.broken.v1.x cannot start" in result.err
    assert "orlop_absent" in result.err
