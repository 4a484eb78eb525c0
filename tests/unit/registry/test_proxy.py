"""Which proxy a request goes through."""

from __future__ import annotations

import pytest

from orlop.registry.proxy import NO_PROXIES, Proxy, from_environment

BOTH = {"HTTP_PROXY": "http://plain.internal:3128", "HTTPS_PROXY": "tunnel.internal"}


def test_one_for_each_scheme() -> None:
    proxies = from_environment(BOTH)
    assert proxies.proxy_for("http", "r.example", 80) == Proxy("http://plain.internal:3128")
    assert proxies.proxy_for("https", "r.example", 443) == Proxy("http://tunnel.internal:80")
    assert from_environment({}) == NO_PROXIES
    assert NO_PROXIES.proxy_for("https", "r.example", 443) is None


def test_capitals_come_first() -> None:
    proxies = from_environment({"https_proxy": "http://small", "HTTPS_PROXY": "http://large"})
    assert proxies.https == Proxy("http://large:80")
    assert from_environment({"https_proxy": "small"}).https == Proxy("http://small:80")
    # What a web server's client can set is no proxy.
    assert from_environment({"http_proxy": "x", "REQUEST_METHOD": "GET"}).http is None


def test_credentials_are_never_shown() -> None:
    proxies = from_environment({"HTTPS_PROXY": "http://alice:p%40ss%2Fword@p.internal:1/"})
    assert proxies.https == Proxy("http://p.internal:1", "alice", "p@ss/word")
    assert "alice" not in repr(proxies)
    assert "word" not in repr(proxies)


@pytest.mark.parametrize(
    "url",
    [
        "socks5://alice:secret@p:1",
        "https://alice:secret@p",
        "http://alice:secret@p:99999",
        "http://alice:secret@",
        "http://alice:secret@p:x",
        "http://alice:secret@p/path",
        "http://alice:secret@p:0",
    ],
)
def test_what_is_no_proxy(url: str) -> None:
    proxies = from_environment({"HTTPS_PROXY": url})
    found = proxies.proxy_for("https", "r.example", 443)
    assert found is not None
    assert found.problem == "HTTPS_PROXY is not the URL of an HTTP proxy (http://HOST:PORT)"
    assert "secret" not in repr(found)
    # Who does not need it is not troubled.
    assert proxies.proxy_for("http", "r.example", 80) is None


@pytest.mark.parametrize(
    ("rules", "host", "direct"),
    [
        ("*", "r.example", True),
        ("example.test", "example.test", True),
        ("example.test", "a.b.example.test", True),
        ("example.test", "notexample.test", False),
        ("EXAMPLE.test.", "Example.Test", True),
        (".example.test", "example.test", False),
        (".example.test", "a.example.test", True),
        ("*.example.test", "a.example.test", True),
        ("a.test, b.test ,,c.test", "b.test", True),
        ("r.example:443", "r.example", True),
        ("r.example:5000", "r.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.1/8", "10.9.9.9", True),
        ("10.0.0.0/8", "ten.example", False),
        ("10.0.0.0/99", "10.0.0.0", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.1.2", "10.1.2.3", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "fd00:0::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("", "localhost", True),
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("", "r.example", False),
    ],
)
def test_no_proxy(rules: str, host: str, direct: bool) -> None:
    proxies = from_environment({**BOTH, "NO_PROXY": rules})
    assert (proxies.proxy_for("https", host, 443) is None) is direct
