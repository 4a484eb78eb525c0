"""Every key of ``hosts.toml`` against the distribution project's registry, and its effect."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from orlop.config.load import loads
from orlop.errors import (
    HostsInvalid,
    NotFound,
    RegistryBlocked,
    RegistryError,
    TLSFailed,
)
from orlop.registry.configure import registry_settings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.integration.registry.rig import CANARY, Asked, Certs, failure, serving
from tests.integration.registry.test_distribution import (
    BLOB,
    CONFIG,
    CONFIG_DESCRIPTOR,
    DOCUMENT,
    LAYER,
    MANIFEST,
    pull,
    read,
)
from tests.unit.registry.rig import Authority, Client, client, until

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.testing.distribution import DistributionRegistry


async def test_a_mirror_serves_the_whole_image(
    c: Client, certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    certs.put(upstream.address, f'[host."{mirror.url}"]\n')
    at_mirror, at_upstream = Asked(mirror), Asked(upstream)
    await pull(c.remote(upstream.address))
    await at_mirror.for_all(namespace=upstream.address)
    assert at_upstream.requests == []


async def test_a_host_that_may_only_resolve_is_asked_for_no_blob(
    c: Client, certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    certs.put(upstream.address, f'[host."{mirror.url}"]\ncapabilities = ["resolve"]\n')
    at_mirror, at_upstream = Asked(mirror), Asked(upstream)
    await pull(c.remote(upstream.address))
    await until(lambda: len(at_mirror.requests) == 1 and len(at_upstream.requests) == 3)
    assert at_mirror.requests == [
        f"HEAD /v2/library/app/manifests/latest?ns={upstream.address} 200"
    ]
    assert not any("latest" in request for request in at_upstream.requests)


async def test_a_host_that_may_only_pull_is_not_trusted_with_tags(
    c: Client, certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    certs.put(upstream.address, f'[host."{mirror.url}"]\ncapabilities = ["pull"]\n')
    at_mirror, at_upstream = Asked(mirror), Asked(upstream)
    await pull(c.remote(upstream.address))
    await until(lambda: len(at_mirror.requests) == 3 and len(at_upstream.requests) == 1)
    assert at_upstream.requests == ["HEAD /v2/library/app/manifests/latest 200"]
    # A digest needs no trust.
    at_upstream = Asked(upstream)
    await pull(c.remote(upstream.address, f"library/app@{MANIFEST.digest}"))
    assert at_upstream.requests == []


async def test_a_dead_mirror_and_one_without_the_image_are_passed_over(
    c: Client, certs: Certs, upstream: DistributionRegistry, tmp_path: Path
) -> None:
    with socket.socket() as unused, serving(tmp_path / "empty", None) as empty:
        unused.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{unused.getsockname()[1]}"
        certs.put(upstream.address, f'[host."http://{dead}"]\n[host."{empty.url}"]\n')
        at_empty, at_upstream = Asked(empty), Asked(upstream)
        await pull(c.remote(upstream.address))
        await at_upstream.for_all()
        await until(lambda: len(at_empty.requests) >= 4)
        error = await failure(c.remote(upstream.address, "library/none:1"))
        assert isinstance(error, NotFound)
        assert error.message == (
            f"{upstream.address}/library/none:1: {upstream.address}: not found:"
            " MANIFEST_UNKNOWN: manifest unknown"
            f" (before that: {dead}: connection refused;"
            f" {empty.address}: not found: MANIFEST_UNKNOWN: manifest unknown)"
        )


async def test_the_server_is_asked_when_no_host_helps(
    c: Client, certs: Certs, mirror: DistributionRegistry, tmp_path: Path
) -> None:
    with serving(tmp_path / "empty", None) as empty:
        certs.put("a.example", f'server = "{mirror.url}"\n[host."{empty.url}"]\n')
        at_mirror = Asked(mirror)
        await pull(c.remote("a.example"))
        await at_mirror.for_all(namespace="a.example")


async def test_without_fallback_the_registry_is_never_asked(
    c: Client, certs: Certs, upstream: DistributionRegistry, tmp_path: Path
) -> None:
    with serving(tmp_path / "empty", None) as empty:
        text = f'fallback = false\n[host."{empty.url}"]\n'
        certs.put(upstream.address, text)
        at_upstream = Asked(upstream)
        error = await failure(c.remote(upstream.address))
        assert isinstance(error, NotFound)
        assert f"not found in registry {empty.address}" in error.message
        certs.put(upstream.address, text + 'capabilities = ["pull"]\n')
        error = await failure(c.remote(upstream.address))
        assert isinstance(error, HostsInvalid)
        assert "no host may be asked to resolve" in error.message
        assert f"{certs.path}/127.0.0.1_{upstream.port}_/hosts.toml:1" in error.message
        assert at_upstream.requests == []


async def test_a_blocked_registry_is_not_asked(
    c: Client, certs: Certs, upstream: DistributionRegistry
) -> None:
    certs.put("127.0.0.1", "blocked = true\n")
    directory = certs.put(upstream.address, 'blocked = true\nserver = "http://a.test"\n')
    at_upstream = Asked(upstream)
    error = await failure(c.remote(upstream.address))
    assert isinstance(error, RegistryBlocked)
    assert error.message == (f"{upstream.address}/library/app: blocked at {directory}/hosts.toml:1")
    assert at_upstream.requests == []


async def test_wildcards_and_the_default(
    c: Client, certs: Certs, mirror: DistributionRegistry
) -> None:
    certs.put("*.corp.example", f'server = "{mirror.url}"\n')
    certs.put("_default", "blocked = true\n")
    at_mirror = Asked(mirror)
    await pull(c.remote("build.team.corp.example:5000"))
    await at_mirror.for_all(namespace="build.team.corp.example:5000")
    assert isinstance(await failure(c.remote("corp.example")), RegistryBlocked)


async def test_a_prefix_has_its_own_hosts(
    c: Client, certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    certs.put(
        upstream.address,
        f'blocked = true\n[prefix."library/"]\nserver = "{mirror.url}"\n'
        '[prefix."library/secret"]\nblocked = true\n',
    )
    at_mirror = Asked(mirror)
    await pull(c.remote(upstream.address))
    await at_mirror.for_all(namespace=upstream.address)
    for name in ("library/secret/x:1", "team/app:1"):
        assert isinstance(await failure(c.remote(upstream.address, name)), RegistryBlocked)


async def test_paths_of_hosts(c: Client, certs: Certs) -> None:
    """Behind a server that keeps its API below another path."""
    async with FakeRegistry() as fake:
        for path in ("/hub/v2", "/hub"):
            for kind, digest, body, media in (
                ("manifests", "latest", DOCUMENT, MANIFEST.media_type),
                ("manifests", str(MANIFEST.digest), DOCUMENT, MANIFEST.media_type),
                ("blobs", str(CONFIG_DESCRIPTOR.digest), CONFIG, ""),
                ("blobs", str(LAYER.digest), BLOB, ""),
            ):
                headers = {"Content-Type": media} if media else {}
                if kind == "manifests":
                    headers["Docker-Content-Digest"] = str(MANIFEST.digest)
                fault = Fault(status=200, body=body, headers=headers)
                fake.fail(fault, path=f"{path}/library/app/{kind}/{digest}", times=None)
        certs.put("a.example", f'server = "{fake.url}/hub"\n')
        await pull(c.remote("a.example"))
        assert {request.path.partition("/library")[0] for request in fake.requests} == {"/hub/v2"}
        fake.clear_requests()
        certs.put("a.example", f'server = "{fake.url}/hub"\noverride_path = true\n')
        await pull(c.remote("a.example"))
        assert {request.path.partition("/library")[0] for request in fake.requests} == {"/hub"}


async def test_an_authority_of_its_own_and_a_client_certificate(
    c: Client, certs: Certs, authority: Authority, stored: Path, tmp_path: Path
) -> None:
    certificate, key = authority.issue("server", "IP:127.0.0.1")
    with serving(
        tmp_path / "tls",
        stored,
        certificate=certificate,
        key=key,
        client_ca=authority.certificate,
    ) as own:
        ours, our_key = authority.issue("client", "DNS:client")
        directory = certs.put("a.example", "")
        for source, name in (
            (authority.certificate, "ca.pem"), (ours, "c.pem"), (our_key, "k.pem"),
        ):  # fmt: skip
            shutil.copy(source, directory / name)
        (directory / "both.pem").write_bytes(ours.read_bytes() + our_key.read_bytes())
        server = f'server = "{own.url}"\n'
        for client_key in (
            'client = [["c.pem", "k.pem"]]', 'client = "both.pem"', 'client = ["both.pem"]',
            'client = [["both.pem", ""]]',
        ):  # fmt: skip
            certs.put("a.example", f'{server}ca = "ca.pem"\n{client_key}\n')
            await pull(c.remote("a.example"))
        certs.put("a.example", f'{server}ca = ["ca.pem"]\n')
        assert isinstance(await failure(c.remote("a.example")), RegistryError)
        certs.put("a.example", f'{server}client = "both.pem"\n')
        assert isinstance(await failure(c.remote("a.example")), TLSFailed)
        certs.put("a.example", f'{server}client = "both.pem"\nskip_verify = true\n')
        await pull(c.remote("a.example"))


async def test_certificates_in_dockers_layout(
    c: Client, certs: Certs, authority: Authority, stored: Path, tmp_path: Path
) -> None:
    certificate, key = authority.issue("docker", "IP:127.0.0.1")
    with serving(
        tmp_path / "tls",
        stored,
        certificate=certificate,
        key=key,
        client_ca=authority.certificate,
    ) as own:
        directory = certs.put(own.address, "")
        (directory / "hosts.toml").unlink()
        ours, our_key = authority.issue("client", "DNS:client")
        shutil.copy(authority.certificate, directory / "ca.crt")
        shutil.copy(ours, directory / "client.cert")
        shutil.copy(our_key, directory / "client.key")
        await pull(c.remote(own.address))
        # Another authority in its place counts for the next pull.
        Authority.make(tmp_path / "other").certificate.replace(directory / "ca.crt")
        assert isinstance(await failure(c.remote(own.address)), TLSFailed)


async def test_files_that_are_missing_fail_the_pull(
    c: Client, certs: Certs, upstream: DistributionRegistry, mirror: DistributionRegistry
) -> None:
    """A mirror whose files are gone is a mistake to be told, not one more dead mirror."""
    at_upstream = Asked(upstream)
    secure = mirror.url.replace("http:", "https:")
    for text, cause in (
        ('ca = "gone.pem"', "CA file {}/gone.pem: No such file or directory"),
        ('client = "gone.pem"', "client certificate {}/gone.pem: No such file or directory"),
        ('credentials = "file:gone.json"', "{}/gone.json: No such file or directory"),
        (
            'credentials = "helper:gone-canary"',
            "credential helper gone-canary: no program docker-credential-gone-canary in PATH",
        ),
    ):
        directory = certs.put(upstream.address, f'\n[host."{secure}"]\n{text}\n')
        error = await failure(c.remote(upstream.address))
        assert isinstance(error, HostsInvalid)
        assert error.message == f"{directory}/hosts.toml:2: {cause.format(directory)}"
    assert at_upstream.requests == []


async def test_a_broken_file_fails_the_pull(
    c: Client, certs: Certs, upstream: DistributionRegistry, mirror: DistributionRegistry
) -> None:
    at_upstream = Asked(upstream)
    directory = certs.put(upstream.address, f'[host."{mirror.url}"]\nskip_verify = "no"\n')
    error = await failure(c.remote(upstream.address))
    assert isinstance(error, HostsInvalid)
    assert error.message.startswith(f"{directory}/hosts.toml:2: ")
    assert at_upstream.requests == []
    certs.put(upstream.address, f'[host."{mirror.url}"]\n')
    await pull(c.remote(upstream.address))  # put right, without a restart
    assert at_upstream.requests == []


async def test_headers_reach_their_host_and_nobody_else(certs: Certs) -> None:
    async with FakeRegistry() as mirror, FakeRegistry() as elsewhere:
        mirror.add_manifest("library/app", "latest", DOCUMENT, MANIFEST.media_type)
        mirror.add_blob(CONFIG)
        elsewhere.add_blob(BLOB)
        away = f"http://localhost:{elsewhere.port}/v2/x/blobs/{LAYER.digest}"
        mirror.fail(
            Fault(status=307, headers={"Location": away}), path=str(LAYER.digest), times=None
        )
        certs.put(
            "a.example",
            f'server = "{mirror.url}"\n[header]\nx-own = ["{CANARY}", "two"]\nx-both = "own"\n',
        )
        every = (("X-Both", "all"), ("X-Every", "all"))
        async with client(replace(certs.settings, headers=every)) as c:
            await pull(c.remote("a.example"))
        for request in mirror.requests:
            assert request.headers["x-own"] == f"{CANARY}, two"
            assert request.headers["x-both"] == "own"
            assert request.headers["x-every"] == "all"
        assert elsewhere.requests
        for request in elsewhere.requests:
            assert not {"x-own", "x-both", "x-every"} & set(request.headers)


async def test_headers_do_not_reach_token_services(certs: Certs) -> None:
    async with FakeRegistry(auth="bearer") as fake:
        fake.add_manifest("library/app", "latest", DOCUMENT, MANIFEST.media_type)
        certs.put("a.example", f'server = "{fake.url}"\n[header]\nX-Own = "{CANARY}"\n')
        async with client(replace(certs.settings, headers=(("X-Every", "1"),))) as c:
            await c.remote("a.example").resolve()
        tokens = [request for request in fake.requests if request.path == "/token"]
        assert len(tokens) == 1
        assert not {"x-own", "x-every"} & set(tokens[0].headers)


async def test_the_value_of_a_header_is_not_shown(c: Client, certs: Certs) -> None:
    async with FakeRegistry() as fake:
        words = f"who is Bearer {CANARY}?".encode()
        text = {"Content-Type": "text/plain"}
        fake.fail(Fault(status=403, body=words, headers=text), times=None)
        certs.put("a.example", f'server = "{fake.url}"\nheader.authorization = "Bearer {CANARY}"\n')
        error = await failure(c.remote("a.example"))
        assert fake.requests[0].headers["authorization"] == "Bearer"  # the fake keeps no secrets
        assert "who is [REDACTED]" in error.message
        assert CANARY not in error.message


async def test_an_authority_counts_where_its_registry_leads_to(
    c: Client, certs: Certs, authority: Authority
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*authority.issue("both", "IP:127.0.0.1", "DNS:localhost"))
    async with FakeRegistry(tls=server) as storage, FakeRegistry(tls=server) as fake:
        storage.add_blob(BLOB)
        away = f"https://localhost:{storage.port}/v2/x/blobs/{LAYER.digest}"
        fake.fail(Fault(status=307, headers={"Location": away}), times=None)
        name = f"https://{fake.address}"
        directory = certs.put("a.example", f'server = "{name}"\nca = "ca.pem"\n')
        shutil.copy(authority.certificate, directory / "ca.pem")
        assert await read(c.remote("a.example")) == (0, BLOB)
        # Neglect of a certificate does not spread.
        certs.put("a.example", f'server = "{name}"\nskip_verify = true\n')
        with pytest.raises(TLSFailed, match=f"localhost:{storage.port}: certificate"):
            await read(c.remote("a.example"))


async def test_a_connection_that_takes_too_long(
    certs: Certs, upstream: DistributionRegistry
) -> None:
    with ExitStack() as stack:
        # Nobody accepts here: when the queue is full, the kernel lets others wait.
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        certs.put(
            upstream.address, f'[host."http://127.0.0.1:{address[1]}"]\ndial_timeout = "100ms"\n'
        )
        async with client(certs.settings) as c:
            begin = time.monotonic()
            await c.remote(upstream.address).resolve()
            assert 0.1 <= time.monotonic() - begin < 5
            error = await failure(c.remote(upstream.address, "library/none:1"))
            assert f"127.0.0.1:{address[1]}: no connection within 0.1 s" in error.message


CONTAINERD_1: Final = """
version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."a.example"]
endpoint = ["http://127.0.0.1:1", "{mirror}"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."{address}".auth]
username = "mirror-user"
password = "{secret}"
[plugins."io.containerd.grpc.v1.cri".registry.headers]
x-node = ["n1"]
"""


async def test_a_document_of_containerd_1(guarded: tuple[DistributionRegistry, ...]) -> None:
    mirror, _ = guarded
    text = CONTAINERD_1.format(mirror=mirror.url, address=mirror.address, secret=f"{CANARY}-mirror")
    loaded = loads(text)
    assert CANARY not in " ".join(loaded.warnings)
    assert any("registry.mirrors: deprecated" in warning for warning in loaded.warnings)
    settings = registry_settings(loaded.config.images.registry)
    assert CANARY not in repr(settings)
    at_mirror = Asked(mirror)
    async with client(settings) as c:
        await pull(c.remote("a.example"))
        await at_mirror.for_all(namespace="a.example")


async def test_mirrors_for_all_registries(
    mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    settings = registry_settings(
        loads(
            "version = 4\n"
            '[plugins."io.containerd.cri.v1.images".registry.mirrors."*"]\n'
            f'endpoint = ["{mirror.url}"]\n'
        ).config.images.registry
    )
    at_mirror, at_upstream = Asked(mirror), Asked(upstream)
    async with client(settings) as c:
        await pull(c.remote(upstream.address))
        await at_mirror.for_all(namespace=upstream.address)
        assert at_upstream.requests == []
        await failure(c.remote(upstream.address, "library/none:1"))
        await until(lambda: len(at_upstream.requests) == 2)  # HEAD and GET


async def test_settings_change_for_pulls_that_start_later(
    certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry, tmp_path: Path
) -> None:
    certs.put(upstream.address, f'server = "{mirror.url}"\n')
    async with client(certs.settings) as c:
        before, other = c.remote(upstream.address), Certs(tmp_path / "other")
        c.registry.reload(other.settings)
        at_mirror, at_upstream = Asked(mirror), Asked(upstream)
        await pull(before)
        await at_mirror.for_all(namespace=upstream.address)
        assert at_upstream.requests == []
        await pull(c.remote(upstream.address))
        await at_upstream.for_all()


async def test_unknown_keys_are_told_once(
    certs: Certs, mirror: DistributionRegistry, upstream: DistributionRegistry
) -> None:
    told: list[str] = []
    certs.put(upstream.address, f'server = "{mirror.url}"\nskip_verfy = true\n')
    async with client(certs.settings, warn=told.append) as c:
        for _ in range(2):
            await pull(c.remote(upstream.address))
    assert len(told) == 1
    assert told[0].endswith(":2: skip_verfy: unknown key, ignored; did you mean skip_verify?")
