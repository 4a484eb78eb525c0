"""Records as CRI messages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop.cri import convert
from orlop.model.digest import Digest
from orlop.ports.metadata import Image, ImageName, ImageRecord, Target, Usage
from orlop.ports.service import FsUsage
from orlop.testing.images import build_image
from orlop.testing.memory_service import MemoryService

ID = Digest.of(b"config")
MANIFEST = Digest.of(b"manifest")
TARGET = Target("application/vnd.oci.image.manifest.v1+json", MANIFEST, 8)
RECORD = ImageRecord(
    id=ID,
    manifest=MANIFEST,
    platform="linux/amd64",
    snapshotter="overlayfs",
    chain_id=str(Digest.of(b"chain")),
    user="",
    content_bytes=700,
    unpacked_bytes=4096,
    synced=True,
)


def image(*names: str, user: str = "") -> Image:
    return Image(
        replace(RECORD, user=user), tuple(ImageName(name, TARGET, ID) for name in (*names, str(ID)))
    )


def test_names_are_split_by_kind() -> None:
    by_digest = f"docker.io/library/busybox@{MANIFEST}"
    tags = ["docker.io/library/busybox:1.37", "docker.io/library/busybox:latest"]
    item = convert.to_image(image(*tags, by_digest), pinned=False, runtime_handler="")
    assert list(item.repo_tags) == tags
    assert list(item.repo_digests) == [by_digest]
    assert item.id == str(ID)
    assert item.spec.image == tags[0]


def test_an_image_by_digest_has_no_tags() -> None:
    by_digest = f"localhost:5000/sha256@{MANIFEST}"
    item = convert.to_image(image(by_digest), pinned=False, runtime_handler="")
    assert (list(item.repo_tags), list(item.repo_digests)) == ([], [by_digest])
    assert item.spec.image == by_digest


def test_a_repository_may_look_like_an_algorithm() -> None:
    item = convert.to_image(image("sha256.example/a:b"), pinned=False, runtime_handler="")
    assert list(item.repo_tags) == ["sha256.example/a:b"]


def test_an_image_that_lost_its_names_still_has_a_spec() -> None:
    assert convert.to_image(image(), pinned=False, runtime_handler="").spec.image == str(ID)


def test_the_size_counts_blobs_and_trees() -> None:
    assert convert.to_image(image(), pinned=False, runtime_handler="").size == 4796


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned(pinned: bool) -> None:
    assert convert.to_image(image(), pinned=pinned, runtime_handler="").pinned is pinned


@pytest.mark.parametrize(
    ("user", "uid", "username"),
    [
        ("", None, ""),
        ("0", 0, ""),
        ("1000:1000", 1000, ""),
        ("www-data", None, "www-data"),
        ("www-data:root", None, "www-data"),
    ],
)
def test_uid_or_user_name(user: str, uid: int | None, username: str) -> None:
    item = convert.to_image(image(user=user), pinned=False, runtime_handler="")
    assert item.HasField("uid") is (uid is not None)
    assert (item.uid.value if uid is not None else None, item.username) == (uid, username)


async def test_info_holds_the_config_as_it_was_fetched() -> None:
    built = build_image([[]], config={"config": {"User": "ä"}, "future": [1, {"x": 2.50}]})
    service = MemoryService({"a.example/b:c": built})
    await service.pull("a.example/b:c")
    info = convert.to_info(await service.detail("a.example/b:c"))
    assert json.loads(info) == {
        "chainID": str(built.chain[-1]),
        "imageSpec": json.loads(built.config),
    }
    assert built.config.decode() in info


def test_filesystem() -> None:
    usage = FsUsage("/var/lib/orlop/snapshots", 17, Usage(bytes=0, inodes=3))
    entry = convert.to_filesystem(usage)
    assert entry.fs_id.mountpoint == "/var/lib/orlop/snapshots"
    assert (entry.timestamp, entry.used_bytes.value, entry.inodes_used.value) == (17, 0, 3)
    assert entry.HasField("used_bytes")  # a pointer for Go clients, also for 0


def test_batches_keep_order_and_lose_nothing() -> None:
    items = [pb.Image(id=str(number) * 10) for number in range(10)]
    size = items[0].ByteSize()
    cut = list(convert.batches(items, 3 * size))
    assert [len(batch) for batch in cut] == [3, 3, 3, 1]
    assert [item for batch in cut for item in batch] == items


def test_an_item_longer_than_a_batch_goes_alone() -> None:
    items = [pb.Image(id="a"), pb.Image(id="b" * 100), pb.Image(id="c")]
    assert [[item.id[0] for item in batch] for batch in convert.batches(items, 50)] == [
        ["a"],
        ["b"],
        ["c"],
    ]
    assert list(convert.batches([], 50)) == []


def test_runtime_handler() -> None:
    request = pb.PullImageRequest()
    assert convert.runtime_handler(request) == ""
    request.sandbox_config.annotations["io.containerd.cri.runtime-handler"] = "gvisor"
    assert convert.runtime_handler(request) == "gvisor"
    request.image.runtime_handler = "kata"
    assert convert.runtime_handler(request) == "kata"


def test_the_handler_that_an_image_is_for() -> None:
    annotations = {convert.RUNTIME_HANDLER_ANNOTATION: "annotated"}
    assert convert.handler_of(pb.ImageSpec(annotations=annotations)) == "annotated"
    both = pb.ImageSpec(runtime_handler="kata", annotations=annotations)
    assert convert.handler_of(both) == "kata"
    assert convert.handler_of(pb.ImageSpec()) == ""
