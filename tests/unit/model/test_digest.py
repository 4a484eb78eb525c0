"""Digests: grammar (threats M03), computing, ordering."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from orlop.errors import InvalidReference
from orlop.model.digest import HEX_LENGTHS, Digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_parse_and_str_are_inverse(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text
    assert digest.hex == text[7:]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no algorithm"),
        (HEX, "no algorithm"),
        (f"sha256-{HEX}", "no algorithm"),
        (f":{HEX}", "unsupported digest algorithm ''"),
        (f"md5:{HEX[:32]}", "unsupported digest algorithm 'md5'"),
        (f"SHA256:{HEX}", "unsupported digest algorithm 'SHA256'"),
        ("sha256:", "0 hex digits"),
        (f"sha256:{HEX[:-1]}", "63 hex digits"),
        (f"sha256:{HEX}0", "65 hex digits"),
        (f"sha512:{HEX}", "64 hex digits"),
        (f"sha256:{HEX.upper()}", "not lower-case hex"),
        (f"sha256:{HEX[:-1]}g", "not lower-case hex"),
        (f"sha256:{HEX[:-1]}\n", "not lower-case hex"),
        (f"sha256:{HEX[:-1]}\u0663", "not lower-case hex"),
        ("sha256:../../" + HEX[6:], "not lower-case hex"),
        (f"sha256: {HEX[1:]}", "not lower-case hex"),
        (f"sha256:{HEX}\n", "65 hex digits"),
    ],
)
def test_parse_refuses(text: str, cause: str) -> None:
    with pytest.raises(InvalidReference, match=cause):
        Digest.parse(text)


def test_constructor_checks_as_parse_does() -> None:
    with pytest.raises(InvalidReference):
        Digest("sha256", "../../../etc/passwd")


@pytest.mark.parametrize("algorithm", sorted(HEX_LENGTHS))
def test_of_hashes_any_buffer(algorithm: str) -> None:
    expected = hashlib.new(algorithm, b"cargo").hexdigest()
    for data in (b"cargo", bytearray(b"cargo"), memoryview(b"cargo")):
        assert Digest.of(data, algorithm) == Digest(algorithm, expected)


def test_of_is_sha256_unless_told() -> None:
    assert str(Digest.of(b"")) == f"sha256:{hashlib.sha256().hexdigest()}"


def test_of_refuses_unknown_algorithms() -> None:
    with pytest.raises(InvalidReference, match="'md5'") as caught:
        Digest.of(b"", "md5")
    assert caught.value.hint == "use sha256 or sha512"


@pytest.mark.parametrize("algorithm", sorted(HEX_LENGTHS))
def test_hasher_is_new_and_of_the_same_algorithm(algorithm: str) -> None:
    digest = Digest.of(b"cargo", algorithm)
    hasher = digest.hasher()
    hasher.update(b"car")
    hasher.update(memoryview(b"go"))
    assert hasher.hexdigest() == digest.hex
    assert digest.hasher().hexdigest() == Digest.of(b"", algorithm).hex


def test_short_is_twelve_digits() -> None:
    assert Digest("sha256", HEX).short == HEX[:12]


def test_digests_sort_as_their_text() -> None:
    digests = [Digest.of(bytes([n]), a) for n in range(8) for a in HEX_LENGTHS]
    assert [str(d) for d in sorted(digests)] == sorted(str(d) for d in digests)


def test_digests_are_values() -> None:
    assert len({Digest.of(b"a"), Digest.of(b"a"), Digest.of(b"b")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Digest.of(b"a").hex = HEX  # type: ignore[misc]


def test_messages_stay_short() -> None:
    with pytest.raises(InvalidReference) as caught:
        Digest.parse("sha256:" + "a" * 1_000_000)
    assert len(str(caught.value)) < 300
