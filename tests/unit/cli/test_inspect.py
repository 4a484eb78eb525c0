"""``orlop inspect``."""

import json
from collections.abc import Callable

from orlop.testing.images import build_image
from orlop.testing.layers import file
from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]


def test_it_tells_what_there_is_to_tell(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("inspect", "busybox")
    assert (code, err) == (0, "")
    lines = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
    built = shelf()["docker.io/library/busybox:latest"]
    assert lines["Id"].strip() == str(built.id)
    assert lines["Manifest"].strip() == str(built.digest)
    assert lines["User"].strip() == "1000:1000"
    assert lines["Command"].strip() == '["/bin/sh"]'
    assert lines["Layer"].strip().startswith(str(built.layers[0].digest))
    assert "docker.io/library/busybox:1.37" in out
    assert "Author" not in lines


def test_json_holds_the_documents_as_they_are(run: Run, stocked: MemoryService) -> None:
    code, out, _ = run("inspect", "busybox", "-o", "json")
    found = json.loads(out)
    built = shelf()["docker.io/library/busybox:latest"]
    assert code == 0
    assert found["manifest"] == json.loads(built.manifest)
    assert found["config"] == json.loads(built.config)
    assert found["image"]["id"] == str(built.id)
    assert found["image"]["pinned"] is False


def test_foreign_text_cannot_steer_the_terminal(run: Run, service: MemoryService) -> None:
    labels = {"evil": "\x1b]0;owned\x07\nName: other"}
    built = build_image(
        [[file("f")]], config={"author": "\x9b1m", "config": {"Labels": {**labels}}}
    )
    service.put("docker.io/library/evil:latest", built)
    _, out, _ = run("inspect", "evil")
    assert not {"\x1b", "\x07", "\x9b"}.intersection(out)
    assert "evil=\\x1b]0;owned\\x07\\nName: other" in out


def test_errors(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("inspect", "nothing")
    assert (code, out) == (3, "")
    assert err == "orlop: no image nothing\n"
    stocked.damaged.add(shelf()["docker.io/library/busybox:latest"].id)
    assert run("inspect", "busybox")[0] == 4
