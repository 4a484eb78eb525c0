"""Which endpoint serves a reference, and who may see credentials (K04)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orlop.config.hosts import CredentialSource, Rules
from orlop.config.hosts_parse import parse
from orlop.errors import InvalidReference, RegistryBlocked
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.ports.registry import Credentials
from orlop.registry.hosts import (
    Origin,
    credentials_for,
    is_loopback,
    plan,
    rules_of,
    split,
)
from orlop.registry.settings import HostSettings, RegistrySettings, TLSSettings

if TYPE_CHECKING:
    from orlop.registry.hosts import Endpoint


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


def rules(text: str) -> Rules:
    return parse(text.encode(), path="/c/hosts.toml").rules


def planned(
    text: str, name: str = "registry.example/team/app:1", **settings: Any
) -> tuple[Endpoint, ...]:
    return plan(
        Reference.parse(name), replace(RegistrySettings(), **settings), rules(text)
    ).endpoints


def shown(found: tuple[Endpoint, ...]) -> list[str]:
    return [f"{one.origin}{one.prefix}{' ' + one.namespace if one.namespace else ''}"
            for one in found]  # fmt: skip


MIRROR = '[host."https://m.example"]\n'


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "a.example/x:1", ["https://a.example/v2"]),
        (
            MIRROR + '[host."http://10.0.0.1:5000"]',
            "a.example/x:1",
            [
                "https://m.example/v2 a.example",
                "http://10.0.0.1:5000/v2 a.example",
                "https://a.example/v2",
            ],
        ),
        (
            'server = "https://up.example/hub"\n' + MIRROR,
            "a.example/x:1",
            ["https://m.example/v2 a.example", "https://up.example/hub/v2 a.example"],
        ),
        (
            'server = "https://up.example/hub"\noverride_path = true',
            "a.example:5000/x:1",
            ["https://up.example/hub a.example:5000"],
        ),
        ("fallback = false\n" + MIRROR, "a.example/x:1", ["https://m.example/v2 a.example"]),
        # A host without a scheme: HTTPS, but HTTP on this machine, unless TLS is configured.
        ('server = "up.example"', "a.example/x:1", ["https://up.example/v2 a.example"]),
        ('server = "localhost:5000"', "a.example/x:1", ["http://localhost:5000/v2 a.example"]),
        (
            'server = "localhost:5000"\nskip_verify = true',
            "a.example/x:1",
            ["https://localhost:5000/v2 a.example"],
        ),
        (
            'server = "https://localhost:5000"',
            "a.example/x:1",
            ["https://localhost:5000/v2 a.example"],
        ),
        ("skip_verify = true", "localhost:5000/x:1", ["https://localhost:5000/v2"]),
        # Docker Hub's name in references is not where its API is.
        ('server = "docker.io"', "docker.io/x/y:1", ["https://registry-1.docker.io/v2"]),
        (MIRROR, "docker.io/x/y:1", ["https://m.example/v2 docker.io",
                                     "https://registry-1.docker.io/v2"]),
        # Who is listed is not asked once more.
        (
            'server = "docker.io"\n[host."https://registry-1.docker.io"]',
            "docker.io/x/y:1",
            ["https://registry-1.docker.io/v2"],
        ),
        (
            '[host."https://a.example"]\ncapabilities = ["pull"]',
            "a.example/x:1",
            ["https://a.example/v2", "https://a.example/v2"],
        ),
        (
            'ca = "/ca"\n[host."https://a.example"]',
            "a.example/x:1",
            ["https://a.example/v2", "https://a.example/v2"],
        ),
        # The registry by its own name and port, whatever the scheme.
        ('server = "http://a.example:5000"', "a.example:5000/x:1", ["http://a.example:5000/v2"]),
        ('server = "https://a.example:443"', "a.example/x:1", ["https://a.example/v2"]),
        (
            'server = "https://a.example:5000"',
            "a.example/x:1",
            ["https://a.example:5000/v2 a.example"],
        ),
    ],
)  # fmt: skip
def test_who_is_asked_in_which_order(text: str, name: str, expected: list[str]) -> None:
    found = planned(text, name)
    assert shown(found) == expected
    assert [one.upstream for one in found] == [not one.namespace for one in found]


def test_every_setting_of_a_host_reaches_its_endpoint() -> None:
    mirror, upstream = planned(
        'ca = "up.crt"\n' + MIRROR + 'ca = ["m.crt"]\nclient = "m.pem"\nskip_verify = true\n'
        'capabilities = ["pull"]\ndial_timeout = "2s"\ncredentials = "upstream"\n'
        'realms = ["auth.test"]\nheader.x-a = "mine"\n',
        headers=(("X-A", "all"), ("X-B", "all")),
    )
    assert mirror.tls == TLSSettings(("/c/m.crt",), (("/c/m.pem", ""),), skip_verify=True)
    assert mirror.capabilities == {"pull"}
    assert mirror.connect_timeout == 2.0
    assert mirror.credentials == CredentialSource("upstream")
    assert mirror.realms == ("auth.test",)
    assert mirror.headers == (("X-A", "mine"), ("X-B", "all"))
    assert mirror.where == "/c/hosts.toml:2"
    assert upstream.tls == TLSSettings(("/c/up.crt",))
    assert upstream.headers == (("X-A", "all"), ("X-B", "all"))
    assert upstream.connect_timeout is None
    assert "mine" not in repr(mirror)


def test_the_main_document_adds_to_every_host_of_a_name() -> None:
    hosts = {
        "m.example": HostSettings(ca_file="/main", realms=("r.test",)),
        "plain.example": HostSettings(plain_http=True),
    }
    text = 'ca = "/own"\n[host."plain.example"]\n[host."https://plain.example"]\n'
    mirror, plain, secure, _ = planned(MIRROR + text, hosts=hosts)
    assert mirror.tls.ca_files == ("/own", "/main")
    assert mirror.realms == ("r.test",)
    assert plain.origin.scheme == "http"
    assert secure.origin.scheme == "https"  # the URL says so


def test_who_may_be_asked_for_what() -> None:
    reference = Reference.parse("a.example/x:1")
    text = (
        '[host."https://r.example"]\ncapabilities = ["resolve"]\n'
        '[host."https://p.example"]\ncapabilities = ["pull", "push"]\n'
        '[host."https://n.example"]\ncapabilities = ["push", "referrers"]\n'
    )
    made = plan(reference, RegistrySettings(), rules(text))
    assert [one.origin.host for one in made.able("resolve")] == ["r.example", "a.example"]
    assert [one.origin.host for one in made.able("pull")] == ["p.example", "a.example"]


def test_a_blocked_registry() -> None:
    with pytest.raises(RegistryBlocked, match=r"team/app: blocked at /c/hosts.toml:1"):
        planned("blocked = true")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fallback = false\n" + MIRROR, "none: fallback = false at /c/hosts.toml:1"),
        (MIRROR, "the registry itself, for no server is named at /c/hosts.toml:1"),
        ('\nserver = "https://u.example"', "the server of /c/hosts.toml:2"),
        ('[host."https://a.example"]', "none: https://a.example is among the hosts"),
    ],
)
def test_why_there_is_a_fallback_or_none(text: str, words: str) -> None:
    reference = Reference.parse("a.example/x:1")
    assert plan(reference, RegistrySettings(), rules(text)).fallback == words


def test_rules_of_the_main_document() -> None:
    own, every = Rules(where="own"), Rules(where="every")
    settings = RegistrySettings(rules={"a.example": own, "*": every})
    assert rules_of(Reference.parse("A.Example/x:1"), settings) == own
    assert rules_of(Reference.parse("b.example/x:1"), settings) == every
    assert rules_of(Reference.parse("b.example/x:1"), RegistrySettings()) is None


def test_the_namespace_stands_in_the_query() -> None:
    mirror, _ = planned(MIRROR, "a.example:5000/x:1")
    assert mirror.url("x", "manifests", "1") == (
        "https://m.example/v2/x/manifests/1?ns=a.example:5000"
    )
    six, _ = planned(MIRROR, "[::1]:5000/x:1")
    assert six.url("x", "blobs", "d").endswith("?ns=%5B::1%5D:5000")
