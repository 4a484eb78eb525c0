"""``orlop mount`` and ``orlop unmount``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]
BUSYBOX = shelf()["docker.io/library/busybox:latest"].id


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_target_becomes_absolute(run: Run, stocked: MemoryService, directory: Path) -> None:
    code, out, err = run("mount", "busybox", "here")
    assert (code, out, err) == (0, f"{directory}/here\n", "")
    assert stocked.mounts == {f"{directory}/here": (BUSYBOX, False)}
    assert run("unmount", "./here") == (0, "", "")
    assert stocked.mounts == {}


def test_writable(run: Run, stocked: MemoryService) -> None:
    code, out, _ = run("mount", "--rw", "busybox", "/target", "-o", "json")
    assert code == 0
    assert json.loads(out) == {
        "reference": "busybox",
        "target": "/target",
        "writable": True,
        "layer": None,
    }
    assert stocked.mounts == {"/target": (BUSYBOX, True)}
    assert json.loads(run("unmount", "/target", "-o", "json")[1]) == {"target": "/target"}


def test_errors(run: Run, stocked: MemoryService) -> None:
    assert run("mount", "nothing", "/target")[::2] == (3, "orlop: no image nothing\n")
    assert run("unmount", "/target")[0] == 3
    assert run("mount", "busybox")[0] == 2


def test_a_layer_that_is_kept(run: Run, stocked: MemoryService) -> None:
    code, out, _ = run("mount", "busybox", "/target", "--layer", "/layer", "-o", "json")
    assert code == 0
    assert json.loads(out)["layer"] == "/layer"
    assert json.loads(out)["writable"]
    assert stocked.calls[-1].arguments == ("busybox", "/target", False, "/layer", "")
