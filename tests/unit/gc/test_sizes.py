"""What images have alone and together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.gc import refs
from orlop.gc.graph import Root
from orlop.gc.sizes import disk_usage as usage_of
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Lease,
    Resource,
    SnapshotRecord,
    Target,
)
from tests.rigs.records import Records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.gc import DiskUsage, ImageUsage

FS = "overlayfs"
EMPTY = Records("k8s.io")


def disk_usage(
    records: Records,
    *,
    others: Sequence[Records] = (),
    now: int,
    protected: Sequence[Root] = (),
    trash: int = 0,
) -> DiskUsage:
    return usage_of(
        records.inventory,
        others=[other.inventory for other in others],
        now=now,
        protected=protected,
        trash=trash,
    )


def digest(word: str) -> Digest:
    return Digest.of(word.encode())


def image(word: str, *layers: str, target: str = "") -> Records:
    """Config 1, manifest 10, layers 100 and snapshots 1000 bytes each."""
    config, manifest = digest(word), digest(f"{word}.manifest")
    chains = [f"{FS}-{'+'.join(layers[: n + 1])}" for n in range(len(layers))]
    labels = {"containerd.io/gc.ref.content.config": str(config)}
    labels |= {f"containerd.io/gc.ref.content.l.{n}": str(digest(x)) for n, x in enumerate(layers)}
    return Records(
        "k8s.io",
        names=(
            ImageName(
                f"x/{word}:1", Target("m", digest(target) if target else manifest, 1), config
            ),
        ),
        records=(
            ImageRecord(config, manifest, "linux/amd64", FS, chains[-1], "", 1, 1, synced=True),
        ),
        blobs=(
            BlobRecord(config, 1, {f"containerd.io/gc.ref.snapshot.{FS}": chains[-1]}),
            BlobRecord(manifest, 10, labels),
            *(BlobRecord(digest(layer), 100) for layer in layers),
        ),
        snapshots=tuple(
            SnapshotRecord(FS, key, int(digest(key).hex[:7], 16), "committed", parent, bytes=1000)
            for key, parent in zip(chains, ["", *chains], strict=False)
        ),
        leases=(),
        resources=(),
    )


def together(*inventories: Records) -> Records:
    return replace(
        EMPTY,
        names=tuple(one for inventory in inventories for one in inventory.names),
        records=tuple(one for inventory in inventories for one in inventory.records),
        blobs=tuple(
            {one.digest: one for inventory in inventories for one in inventory.blobs}.values()
        ),
        snapshots=tuple(
            {one.key: one for inventory in inventories for one in inventory.snapshots}.values()
        ),
    )


def sizes(images: tuple[ImageUsage, ...]) -> dict[str, tuple[int, int]]:
    return {image.names[0]: (image.bytes, image.unique_bytes) for image in images}


def test_nothing() -> None:
    usage = disk_usage(EMPTY, now=0)
    assert (usage.images, usage.bytes) == ((), 0)


def test_alone_everything_is_its_own() -> None:
    usage = disk_usage(image("a", "l1", "l2"), now=0)
    assert sizes(usage.images) == {"x/a:1": (2211, 2211)}
    assert usage.image_bytes == usage.bytes == 2211
    assert usage.images[0].snapshotters == (FS,)


def test_a_shared_layer_is_nobodys_and_counts_once() -> None:
    usage = disk_usage(together(image("a", "base", "l1"), image("b", "base")), now=0)
    assert sizes(usage.images) == {"x/a:1": (2211, 1111), "x/b:1": (1111, 11)}
    assert [one.names for one in usage.images] == [("x/a:1",), ("x/b:1",)]  # most first
    assert usage.image_bytes == 2211 + 11


def test_an_index_of_two_platforms_belongs_to_both() -> None:
    both = [str(digest(f"{word}.manifest")) for word in ("a", "b")]
    labels = {f"containerd.io/gc.ref.content.m.{n}": text for n, text in enumerate(both)}
    inventory = together(image("a", "l1", target="index"), image("b", "l2", target="index"))
    names = tuple(replace(name, name="x/app:1") for name in inventory.names)
    index = BlobRecord(digest("index"), 7, labels)
    inventory = replace(inventory, names=names, blobs=(*inventory.blobs, index))
    usage = disk_usage(inventory, now=0)
    assert [(one.bytes, one.unique_bytes) for one in usage.images] == [(1118, 1111)] * 2
    assert usage.image_bytes == 2222 + 7


def test_what_something_else_keeps_is_not_freed() -> None:
    inventory = image("a", "l1")
    resource = Resource("content", str(digest("l1")))
    leased = replace(inventory, leases=(Lease("l", {}, 0, 9),), resources=(("l", resource),))
    assert disk_usage(leased, now=0).images[0].unique_bytes == 1011
    assert disk_usage(leased, now=9).images[0].unique_bytes == 1111
    view = SnapshotRecord(FS, "m", 7, "view", f"{FS}-l1")
    mounted = replace(inventory, snapshots=(*inventory.snapshots, view))
    assert disk_usage(mounted, now=0).images[0].unique_bytes == 111
    pull = Root(refs.content(str(digest("l1"))), "pull", "x")
    assert disk_usage(inventory, now=0, protected=[pull]).images[0].unique_bytes == 1011


def test_a_record_that_only_a_flat_lease_keeps_shares_nothing() -> None:
    nameless = replace(image("b", "base", "l2"), names=())
    flat = Lease("l", {"containerd.io/gc.flat": "1"})
    inventory = replace(
        together(image("a", "base"), nameless),
        leases=(flat,),
        resources=(("l", Resource("images", str(digest("b")))),),
    )
    usage = disk_usage(inventory, now=0)
    assert sizes(usage.images) == {"x/a:1": (1111, 1111)}
    assert usage.garbage_bytes == 1111


def test_an_image_without_a_name_is_kept_and_not_listed() -> None:
    """Nobody can remove it: it goes with the lease that keeps it."""
    nameless = replace(image("b", "l2"), names=())
    inventory = replace(
        together(image("a", "l1"), nameless),
        leases=(Lease("l", {}),),
        resources=(("l", Resource("images", str(digest("b")))),),
    )
    usage = disk_usage(inventory, now=0)
    assert [one.names for one in usage.images] == [("x/a:1",)]
    assert (usage.image_bytes, usage.kept_bytes, usage.garbage_bytes) == (1111, 1111, 0)


def test_an_index_keeps_the_manifest_of_a_record_that_only_a_flat_lease_keeps() -> None:
    """Removing another image does not make the index forget it."""
    nameless = replace(image("b", "base", "l2"), names=())
    labels = {"containerd.io/gc.ref.content.m.0": str(digest("b.manifest"))}
    inventory = together(image("a", "base"), nameless)
    inventory = replace(
        inventory,
        blobs=(*inventory.blobs, BlobRecord(digest("index"), 7, labels)),
        leases=(Lease("flat", {"containerd.io/gc.flat": "1"}), Lease("whole", {})),
        resources=(
            ("flat", Resource("images", str(digest("b")))),
            ("whole", Resource("content", str(digest("index")))),
        ),
    )
    assert sizes(disk_usage(inventory, now=0).images) == {"x/a:1": (1111, 11)}


def test_an_index_within_an_index_goes_with_either_of_its_images() -> None:
    """The one image has the only name of the outer index, the other all below the inner one."""
    inventory = together(image("a", "l1", target="outer"), image("b", "l2"))
    manifest = "containerd.io/gc.ref.content.m"
    outer = {f"{manifest}.0": str(digest("a.manifest")), f"{manifest}.1": str(digest("inner"))}
    inner = {f"{manifest}.0": str(digest("b.manifest"))}
    indexes = (BlobRecord(digest("outer"), 7, outer), BlobRecord(digest("inner"), 20, inner))
    usage = disk_usage(replace(inventory, blobs=(*inventory.blobs, *indexes)), now=0)
    assert sizes(usage.images) == {"x/a:1": (1138, 1138), "x/b:1": (1131, 1131)}
    assert usage.image_bytes == usage.bytes == 2 * 1111 + 27


def test_what_is_no_images() -> None:
    inventory = together(image("a", "l1"), replace(image("b", "l2"), names=()))
    resource = Resource("content", str(digest("l2")))
    usage = disk_usage(
        replace(inventory, leases=(Lease("l"),), resources=(("l", resource),)), now=0, trash=5
    )
    assert (usage.image_bytes, usage.kept_bytes, usage.garbage_bytes) == (1111, 100, 1011)
    assert (usage.bytes, usage.trash_bytes) == (2222, 5)


def test_other_namespaces_share_files() -> None:
    """Their files are not freed here; what only they have is shown apart."""
    usage = disk_usage(
        image("a", "base", "l1"), others=[together(image("b", "base"), image("c", "l3"))], now=0
    )
    assert sizes(usage.images) == {"x/a:1": (2211, 1111)}
    assert (usage.image_bytes, usage.elsewhere_bytes) == (2211, 11 + 1111)
