"""What is garbage and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from orlop.gc import refs
from orlop.gc.graph import Root
from orlop.gc.mark import mark as mark_inventory
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    Garbage,
    ImageName,
    ImageRecord,
    Lease,
    Resource,
    ResourceKind,
    SnapshotRecord,
    Target,
)
from tests.rigs.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.ports.metadata import SnapshotKind

EMPTY = Records("k8s.io")
FS = "overlayfs"


def mark(records: Records, *, now: int, protected: Iterable[Root] = ()) -> Garbage:
    return mark_inventory(records.inventory, now=now, protected=protected)


def digest(word: str) -> Digest:
    return Digest.of(word.encode())


def blob(word: str, *refs_to: str, **labels: str) -> BlobRecord:
    """A blob that refers to others."""
    more = {f"containerd.io/gc.ref.content.{n}": str(digest(to)) for n, to in enumerate(refs_to)}
    return BlobRecord(digest(word), 10, labels | more)


def snapshot(key: str, parent: str = "", kind: SnapshotKind = "committed") -> SnapshotRecord:
    return SnapshotRecord(FS, key, 1, kind, parent)


def record(word: str, chain: str = "") -> ImageRecord:
    manifest = digest(f"{word}.manifest")
    return ImageRecord(digest(word), manifest, "linux/amd64", FS, chain, "", 1, 1, synced=True)


def image_name(name: str, word: str, target: str) -> ImageName:
    return ImageName(name, Target("index", digest(target), 1), digest(word))


def image(word: str, name: str = "") -> Records:
    """An index, a manifest, a config and two layers, unpacked into two snapshots."""
    names = (image_name(name, word, f"{word}.index"),) if name else ()
    config = replace(blob(word), labels={f"containerd.io/gc.ref.snapshot.{FS}": f"{word}.2"})
    return replace(
        EMPTY,
        names=names,
        records=(record(word, f"{word}.2"),),
        blobs=(
            blob(f"{word}.index", f"{word}.manifest"),
            blob(f"{word}.manifest", word, f"{word}.l1", f"{word}.l2"),
            config,
            blob(f"{word}.l1"),
            blob(f"{word}.l2"),
        ),
        snapshots=(snapshot(f"{word}.1"), snapshot(f"{word}.2", f"{word}.1")),
    )


def both(left: Records, right: Records) -> Records:
    return Records(
        left.namespace,
        left.names + right.names,
        left.records + right.records,
        left.blobs + right.blobs,
        left.snapshots + right.snapshots,
        left.leases + right.leases,
        left.resources + right.resources,
    )


def leased(inventory: Records, resource: Resource, lease: Lease) -> Records:
    return replace(inventory, leases=(lease,), resources=((lease.id, resource),))


def test_nothing() -> None:
    garbage = mark(EMPTY, now=0)
    assert garbage == Garbage([], [], [], [])


def test_a_named_image_is_kept_whole() -> None:
    garbage = mark(image("a", "a:1"), now=0)
    assert garbage == Garbage([], [], [], [])


def test_a_nameless_image_goes_whole() -> None:
    inventory = both(image("a", "a:1"), image("b"))
    garbage = mark(inventory, now=0)
    assert garbage.records == [(digest("b"), FS)]
    words = ("b.index", "b.manifest", "b", "b.l1", "b.l2")
    assert set(garbage.blobs) == {digest(word) for word in words}
    assert set(garbage.snapshots) == {(FS, "b.1"), (FS, "b.2")}


def test_what_is_shared_stays() -> None:
    other = image("b")
    other = replace(
        other,
        blobs=(blob("b.manifest", "b", "a.l1"), blob("b")),
        snapshots=(snapshot("b.2", "a.1"),),
    )
    garbage = mark(both(image("a", "a:1"), other), now=0)
    assert set(garbage.blobs) == {digest("b"), digest("b.manifest")}
    assert garbage.snapshots == [(FS, "b.2")]


def test_a_record_keeps_its_image_even_without_labels() -> None:
    inventory = image("a", "a:1")
    bare = replace(inventory, blobs=tuple(replace(one, labels={}) for one in inventory.blobs))
    garbage = mark(bare, now=0)
    assert set(garbage.blobs) == {digest("a.l1"), digest("a.l2")}
    assert not garbage.snapshots


def test_blobs_by_label() -> None:
    inventory = replace(
        EMPTY,
        blobs=(
            BlobRecord(digest("root"), 1, {"containerd.io/gc.root": "now", **blob("", "x").labels}),
            blob("x", "y"),
            blob("y", "x"),  # a circle
            blob("loose"),
        ),
    )
    assert mark(inventory, now=0).blobs == [digest("loose")]


def test_what_somebody_works_in_is_kept() -> None:
    inventory = replace(
        EMPTY,
        snapshots=(
            snapshot("base"),
            snapshot("active", "base", "active"),
            snapshot("view", "", "view"),
            snapshot("loose"),
            replace(snapshot("root"), labels={"containerd.io/gc.root": "1"}),
        ),
    )
    assert mark(inventory, now=0).snapshots == [(FS, "loose")]


def test_what_is_protected_is_kept() -> None:
    inventory = image("a")
    nodes = (refs.content(str(digest("a.manifest"))), refs.content("sha256:not here"))
    protected = [Root(node, "pull", "a:1") for node in nodes]
    garbage = mark(inventory, now=0, protected=protected)
    assert garbage.blobs == [digest("a.index")]
    assert not garbage.snapshots  # the config refers to the topmost, that to its parent
    assert garbage.records == [(digest("a"), FS)]


def test_a_lease_keeps_what_it_lists_and_all_that_refers_to() -> None:
    for resource in (
        Resource("images", str(digest("a"))),
        Resource("content", str(digest("a.manifest"))),
    ):
        garbage = mark(leased(image("a"), resource, Lease("l")), now=99)
        assert garbage.blobs == [digest("a.index")]
        assert not garbage.snapshots
        assert not garbage.leases
    resource = Resource("snapshots", f"{FS}/a.2")
    garbage = mark(leased(image("a"), resource, Lease("l")), now=99)
    assert len(garbage.blobs) == 5
    assert not garbage.snapshots


def test_a_flat_lease_keeps_only_what_it_lists() -> None:
    flat = Lease("l", {"containerd.io/gc.flat": "1"})
    resource = Resource("content", str(digest("a.manifest")))
    garbage = mark(leased(image("a"), resource, flat), now=0)
    assert len(garbage.blobs) == 4
    assert len(garbage.snapshots) == 2
    resource = Resource("snapshots", f"{FS}/a.2")
    garbage = mark(leased(image("a"), resource, flat), now=0)
    assert not garbage.snapshots  # a snapshot cannot be without its parent
    assert len(garbage.blobs) == 5


def test_leases_expire() -> None:
    resource = Resource("content", str(digest("a.l1")))
    label = {"containerd.io/gc.expire": "1970-01-01T00:00:05Z"}
    for lease in (Lease("l", expires_at=5_000_000_000), Lease("l", label)):
        inventory = leased(image("a"), resource, lease)
        before = mark(inventory, now=4_999_999_999)
        assert digest("a.l1") not in before.blobs
        assert not before.leases
        after = mark(inventory, now=5_000_000_000)
        assert digest("a.l1") in after.blobs
        assert after.leases == ["l"]


def test_names_expire() -> None:
    expiring = {"containerd.io/gc.expire": "1970-01-01T00:00:05Z"}
    inventory = image("a", "a:1")
    inventory = replace(inventory, names=(replace(inventory.names[0], labels=expiring),))
    assert mark(inventory, now=4_999_999_999) == Garbage([], [], [], [])
    garbage = mark(inventory, now=5_000_000_000)
    assert garbage.names == ("a:1",)
    assert len(garbage.blobs) == 5
    assert garbage.records == [(digest("a"), FS)]
    named = replace(inventory, names=(*inventory.names, image_name("a:2", "a", "a.index")))
    assert mark(named, now=5_000_000_000) == replace(Garbage([], [], [], []), names=("a:1",))
    held = leased(inventory, Resource("images", "a:1"), Lease("l"))
    assert mark(held, now=5_000_000_000) == Garbage([], [], [], [])


def test_back_references() -> None:
    referrer = BlobRecord(
        digest("signature"), 1, {"containerd.io/gc.bref.content.s": str(digest("a.manifest"))}
    )
    of_name = BlobRecord(digest("note"), 1, {"containerd.io/gc.bref.image": "a:1"})
    of_snapshot = replace(
        snapshot("scratch"), labels={f"containerd.io/gc.bref.snapshot.{FS}": "a.2"}
    )
    for name, left in (("a:1", 0), ("", 7)):
        inventory = image("a", name)
        inventory = replace(
            inventory,
            blobs=(*inventory.blobs, referrer, of_name),
            snapshots=(*inventory.snapshots, of_snapshot),
        )
        garbage = mark(inventory, now=0)
        assert len(garbage.blobs) == left
        assert len(garbage.snapshots) == (3 if left else 0)


def test_the_revision_is_that_of_the_inventory() -> None:
    assert mark(replace(EMPTY, revision=7), now=0).revision == 7


def test_a_lease_may_list_what_is_not_here() -> None:
    for kind in get_args(ResourceKind):
        resource = Resource(kind, "nobody")
        assert not mark(leased(EMPTY, resource, Lease("l")), now=0).leases


def test_deep_chains_do_not_recurse() -> None:
    count = 5000
    keys = [f"s{n}" for n in range(count)]
    stack = tuple(snapshot(key, parent) for key, parent in zip(keys, ["", *keys], strict=False))
    top = replace(stack[-1], labels={"containerd.io/gc.root": "1"})
    assert not mark(replace(EMPTY, snapshots=(*stack[:-1], top)), now=0).snapshots
    assert len(mark(replace(EMPTY, snapshots=stack), now=0).snapshots) == count
