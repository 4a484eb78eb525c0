"""``orlop df``."""

import json
from collections.abc import Callable

import pytest

from orlop.model.digest import Digest
from orlop.ports.gc import DiskUsage, ImageUsage
from orlop.testing.memory_service import Call, MemoryService

Run = Callable[..., tuple[int, str, str]]

ID = Digest.of(b"app")
USAGE = DiskUsage(
    "k8s.io",
    (
        ImageUsage(
            ID,
            ("docker.io/library/app:1", "docker.io/library/app:2", str(ID)),
            ("overlayfs",),
            5000,
            2000,
        ),
        ImageUsage(Digest.of(b"old"), (f"docker.io/library/old@{ID}",), ("native",), 3000, 0),
        ImageUsage(Digest.of(b"none"), (), ("native",), 10, 10),
    ),
    image_bytes=5010,
    kept_bytes=1000,
    garbage_bytes=0,
    elsewhere_bytes=0,
    trash_bytes=700,
)


@pytest.fixture
def used(service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    async def disk_usage(namespace: str = "") -> DiskUsage:
        return USAGE

    monkeypatch.setattr(service, "disk_usage", disk_usage)


@pytest.mark.usefixtures("used")
def test_images_and_sums(run: Run) -> None:
    code, out, err = run("df")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["NAME", "ID", "FREES", "SHARED", "SIZE"]
    assert lines[1] == ["app:1", "(+1)", ID.hex[:12], *["2.0", "kB", "3.0", "kB", "5.0", "kB"]]
    assert lines[2][0].startswith("old@sha256:")
    assert lines[3][0] == "<none>"
    assert out.splitlines()[5:] == [
        "Images:                    5.0 kB",
        "Kept by leases and mounts: 1.0 kB",
        "Together:                  6.0 kB",
        "Trash, at most:            700 B",
    ]


@pytest.mark.usefixtures("used")
def test_json(run: Run) -> None:
    document = json.loads(run("df", "-o", "json")[1])
    assert document["images"][0] == {
        "id": str(ID),
        "names": ["docker.io/library/app:1", "docker.io/library/app:2", str(ID)],
        "snapshotters": ["overlayfs"],
        "bytes": 5000,
        "unique_bytes": 2000,
        "shared_bytes": 3000,
    }
    del document["images"]
    assert document == {
        "namespace": "k8s.io",
        "image_bytes": 5010,
        "kept_bytes": 1000,
        "garbage_bytes": 0,
        "elsewhere_bytes": 0,
        "bytes": 6010,
        "trash_bytes": 700,
    }


def test_an_empty_store(run: Run, service: MemoryService) -> None:
    assert run("df")[0] == 0
    assert service.calls == [Call("disk_usage", ("",))]
