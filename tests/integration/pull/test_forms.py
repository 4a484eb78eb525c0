"""Images of every form, from the distribution project's registry."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AuthFailed, NoMatchingPlatform, NotFound
from orlop.model.mediatype import Compression
from orlop.ports.registry import Credentials
from orlop.ports.service import PullOptions
from orlop.testing.distribution import DistributionRegistry, basic
from orlop.testing.images import build_image, build_index, build_layer
from orlop.testing.layers import directory, file, hard_link
from tests.integration.pull.rig import Store, offer
from tests.rigs.tree import tree

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.testing.images import Media

pytestmark = pytest.mark.root

LAYERS = ([directory("etc"), file("etc/a", b"a" * 9000)], [file("etc/b", b"b" * 9000)])


@pytest.mark.parametrize("media", ["oci", "docker"])
@pytest.mark.parametrize("compression", list(Compression))
async def test_media_types_and_compressions(
    store: Store, distribution: DistributionRegistry, media: Media, compression: Compression
) -> None:
    image = build_image(LAYERS, compression=compression, media=media)
    name = f"forms/{media}-{compression.name.lower()}"
    pulled = await store.service.pull(offer(distribution, name, "v1", image))
    assert pulled.record.id == image.id
    assert pulled.record.manifest == image.digest
    assert pulled.record.synced
    assert [one.name for one in pulled.names] == sorted(
        [
            f"{distribution.address}/{name}:v1",
            f"{distribution.address}/{name}@{image.digest}",
            str(image.id),
        ]
    )
    assert (await store.service.check())[0].problems == ()
    detail = await store.service.detail(str(image.id))
    assert detail.config.diff_ids == image.diff_ids
    assert detail.manifest.raw == image.manifest


async def test_layers_of_different_compressions(
    store: Store, distribution: DistributionRegistry
) -> None:
    image = build_image([build_layer([file(f"f{kind.value}", b"x")], kind) for kind in Compression])
    await store.service.pull(offer(distribution, "forms/mixed", "v1", image))
    assert (await store.service.check())[0].problems == ()


async def test_by_digest_and_by_both(store: Store, distribution: DistributionRegistry) -> None:
    image = build_image(LAYERS)
    name = offer(distribution, "forms/pinned", "v1", image).removesuffix(":v1")
    for reference in (f"{name}@{image.digest}", f"{name}:other@{image.digest}"):
        pulled = await store.service.pull(reference)
        # A tag beside a digest says nothing about the registry: it is no name.
        assert {one.name for one in pulled.names} == {f"{name}@{image.digest}", str(image.id)}


async def test_an_index_of_several_platforms(
    store: Store, distribution: DistributionRegistry
) -> None:
    images = {
        platform: build_image([[file("platform", platform.encode())]], platform=platform)
        for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7")
    }
    index = build_index(list(images.values()))
    reference = offer(distribution, "forms/index", "v1", index)
    for platform, image in images.items():
        pulled = await store.service.pull(reference, PullOptions(platform=platform))
        assert (pulled.record.id, pulled.record.manifest) == (image.id, image.digest)
        # All of them have the tag.
        found = await store.service.images(reference)
        assert image.id in {one.record.id for one in found}
        assert {one.names[0].target.digest for one in found} == {index.digest}
    assert len(found) == len(images)
    by_manifest = f"{reference.removesuffix(':v1')}@{image.digest}"
    one = await store.service.find(by_manifest)
    assert one is not None
    assert one.record.manifest == image.digest
    with pytest.raises(NoMatchingPlatform):
        await store.service.pull(reference, PullOptions(platform="linux/s390x"))


async def test_an_index_of_indexes(store: Store, distribution: DistributionRegistry) -> None:
    image = build_image(LAYERS)
    inner = build_index([image])
    outer = build_index([build_image(platform="linux/arm64"), inner])
    pulled = await store.service.pull(
        offer(distribution, "forms/nested", "v1", outer), PullOptions(platform="linux/amd64")
    )
    assert pulled.record.id == image.id
    assert (await store.service.check())[0].problems == ()


async def test_no_layers(store: Store, distribution: DistributionRegistry) -> None:
    pulled = await store.service.pull(offer(distribution, "forms/empty", "v1", build_image()))
    assert (pulled.record.chain_id, pulled.record.unpacked_bytes) == ("", 0)
    assert (await store.service.check())[0].problems == ()


async def test_the_same_layer_twice(store: Store, distribution: DistributionRegistry) -> None:
    same, other = build_layer([file("a", b"same")]), build_layer([file("b", b"other")])
    image = build_image([same, other, same])
    pulled = await store.service.pull(offer(distribution, "forms/twice", "v1", image))
    snapshots = await store.service._metadata.snapshots("k8s.io")
    assert len(snapshots) == 3
    assert pulled.record.content_bytes == sum(
        map(len, (image.manifest, image.config, same.blob, other.blob))
    )


async def test_five_hundred_layers(
    store: Store, distribution: DistributionRegistry, tmp_path: Path
) -> None:
    """The most that the kernel can lay over one another; the topmost needs all the others."""
    layers = [[directory("d"), file(f"d/{number}", b"%d" % number)] for number in range(499)]
    image = build_image([*layers, [hard_link("d/linked", "d/0")]], compression=Compression.NONE)
    pulled = await store.service.pull(offer(distribution, "forms/many", "v1", image))
    target = tmp_path / "mounted"
    target.mkdir()
    await store.service.mount(str(pulled.record.id), str(target))
    try:
        found = tree(target)
    finally:
        await store.service.unmount(str(target))
    assert len(found) == 499 + 3
    assert found[b"d/linked"].links == (b"d/0", b"d/linked")
    assert (await store.traces()).mounts == ()


def allow(users: Path, name: str, password: str) -> None:
    command = ["htpasswd", "-nbB", "-C", "4", name, password]
    users.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)


async def test_passwords(store: Store, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    allow(users, "alice", "wonderland")
    image = build_image(LAYERS)
    with DistributionRegistry(
        tmp_path / "registry", htpasswd=users, authorization=basic("alice", "wonderland")
    ) as private:
        reference = offer(private, "team/app", "v1", image)
        empty = await store.traces()
        for credentials in (None, Credentials(username="alice", password="guess")):
            with pytest.raises(AuthFailed) as refused:
                await store.service.pull(reference, PullOptions(credentials=credentials))
            assert "guess" not in str(refused.value)
        assert await store.traces() == empty
        alice = Credentials(username="alice", password="wonderland")
        await store.service.pull(reference, PullOptions(credentials=alice))
        # What is here is not given to somebody whom the registry would refuse.
        with pytest.raises(AuthFailed):
            await store.service.pull(reference)


async def test_unknown_references(store: Store, distribution: DistributionRegistry) -> None:
    known = offer(distribution, "forms/known", "v1", build_image(LAYERS))
    empty = await store.traces()
    for reference in (
        known.replace(":v1", ":v2"),
        known.replace("known", "unknown"),
        f"{known.removesuffix(':v1')}@sha256:{'0' * 64}",
    ):
        with pytest.raises(NotFound):
            await store.service.pull(reference)
    assert await store.traces() == empty
