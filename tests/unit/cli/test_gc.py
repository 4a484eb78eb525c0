"""``orlop gc``."""

import json
from collections.abc import Callable

from orlop.testing.memory_service import Call, MemoryService

Run = Callable[..., tuple[int, str, str]]


def test_it_tells_what_went(run: Run, service: MemoryService) -> None:
    assert run("gc") == (0, "removed 0 images, 2 blobs, 1 snapshots: 4.1 kB\n", "")
    assert service.calls == [Call("collect", (False,))]


def test_a_dry_run(run: Run, service: MemoryService) -> None:
    assert run("gc", "--dry-run")[1].startswith("would remove ")
    code, out, _ = run("gc", "--dry-run", "-o", "json")
    assert code == 0
    assert json.loads(out) == {
        "images": 0,
        "blobs": 2,
        "snapshots": 1,
        "bytes": 4096,
        "dry_run": True,
    }
    assert service.calls == [Call("collect", (True,))] * 2
