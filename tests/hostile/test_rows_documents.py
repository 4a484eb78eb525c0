"""Rows M: manifests, indexes and configs, pulled from a registry that says what it is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import (
    DigestMismatch,
    LimitExceeded,
    ManifestAmbiguous,
    ManifestInvalid,
    NoMatchingPlatform,
    NotFound,
    OrlopError,
    RegistryProtocol,
    RegistryUnavailable,
    SizeMismatch,
    UnsupportedMediaType,
)
from orlop.model import mediatype as media
from orlop.model.limits import DEFAULTS
from orlop.testing.faults import Fault
from orlop.testing.images import BuiltImage, Json, build_image
from orlop.testing.layers import file
from tests.hostile.drafts import IMAGE, MEBIBYTE, OTHER, Draft
from tests.hostile.site import Site, attacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


def manifest(**changes: Json) -> Callable[[Draft], None]:
    return lambda draft: draft.manifest.update(changes)


def drop_size(draft: Draft) -> None:
    del draft.layers[0]["size"]


def config(**changes: Json) -> Callable[[Draft], None]:
    return lambda draft: draft.config.update(changes)


def process(**changes: Json) -> Callable[[Draft], None]:
    return lambda draft: draft.process.update(changes)


def layer(**changes: Json) -> Callable[[Draft], None]:
    return lambda draft: draft.layers[0].update(changes)


def described(**changes: Json) -> Callable[[Draft], None]:
    return lambda draft: draft.described.update(changes)


def called(name: str) -> Callable[[Draft], None]:
    return lambda draft: setattr(draft, "called", name)


def raw(make: Callable[[bytes], bytes]) -> Callable[[Draft], None]:
    return lambda draft: setattr(draft, "raw", make(IMAGE.manifest))


def raw_config(make: Callable[[bytes], bytes]) -> Callable[[Draft], None]:
    return lambda draft: setattr(draft, "raw_config", make(IMAGE.config))


def both(*changes: Callable[[Draft], None]) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        for one in changes:
            one(draft)

    return change


def drop(part: str, key: str) -> Callable[[Draft], None]:
    return lambda draft: getattr(draft, part).pop(key)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(document: bytes) -> bytes:
        assert old in document
        return document.replace(old, new, 1)

    return change


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


INVALID = ManifestInvalid
CASES: list[tuple[str, str, Callable[[Draft], None], type[OrlopError], str]] = [
    # Sizes and digests.
    ("M02", "layer longer", layer(size=len(IMAGE.layers[0].blob) - 1), RegistryProtocol, ""),
    ("M02", "layer shorter", layer(size=len(IMAGE.layers[0].blob) + 1), RegistryProtocol, ""),
    ("M02", "layer negative", layer(size=-1), INVALID, ""),
    ("M02", "layer beyond 2**53", layer(size=2**53), INVALID, ""),
    ("M02", "layer fractional", layer(size=1.5), INVALID, ""),
    ("M02", "layer a text", layer(size="1"), INVALID, ""),
    ("M02", "layer true", layer(size=True), INVALID, ""),
    ("M02", "layer none", drop_size, INVALID, ""),
    ("M02", "config 0", described(size=0), INVALID, ""),
    ("M02", "config none", drop("described", "size"), INVALID, ""),
    *(
        ("M03", text, layer(digest=text), kind, "")
        for text, kind in {
            "sha256:../../../../etc/passwd": INVALID,
            "sha256:" + "A" * 64: INVALID,
            "sha256:" + "a" * 63: INVALID,
            "sha256:" + "a" * 65: INVALID,
            "sha256-" + "a" * 64: INVALID,
            "sha256:" + "a" * 63 + "/": INVALID,
            "sha256:" + "a" * 63 + "\n": INVALID,
            "sha256:": INVALID,
            "": INVALID,
            "../" * 9: INVALID,
            "md5:" + "a" * 32: UnsupportedMediaType,
            "sha999:" + "a" * 64: UnsupportedMediaType,
        }.items()
    ),
    ("M03", "of the config", described(digest="sha256:../x"), INVALID, ""),
    ("M03", "of a diffID", config(rootfs={"type": "layers", "diff_ids": ["sha256:../x"] * 2}),
     INVALID, ""),
    # What it is.
    ("M04", "both", manifest(manifests=[]), ManifestAmbiguous, ""),
    ("M04", "called an index", called(media.OCI_INDEX), ManifestAmbiguous, ""),
    ("M04", "called Docker's", called(media.DOCKER_MANIFEST), ManifestAmbiguous, ""),
    ("M04", "calls itself an index", manifest(mediaType=media.OCI_INDEX), ManifestAmbiguous, ""),
    ("M04", "an index by its own word only",
     both(manifest(mediaType=media.OCI_INDEX), called("application/json")), ManifestAmbiguous, ""),
    ("M04", "neither", both(drop("manifest", "layers"), drop("manifest", "config")), INVALID, ""),
    # How it is written.
    *(
        ("M05", name, raw(change), INVALID, "")
        for name, change in {
            "a key twice": replaced(b'"layers":', b'"layers":[],"layers":'),
            "a key twice below": replaced(b'"size":', b'"size":1,"size":'),
            "another case": replaced(b'"layers":', b'"Layers":'),
            "another case besides": replaced(b'"layers":', b'"LAYERS":[],"layers":'),
            "a long s": replaced(b'"layers":', '"layer\u017f":[],"layers":'.encode()),
            "NaN": replaced(b'"schemaVersion":2', b'"schemaVersion":2,"a":NaN'),
            "Infinity": replaced(b'"schemaVersion":2', b'"schemaVersion":2,"a":-Infinity'),
            "a number beyond all": replaced(b'"schemaVersion":2', b'"schemaVersion":2,"a":1e999'),
            "bytes behind": lambda document: document + b"{}",
            "a comment": lambda document: b"/**/" + document,
            "byte order mark": lambda document: b"\xef\xbb\xbf" + document,
            "UTF-16": lambda document: document.decode().encode("utf-16"),
            "no UTF-8": replaced(b'"layers":', b'"\xff":1,"layers":'),
            "half a character": replaced(b'"layers":', b'"\\ud800":1,"layers":'),
            "a list": lambda document: b"[" + document + b"]",
            "nothing": lambda _: b"null",
            "cut short": lambda document: document[:-9],
        }.items()
    ),
    ("M05", "config: a key twice", raw_config(replaced(b'"rootfs":', b'"rootfs":{},"rootfs":')),
     INVALID, ""),
    ("M05", "config: another case", raw_config(replaced(b'"User":', b'"user":')
     if b'"User":' in IMAGE.config else replaced(b'"Env":', b'"env":')), INVALID, ""),
    # How long it is.
    ("M06", "manifest", manifest(annotations={"a": "x" * (4 * MEBIBYTE)}), LimitExceeded,
     "manifest_bytes"),
    ("M06", "config", described(size=9 * MEBIBYTE), LimitExceeded, "config_bytes"),
    ("M06", "config of gigabytes", described(size=10 << 30), LimitExceeded, "config_bytes"),
    ("M07", "depth", raw(replaced(b'"schemaVersion":2', b'"schemaVersion":2,"a":' + nested(99999))),
     INVALID, ""),
    ("M07", "lists", raw(replaced(b'"schemaVersion":2',
     b'"schemaVersion":2,"a":[' + b"[]," * 200_000 + b"[]]")), INVALID, ""),
    ("M07", "digits", raw(replaced(b'"schemaVersion":2',
     b'"schemaVersion":2,"a":' + b"9" * MEBIBYTE)), INVALID, ""),
    ("M07", "layers", lambda draft: draft.layers.extend(draft.layers[:1] * 500), LimitExceeded,
     "layers"),
    ("M07", "diffIDs", config(rootfs={"type": "layers", "diff_ids": [str(OTHER)] * 501}),
     LimitExceeded, "layers"),
    # The config.
    ("M10", "not there", described(digest=str(OTHER)), NotFound, ""),
    ("M10", "no JSON", raw_config(lambda _: b"#!/bin/sh"), INVALID, ""),
    ("M10", "a list", raw_config(lambda _: b"[]"), INVALID, ""),
    ("M10", "another type", described(mediaType="text/plain"), UnsupportedMediaType, ""),
    ("M10", "none", drop("manifest", "config"), INVALID, ""),
    ("M10", "another platform", config(os="plan9"), NoMatchingPlatform, ""),
    ("M11", "too few", config(rootfs={"type": "layers", "diff_ids": []}), INVALID, ""),
    ("M11", "too many", config(rootfs={"type": "layers", "diff_ids": [str(OTHER)] * 3}), INVALID,
     ""),
    ("M11", "wrong", config(rootfs={"type": "layers", "diff_ids": [str(OTHER)] * 2}),
     DigestMismatch, ""),
    ("M11", "the upper one wrong", config(rootfs={"type": "layers",
     "diff_ids": [str(IMAGE.diff_ids[0]), str(OTHER)]}), DigestMismatch, ""),
    ("M11", "exchanged", config(rootfs={"type": "layers",
     "diff_ids": [str(one) for one in reversed(IMAGE.diff_ids)]}), DigestMismatch, ""),
    ("M11", "two for one layer", lambda draft: draft.layers.__setitem__(1, draft.layers[0]),
     INVALID, ""),
    ("M12", "another", config(rootfs={"type": "squashfs", "diff_ids": []}), INVALID, ""),
    ("M12", "none", config(rootfs={"diff_ids": [str(one) for one in IMAGE.diff_ids]}), INVALID, ""),
    ("M12", "no root", drop("config", "rootfs"), INVALID, ""),
    # Other things than images.
    ("M13", "schema 1", called(media.DOCKER_SCHEMA1), UnsupportedMediaType, ""),
    ("M13", "schema 1, signed", called(media.DOCKER_SCHEMA1_SIGNED), UnsupportedMediaType, ""),
    ("M13", "schema 1 by its form",
     both(manifest(fsLayers=[], schemaVersion=1), called("application/json")),
     UnsupportedMediaType, ""),
    ("M13", "artifact", manifest(artifactType="application/vnd.example.thing"),
     UnsupportedMediaType, ""),
    ("M13", "chart", described(mediaType="application/vnd.cncf.helm.config.v1+json"),
     UnsupportedMediaType, ""),
    ("M13", "wasm", layer(mediaType="application/wasm"), UnsupportedMediaType, ""),
    ("M13", "encrypted", layer(mediaType=media.OCI_LAYER_GZIP + "+encrypted"),
     UnsupportedMediaType, ""),
    *(
        ("M14", kind, layer(mediaType=kind), UnsupportedMediaType, "")
        for kind in (
            "application/vnd.oci.image.layer.v1.erofs", "application/vnd.erofs.layer.v1",
            "application/vnd.sylabs.sif.layer.v1.sif", "application/vnd.squashfs",
            "application/vnd.oci.image.layer.v1.tar+erofs",
        )
    ),
    ("M17", "config is a layer", lambda draft: draft.layers.append(
        {**draft.described, "mediaType": media.OCI_LAYER_GZIP}), INVALID, ""),
    ("M17", "a layer of a config's type", layer(mediaType=media.OCI_CONFIG), INVALID, ""),
    ("M17", "a config of a layer's type", described(mediaType=media.OCI_LAYER_GZIP), INVALID, ""),
    ("M17", "two sizes", lambda draft: draft.layers.append({**draft.layers[0], "size": 1}),
     INVALID, ""),
    ("M17", "two types", lambda draft: draft.layers.append(
        {**draft.layers[0], "mediaType": media.OCI_LAYER}), INVALID, ""),
    *(
        ("M19", user, process(User=user), INVALID, "")
        for user in ("4294967296", "-1", "2147483648", "0:4294967295", "-1:0", "9" * 300)
    ),
    ("M19", "a million letters", process(User="a" * 10**6), LimitExceeded, "user_bytes"),
    ("M19", "no text", process(User=0), INVALID, ""),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with attacked(tmp_path_factory.mktemp("site"), DEFAULTS) as found:
        yield found


@pytest.fixture(autouse=True)
def honest(site: Site) -> Iterator[None]:
    """The registry of the next test has no faults yet."""
    yield
    site.registry.clear_rules()
    site.registry.clear_requests()


def peak() -> int:
    """The most memory that this process had since it was last asked, in bytes."""
    status = Path("/proc/self/status").read_text()
    found = int(status.split("VmHWM:")[1].split()[0]) << 10
    Path("/proc/self/clear_refs").write_text("5")
    return found


@pytest.mark.parametrize(
    ("spoil", "kind", "limit"),
    [
        pytest.param(spoil, kind, limit, id=f"{row}-{name[:40]!a}", marks=pytest.mark.row(row))
        for row, name, spoil, kind, limit in CASES
    ],
)
async def test_documents(
    site: Site, spoil: Callable[[Draft], None], kind: type[OrlopError], limit: str
) -> None:
    draft = Draft()
    spoil(draft)
    reference = draft.publish(site)
    peak()
    before = peak()
    error = await site.refuses(reference, kind)
    assert getattr(error, "limit", "") == limit
    # A document of the greatest length, a few times, and what it was made into.
    assert peak() - before < 100 * MEBIBYTE


def fresh() -> BuiltImage:
    """An image of which nothing is here yet, also not from a pull that failed."""
    return build_image([[file("one", os.urandom(9))], [file("two", os.urandom(9))]])


@pytest.mark.row("M01")
@pytest.mark.parametrize("what", ["manifest", "config", "first layer", "second layer"])
@pytest.mark.parametrize("body", [b"not JSON, and not looked at", b"{}", b"\x1f\x8b" + bytes(20)])
async def test_something_else(site: Site, what: str, body: bytes) -> None:
    """Of the right length, so that only the digest tells."""
    image = fresh()
    right, path = {
        "manifest": (image.manifest, "/manifests/"),
        "config": (image.config, str(image.id)),
        "first layer": (image.layers[0].blob, str(image.layers[0].digest)),
        "second layer": (image.layers[1].blob, str(image.layers[1].digest)),
    }[what]
    wrong = body.ljust(len(right), b" ")[: len(right)]
    site.registry.fail(Fault(body=wrong), method="GET", path=path, times=None)
    await site.refuses(image, DigestMismatch)


@pytest.mark.row("M02")
@pytest.mark.parametrize(
    ("more", "kind"), [(-1, RegistryUnavailable), (1, SizeMismatch), (10 * MEBIBYTE, SizeMismatch)]
)
async def test_documents_of_another_length(site: Site, more: int, kind: type[OrlopError]) -> None:
    image = fresh()
    wrong = (image.config + bytes(max(more, 0)))[: len(image.config) + more]
    site.registry.fail(Fault(body=wrong, chunked=True), path=str(image.id), times=None)
    await site.refuses(image, kind)
