"""Which endpoint serves a reference, and who may see credentials (K04)."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidReference
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.ports.registry import Credentials
from orlop.registry.hosts import Endpoint, Origin, credentials_for, is_loopback, plan, split
from orlop.registry.settings import HostSettings, RegistrySettings, TLSSettings


def upstream(name: str, hosts: dict[str, HostSettings] | None = None) -> Endpoint:
    """The only endpoint when no rules are there."""
    made = plan(Reference.parse(name), RegistrySettings(hosts=hosts or {}))
    (endpoint,) = made.endpoints
    return endpoint


def origin(name: str, settings: HostSettings | None = None) -> str:
    endpoint = upstream(
        f"{name}/library/app:1", {} if settings is None else {name.lower(): settings}
    )
    assert endpoint.upstream
    assert endpoint.namespace == ""
    return str(endpoint.origin)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("quay.io", "https://quay.io"),
        ("Registry.Example", "https://registry.example"),
        ("registry.example:443", "https://registry.example"),
        ("registry.example:5000", "https://registry.example:5000"),
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("127.9.9.9:80", "http://127.9.9.9"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("[::1]", "http://[::1]"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("localhost.example", "https://localhost.example"),
    ],
)
def test_default_endpoints(name: str, expected: str) -> None:
    assert origin(name) == expected


def test_configuration_decides_about_tls() -> None:
    assert origin("registry.example", HostSettings(plain_http=True)) == "http://registry.example"
    assert origin("localhost:5000", HostSettings(plain_http=False)) == "https://localhost:5000"
    assert origin("localhost:5000", HostSettings(ca_file="/ca")) == "https://localhost:5000"
    assert origin("localhost:5000", HostSettings(skip_verify=True)) == "https://localhost:5000"
    headers = HostSettings(headers={"X-A": "b"})
    assert origin("localhost:5000", headers) == "http://localhost:5000"


def test_settings_belong_to_one_host_and_port() -> None:
    name = "registry.example:5000/a:1"
    special = HostSettings(ca_file="/ca", headers={"X-Tenant": "t"}, realms=("auth.example",))
    plain = upstream(name, {"registry.example": special})
    assert plain.tls == TLSSettings()
    assert plain.headers == ()
    own = upstream(name, {"registry.example:5000": special})
    assert own.tls == TLSSettings(ca_files=("/ca",))
    assert own.headers == (("X-Tenant", "t"),)
    assert own.realms == ("auth.example",)


def test_the_hubs_settings_stand_under_its_name_in_references() -> None:
    endpoint = upstream("docker.io/library/app:1", {"docker.io": HostSettings(ca_file="/ca")})
    assert endpoint.tls.ca_files == ("/ca",)


def test_urls() -> None:
    digest = Digest.of(b"x")
    endpoint = upstream("localhost:5000/a/b:1")
    assert endpoint.url("a/b", "manifests", "1") == "http://localhost:5000/v2/a/b/manifests/1"
    assert (
        endpoint.url("a/b", "blobs", str(digest)) == f"http://localhost:5000/v2/a/b/blobs/{digest}"
    )


def test_origins_show_no_default_port() -> None:
    assert Origin("https", "a", 443).address == "a"
    assert Origin("http", "a", 80).address == "a"
    assert Origin("http", "a", 443).address == "a:443"
    assert str(Origin("https", "::1", 5000)) == "https://[::1]:5000"


@pytest.mark.parametrize("domain", ["a:0", "a:65536", "a:x", "a:-1", "a:\uff11"])
def test_bad_ports(domain: str) -> None:
    with pytest.raises(InvalidReference, match="port"):
        split(domain)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "address",
    [
        "", "registry.example", "registry.example:443", "https://registry.example",
        "https://registry.example/v1/", "http://Registry.Example/v2", " registry.example/ ",
    ],
)  # fmt: skip
def test_credentials_for_the_registry(address: str) -> None:
    held = Credentials(username="u", password="p", server_address=address)
    assert credentials_for(Reference.parse("registry.example/a:1"), held) is held


@pytest.mark.parametrize(
    "address",
    [
        "other.example", "registry.example:5000", "sub.registry.example", "example",
        "https://other.example/registry.example", "registry.example.evil.example",
        "https://registry.example@evil.example/", "docker.io",
    ],
)  # fmt: skip
def test_credentials_for_somebody_else(address: str) -> None:
    held = Credentials(username="u", password="p", server_address=address)
    assert credentials_for(Reference.parse("registry.example/a:1"), held) is None


@pytest.mark.parametrize(
    "address",
    ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"],
)
def test_the_hub_has_many_names(address: str) -> None:
    held = Credentials(identity_token="t", server_address=address)
    assert credentials_for(Reference.parse("docker.io/library/a:1"), held) is held


def test_a_port_must_agree() -> None:
    held = Credentials(username="u", server_address="registry.example")
    assert credentials_for(Reference.parse("registry.example:5000/a:1"), held) is None


def test_empty_credentials_are_none() -> None:
    reference = Reference.parse("registry.example/a:1")
    assert credentials_for(reference, Credentials()) is None
    assert credentials_for(reference, Credentials(password="p")) is None
    assert credentials_for(reference, None) is None
    token = Credentials(registry_token="t")
    assert credentials_for(reference, token) is token
