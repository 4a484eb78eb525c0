"""Whose credentials a host gets; docker configuration files (K01, K04)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from orlop.config.hosts import CredentialSource
from orlop.errors import AuthFailed, HostsInvalid
from orlop.ports.registry import Credentials
from orlop.registry.credentials import CredentialFinder, from_helper, lookup
from orlop.registry.hosts import Endpoint, Origin
from orlop.registry.settings import SYSTEM_TLS

if TYPE_CHECKING:
    from pathlib import Path

UPSTREAM: Final = Endpoint(Origin("https", "a.example", 443), SYSTEM_TLS)
MIRROR: Final = Endpoint(
    Origin("https", "m.example", 443), SYSTEM_TLS, upstream=False, namespace="a.example"
)
OWN: Final = Credentials(username="own", password="hunter2")
OF_A: Final = Credentials(username="a", password="hunter2")
OF_M: Final = Credentials(username="m", password="hunter2")


def finder(own: Credentials | None = OWN, *, configured: bool = True) -> CredentialFinder:
    known = {"a.example": OF_A, "m.example": OF_M} if configured else {}
    return CredentialFinder(own, registry="a.example", configured=known)


def with_source(endpoint: Endpoint, kind: Any, name: str = "") -> Endpoint:
    return replace(endpoint, credentials=CredentialSource(kind, name))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_the_pulls_own_go_to_the_registry_alone() -> None:
    assert await finder(configured=False).find(UPSTREAM) is OWN
    assert await finder(configured=False).find(MIRROR) is None


async def test_configured_ones_go_to_the_host_of_their_name() -> None:
    assert await finder(None).find(UPSTREAM) is OF_A
    assert await finder(None).find(MIRROR) is OF_M
    assert await finder().find(UPSTREAM) is OWN
    assert await finder().find(MIRROR) is OF_M


async def test_the_operator_can_say_otherwise() -> None:
    assert await finder().find(with_source(MIRROR, "upstream")) is OWN
    assert await finder(None).find(with_source(MIRROR, "upstream")) is OF_A
    assert await finder().find(with_source(MIRROR, "none")) is None
    assert await finder().find(with_source(UPSTREAM, "none")) is None


async def test_a_file_is_for_those_who_bring_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    entries = {"a.example": {"auth": encoded("f:p")}, "https://m.example/v1/": {"username": "fm"}}
    file.write_text(json.dumps({"auths": entries, "HttpHeaders": {"x": "y"}}))
    upstream, mirror = (with_source(one, "file", str(file)) for one in (UPSTREAM, MIRROR))
    assert await finder().find(upstream) is OWN
    assert await finder(None).find(upstream) == Credentials(username="f", password="p")
    assert await finder().find(mirror) == Credentials(username="fm")
    file.write_text("{}")
    assert await finder().find(mirror) is None
    file.unlink()
    with pytest.raises(HostsInvalid, match=f"{file}: No such file"):
        await finder().find(mirror)


def test_words() -> None:
    for endpoint, expected in (
        (UPSTREAM, "the pull's own, else configured for a.example"),
        (MIRROR, "configured for m.example"),
        (with_source(MIRROR, "none"), "none"),
        (with_source(MIRROR, "upstream"), "the pull's own, else configured for a.example"),
        (with_source(MIRROR, "file", "/x"), "file /x"),
        (with_source(UPSTREAM, "helper", "x"), "the pull's own, else helper x"),
    ):
        assert finder().told(endpoint) == expected
    assert finder(configured=False).told(MIRROR) == "none"
    assert finder(configured=False).told(UPSTREAM) == "the pull's own"


def look(document: object, name: str = "a.example") -> Credentials | str | None:
    return lookup(json.dumps(document).encode(), name, path="/c.json")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a.example", "a.example"),
        ("A.Example", "a.example"),
        ("https://a.example", "a.example"),
        ("https://a.example/v2/", "a.example"),
        ("a.example:443", "a.example"),
        ("a.example:5000", "a.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_names_of_entries(key: str, name: str) -> None:
    assert look({"auths": {key: {"username": "u"}}}, name) == Credentials(username="u")


@pytest.mark.parametrize(
    "key", ["b.example", "a.example:5000", "sub.a.example", "a.example/team", "a.example@b", ""]
)
def test_entries_of_others(key: str) -> None:
    assert look({"auths": {key: {"username": "u"}}}) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("u:p:q")}, Credentials(username="u", password="p:q")),
        ({"username": "u", "password": "p"}, Credentials(username="u", password="p")),
        ({"identitytoken": "t"}, Credentials(identity_token="t")),
        ({"auth": encoded("u:"), "identitytoken": "t"},
         Credentials(username="u", identity_token="t")),
        ({"registrytoken": "t"}, Credentials(registry_token="t")),
        ({"email": "x"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_kinds_of_entries(entry: dict[str, str], expected: Credentials | None) -> None:
    assert look({"auths": {"a.example": entry}}) == expected


def test_helpers_come_before_what_is_written_down() -> None:
    auths = {"a.example": {"username": "u"}}
    assert look({"auths": auths, "credsStore": "pass"}) == "pass"
    own = {"a.example": "ecr-login"}
    assert look({"auths": auths, "credsStore": "pass", "credHelpers": own}) == "ecr-login"
    assert look({"auths": auths, "credHelpers": {"b.example": "x"}}) == Credentials(username="u")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "hunter2", '{"auths": []}', '{"auths": {"a.example": "hunter2"}}',
        '{"auths": {"a.example": {"auth": 1}}}', '{"auths": {"a.example": {"auth": "hunter2%"}}}',
        '{"auths": {"a.example": {"auth": "aHVudGVyMg=="}}}', '{"credsStore": "../hunter2"}',
        '{"credHelpers": {"a.example": 1}}', "[" * 100_000, '{"auths": {"a.example": null}}',
    ],
)  # fmt: skip
def test_files_that_are_refused(text: str) -> None:
    with pytest.raises(HostsInvalid) as caught:
        lookup(text.encode(), "a.example", path="/c.json")
    assert caught.value.message.startswith("/c.json: ")
    assert "hunter2" not in caught.value.message
    assert "aHVudGVy" not in caught.value.message
    assert caught.value.__cause__ is None  # what is wrong may be quoted there


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``docker-credential-test`` has to be."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker-credential-test"


def script(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"ServerURL": "x", "Username": "u", "Secret": "s"}',
         Credentials(username="u", password="s")),
        ('{"Username": "<token>", "Secret": "t"}', Credentials(identity_token="t")),
    ],
)  # fmt: skip
async def test_answers_of_helpers(program: Path, answer: str, expected: Credentials) -> None:
    script(program, f"cat >/dev/null; echo '{answer}'")
    assert await from_helper("test", "a.example") == expected


async def test_the_hub_has_a_name_of_its_own_for_helpers(program: Path) -> None:
    script(program, 'read server; printf \'{"Username": "%s", "Secret": "x"}\' "$server"')
    for name, expected in {
        "docker.io": "https://index.docker.io/v1/",
        "a.example:5000": "a.example:5000",
    }.items():
        assert await from_helper("test", name) == Credentials(username=expected, password="x")


@pytest.mark.parametrize("answer", ["", "hunter2", '{"Username": "u"}', '{"Secret": 1}', "[]"])
async def test_an_answer_that_is_none(program: Path, answer: str) -> None:
    script(program, f"echo '{answer}'")
    with pytest.raises(AuthFailed) as caught:
        await from_helper("test", "a.example")
    assert caught.value.message == "credential helper test: the answer is no credentials"
    assert caught.value.__cause__ is None


async def test_a_file_can_name_a_helper(program: Path, tmp_path: Path) -> None:
    script(program, 'echo \'{"Username": "u", "Secret": "s"}\'')
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {"m.example": {}}, "credsStore": "test"}))
    found = await finder().find(with_source(MIRROR, "file", str(file)))
    assert found == Credentials(username="u", password="s")
