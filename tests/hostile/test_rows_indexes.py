"""Rows M, the rest: indexes, embedded data, and what documents say about the world."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import LimitExceeded, ManifestInvalid, NoMatchingPlatform, NotFound, OrlopError
from orlop.model import mediatype as media
from orlop.model.limits import DEFAULTS
from orlop.testing.faults import NO_FAULT, RecordedRequest, Rule
from orlop.testing.images import BuiltImage, Json, build_image, build_index
from orlop.testing.layers import file
from tests.hostile.drafts import IMAGE, MEBIBYTE, OTHER, Draft
from tests.hostile.site import Site, attacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

INVALID = ManifestInvalid
REFERRER = {"vnd.docker.reference.type": "attestation-manifest"}


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
