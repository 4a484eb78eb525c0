"""The configuration's registry table as settings of this room."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from orlop.config.hosts_lookup import DEFAULT_DIRECTORIES
from orlop.config.schema import Mirror, RegistryAuth, RegistryConfig, RegistryHostConfig
from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials
from orlop.registry.configure import decoded, registry_settings


def auth(**fields: str) -> RegistryHostConfig:
    return RegistryHostConfig(auth=RegistryAuth(**fields))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_the_default_looks_into_containerds_directories() -> None:
    made = registry_settings(RegistryConfig())
    assert made.directories == DEFAULT_DIRECTORIES
    assert (made.hosts, made.rules, made.headers, made.auths) == ({}, {}, (), {})


def test_directories_and_mirrors_exclude_each_other() -> None:
    assert registry_settings(RegistryConfig(config_path="/a:/b")).directories == ("/a", "/b")
    mirrors = {"A.Example": Mirror(endpoint=("https://m.example",))}
    made = registry_settings(RegistryConfig(mirrors=mirrors))
    assert made.directories == ()
    assert list(made.rules) == ["a.example"]


def test_hosts_of_our_own_keys() -> None:
    made = registry_settings(
        RegistryConfig(
            insecure_registries=("Plain.example:5000",), ca_files={"own.example": "/etc/ca.pem"}
        )
    ).hosts
    assert made["plain.example:5000"].plain_http is True
    assert made["own.example"].plain_http is None
    assert made["own.example"].ca_file == "/etc/ca.pem"


def test_headers_for_all() -> None:
    made = registry_settings(RegistryConfig(headers={"x-tag": ("a", "b")}))
    assert made.headers == (("X-Tag", "a, b"),)
    assert "a, b" not in repr(made)
    with pytest.raises(InvalidArgument, match=r"registry\.headers: Host is a header"):
        registry_settings(RegistryConfig(headers={"host": ("a",)}))


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        (
            {"configs": {"a.example": auth(username="u", password="p")}},
            {"a.example": Credentials(username="u", password="p")},
        ),
        (
            {"configs": {"a.example": auth(auth=encoded("u:p:q"))}},
            {"a.example": Credentials(username="u", password="p:q")},
        ),
        (
            {"configs": {"a.example": auth(identitytoken="t")}},
            {"a.example": Credentials(identity_token="t")},
        ),
        (
            {"auths": {"https://a.example:5000/v1/": RegistryAuth(username="u", password="p")}},
            {"a.example:5000": Credentials(username="u", password="p")},
        ),
        (
            {
                "configs": {"registry-1.docker.io": auth(username="c")},
                "auths": {"https://index.docker.io": RegistryAuth(username="a")},
            },
            {"docker.io": Credentials(username="c")},
        ),
        ({"configs": {"a.example": RegistryHostConfig()}}, {}),
        ({"configs": {"a.example": auth(password="p")}}, {}),
    ],
)
def test_configured_credentials(registry: dict[str, Any], expected: object) -> None:
    made = registry_settings(RegistryConfig(**registry))
    assert made.auths == expected
    assert "username" not in repr(made)


@pytest.mark.parametrize("text", ["%%%", encoded("hunter2"), encoded(":hunter2"), "aHVudGVyMg"])
def test_what_is_no_auth(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        registry_settings(RegistryConfig(configs={"a.example": auth(auth=text)}))
    message = caught.value.message
    assert message.startswith("credentials of the registry a.example: auth is not Base64")
    assert "hunter2" not in message
    assert text not in message


def test_what_docker_pads_with_nulls() -> None:
    assert decoded(encoded("u:p\0\0"), "x") == ("u", "p")
