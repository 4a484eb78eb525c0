"""Records of the image service as CRI messages. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop._proto import runtime_v1_pb2 as pb
from orlop.model.image import split_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.ports.metadata import Image, ImageName
    from orlop.ports.service import FsUsage, ImageDetail

RUNTIME_HANDLER_ANNOTATION: Final = "io.containerd.cri.runtime-handler"
"""Annotation (of the sandbox, or the image) that named the handler before ImageSpec could."""

BATCH_BYTES: Final = 1 << 20
"""Size of a StreamImages message. Clients read 16 MiB; small ones keep memory flat."""


def to_image(image: Image, *, pinned: bool, runtime_handler: str) -> pb.Image:
    """One item of ListImages.

    The size is what the image occupies, compressed and unpacked: kubelet counts
    it as freed when it removes the image, and takes 0 for an error.
    """
    record = image.record
    tags, digests = names(image.names)
    uid, username = split_user(record.user)
    item = pb.Image(
        id=str(record.id),
        repo_tags=tags,
        repo_digests=digests,
        size=record.content_bytes + record.unpacked_bytes,
        username="" if uid is not None else username,
        spec=pb.ImageSpec(
            image=next(iter(tags + digests), str(record.id)), runtime_handler=runtime_handler
        ),
        pinned=pinned,
    )
    if uid is not None:
        item.uid.value = uid
    return item


def names(image_names: Iterable[ImageName]) -> tuple[list[str], list[str]]:
    """Tagged names and names by digest; the image id, which is a name too, is neither."""
    repositories = [name.name for name in image_names if name.name != str(name.image_id)]
    tags = [name for name in repositories if "@" not in name]
    digests = [name for name in repositories if "@" in name]
    return tags, digests


def to_info(detail: ImageDetail) -> str:
    """The verbose answer's ``info`` entry: JSON with the image config as it was fetched."""
    chain_id = json.dumps(detail.image.record.chain_id)
    # Spliced, not parsed again: numbers and order of keys stay as the image has them.
    return f'{{"chainID":{chain_id},"imageSpec":{detail.config.raw.decode()}}}'


def to_filesystem(usage: FsUsage) -> pb.FilesystemUsage:
    """One entry of ImageFsInfo."""
    return pb.FilesystemUsage(
        timestamp=usage.timestamp,
        fs_id=pb.FilesystemIdentifier(mountpoint=usage.mountpoint),
        used_bytes=pb.UInt64Value(value=usage.usage.bytes),
        inodes_used=pb.UInt64Value(value=usage.usage.inodes),
    )


def batches(images: Iterable[pb.Image], limit: int = BATCH_BYTES) -> Iterator[list[pb.Image]]:
    """Cut ``images`` into runs of about ``limit`` bytes; an item alone may be longer."""
    batch: list[pb.Image] = []
    size = 0
    for image in images:
        length = image.ByteSize()
        if batch and size + length > limit:
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += length
    if batch:
        yield batch


def runtime_handler(request: pb.PullImageRequest) -> str:
    """The handler that a pull is for: the image's own, else the sandbox's annotation."""
    annotations = request.sandbox_config.annotations
    return handler_of(request.image) or str(annotations.get(RUNTIME_HANDLER_ANNOTATION, ""))


def handler_of(image: pb.ImageSpec) -> str:
    """The handler that an image is for: its field, else its annotation; "" is the default one."""
    annotated = image.annotations.get(RUNTIME_HANDLER_ANNOTATION, "")
    return str(image.runtime_handler or annotated)
