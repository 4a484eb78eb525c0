"""Keys of the registry's table, from a document to a pull from a real registry."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.app import opened, with_directories
from orlop.config.load import loads
from orlop.errors import AuthFailed, TLSFailed
from orlop.testing.certificates import Authority
from orlop.testing.distribution import DistributionRegistry
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from tests.integration.pull.rig import offer
from tests.integration.registry.test_distribution import htpasswd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from orlop.ports.service import ImageService

pytestmark = pytest.mark.root

TABLE = 'plugins."io.containerd.cri.v1.images".registry'
IMAGE = build_image([build_layer([file("f", b"content")])])
BASIC = base64.b64encode(b"ann:wonderland").decode()


@asynccontextmanager
async def service(root: Path, document: str) -> AsyncIterator[ImageService]:
    """The service as a document of today's version configures it."""
    config = loads(f"version = 4\n{document}").config
    config = with_directories(config, root=str(root), state=str(root / "state"))
    async with opened(config) as app:
        yield app.service


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """A registry that wants a password; ``app:v1`` is there."""
    directory = tmp_path_factory.mktemp("guarded")
    users = directory / "users"
    htpasswd(users, "ann", "wonderland")
    with DistributionRegistry(directory, htpasswd=users, authorization=f"Basic {BASIC}") as made:
        offer(made, "app", "v1", IMAGE)
        yield made


FORMS = {
    "username and password": 'username = "ann"\npassword = "wonderland"',
    "auth": f'auth = "{BASIC}"',
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("table", ["configs", "auths"])
async def test_configured_passwords(
    table: str, form: str, guarded: DistributionRegistry, tmp_path: Path
) -> None:
    place = (
        f'[{TABLE}.configs."{guarded.address}".auth]'
        if table == "configs"
        else f'[{TABLE}.auths."{guarded.url}"]'
    )
    reference = f"{guarded.address}/app:v1"
    async with service(tmp_path / "without", "") as images:
        with pytest.raises(AuthFailed):
            await images.pull(reference)
    wrong = FORMS[form].replace("wonderland", "looking-glass").replace(BASIC, "YW5uOng=")
    async with service(tmp_path / "wrong", f"{place}\n{wrong}\n") as images:
        with pytest.raises(AuthFailed):
            await images.pull(reference)
    async with service(tmp_path / "with", f"{place}\n{FORMS[form]}\n") as images:
        assert (await images.pull(reference)).record.id == IMAGE.id


@pytest.mark.parametrize("table", ["configs", "auths"])
async def test_configured_identity_tokens(table: str, tmp_path: Path) -> None:
    with FakeRegistry(auth="bearer", identity_tokens=frozenset({"a-token"})) as registry:
        reference = offer(registry, "app", "v1", IMAGE)
        place = (
            f'[{TABLE}.configs."{registry.address}".auth]'
            if table == "configs"
            else f'[{TABLE}.auths."http://{registry.address}"]'
        )
        for number, (token, good) in enumerate((("another", False), ("a-token", True))):
            document = f'{place}\nidentitytoken = "{token}"\n'
            async with service(tmp_path / str(number), document) as images:
                if good:
                    assert (await images.pull(reference)).record.id == IMAGE.id
                else:
                    with pytest.raises(AuthFailed):
                        await images.pull(reference)


async def test_headers(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        reference = offer(registry, "app", "v1", IMAGE)
        document = f'[{TABLE}.headers]\nX-Node = ["seven", "eight"]\n'
        async with service(tmp_path / "root", document) as images:
            await images.pull(reference)
        assert {request.headers.get("x-node") for request in registry.requests} == {"seven, eight"}


async def test_ca_files_and_insecure_registries(tmp_path: Path) -> None:
    """An authority asks for TLS and is trusted; what is called insecure is asked without."""
    authority = Authority.make(tmp_path / "authority")
    certificate, key = authority.issue("registry", "IP:127.0.0.1")
    trusted = f'[{TABLE}.ca_files]\n"HOST" = "{authority.certificate}"\n'
    with DistributionRegistry(
        tmp_path / "tls", certificate=certificate, key=key, ca_file=authority.certificate
    ) as secure:
        reference = offer(secure, "app", "v1", IMAGE)
        document = trusted.replace("HOST", secure.address)
        async with service(tmp_path / "one", document) as images:
            await images.pull(reference)
    with DistributionRegistry(tmp_path / "plain") as plain:
        reference = offer(plain, "app", "v1", IMAGE)
        document = trusted.replace("HOST", plain.address)
        async with service(tmp_path / "two", document) as images:
            with pytest.raises(TLSFailed):
                await images.pull(reference)
        insecure = f'[{TABLE}]\ninsecure_registries = ["{plain.address}"]\n'
        async with service(tmp_path / "three", insecure + document) as images:
            assert (await images.pull(reference)).record.id == IMAGE.id
