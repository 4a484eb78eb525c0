"""References in labels."""

from __future__ import annotations

import pytest

from orlop.gc import refs


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("containerd.io/gc.ref.content", refs.content("v")),
        ("containerd.io/gc.ref.content.config", refs.content("v")),
        ("containerd.io/gc.ref.content.l.0", refs.content("v")),
        ("containerd.io/gc.ref.content/any", refs.content("v")),
        ("containerd.io/gc.ref.snapshot.overlayfs", refs.snapshot("overlayfs", "v")),
        ("containerd.io/gc.ref.snapshot.overlayfs/1", refs.snapshot("overlayfs", "v")),
        ("containerd.io/gc.ref.image", refs.name("v")),
        ("containerd.io/gc.ref.image.base", refs.name("v")),
        ("containerd.io/gc.ref.images", None),
        ("containerd.io/gc.bref.content", None),
        ("containerd.io/gc.ref.contents", None),
        ("containerd.io/gc.ref.snapshot.", None),
        ("containerd.io/gc.ref.snapshot./1", None),
        ("containerd.io/gc.ref.snapshot", None),
        ("containerd.io/gc.root", None),
        ("org.example/gc.ref.content", None),
        ("", None),
    ],
)
def test_references(key: str, node: refs.Node | None) -> None:
    assert list(refs.references({key: "v"})) == ([] if node is None else [(node, key)])


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("containerd.io/gc.bref.content", refs.content("v")),
        ("containerd.io/gc.bref.content.subject", refs.content("v")),
        ("containerd.io/gc.bref.content/subject", refs.content("v")),
        ("containerd.io/gc.bref.snapshot.overlayfs", refs.snapshot("overlayfs", "v")),
        ("containerd.io/gc.bref.snapshot.overlayfs/1", refs.snapshot("overlayfs", "v")),
        ("containerd.io/gc.bref.image", refs.name("v")),
        ("containerd.io/gc.bref.image.base", refs.name("v")),
        ("containerd.io/gc.bref.container", None),
        ("containerd.io/gc.bref.snapshot.", None),
        ("containerd.io/gc.bref.contents", None),
        ("containerd.io/gc.ref.content", None),
        ("org.example/gc.bref.content", None),
    ],
)
def test_back_references(key: str, node: refs.Node | None) -> None:
    assert list(refs.referrers({key: "v"})) == ([] if node is None else [(node, key)])


def test_several_references() -> None:
    labels = {f"containerd.io/gc.ref.content.l.{n}": f"sha256:{n}" for n in range(3)}
    found = {node for node, _ in refs.references(labels)}
    assert found == {refs.content(f"sha256:{n}") for n in range(3)}
    assert list(refs.references({})) == []


def test_roots_and_flat_leases() -> None:
    assert refs.is_root({"containerd.io/gc.root": ""})
    assert not refs.is_root({"containerd.io/gc.rooted": "1"})
    assert refs.is_flat({"containerd.io/gc.flat": "x"})
    assert not refs.is_flat({})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:09Z", 9),
        ("1970-01-01T01:00:09+01:00", 9),
        ("1970-01-01T00:00:09", 9),
        ("soon", 0),
        ("", 0),
    ],
)
def test_expiry(text: str, seconds: int) -> None:
    assert refs.expiry({"containerd.io/gc.expire": text}) == seconds * 10**9


def test_a_time_long_past_is_still_a_time() -> None:
    assert refs.expiry({"containerd.io/gc.expire": "1969-01-01T00:00:00Z"}) == 1
    assert refs.expiry({}) == 0
