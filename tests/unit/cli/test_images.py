"""``orlop images``."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from orlop.cli import render
from orlop.ports.gc import DiskUsage
from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]
APP = shelf()["registry.example/team/app:v1"]


def test_a_line_for_each_tag(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("images")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["NAME", "ID", "PLATFORM", "DOWNLOAD", "UNPACKED"]
    assert [row[0] for row in rows[1:]] == [
        "busybox:1.37",
        "busybox:latest",
        "registry.example/team/app:v1",
    ]
    assert rows[1][1:] == rows[2][1:]
    assert len(rows[1][1]) == 12
    assert rows[1][2] == "linux/amd64"


def test_snapshotters_are_told_when_there_are_several(run: Run, stocked: MemoryService) -> None:
    app = stocked.put("registry.example/team/app:v1", APP)
    record = replace(app.record, snapshotter="native")
    stocked.replace(replace(app, record=record))
    _, out, _ = run("images")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["NAME", "ID", "PLATFORM", "SNAPSHOTTER", "DOWNLOAD", "UNPACKED"]
    assert [row[3] for row in rows[1:]] == ["overlayfs", "overlayfs", "native"]


def test_json_has_every_name_once(run: Run, stocked: MemoryService) -> None:
    app = stocked.put("registry.example/team/app:v1", APP)
    stocked.pins.add(app.record.id)
    code, out, _ = run("images", "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert len(found) == 2
    (image,) = [one for one in found if one["pinned"]]
    assert image == {
        "id": str(app.record.id),
        "names": sorted(
            [
                "registry.example/team/app:v1",
                f"registry.example/team/app@{app.record.manifest}",
                str(app.record.id),
            ]
        ),
        "manifest": str(app.record.manifest),
        "platform": "linux/amd64",
        "snapshotter": "overlayfs",
        "chain_id": app.record.chain_id,
        "user": "www-data",
        "content_bytes": app.record.content_bytes,
        "unpacked_bytes": app.record.unpacked_bytes,
        "synced": True,
        "pinned": True,
        "created_at": "2023-11-14T22:13:20Z",
    }


def test_one_image(run: Run, stocked: MemoryService) -> None:
    _, out, _ = run("images", "busybox:1.37", "-o", "json")
    assert len(json.loads(out)) == 1
    code, out, _ = run("images", "nothing", "-o", "json")
    assert (code, json.loads(out)) == (0, [])


def test_an_empty_store(run: Run) -> None:
    code, out, _ = run("images")
    assert (code, out.split()) == (0, ["NAME", "ID", "PLATFORM", "DOWNLOAD", "UNPACKED"])
    assert run("images", "--output", "json")[1] == "[]\n"


def test_an_image_that_has_no_tag_is_listed(run: Run, stocked: MemoryService) -> None:
    run("rm", "registry.example/team/app:v1")
    rows = run("images")[1].splitlines()
    assert rows[-1].startswith("registry.example/team/app@sha256:")


def test_sizes(run: Run, stocked: MemoryService) -> None:
    code, out, _ = run("images", "--sizes")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["NAME", "ID", "PLATFORM", "UNIQUE", "SHARED", "TOTAL"]
    images = {image.record.id: image.record for image in stocked._images.values()}
    sizes = [render.size(one.content_bytes + one.unpacked_bytes) for one in images.values()]
    assert {" ".join(line.split()[-2:]) for line in lines[1:4]} == set(sizes)
    together = sum(one.content_bytes + one.unpacked_bytes for one in images.values())
    assert lines[4:] == ["", f"Images together: {render.size(together)}"]
    assert "together" not in run("images", "busybox", "--sizes")[1]


def test_sizes_in_json(run: Run, stocked: MemoryService) -> None:
    for one in json.loads(run("images", "--sizes", "-o", "json")[1]):
        assert one["unique_bytes"] == one["unpacked_bytes"]
        assert one["shared_bytes"] == one["content_bytes"]
        assert one["bytes"] == one["unique_bytes"] + one["shared_bytes"]


def test_an_image_that_is_about_to_go_has_no_sizes(
    run: Run, stocked: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def disk_usage(namespace: str = "") -> DiskUsage:
        return DiskUsage(namespace, (), 0, 0, 0, 0, 0)

    monkeypatch.setattr(stocked, "disk_usage", disk_usage)
    assert run("images", "--sizes")[1].splitlines()[1].split()[-3:] == ["-", "-", "-"]
    assert json.loads(run("images", "--sizes", "-o", "json")[1])[0]["bytes"] is None
