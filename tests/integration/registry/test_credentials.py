"""Whose credentials reach which host, against registries with users of their own."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orlop.errors import AuthFailed, HostsInvalid
from orlop.ports.registry import Credentials
from orlop.testing.fake_registry import FakeRegistry
from tests.integration.registry.rig import CANARY, Asked, Certs, failure, serving
from tests.integration.registry.test_distribution import htpasswd, pull
from tests.unit.registry.rig import Client, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from orlop.testing.distribution import DistributionRegistry

UPSTREAM_USER: Final = Credentials(username="upstream-user", password=f"{CANARY}-upstream")


async def test_the_pulls_credentials_never_go_to_a_mirror(
    c: Client, certs: Certs, guarded: tuple[DistributionRegistry, ...]
) -> None:
    mirror, upstream = guarded
    at_mirror = Asked(mirror)
    for text in ("", 'credentials = "none"\n'):
        certs.put(upstream.address, f'[host."{mirror.url}"]\n{text}')
        await pull(c.remote(upstream.address, credentials=UPSTREAM_USER))
    await until(lambda: len(at_mirror.requests) >= 8)
    assert {request.rpartition(" ")[2] for request in at_mirror.requests} == {"401"}
    error = await failure(c.remote(upstream.address))
    assert isinstance(error, AuthFailed)
    assert CANARY not in f"{error.message} {error.hint} {error!r}"


async def test_a_mirror_may_be_given_them(
    c: Client, certs: Certs, tmp_path: Path, stored: Path
) -> None:
    users = tmp_path / "users"
    htpasswd(users, UPSTREAM_USER.username, UPSTREAM_USER.password)
    with serving(tmp_path / "mirror", stored, htpasswd=users) as mirror:
        certs.put("a.example", f'[host."{mirror.url}"]\ncredentials = "upstream"\n')
        at_mirror = Asked(mirror)
        await pull(c.remote("a.example", credentials=UPSTREAM_USER))
        await at_mirror.for_all(namespace="a.example")
        # Credentials for another registry are for no host of this one.
        elsewhere = replace(UPSTREAM_USER, server_address="b.example")
        certs.put("a.example", f'server = "{mirror.url}"\ncredentials = "upstream"\n')
        error = await failure(c.remote("a.example", credentials=elsewhere))
        assert isinstance(error, AuthFailed)


async def test_a_mirror_with_credentials_from_a_file(
    c: Client, certs: Certs, guarded: tuple[DistributionRegistry, ...]
) -> None:
    mirror, upstream = guarded
    directory = certs.put(
        upstream.address, f'[host."{mirror.url}"]\ncredentials = "file:config.json"\n'
    )
    pair = base64.b64encode(f"mirror-user:{CANARY}-mirror".encode()).decode()
    file = directory / "config.json"
    file.write_text(json.dumps({"auths": {mirror.address: {"auth": pair}}}))
    at_mirror, at_upstream = Asked(mirror), Asked(upstream)
    await pull(c.remote(upstream.address, credentials=UPSTREAM_USER))
    await at_mirror.for_all(namespace=upstream.address)
    assert at_upstream.requests == []
    file.write_text(json.dumps({"auths": {mirror.address: {"auth": f"{CANARY}"}}}))
    error = await failure(c.remote(upstream.address))
    assert isinstance(error, HostsInvalid)
    assert f"{file}: credentials of {mirror.address}: auth is not Base64" in error.message
    assert CANARY not in error.message


async def test_a_mirror_with_credentials_from_a_helper(
    c: Client,
    certs: Certs,
    guarded: tuple[DistributionRegistry, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror, upstream = guarded
    program = tmp_path / "bin" / "docker-credential-vault"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'read server; [ "$1 $server" = "get {mirror.address}" ] || exit 9\n'
        f"echo run >> {tmp_path}/runs\n"
        f'echo \'{{"Username": "mirror-user", "Secret": "{CANARY}-mirror"}}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    certs.put(upstream.address, f'[host."{mirror.url}"]\ncredentials = "helper:vault"\n')
    at_mirror = Asked(mirror)
    await pull(c.remote(upstream.address))
    await at_mirror.for_all(namespace=upstream.address)
    assert (tmp_path / "runs").read_text() == "run\n"  # once for the whole pull
    # One that fails costs its host only.
    program.write_text(f"#!/bin/sh\necho {CANARY}; exit 1\n")
    error = await failure(c.remote(upstream.address, "library/none:1"))
    assert "credential helper vault: it failed (exit status 1)" in error.message
    assert CANARY not in f"{error.message} {error.hint}"


async def test_credentials_of_the_registry_itself(
    c: Client, certs: Certs, guarded: tuple[DistributionRegistry, ...]
) -> None:
    _, upstream = guarded
    directory = certs.put(upstream.address, 'credentials = "file:config.json"\n')
    pair = base64.b64encode(f"upstream-user:{CANARY}-upstream".encode()).decode()
    (directory / "config.json").write_text(
        json.dumps({"auths": {upstream.address: {"auth": pair}}})
    )
    await pull(c.remote(upstream.address))
    # Who brings credentials is judged by them.
    wrong = Credentials(username="upstream-user", password="wrong")
    assert isinstance(await failure(c.remote(upstream.address, credentials=wrong)), AuthFailed)
    certs.put(upstream.address, 'credentials = "none"\n')
    error = await failure(c.remote(upstream.address, credentials=UPSTREAM_USER))
    assert "wants credentials" in error.message


async def test_token_services_that_the_operator_trusts(c: Client, certs: Certs) -> None:
    async with FakeRegistry(auth="bearer", users={"u": "p"}) as service:
        realm = f"http://localhost:{service.port}/token"
        async with FakeRegistry(auth="bearer", users={"u": "p"}, realm=realm) as fake:
            own = Credentials(username="u", password="p")
            certs.put(fake.address, "")
            error = await failure(c.remote(fake, credentials=own))
            assert "token service" in error.message
            assert service.requests == []
            certs.put(fake.address, f'realms = ["localhost:{service.port}"]\n')
            await failure(c.remote(fake, credentials=own))  # they share no tokens
            assert {request.path for request in service.requests} == {"/token"}
