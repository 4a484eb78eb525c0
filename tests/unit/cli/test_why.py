"""``orlop why``."""

import json
from collections.abc import Callable, Sequence

import pytest

from orlop.ports.gc import Chain, Explanation, Link
from orlop.testing.memory_service import Call, MemoryService

Run = Callable[..., tuple[int, str, str]]

LAYER = f"sha256:{'a' * 64}"
SNAPSHOT = f"overlayfs/sha256:{'b' * 64}"
NOW = 1_700_000_000_000_000_000


def told(monkeypatch: pytest.MonkeyPatch, service: MemoryService, explanation: Explanation) -> None:
    async def why(text: str, namespace: str = "") -> Sequence[Explanation]:
        return [explanation]

    monkeypatch.setattr(service, "why", why)


def test_an_image_is_kept_by_its_names(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("why", "registry.example/team/app:v1")
    assert (code, err) == (0, "")
    assert "  kept by the name registry.example/team/app:v1\n    image: this\n" in out
    assert stocked.calls == [Call("why", ("registry.example/team/app:v1", ""))]
    assert run("why", "nothing")[0] == 3


def test_a_chain(run: Run, service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    links = (
        Link("", "snapshot", "overlayfs/mount-1"),
        Link("parent", "snapshot", SNAPSHOT),
        Link("parent", "snapshot", f"overlayfs/{LAYER}"),
    )
    mount = Chain("snapshot", "view", "/mnt\x1b", 0, links)
    lease = Chain("lease", "work", "", NOW, links[2:])
    explanation = Explanation("k8s.io", "snapshot", f"overlayfs/{LAYER}", 4300, (lease, mount))
    told(monkeypatch, service, explanation)
    assert run("why", LAYER)[1].splitlines() == [
        f"snapshot overlayfs/{LAYER} in k8s.io, 4.3 kB",
        f"  kept by the lease work on snapshot overlayfs/{LAYER}, until 2023-11-14T22:13:20Z",
        "  kept by the view snapshot overlayfs/mount-1, mounted on /mnt\\x1b",
        "    parent: snapshot bbbbbbbbbbbb",
        "    parent: this",
    ]
    (document,) = json.loads(run("why", LAYER, "-o", "json")[1])
    assert document["expires_at"] is None
    assert document["chains"][0]["expires_at"] == "2023-11-14T22:13:20Z"
    assert document["chains"][1]["links"][1] == {
        "by": "parent",
        "kind": "snapshot",
        "id": SNAPSHOT,
    }


def test_what_goes(run: Run, service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, service, Explanation("k8s.io", "content", LAYER, 10, ()))
    assert run("why", LAYER)[1].splitlines() == [
        f"blob {LAYER} in k8s.io, 10 B",
        "  nothing keeps it: the next collection removes it",
    ]
    lease = Chain("lease", "work", "", NOW, (Link("", "content", LAYER),))
    told(monkeypatch, service, Explanation("k8s.io", "content", LAYER, 10, (lease,)))
    assert run("why", LAYER)[1].splitlines()[-1] == "  it goes after 2023-11-14T22:13:20Z"


def test_what_many_keep(run: Run, service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    chains = tuple(
        Chain("name", f"x/app:{at}", "", 0, (Link("", "name", f"x/app:{at}"),)) for at in range(12)
    )
    told(monkeypatch, service, Explanation("k8s.io", "content", LAYER, 10, chains))
    assert run("why", LAYER)[1].splitlines()[-1] == "  and by 2 more; -o json has them all"
    assert len(json.loads(run("why", LAYER, "-o", "json")[1])[0]["chains"]) == 12
