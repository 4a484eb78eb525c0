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
    assert list(refs.references({key: "v"})) == ([] if node is None else [node])


def test_several_references() -> None:
    labels = {f"containerd.io/gc.ref.content.l.{n}": f"sha256:{n}" for n in range(3)}
    assert set(refs.references(labels)) == {refs.content(f"sha256:{n}") for n in range(3)}
    assert list(refs.references({})) == []


def test_roots_and_flat_leases() -> None:
    assert refs.is_root({"containerd.io/gc.root": ""})
    assert not refs.is_root({"containerd.io/gc.rooted": "1"})
    assert refs.is_flat({"containerd.io/gc.flat": "x"})
    assert not refs.is_flat({})


@pytest.mark.parametrize(
    ("text", "expired"),
    [
        ("1970-01-01T00:00:09Z", True),
        ("1970-01-01T00:00:10Z", True),
        ("1970-01-01T00:00:11Z", False),
        ("1970-01-01T00:00:09.999999999Z", True),
        ("1970-01-01T01:00:09+01:00", True),
        ("1970-01-01T00:00:09", True),
        ("soon", False),
        ("", False),
    ],
)
def test_expiry(text: str, *, expired: bool) -> None:
    labels = {"containerd.io/gc.expire": text}
    assert refs.has_expired(labels, now=10_000_000_000) is expired


def test_without_a_time_nothing_expires() -> None:
    assert not refs.has_expired({}, now=1 << 62)
