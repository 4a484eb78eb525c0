"""Which images the configuration pins."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidArgument
from orlop.model import labels
from orlop.model.digest import Digest
from orlop.model.pins import PINNED, Pins, relabelled

INDEX, MANIFEST = Digest.of(b"index"), Digest.of(b"manifest")
BUSYBOX = "docker.io/library/busybox"
NAMES = [f"{BUSYBOX}:latest", f"{BUSYBOX}:1.37", f"{BUSYBOX}@{INDEX}", str(Digest.of(b"config"))]


@pytest.mark.parametrize(
    ("reference", "pinned"),
    [
        ("busybox", True),
        ("busybox:1.37", True),
        ("docker.io/busybox", True),
        (f"{BUSYBOX}:latest", True),
        (f"busybox@{INDEX}", True),
        (f"busybox:other@{INDEX}", True),
        (f"busybox@{MANIFEST}", True),
        ("busybox:1.36", False),
        ("registry.example/busybox", False),
        (f"registry.example/busybox@{MANIFEST}", False),
        ("", False),
    ],
)
def test_references_as_users_write_them(reference: str, pinned: bool) -> None:
    pins = Pins([reference, "registry.example:5000/another"])
    assert pins.cover(NAMES, MANIFEST) is pinned
    assert pins.labels(NAMES, MANIFEST) == (PINNED if pinned else {})


def test_a_port_is_no_tag() -> None:
    pins = Pins([f"registry.example:5000/app@{MANIFEST}"])
    assert pins.cover(["registry.example:5000/app:v1"], MANIFEST)
    assert not pins.cover(["registry.example:5000/other:v1"], MANIFEST)


def test_nothing_is_pinned() -> None:
    assert not Pins([""]).cover(["", *NAMES], MANIFEST)
    assert not Pins().cover(NAMES, MANIFEST)


def test_no_reference() -> None:
    with pytest.raises(InvalidArgument, match="pinned image 'Not A Reference'"):
        Pins(["Not A Reference"])


def test_labels_follow_the_configuration() -> None:
    own = {"k": "v"}
    assert relabelled(own, pinned=True) == own | dict(PINNED)
    assert relabelled(own | dict(PINNED), pinned=False) == own
    assert relabelled(own, pinned=False) == own
    by_hand = {labels.CRI_PINNED: labels.CRI_PINNED_VALUE}
    assert relabelled(by_hand, pinned=False) == by_hand
