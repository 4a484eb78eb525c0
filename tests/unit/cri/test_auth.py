"""Every form of AuthConfig."""

from __future__ import annotations

import base64

import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop.cri.auth import credentials, decode_basic, without_basic
from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_nothing_given_is_anonymous() -> None:
    assert credentials(pb.AuthConfig()) is None
    assert credentials(pb.AuthConfig(server_address="registry.example")) is None


def test_user_and_password() -> None:
    auth = pb.AuthConfig(username="ann", password="s3cret", server_address="registry.example")
    assert credentials(auth) == Credentials(
        username="ann", password="s3cret", server_address="registry.example"
    )


def test_the_user_name_wins_over_auth() -> None:
    auth = pb.AuthConfig(username="ann", password="one", auth=encoded(b"bob:two"))
    assert credentials(auth) == Credentials(username="ann", password="one")
    auth.auth = "!"
    assert credentials(auth) == Credentials(username="ann", password="one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (encoded(b"ann:s3cret"), ("ann", "s3cret")),
        (encoded(b"ann:a:b"), ("ann", "a:b")),
        (encoded(b"ann:"), ("ann", "")),
        (encoded(b":token"), ("", "token")),
        (encoded(b"ann:s3cret\0\0\0"), ("ann", "s3cret")),
        (encoded(b"ann:s3cret").rstrip("="), ("ann", "s3cret")),
        (encoded(b"ann:s3cret") + "\n", ("ann", "s3cret")),
        (encoded("ann:pä".encode()), ("ann", "pä")),
        (base64.b64encode(b"ann:\x3e\x7e\x3f\x7f").decode(), ("ann", ">~?\x7f")),
        (base64.urlsafe_b64encode("ann:~~~???ÿÿ".encode()).decode(), ("ann", "~~~???ÿÿ")),
    ],
)
def test_auth_is_base64(text: str, expected: tuple[str, str]) -> None:
    assert decode_basic(text) == expected
    given = credentials(pb.AuthConfig(auth=text))
    assert given is not None
    assert (given.username, given.password) == expected


def test_the_samples_use_the_characters_in_which_the_alphabets_differ() -> None:
    assert set("-_") & set(base64.urlsafe_b64encode("ann:~~~???ÿÿ".encode()).decode())


@pytest.mark.parametrize(
    "text", ["!", "a", encoded(b"nocolon"), encoded(b"ann:\xff\xfe"), "=", "ä"]
)
def test_what_cannot_be_decoded_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        credentials(pb.AuthConfig(auth=text))
    assert caught.value.__cause__ is None
    assert "nocolon" not in str(caught.value)


def test_tokens_are_taken_along() -> None:
    auth = pb.AuthConfig(auth="!", identity_token="refresh", registry_token="bearer")
    expected = Credentials(identity_token="refresh", registry_token="bearer")
    assert without_basic(auth) == expected
    auth.auth = ""
    assert credentials(auth) == expected
    assert without_basic(pb.AuthConfig(auth="!")) is None


def test_secrets_are_not_shown() -> None:
    auth = pb.AuthConfig(
        username="ann", password="s3cret", identity_token="refresh", registry_token="bearer"
    )
    shown = repr(credentials(auth))
    assert not any(secret in shown for secret in ("s3cret", "refresh", "bearer"))
