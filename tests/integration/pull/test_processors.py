"""Images whose layers go through programs of the operator's, as a whole service pulls them."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.app import opened, with_directories
from orlop.config.load import load
from orlop.errors import (
    ArchiveInvalid,
    DigestMismatch,
    FailedPrecondition,
    ManifestInvalid,
    UnsupportedMediaType,
)
from orlop.images.service import LocalImageService
from orlop.model.mediatype import Compression
from orlop.ports.service import PullOptions
from orlop.testing.faults import Fault
from orlop.testing.images import BuiltImage, Layer, build_image, build_layer
from orlop.testing.layers import directory, file, hard_link
from tests.integration.pull.rig import Store, offer, unmount_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

KEY = 0x80
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
SEALED = f"{GZIP}+encrypted"

UNSEAL = r"tr '\000-\377' '\200-\377\000-\177'"
"""A cipher that is good enough for tests."""

CONTENT = [
    build_layer([directory("d", mode=0o700), file("d/a", os.urandom(400_000))]),
    build_layer([file("d/b", b"b" * 300_000)], Compression.ZSTD),
    build_layer([hard_link("d/linked", "d/a"), file("d/c", os.urandom(50_000))]),
]


def sealed(layer: Layer) -> Layer:
    return replace(layer, blob=bytes(one ^ KEY for one in layer.blob))


def image(layers: Sequence[Layer], *media_types: str) -> BuiltImage:
    """An image whose layers say that they have these media types."""
    built = build_image(layers)
    document = json.loads(built.manifest)
    for layer, media_type in zip(document["layers"], media_types, strict=True):
        layer["mediaType"] = media_type or layer["mediaType"]
    return replace(built, manifest=json.dumps(document).encode())


ENCRYPTED = image(
    [sealed(CONTENT[0]), CONTENT[1], sealed(CONTENT[2])],
    *(SEALED, "", SEALED),
)


def processor(
    name: str, line: str, accepts: str = SEALED, returns: str = GZIP, env: Sequence[str] = ()
) -> str:
    """The table of a processor that is a line of shell."""
    return "\n".join(
        [
            f'[stream_processors."{name}"]',
            f'accepts = ["{accepts}"]',
            f'returns = "{returns}"',
            'path = "sh"',
            f"args = {json.dumps(['-c', line])}",
            f"env = {json.dumps(list(env))}",
        ]
    )


@asynccontextmanager
async def processing(place: Path, *tables: str, key_model: str = "node") -> AsyncIterator[Store]:
    """A service that is configured with these tables."""
    images = f'[plugins."io.containerd.cri.v1.images".image_decryption]\nkey_model = "{key_model}"'
    document = place / "config.toml"
    document.write_text("\n".join(["version = 3", *tables, images]))
    root = place / "root"
    config = with_directories(load(str(document)).config, root=str(root), state=f"{root}/state")
    async with opened(config) as app:
        assert isinstance(app.service, LocalImageService)
        yield Store(root, app.service)
        unmount_all(root)


async def contents(store: Store, reference: str, place: Path) -> dict[str, bytes]:
    """The files of an image, mounted."""
    target = place / "mounted"
    target.mkdir(exist_ok=True)
    await store.service.mount(reference, str(target))
    try:
        paths = [path for path in target.rglob("*") if path.is_file()]
        return {str(path.relative_to(target)): path.read_bytes() for path in paths}
    finally:
        await store.service.unmount(str(target))


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_an_encrypted_image(tmp_path: Path, registry: FakeRegistry, snapshotter: str) -> None:
    plain = offer(registry, "plain", "v1", build_image(CONTENT))
    reference = offer(registry, "app", "v1", ENCRYPTED)
    async with processing(tmp_path, processor("unseal", UNSEAL)) as store:
        before = await store.traces()
        options = PullOptions(snapshotter=snapshotter)
        await store.service.pull(reference, options)
        found = await contents(store, reference, tmp_path)
        assert set(found) == {"d/a", "d/b", "d/c", "d/linked"}
        assert (await store.service.check())[0].problems == ()
        assert await store.service.remove(reference)
        assert await store.traces() == before
        await store.service.pull(plain, options)
        assert await contents(store, plain, tmp_path) == found


async def test_a_chain_of_two_and_what_they_are_told(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    layer = build_layer(CONTENT[0].tar, Compression.NONE)
    reference = offer(registry, "app", "v1", image([sealed(layer)], "app/sealed"))
    note = f'echo "$STREAM_PROCESSOR_MEDIATYPE $WORD" >>{tmp_path}/told;'
    async with processing(
        tmp_path,
        processor("a", f"{note} gzip", "app/open", GZIP, ["WORD=second"]),
        processor("b", f"{note} {UNSEAL}", "app/sealed", "app/open", ["WORD=first"]),
    ) as store:
        await store.service.pull(reference)
        assert set(await contents(store, reference, tmp_path)) == {"d/a"}
    told = (tmp_path / "told").read_text().splitlines()
    assert sorted(told) == ["app/open second", "app/sealed first"]


async def test_no_keys_are_allowed(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    async with processing(tmp_path, processor("unseal", UNSEAL), key_model="") as store:
        with pytest.raises(UnsupportedMediaType, match=r'image_decryption\.key_model = ""'):
            await store.service.pull(reference)
        assert not [one for one in registry.requests if "/blobs/" in one.path]


async def test_nobody_decrypts(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    async with processing(tmp_path, processor("other", "cat", "app/other")) as store:
        with pytest.raises(UnsupportedMediaType, match="nothing here decrypts it") as caught:
            await store.service.pull(reference)
        assert "[stream_processors]" in caught.value.hint
        assert not [one for one in registry.requests if "/blobs/" in one.path]


@pytest.mark.parametrize(
    ("line", "error", "cause"),
    [
        ("echo no key for this image >&2; exit 1", FailedPrecondition, "'no key for this image'"),
        ("head -c 1000 >/dev/null; exit 1", FailedPrecondition, "exit code 1"),
        (f"{UNSEAL} | gunzip | tr q c | gzip", DigestMismatch, "not to its diffID"),
        (f"{UNSEAL} | head -c 100", ArchiveInvalid, "truncated"),
        ("cat", ManifestInvalid, "gzip"),
        ("true", ArchiveInvalid, "truncated"),
    ],
)
async def test_a_program_that_does_it_wrong(
    tmp_path: Path, registry: FakeRegistry, line: str, error: type[Exception], cause: str
) -> None:
    layer = sealed(build_layer([file("a", b"q" * 100_000)]))
    reference = offer(registry, "app", "v1", image([layer], SEALED))
    async with processing(tmp_path, processor("unseal", line)) as store:
        before = await store.traces()
        with pytest.raises(error, match=cause):
            await store.service.pull(reference)
        assert replace(await store.traces(), ingests=frozenset()) == before


async def test_one_that_never_ends_is_killed_with_the_pull(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    note = tmp_path / "pid"
    line = f"echo $$ >{note}.new; mv {note}.new {note}; cat >/dev/null; sleep 60"
    async with processing(tmp_path, processor("unseal", line)) as store:
        before = await store.traces()
        pulling = asyncio.create_task(store.service.pull(reference))
        async with asyncio.timeout(10):
            while not note.exists():  # noqa: ASYNC110 (a program writes it)
                await asyncio.sleep(0.01)
        pid = int(note.read_text())
        assert os.path.exists(f"/proc/{pid}/exe")
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert not os.path.exists(f"/proc/{pid}/exe")
        assert replace(await store.traces(), ingests=frozenset()) == before


async def test_a_slow_program_is_no_stalled_registry(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    timeout = '[plugins."io.containerd.cri.v1.images"]\nimage_pull_progress_timeout = "200ms"'
    slow = processor("unseal", f"sleep 0.6; {UNSEAL}")
    async with processing(tmp_path, slow, timeout) as store:
        await store.service.pull(reference)


async def test_a_layer_that_is_here_is_verified_before_a_program_sees_it(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    seen = tmp_path / "seen"
    line = f"tee -a {seen} | {UNSEAL}"
    async with processing(tmp_path, processor("unseal", line)) as store:
        await store.service.pull(reference)
        seen.unlink()
        digest = ENCRYPTED.layers[0].digest
        path = store.blob(digest.hex)
        path.chmod(0o600)
        path.write_bytes(b"x" * len(ENCRYPTED.layers[0].blob))
        await store.service.pull(reference, PullOptions(snapshotter="native"))
        assert b"x" * 1000 not in seen.read_bytes()
        assert (await store.service.check())[0].problems == ()


async def test_bytes_that_arrive_broken_are_not_shown_to_a_program(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", ENCRYPTED)
    hexadecimal = ENCRYPTED.layers[0].digest.hex
    registry.fail(Fault(truncate_at=1000), path=hexadecimal)
    async with processing(tmp_path, processor("unseal", UNSEAL)) as store:
        await store.service.pull(reference)
        assert (await store.service.check())[0].problems == ()
