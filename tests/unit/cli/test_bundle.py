"""``orlop bundle``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.testing.memory_service import MemoryService

    Run = Callable[..., tuple[int, str, str]]


def test_a_bundle(run: Run, stocked: MemoryService, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    code, out, _ = run("bundle", "busybox", str(place), "--read-only", "-o", "json")
    assert code == 0
    (image,) = [one.record.id for one in stocked._images.values() if "busybox" in str(one.names)]
    assert json.loads(out) == {"bundle": str(place), "image": str(image), "read_only": True}
    spec = json.loads((place / "config.json").read_text())
    assert spec["process"]["user"] == {"uid": 1000, "gid": 1000}
    assert spec["root"]["readonly"]
    assert list(stocked.mounts) == [str(place / "rootfs")]


def test_mistakes(run: Run, stocked: MemoryService, tmp_path: Path) -> None:
    for words in (["busybox"], ["--remove", "busybox", str(tmp_path)], ["a", "b", "c"]):
        code, _, err = run("bundle", *words)
        assert code == 2
        assert "orlop bundle REF DIR" in err
    assert run("bundle", "--remove", str(tmp_path))[0] == 3
    assert run("bundle", "absent", str(tmp_path / "new"))[0] == 3
    assert os.listdir(tmp_path) == []
    assert stocked.mounts == {}


def test_a_user_that_nobody_is(run: Run, stocked: MemoryService, tmp_path: Path) -> None:
    code, _, err = run("bundle", "registry.example/team/app:v1", str(tmp_path / "new"))
    assert code == 4
    assert "user 'www-data' of the image is not in its /etc/passwd" in err
    assert os.listdir(tmp_path) == []
    assert stocked.mounts == {}
