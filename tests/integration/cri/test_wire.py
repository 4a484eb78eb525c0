"""The CRI byte by byte, without our generated code: names, field numbers, wire types.

Requests and answers are written down by hand from the interface's tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.ports.registry import Credentials
from orlop.ports.service import PullOptions

if TYPE_CHECKING:
    import grpc.aio

    from .conftest import Door


def text(number: int, value: str | bytes) -> bytes:
    """A field of wire type 2: a string, or a message."""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number: int, value: int) -> bytes:
    """A field of wire type 0."""
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


async def call(door: Door, method: str, request: bytes = b"") -> bytes:
    path = f"/runtime.v1.ImageService/{method}"
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = door.channel.unary_unary(path)
    answer: bytes = await ask(request, timeout=2)
    return answer


async def test_pull_status_list_and_remove(door: Door) -> None:
    spec = text(1, text(1, "busybox"))
    id_ = str((await door.service.pull("busybox")).record.id)
    assert await call(door, "PullImage", spec) == text(1, id_)
    (image,) = await door.service.images()
    by_digest = f"docker.io/library/busybox@{image.record.manifest}"
    tag = "docker.io/library/busybox:latest"
    size = image.record.content_bytes + image.record.unpacked_bytes
    fields = (
        text(1, id_)
        + text(2, tag)
        + text(3, by_digest)
        + integer(4, size)
        + text(5, integer(1, 1000))
        + text(7, text(1, tag))
    )
    assert await call(door, "ImageStatus", spec) == text(1, fields)
    assert await call(door, "ListImages", text(1, spec)) == text(1, fields)
    door.service.pins.add(image.record.id)
    assert await call(door, "ListImages") == text(1, fields + integer(8, 1))
    assert await call(door, "RemoveImage", spec) == b""
    assert await call(door, "ImageStatus", spec) == b""


async def test_every_field_of_a_pull(door: Door) -> None:
    image = text(1, "private.example/secret") + text(18, "secret") + text(19, "runc")
    auth = text(1, "ann") + text(2, "s3cret") + text(4, "private.example")
    auth += text(5, "refresh") + text(6, "bearer")
    sandbox = text(7, text(1, "io.containerd.cri.runtime-handler") + text(2, "other"))
    await call(door, "PullImage", text(1, image) + text(2, auth) + text(3, sandbox))
    (asked,) = door.service.calls
    credentials = Credentials("ann", "s3cret", "refresh", "bearer", "private.example")
    options = PullOptions(runtime_handler="runc", credentials=credentials)
    assert asked.arguments == ("private.example/secret", options)


async def test_usage_of_an_empty_store(door: Door) -> None:
    (usage,) = await door.service.filesystems()
    entry = integer(1, usage.timestamp) + text(2, text(1, "/")) + text(3, b"") + text(4, b"")
    assert await call(door, "ImageFsInfo") == text(1, entry) + text(2, entry)
