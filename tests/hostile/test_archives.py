"""Archives that mean harm: each is refused, and leaves no trace anywhere."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from orlop.errors import (
    ArchiveEscape,
    ArchiveInvalid,
    DigestMismatch,
    ImageInvalid,
    InvalidReference,
    LimitExceeded,
    ManifestAmbiguous,
    ManifestInvalid,
    NotFound,
    OrlopError,
    SizeMismatch,
)
from orlop.model import mediatype
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS
from orlop.pull.archive_source import ArchiveOpener
from orlop.testing.images import build_image
from orlop.testing.layers import directory, fifo, file, hard_link, symlink, tar_bytes
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore
from orlop.unpack.decompress import by_content, sniff
from tests.integration.pull.rig import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.testing.layers import Entry

pytestmark = pytest.mark.root

IMAGE: Final = build_image([[file("a", b"a" * 1000)]])
LAYER: Final = IMAGE.layers[0]
LAYOUT: Final = file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def blob(data: bytes, digest: Digest | None = None) -> Entry:
    return file(f"blobs/sha256/{(digest or Digest.of(data)).hex}", data)


def index(*entries: object) -> Entry:
    document = {"schemaVersion": 2, "manifests": list(entries)}
    return file("index.json", json.dumps(document).encode())


def entry(raw: bytes = IMAGE.manifest, name: str = "", **more: object) -> dict[str, object]:
    found: dict[str, object] = {
        "mediaType": IMAGE.media_type,
        "digest": str(Digest.of(raw)),
        "size": len(raw),
        **more,
    }
    if name:
        found["annotations"] = {"org.opencontainers.image.ref.name": name}
    return found


def docker(*images: object) -> Entry:
    return file("manifest.json", json.dumps(list(images)).encode())


GOOD: Final = (LAYOUT, index(entry()), blob(IMAGE.manifest), blob(IMAGE.config), blob(LAYER.blob))
OTHER: Final = build_image([[file("b", b"b")]])
NESTED: Final = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": mediatype.OCI_INDEX, "digest": f"sha256:{'0' * 64}", "size": 10}
        ],
    }
).encode()

HOSTILE: Final[dict[str, tuple[bytes, type[OrlopError]]]] = {
    "a path above": (tar_bytes([*GOOD, file("../../evil", b"x")]), ArchiveEscape),
    "an absolute path": (tar_bytes([*GOOD, file("/evil", b"x")]), ArchiveEscape),
    "a hidden path above": (tar_bytes([*GOOD, file("a/../../evil", b"x")]), ArchiveEscape),
    "a link to outside": (tar_bytes([*GOOD, symlink("x", "/etc/passwd")]), ArchiveEscape),
    "a link above": (tar_bytes([*GOOD, hard_link("x", "../../etc/passwd")]), ArchiveEscape),
    "two files of one name": (tar_bytes([*GOOD, blob(b"x", LAYER.digest)]), ArchiveInvalid),
    "two spellings of one name": (
        tar_bytes([*GOOD, file("./blobs//sha256/" + LAYER.digest.hex, b"x")]),
        ArchiveInvalid,
    ),
    "a fifo for an index": (tar_bytes([LAYOUT, fifo("index.json")]), ArchiveInvalid),
    "a link to itself": (
        tar_bytes([LAYOUT, symlink("index.json", "index.json")]),
        ArchiveInvalid,
    ),
    "a directory for an index": (tar_bytes([LAYOUT, directory("index.json")]), ImageInvalid),
    "cut off": (tar_bytes(GOOD)[:-3000], ArchiveInvalid),
    "cut in a header": (tar_bytes(GOOD)[:700], ArchiveInvalid),
    "no archive": (b"\x7fELF" + bytes(range(256)) * 10, ArchiveInvalid),
    "nothing": (b"", ArchiveInvalid),
    "three bytes": (b"abc", ArchiveInvalid),
    "corrupt gzip": (gzip.compress(tar_bytes(GOOD))[:-20] + b"x" * 20, ArchiveInvalid),
    "cut gzip": (gzip.compress(tar_bytes(GOOD))[:-20], ArchiveInvalid),
    "a missing layer": (tar_bytes(GOOD[:-1]), NotFound),
    "a missing manifest": (tar_bytes([*GOOD[:2], *GOOD[3:]]), NotFound),
    "a missing version": (tar_bytes(GOOD[1:]), ImageInvalid),
    "another version": (
        tar_bytes([file("oci-layout", b'{"imageLayoutVersion":"9"}'), *GOOD[1:]]),
        ManifestInvalid,
    ),
    "other bytes of a layer": (
        tar_bytes([*GOOD[:-1], blob(bytes(len(LAYER.blob)), LAYER.digest)]),
        DigestMismatch,
    ),
    "a longer layer": (
        tar_bytes([*GOOD[:-1], blob(LAYER.blob + b"x", LAYER.digest)]),
        SizeMismatch,
    ),
    "other bytes of a config": (
        tar_bytes([*GOOD[:3], blob(bytes(len(IMAGE.config)), IMAGE.id), GOOD[4]]),
        DigestMismatch,
    ),
    "a huge index": (
        tar_bytes([LAYOUT, file("index.json", b" " * (DEFAULTS.manifest_bytes + 1))]),
        LimitExceeded,
    ),
    "too many entries": (
        tar_bytes([LAYOUT, index(*[entry()] * (DEFAULTS.descriptors + 1))]),
        LimitExceeded,
    ),
    "no entries": (tar_bytes([LAYOUT, index()]), ImageInvalid),
    "an index that is a list": (tar_bytes([LAYOUT, file("index.json", b"[]")]), ManifestInvalid),
    "a manifest of gigabytes": (
        tar_bytes([*GOOD[:1], index(entry(size=1 << 40)), *GOOD[2:]]),
        LimitExceeded,
    ),
    "one name for two images": (
        tar_bytes(
            [LAYOUT, index(entry(name="app:v1"), entry(OTHER.manifest, name="app:v1")), *GOOD[2:]]
        ),
        ManifestAmbiguous,
    ),
    "an artifact": (
        tar_bytes([LAYOUT, index(entry(mediaType="application/x.sbom")), *GOOD[2:]]),
        ImageInvalid,
    ),
    "docker: a list of nothing": (tar_bytes([docker()]), ImageInvalid),
    "docker: no list": (tar_bytes([file("manifest.json", b"{}")]), ManifestInvalid),
    "docker: no config": (tar_bytes([docker({"Layers": []})]), ManifestInvalid),
    "docker: a config elsewhere": (
        tar_bytes([docker({"Config": "/etc/passwd", "Layers": []})]),
        NotFound,
    ),
    "docker: too few layers": (
        tar_bytes([docker({"Config": "c", "Layers": []}), file("c", IMAGE.config)]),
        ManifestInvalid,
    ),
    "docker: a layer elsewhere": (
        tar_bytes([docker({"Config": "c", "Layers": ["../l"]}), file("c", IMAGE.config)]),
        NotFound,
    ),
    "docker: other bytes of a layer": (
        tar_bytes(
            [
                docker({"Config": "c", "Layers": ["l"]}),
                file("c", IMAGE.config),
                file("l", tar_bytes([file("evil", b"x")])),
            ]
        ),
        DigestMismatch,
    ),
    "docker: a name that is none": (
        tar_bytes(
            [
                docker({"Config": "c", "Layers": ["l"], "RepoTags": ["Not A Name"]}),
                file("c", IMAGE.config),
                file("l", LAYER.tar),
            ]
        ),
        InvalidReference,
    ),
    "docker: schema 1": (
        tar_bytes([LAYOUT, index(entry(mediaType=mediatype.DOCKER_SCHEMA1)), *GOOD[2:]]),
        ImageInvalid,
    ),
    "an index below that is not there": (
        tar_bytes(
            [LAYOUT, index(entry(NESTED, mediaType=mediatype.OCI_INDEX)), blob(NESTED), *GOOD[2:]]
        ),
        NotFound,
    ),
}


async def test_they_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    async with running(outside / "root") as store:
        before, around = await store.traces(), sorted(os.listdir(outside))
        for what, (data, kind) in HOSTILE.items():
            path = tmp_path / "archive"
            path.write_bytes(data)
            for kept in (False, True):
                with (
                    path.open("rb") as archive,
                    _compressed(data) as packed,
                    pytest.raises(OrlopError) as error,
                ):
                    await store.service.import_images(packed if kept else archive.fileno())
                assert isinstance(error.value, kind), (what, error.value)
                after = await store.traces()
                # Partial downloads are left for the next try, as by any pull.
                assert replace(after, ingests=before.ingests) == before, what
                assert not [ref for ref in store.ingests() if ref.startswith("import-")], what
        assert sorted(os.listdir(outside)) == around
        path.write_bytes(tar_bytes(GOOD))
        with path.open("rb") as archive:
            (image,) = await store.service.import_images(archive.fileno())
        assert image.record.manifest == IMAGE.digest


@contextmanager
def _compressed(data: bytes) -> Iterator[int]:
    """A file with ``data`` that cannot be read in place."""
    fd = os.memfd_create("archive")
    try:
        os.write(fd, data if data[:2] == b"\x1f\x8b" else gzip.compress(data, 1))
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


async def test_limits_of_archives() -> None:
    limits = replace(DEFAULTS, archive_members=3, layer_ratio_floor=1 << 20, layer_ratio=10)
    with MemoryStore(ManualClock()) as store:
        opener = ArchiveOpener(store, decompression=by_content, sniff=sniff, limits=limits)
        for data, limit in (
            (tar_bytes([file(str(at), b"") for at in range(4)]), "archive_members"),
            (gzip.compress(bytes(4 << 20)), "layer_ratio"),
        ):
            source = os.memfd_create("archive")
            try:
                os.write(source, data)
                os.lseek(source, 0, os.SEEK_SET)
                with pytest.raises(LimitExceeded) as error:
                    async with opener.opened(source):
                        pass
            finally:
                os.close(source)
            assert error.value.limit == limit
        assert store.status() == []


@pytest.mark.parametrize("kind", ["link", "fifo", "above"])
async def test_layouts_whose_files_are_none(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "layout"
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (place / "oci-layout").write_bytes(LAYOUT.data)
    (place / "index.json").write_bytes(index(entry()).data)
    (blobs / IMAGE.digest.hex).write_bytes(IMAGE.manifest)
    (blobs / IMAGE.id.hex).write_bytes(IMAGE.config)
    secret = tmp_path / "secret"
    secret.write_bytes(LAYER.blob)
    layer = blobs / LAYER.digest.hex
    match kind:
        case "link":
            layer.symlink_to(secret)
        case "fifo":
            os.mkfifo(layer)
        case _:
            blobs.rename(tmp_path / "sha256")
            (tmp_path / "sha256" / LAYER.digest.hex).write_bytes(LAYER.blob)
            blobs.symlink_to(tmp_path / "sha256")
    fd = os.open(place, os.O_RDONLY)
    try:
        async with running(tmp_path / "root") as store:
            with pytest.raises((ArchiveInvalid, NotFound)):
                await store.service.import_images(fd)
            assert (await store.traces()).rows == frozenset()
    finally:
        os.close(fd)
