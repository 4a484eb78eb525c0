"""Rows H02, H03, H10, H30: where a registry may send us."""

from __future__ import annotations

import pytest

from orlop.errors import AuthPolicy, RegistryProtocol
from orlop.registry.hosts import Endpoint, Origin
from orlop.registry.policy import check_realm, check_redirect, registrable_domain, trusts_realm
from orlop.registry.reach import Neighbourhood
from orlop.registry.settings import TLSSettings

REGISTRY = Origin("https", "registry.example", 443)
LOCAL = Origin("http", "127.0.0.1", 5000)


def redirect(
    target: Origin,
    source: Origin = REGISTRY,
    home: Neighbourhood = Neighbourhood.PUBLIC,
    userinfo: bool = False,
) -> None:
    check_redirect(source, target, home=home, has_userinfo=userinfo)


@pytest.mark.parametrize(
    "target",
    [
        REGISTRY,
        Origin("https", "cdn.example", 443),
        Origin("https", "registry.example", 8443),
        Origin("https", "93.184.216.34", 443),
    ],
)
def test_redirects_that_are_followed(target: Origin) -> None:
    redirect(target)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "2130706433", "fd00:ec2::254"]
)
def test_redirects_into_the_node_are_refused(host: str) -> None:
    with pytest.raises(AuthPolicy, match="redirects to"):
        redirect(Origin("https", host, 443))


def test_a_private_registry_may_stay_in_its_neighbourhood() -> None:
    inside = Origin("https", "10.0.0.9", 9000)
    redirect(inside, home=Neighbourhood.PRIVATE)
    with pytest.raises(AuthPolicy):
        redirect(inside, home=Neighbourhood.LOOPBACK)
    with pytest.raises(AuthPolicy):
        redirect(Origin("https", "127.0.0.1", 443), home=Neighbourhood.PRIVATE)
    redirect(Origin("http", "127.0.0.1", 9000), source=LOCAL, home=Neighbourhood.LOOPBACK)


def test_tls_is_never_dropped() -> None:
    with pytest.raises(AuthPolicy, match="without TLS"):
        redirect(Origin("http", "cdn.example", 80))
    with pytest.raises(AuthPolicy, match="without TLS"):
        redirect(Origin("http", "registry.example", 80))
    redirect(Origin("http", "cdn.example", 80), source=LOCAL)


@pytest.mark.parametrize("scheme", ["file", "data", "ftp", "", "gopher"])
def test_redirects_out_of_http(scheme: str) -> None:
    with pytest.raises(RegistryProtocol, match="redirects to"):
        redirect(Origin(scheme, "x", 0))


def test_a_user_name_in_a_url_is_refused() -> None:
    with pytest.raises(AuthPolicy, match="user name"):
        redirect(Origin("https", "cdn.example", 443), userinfo=True)


def endpoint(origin: Origin = REGISTRY, *realms: str) -> Endpoint:
    return Endpoint(origin=origin, tls=TLSSettings(), realms=realms)


def realm(
    target: Origin, source: Endpoint | None = None, secret: bool = True, userinfo: bool = False
) -> None:
    check_realm(source or endpoint(), target, with_credentials=secret, has_userinfo=userinfo)


def test_realms_that_get_credentials() -> None:
    realm(REGISTRY)
    realm(Origin("https", "auth.registry.example", 443), endpoint())
    realm(
        Origin("https", "auth.docker.io", 443),
        endpoint(Origin("https", "registry-1.docker.io", 443)),
    )
    realm(Origin("https", "gitlab.com", 443), endpoint(Origin("https", "registry.gitlab.com", 443)))
    realm(LOCAL, endpoint(LOCAL))


@pytest.mark.parametrize(
    "target",
    [
        Origin("http", "registry.example", 80),
        Origin("http", "auth.registry.example", 80),
        Origin("https", "evil.test", 443),
        Origin("https", "registry.example.evil.test", 443),
        Origin("https", "127.0.0.1", 443),
        Origin("https", "10.0.0.1", 443),
        Origin("https", "169.254.169.254", 443),
        Origin("https", "93.184.216.34", 443),
        Origin("https", "::1", 443),
        Origin("https", "fd00:ec2::254", 443),
        Origin("https", "2002:7f00:1::", 443),
        Origin("https", "64:ff9b::7f00:1", 443),
        Origin("https", "2130706433", 443),
        Origin("file", "", 0),
        Origin("", "", 0),
    ],
)
def test_realms_that_get_nothing(target: Origin) -> None:
    with pytest.raises(AuthPolicy, match="token service"):
        realm(target)


def test_an_anonymous_token_may_come_from_another_public_domain() -> None:
    elsewhere = Origin("https", "auth.test", 443)
    realm(elsewhere, secret=False)
    with pytest.raises(AuthPolicy, match="in another domain") as caught:
        realm(elsewhere)
    assert "auth.test" in caught.value.hint


def test_the_operator_can_allow_a_realm() -> None:
    other_port = Origin("http", "127.0.0.1", 5001)
    with pytest.raises(AuthPolicy):
        realm(other_port, endpoint(LOCAL))
    realm(other_port, endpoint(LOCAL, "127.0.0.1:5001"))
    realm(Origin("https", "auth.test", 443), endpoint(REGISTRY, "auth.test"))
    realm(Origin("https", "auth.test", 443), endpoint(REGISTRY, "auth.test:443"))
    assert trusts_realm(endpoint(REGISTRY), REGISTRY)
    assert not trusts_realm(endpoint(REGISTRY, "auth.test:5000"), Origin("https", "auth.test", 443))


def test_even_an_allowed_realm_needs_tls_when_the_registry_has_it() -> None:
    with pytest.raises(AuthPolicy, match="without TLS"):
        realm(Origin("http", "auth.test", 80), endpoint(REGISTRY, "auth.test"))


def test_a_user_name_in_a_realm_is_refused() -> None:
    with pytest.raises(AuthPolicy, match="user name"):
        realm(REGISTRY, userinfo=True)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("auth.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("registry", "registry"),
        ("10.1.2.3", "10.1.2.3"),
        ("a.b.example.", "b.example"),
    ],
)
def test_registrable_domains(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain
