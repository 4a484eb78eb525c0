"""Error answers: kinds, quoting, secrets (K01, H31)."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import (
    AuthFailed,
    Code,
    NotFound,
    OrlopError,
    RegistryRejected,
    RegistryUnavailable,
)
from orlop.registry.refusal import MAX_QUOTE, detail, quote, refusal, told

JSON = "application/json; charset=utf-8"


def refuse(status: int, words: str = "", anonymous: bool = False) -> OrlopError:
    return refusal(status, subject="r.example/a:1", host="r.example", words=words,
                   anonymous=anonymous)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthFailed), (403, AuthFailed), (404, NotFound), (429, RegistryUnavailable),
        (408, RegistryUnavailable), (500, RegistryUnavailable), (503, RegistryUnavailable),
        (599, RegistryUnavailable), (400, RegistryRejected), (410, RegistryRejected),
        (421, RegistryRejected), (451, RegistryRejected), (304, RegistryRejected),
        (300, RegistryRejected),
    ],
)  # fmt: skip
def test_kinds(status: int, kind: type[OrlopError]) -> None:
    error = refuse(status, "WORDS: of the registry")
    assert type(error) is kind
    assert error.message.startswith("r.example/a:1: ")
    assert "r.example" in error.message
    assert error.message.endswith(": WORDS: of the registry")
    assert "\n" not in error.message


def test_codes_and_words() -> None:
    assert refuse(401).code is Code.UNAUTHENTICATED
    assert "wants credentials" in refuse(401, anonymous=True).message
    assert "does not accept the credentials" in refuse(401).message
    assert "denies access" in refuse(403).message
    assert refuse(404).message == "r.example/a:1: not found in registry r.example"
    rejected = refuse(451)
    assert isinstance(rejected, RegistryRejected)
    assert rejected.status == 451


def test_the_error_document_of_the_specification() -> None:
    body = json.dumps(
        {"errors": [{"code": "DENIED", "message": "no", "detail": {"x": 1}}, {"code": "OTHER"}]}
    ).encode()
    assert detail(body, JSON) == "DENIED: no; OTHER"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b'{"details": "incorrect username or password"}', JSON, "incorrect username or password"),
        (b'{"error": "invalid_grant", "error_description": "old"}', JSON, "invalid_grant: old"),
        (b'{"message": "limit reached"}', "", "limit reached"),
        (b"too many\r\nrequests\n", "text/plain", "too many requests"),
        (b'{"errors":[{"code":"A"}]}', "text/plain", "A"),
        (b"<html>", "text/html", ""),
        (b"", JSON, ""),
        (b"[]", JSON, ""),
        (b'{"errors": 3}', JSON, ""),
        (b"[" * 60000, JSON, ""),
        (b"\xff\xfe", JSON, ""),
        (b"\xff\xfe", "text/plain", "��"),
    ],
)
def test_what_registries_say(body: bytes, content_type: str, words: str) -> None:
    assert detail(body, content_type) == words


def test_control_characters_are_escaped_and_text_is_cut() -> None:
    assert quote("a\x1b[31mb\u202ec") == "a\\x1b[31mb\\u202ec"
    assert len(quote("x" * 10_000)) == MAX_QUOTE
    assert quote("x" * 10_000).endswith("…")
    assert quote("x" * MAX_QUOTE) == "x" * MAX_QUOTE


def test_queries_and_secrets_are_blotted_out() -> None:
    text = "see https://cdn.example/x?sig=abc&b=c and 'http://a/?t=1'"
    assert quote(text) == "see https://cdn.example/x?[REDACTED] and 'http://a/?[REDACTED]'"
    assert quote("bad password hunter22!", secrets=["hunter22"]) == "bad password [REDACTED]!"
    assert quote("abc", secrets=["a", ""]) == "abc"


def test_a_secret_that_is_cut_in_two_does_not_show() -> None:
    secret = "s3cr3t" * 10
    for before in range(MAX_QUOTE - 70, MAX_QUOTE):
        assert "s3cr3t" not in quote("x" * before + secret, secrets=[secret])


def test_a_hostile_body_takes_no_time() -> None:
    begin = time.process_time()
    quote("://" * 30_000)
    quote("a?" * 30_000)
    assert time.process_time() - begin < 1.0


@given(st.binary(max_size=300), st.sampled_from(["", JSON, "text/plain"]))
def test_any_body_gives_one_short_printable_line(body: bytes, content_type: str) -> None:
    words = detail(body, content_type)
    assert words.isprintable()
    assert len(words) <= MAX_QUOTE


def test_several_hosts_in_one_message() -> None:
    tried = [
        ("m.example", "a.example/x:1: registry m.example is failing (status 503)"),
        ("n.example", "registry n.example: connection refused"),
        ("a.example", "a.example/x:1: not found in registry a.example: MANIFEST_UNKNOWN"),
    ]
    assert told(tried, "a.example/x:1") == (
        "a.example/x:1: a.example: not found: MANIFEST_UNKNOWN (before that:"
        " m.example: is failing (status 503); n.example: connection refused)"
    )


def test_a_message_about_many_hosts_stays_short() -> None:
    tried = [(f"m{number}.example", "x" * 1000) for number in range(50)]
    text = told(tried, "a.example/x:1")
    assert text.count("before that") == 1
    assert "m6.example" in text
    assert "m7.example" not in text
    assert text.endswith("; and 42 more)")
    assert len(text) < 2000
