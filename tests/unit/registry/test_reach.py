"""Rows H03, H10, H33: addresses that a registry may not send us to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.registry.reach import Neighbourhood, classify, is_literal, may_reach, strictest

PUBLIC, PRIVATE = Neighbourhood.PUBLIC, Neighbourhood.PRIVATE
LOOPBACK, FORBIDDEN = Neighbourhood.LOOPBACK, Neighbourhood.FORBIDDEN


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("93.184.216.34", PUBLIC),
        ("2606:2800:220:1::1", PUBLIC),
        ("10.1.2.3", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("fd12:3456::1", PRIVATE),
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("[::1]", LOOPBACK),
        ("169.254.169.254", FORBIDDEN),
        ("100.100.100.200", FORBIDDEN),
        ("fd00:ec2::254", FORBIDDEN),
        ("fe80::1%eth0", FORBIDDEN),
        ("0.0.0.0", FORBIDDEN),
        ("0.1.2.3", FORBIDDEN),
        ("::", FORBIDDEN),
        ("224.0.0.1", FORBIDDEN),
        ("ff02::1", FORBIDDEN),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:169.254.169.254", FORBIDDEN),
        ("2002:7f00:1::", LOOPBACK),
        ("2002:a9fe:a9fe::", FORBIDDEN),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("64:ff9b::a9fe:a9fe", FORBIDDEN),
        ("64:ff9b::5db8:d822", PUBLIC),
        ("2001:0:0:0:0:0:80ff:fffe", LOOPBACK),
        ("no address", FORBIDDEN),
        ("", FORBIDDEN),
    ],
)
def test_where_addresses_live(address: str, place: Neighbourhood) -> None:
    assert classify(address) is place


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "2130706433", "0x7f000001", "127.1", "0x7f.1", "10.0.0.1.", "0X7F"]
)
def test_every_spelling_of_an_address_is_one(host: str) -> None:
    assert is_literal(host)


@pytest.mark.parametrize("host", ["example.com", "localhost", "1.example", "a0x1", "0xyz.example"])
def test_names_are_no_addresses(host: str) -> None:
    assert not is_literal(host)


@pytest.mark.parametrize("home", list(Neighbourhood))
def test_the_public_internet_may_be_reached_from_everywhere(home: Neighbourhood) -> None:
    assert may_reach(home, PUBLIC)
    assert not may_reach(home, FORBIDDEN)


def test_only_the_own_neighbourhood_besides() -> None:
    allowed = {
        (home, target)
        for home in (PUBLIC, PRIVATE, LOOPBACK)
        for target in (PRIVATE, LOOPBACK)
        if may_reach(home, target)
    }
    assert allowed == {(PRIVATE, PRIVATE), (LOOPBACK, LOOPBACK)}


def test_a_host_with_several_addresses_gets_the_strictest_rule() -> None:
    assert strictest(["127.0.0.1", "10.0.0.1", "93.184.216.34"]) is PUBLIC
    assert strictest(["127.0.0.1", "10.0.0.1"]) is PRIVATE
    assert strictest(["::1", "127.0.0.1"]) is LOOPBACK
    assert strictest([]) is FORBIDDEN
    assert strictest(["169.254.0.1"]) is FORBIDDEN


@given(st.ip_addresses(v=4))
def test_hiding_in_an_ipv6_address_changes_nothing(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    plain = classify(str(address))
    assert classify(str(ipaddress.IPv6Address((0xFFFF << 32) | number))) is plain
    assert classify(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))) is plain
    assert classify(str(ipaddress.IPv6Address((0x64FF9B << 96) | number))) is plain
