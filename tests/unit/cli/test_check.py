"""``orlop check``."""

import json
from collections.abc import Callable

from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]
BUSYBOX = shelf()["docker.io/library/busybox:latest"].id


def test_whole_images(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("check")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows] == ["NAME", "busybox:1.37", "registry.example/team/app:v1"]
    assert {row[2] for row in rows[1:]} == {"whole"}


def test_a_damaged_image(run: Run, stocked: MemoryService) -> None:
    stocked.damaged.add(BUSYBOX)
    code, out, _ = run("check", "busybox")
    assert code == 4
    assert out.splitlines()[1].split(maxsplit=2)[2] == "damaged  the config is damaged"
    assert run("check")[0] == 4


def test_repair(run: Run, stocked: MemoryService) -> None:
    stocked.damaged.add(BUSYBOX)
    code, out, _ = run("check", "busybox", "--repair", "-o", "json")
    assert code == 0
    (report,) = json.loads(out)
    assert report["image_id"] == str(BUSYBOX)
    assert report["problems"] == ["the config is damaged"]
    assert report["repaired"] is True
    assert "docker.io/library/busybox:1.37" in report["names"]
    assert run("check")[0] == 0


def test_json_of_a_damaged_image_still_fails(run: Run, stocked: MemoryService) -> None:
    stocked.damaged.add(BUSYBOX)
    code, out, _ = run("check", "-o", "json")
    assert code == 4
    assert [bool(report["problems"]) for report in json.loads(out)].count(True) == 1


def test_an_unknown_image(run: Run) -> None:
    assert run("check", "nothing") == (3, "", "orlop: no image nothing\n")
