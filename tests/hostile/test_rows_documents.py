"""Rows M: manifests, indexes and configs, pulled from a registry that says what it is told."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
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
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS
from orlop.testing.faults import NO_FAULT, Fault, RecordedRequest, Rule
from orlop.testing.images import BuiltImage, Json, build_image, build_index
from orlop.testing.layers import file
from tests.hostile.site import Site, attacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

IMAGE = build_image([[file("one", b"1")], [file("two", b"2")]])
OTHER = Digest.of(b"other")
REFERRER = {"vnd.docker.reference.type": "attestation-manifest"}
MEBIBYTE = 1 << 20


@dataclass
class Draft:
    """The documents of an image, to be spoiled before they are published.

    Attributes:
        raw: of the manifest, when no JSON makes it.
        raw_config: the same of the config.
        called: media type that the registry gives for the manifest.
    """

    manifest: dict[str, Json] = field(default_factory=lambda: json.loads(IMAGE.manifest))
    config: dict[str, Json] = field(default_factory=lambda: json.loads(IMAGE.config))
    raw: bytes | None = None
    raw_config: bytes | None = None
    called: str = media.OCI_MANIFEST

    @property
    def layers(self) -> list[dict[str, Json]]:
        found = self.manifest["layers"]
        assert isinstance(found, list)
        return found  # type: ignore[return-value] # of objects

    @property
    def described(self) -> dict[str, Json]:
        """The descriptor of the config."""
        found = self.manifest["config"]
        assert isinstance(found, dict)
        return found

    @property
    def process(self) -> dict[str, Json]:
        found = self.config["config"]
        assert isinstance(found, dict)
        return found

    def publish(self, site: Site) -> str:
        """Offer all of it; the config's descriptor tells the truth unless it was changed."""
        config = (
            self.raw_config if self.raw_config is not None else json.dumps(self.config).encode()
        )
        before = json.loads(IMAGE.manifest)["config"]
        new = {"digest": str(Digest.of(config)), "size": len(config)}
        for key, value in new.items():
            if (
                isinstance(self.manifest.get("config"), dict)
                and self.described.get(key) == before[key]
            ):
                self.described[key] = value  # type: ignore[assignment] # text or number
        raw = self.raw if self.raw is not None else json.dumps(self.manifest).encode()
        for blob in (config, *IMAGE.blobs.values()):
            site.registry.add_blob(blob)
        reference = site.offer(IMAGE)
        path, _, tag = reference.removeprefix(f"{site.registry.address}/").rpartition(":")
        site.registry.add_manifest(path, tag, raw, self.called)
        return reference


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


def entry(image: BuiltImage, **fields: Json) -> dict[str, Json]:
    """Of an index."""
    found = image.descriptor
    platform: Json = {"os": "linux", "architecture": image.platform.architecture}
    return {
        "mediaType": found.media_type,
        "digest": str(found.digest),
        "size": found.size,
        "platform": platform,
        **fields,
    }


def offered(site: Site, entries: list[Json], *images: BuiltImage) -> str:
    """A reference to an index with these entries."""
    reference = site.offer(build_index(images or [IMAGE]))
    path, _, tag = reference.removeprefix(f"{site.registry.address}/").rpartition(":")
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
    site.registry.add_manifest(path, tag, json.dumps(index).encode(), media.OCI_INDEX)
    return reference


@pytest.mark.row("M06", "M07")
async def test_indexes_that_are_too_long(site: Site) -> None:
    one = entry(IMAGE)
    long: list[Json] = [one | {"size": 5 * MEBIBYTE}]
    assert_limit(await site.refuses(offered(site, long), LimitExceeded), "manifest_bytes")
    many: list[Json] = [one] * 2049
    assert_limit(await site.refuses(offered(site, many), LimitExceeded), "descriptors")


def assert_limit(error: OrlopError, name: str) -> None:
    assert isinstance(error, LimitExceeded)
    assert error.limit == name


@pytest.mark.row("M08")
async def test_indexes_in_indexes(site: Site) -> None:
    index = build_index([IMAGE])
    for _ in range(3):
        index = build_index([index])
    assert_limit(await site.refuses(index, LimitExceeded), "index_depth")
    # The same child many times costs what one costs.
    site.registry.clear_requests()
    await site.takes(offered(site, [entry(IMAGE)] * 1000))
    assert len(site.registry.requests) < 12


@pytest.mark.row("M09", "M10")
async def test_platforms(site: Site) -> None:
    strange: Json = {"os": "unknown", "architecture": "unknown"}
    other = build_image([[file("other")]], platform="plan9/mips")
    ours = {"one": b"1", "two": b"2"}
    second = build_image([[file("second")]])
    attestation = entry(second, annotations=dict(REFERRER))
    good = entry(IMAGE)
    for entries in (
        [entry(second, platform=strange), good],
        [attestation, good],
        [good, entry(second)],
        [entry(second, artifactType="application/vnd.example.sbom"), good],
    ):
        assert await site.takes(offered(site, list(entries), IMAGE, second)) == ours
    for entries in (
        [],
        [entry(second, platform=strange)],
        [attestation],
        [entry(second, platform={"os": "plan9", "architecture": "mips"})],
    ):
        await site.refuses(offered(site, list(entries), IMAGE, second), NoMatchingPlatform)
    # The index lies about the platform, or is silent.
    await site.refuses(offered(site, [entry(other, platform=good["platform"])], other), INVALID)
    silent = entry(other)
    del silent["platform"]
    await site.refuses(offered(site, [silent], other), NoMatchingPlatform)


@pytest.mark.row("M11")
async def test_no_layers(site: Site) -> None:
    reference = site.offer(build_image([]))
    image = await site.store.service.pull(reference)
    assert image.record.chain_id == ""
    assert await site.store.service.remove(reference)


@pytest.mark.row("M15")
@pytest.mark.parametrize("kind", [media.OCI_LAYER_GZIP, media.OCI_NONDISTRIBUTABLE_LAYER_GZIP])
async def test_addresses_of_layers(site: Site, kind: str) -> None:
    """Nobody is asked but the registry, wherever the manifest says that the layer is."""
    trap = f"{site.registry.url}/trap"
    draft = Draft()
    addresses: Json = [trap, "file:///etc/passwd", "http://127.0.0.1:1/x"]
    for one in draft.layers:
        one.update(urls=addresses, mediaType=kind)
    await site.takes(draft.publish(site))
    assert not [one for one in site.registry.requests if "trap" in one.path]
    # Also when the registry does not have it.
    draft.layers[0]["digest"] = str(OTHER)
    with pytest.raises(NotFound):
        await site.store.service.pull(draft.publish(site))
    assert not [one for one in site.registry.requests if "trap" in one.path]


@pytest.mark.row("M16")
@pytest.mark.parametrize(
    "data",
    [
        base64.b64encode(b"something else").decode(),
        base64.b64encode(IMAGE.config[:-1] + b" ").decode(),
        base64.b64encode(IMAGE.config).decode()[:-2] + "!!",
        "no base64 at all",
        "A" * (2 * MEBIBYTE),
        base64.b64encode(IMAGE.config).decode(),
    ],
)
async def test_embedded_data(site: Site, data: str) -> None:
    draft = Draft(raw_config=IMAGE.config)
    draft.described["data"] = data
    assert await site.takes(draft.publish(site)) == {"one": b"1", "two": b"2"}


STEERING: dict[str, Json] = {
    "containerd.io/gc.root": "2099-01-01T00:00:00Z",
    "containerd.io/gc.ref.content.0": str(OTHER),
    "containerd.io/snapshot/overlay.upperdir": "/",
    "io.cri-containerd.image": "managed",
    "io.cri-containerd.pinned": "pinned",
}


@pytest.mark.row("M18", "M20", "M21")
async def test_words_of_strangers(site: Site) -> None:
    """They can be read, and change nothing: neither labels, nor names, nor what is pinned."""
    named: dict[str, Json] = {
        "org.opencontainers.image.ref.name": "docker.io/library/victim:latest",
        "io.containerd.image.name": "docker.io/library/victim:latest",
        "io.kubernetes.cri-o.annotations.checkpoint.name": "victim",
        **STEERING,
    }
    draft = Draft()
    draft.manifest["annotations"] = named
    draft.process.update(
        Labels=STEERING,
        Volumes={"../../../etc": {}, "/": {}, f"{site.outside.path}/dir": {}},
        WorkingDir=f"../../..{site.outside.path}",
        Env=["PATH=" + "x" * (4 * MEBIBYTE), "LD_PRELOAD=/evil.so"],
        StopSignal="SIGSEGV; reboot",
        User="root:../../x",
    )
    reference = draft.publish(site)
    image = await site.store.service.pull(reference)
    path = reference.rpartition(":")[0]
    manifest_name = f"{path}@{image.record.manifest}"
    assert {one.name for one in image.names} == {reference, manifest_name, str(image.record.id)}
    assert all(dict(one.labels) == {"io.cri-containerd.image": "managed"} for one in image.names)
    assert not site.store.service.pinned(image)
    assert await site.store.service.find("docker.io/library/victim:latest") is None
    detail = await site.store.service.detail(reference)
    assert dict(detail.config.labels) == STEERING
    assert f"{site.outside.path}/dir" in detail.config.volumes
    await site.store.service.remove(reference)
    site.outside.check()


@pytest.mark.row("M22")
@pytest.mark.parametrize("step", range(1, 6))
async def test_a_tag_that_moves(site: Site, step: int) -> None:
    """Behind any request of a pull: the image that the tag meant at first comes, whole."""
    other = build_image([[file("other", b"other")]])
    reference = site.offer(IMAGE)
    path, _, tag = reference.removeprefix(f"{site.registry.address}/").rpartition(":")
    left = step

    def moves(request: RecordedRequest) -> bool:
        nonlocal left
        left -= 1
        if not left:
            for blob in other.blobs.values():
                site.registry.add_blob(blob)
            site.registry.add_manifest(path, tag, other.manifest, other.media_type)
        return False

    site.registry.add_rule(Rule(moves, NO_FAULT))
    expected = {"other": b"other"} if step == 1 else {"one": b"1", "two": b"2"}
    assert await site.takes(reference) == expected
    assert left <= 0
