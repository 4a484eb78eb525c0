"""``orlop fs``."""

import json
from collections.abc import Callable

from orlop.testing.memory_service import MemoryService

Run = Callable[..., tuple[int, str, str]]


def test_table(run: Run, stocked: MemoryService) -> None:
    stocked.mountpoint = "/var/lib/orlop"
    code, out, _ = run("fs")
    head, row = out.splitlines()
    assert code == 0
    assert head.split() == ["DIRECTORY", "USED", "INODES"]
    assert row.split()[0] == "/var/lib/orlop"
    assert row.split()[-1] == "20"


def test_json(run: Run, stocked: MemoryService) -> None:
    (found,) = json.loads(run("fs", "-o", "json")[1])
    assert found["bytes"] > 0
    assert {**found, "bytes": 0} == {
        "mountpoint": "/",
        "bytes": 0,
        "inodes": 20,
        "time": "2023-11-14T22:13:20Z",
    }
