"""What is mounted is, entry by entry, what the image specification says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.ports.service import PullOptions
from orlop.snapshots.service import SnapshotService
from orlop.testing.images import build_image
from orlop.testing.layers import (
    BLOCK_DEVICE,
    Entry,
    device,
    directory,
    fifo,
    file,
    hard_link,
    opaque,
    symlink,
    whiteout,
)
from tests.integration.pull.rig import Store, offer
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import Node, differences, tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orlop.ports.metadata import Image
    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

SECOND = 1_000_000_000


def dated(entries: Sequence[Entry], year: int) -> list[Entry]:
    """The entries with a time of their own, so that a wrong one shows."""
    begin = (year - 1970) * 365 * 86400 * SECOND
    return [replace(entry, mtime_ns=begin + at * SECOND) for at, entry in enumerate(entries)]


BASE = dated(
    [
        directory(".", mode=0o711, uid=9),
        directory("etc", mode=0o750, uid=3),
        file("etc/passwd", b"root", uid=5),
        file("etc/shadow", b"secret", mode=0o600),
        directory("usr", mode=0o775),
        directory("usr/bin", mode=0o2755, uid=7),
        file("usr/bin/su", b"#!", mode=0o4755),
        hard_link("usr/bin/sudo", "usr/bin/su"),
        symlink("bin", "usr/bin"),
        directory("var/cache", mode=0o1777),
        file("var/cache/one", b"1" * 5000),
        file("var/cache/two", b"2"),
        directory("srv"),
        file("srv/file", b"f"),
        file("tmp/implied/deep", b"implied"),
        fifo("run/pipe"),
        device("dev/null", major=1, minor=3),
        device("dev/loop", BLOCK_DEVICE, major=7, minor=0),
        replace(file("usr/bin/ping", b"ping"), xattrs={"user.note": b"\0binary\xff"}),
    ],
    2001,
)

CASES: dict[str, list[list[Entry]]] = {
    "one layer": [BASE],
    "whiteouts": [
        BASE,
        dated([whiteout("etc/shadow"), whiteout("var/cache")], 2002),
        dated([directory("var/cache", mode=0o700), file("var/cache/new", b"n")], 2003),
    ],
    "a whiteout and its replacement in one layer": [
        BASE,
        dated([whiteout("srv"), file("srv", b"a file now"), whiteout("etc/passwd")], 2002),
    ],
    "opaque directories": [
        BASE,
        dated([directory("var/cache"), opaque("var/cache"), file("var/cache/three", b"3")], 2002),
        dated([opaque("etc"), file("etc/hosts", b"h")], 2003),
    ],
    "other kinds in the place of old ones": [
        BASE,
        dated(
            [file("usr/bin", b"no directory"), directory("etc/passwd"), symlink("srv", "x")], 2002
        ),
    ],
    "implied parents": [
        BASE,
        dated([file("usr/bin/new", b"n"), file("etc/deep/er", b"d"), file("x/y/z", b"z")], 2002),
        dated([file("usr/bin/newer", b"n")], 2003),
    ],
    "implied parents over lower links": [
        BASE,
        dated([file("bin/through", b"link")], 2002),
        dated([file("bin/again", b"link"), file("usr/bin/straight", b"s")], 2003),
    ],
    "hard links into lower layers": [
        BASE,
        dated([hard_link("usr/bin/doas", "usr/bin/su"), hard_link("etc/copy", "etc/passwd")], 2002),
        dated([hard_link("usr/bin/third", "usr/bin/doas"), whiteout("usr/bin/sudo")], 2003),
    ],
    "attributes of directories": [
        BASE,
        dated([directory("usr/bin", mode=0o700, uid=11), directory(".", mode=0o755)], 2002),
        dated([file("usr/bin/later", b"l")], 2003),
    ],
    "nothing but a whiteout above": [BASE, dated([whiteout("usr")], 2002)],
}

SLOW = {"implied parents over lower links", "hard links into lower layers"}
"""Cases that overlayfs, too, must apply on top of the layers below."""


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("case", CASES)
async def test_the_mounted_tree(
    store: Store, registry: FakeRegistry, tmp_path: Path, snapshotter: str, case: str
) -> None:
    layers = CASES[case]
    image = build_image(layers)
    options = PullOptions(snapshotter=snapshotter)
    pulled = await store.service.pull(offer(registry, "trees", "v1", image), options)
    wanted, found = await both_trees(store, pulled, image, tmp_path)
    on_top = snapshotter == "native" or case in SLOW
    undated = undated_directories(layers, on_top=on_top)
    # A file that is linked to one in a lower layer is a copy, for overlayfs.
    ignore = frozenset({"links"} if case in SLOW and snapshotter == "overlayfs" else set())
    assert differences(without(wanted, undated), without(found, undated), ignore=ignore) == []
    assert differences(wanted, found, ignore=ignore | {"mtime_ns"}) == []
    await assert_exact_accounting(store, pulled)


async def both_trees(
    store: Store, pulled: Image, image: BuiltImage, scratch: Path
) -> tuple[dict[bytes, Node], dict[bytes, Node]]:
    """What GNU tar makes of the layers, and the mounted image."""
    expected, target = scratch / "expected", scratch / "mounted"
    for path in (expected, target):
        path.mkdir(mode=0o755)
    extract_with_tar([layer.tar for layer in image.layers], expected)
    await store.service.mount(str(pulled.record.id), str(target))
    try:
        return tree(expected), tree(target)
    finally:
        await store.service.unmount(str(target))


def undated_directories(layers: Sequence[Sequence[Entry]], *, on_top: bool) -> set[bytes]:
    """Directories of which no layer says when they changed last.

    Those that no layer names; and, where layers are applied on top of others, those
    that a layer changes without naming them.
    """
    undated = set()
    for at, layer in enumerate(layers):
        named = {entry.path.rstrip(b"/") for entry in layer}
        parents = {ancestor for entry in layer for ancestor in ancestors(entry.path.rstrip(b"/"))}
        known = set() if on_top and at else {e.path.rstrip(b"/") for la in layers for e in la}
        undated |= parents - named - known
    if on_top:
        undated |= {b"usr/bin"} if b"bin" in undated else set()  # where the link leads
    return undated


def ancestors(path: bytes) -> list[bytes]:
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[:end]) or b"." for end in range(len(parts) + 1)]


def without(nodes: Mapping[bytes, Node], paths: set[bytes]) -> dict[bytes, Node]:
    return {path: node for path, node in nodes.items() if path not in paths}


async def assert_exact_accounting(store: Store, pulled: Image) -> None:
    """What the records say of the snapshots is what their trees occupy."""
    record = pulled.record
    snapshotter = store.service._snapshotters[record.snapshotter]
    assert isinstance(snapshotter, SnapshotService)
    chain = await store.service._metadata.chain("k8s.io", record.snapshotter, record.chain_id)
    assert sum(one.bytes for one in chain) == record.unpacked_bytes
    for one in chain:
        measured = snapshotter._format.measure_published(one.directory)
        assert (one.bytes, one.inodes) == (measured.bytes, measured.inodes)
