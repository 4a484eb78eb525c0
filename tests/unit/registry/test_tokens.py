"""The token cache: what tells tokens apart, and what is kept."""

from __future__ import annotations

from dataclasses import replace

from orlop.ports.registry import Credentials
from orlop.registry.hosts import Origin
from orlop.registry.tokens import TokenCache, TokenKey

KEY = TokenKey(Origin("https", "r.example", 443), "https://r.example/token", "s", "scope", "")


def test_a_token_until_it_expires() -> None:
    cache = TokenCache()
    assert cache.get(KEY, 0.0) is None
    cache.put(KEY, "token", 100.0)
    assert cache.get(KEY, 99.9) == "token"
    assert cache.get(KEY, 100.0) is None
    cache.put(KEY, "next", 200.0)
    assert cache.get(KEY, 100.0) == "next"
    cache.drop(KEY)
    cache.drop(KEY)
    assert cache.get(KEY, 0.0) is None


def test_every_part_of_the_key_counts() -> None:
    cache = TokenCache()
    cache.put(KEY, "token", 100.0)
    for other in (
        replace(KEY, origin=Origin("http", "r.example", 443)),
        replace(KEY, origin=Origin("https", "r.example", 5000)),
        replace(KEY, realm="https://r.example/other"),
        replace(KEY, service="t"),
        replace(KEY, scope="other"),
        replace(KEY, account="somebody"),
    ):
        assert cache.get(other, 0.0) is None


def test_accounts_tell_credentials_apart_and_hold_none() -> None:
    cache = TokenCache()
    variants = [
        Credentials("a", "b"),
        Credentials("ab", ""),
        Credentials("", "ab"),
        Credentials("a", "", "b"),
        Credentials("a", "", "", "b"),
        Credentials("\udcff", "b"),
    ]
    names = {cache.account(credentials) for credentials in variants}
    assert len(names) == len(variants)
    assert cache.account(None) == ""
    assert cache.account(Credentials("a", "b")) == cache.account(Credentials("a", "b"))
    assert TokenCache().account(variants[0]) != cache.account(variants[0])


def test_the_oldest_goes_when_there_are_too_many() -> None:
    cache = TokenCache()
    keys = [replace(KEY, scope=str(n)) for n in range(1025)]
    for key in keys:
        cache.put(key, "token", 1.0)
    assert cache.get(keys[0], 0.0) is None
    assert all(cache.get(key, 0.0) for key in keys[1:])
