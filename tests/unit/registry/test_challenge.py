"""Rows H12 of the threat catalogue, and the examples of RFC 9110."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import RegistryProtocol
from orlop.registry.challenge import (
    MAX_CHALLENGES,
    MAX_LENGTH,
    MAX_PARAMETERS,
    Challenge,
    choose,
    parse,
)


def test_bearer_challenge_of_docker_hub() -> None:
    (challenge,) = parse(
        [
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="s:t"',
        ]
    )
    assert challenge.scheme == "bearer"
    assert challenge.get("realm") == "https://auth.docker.io/token"
    assert challenge.get("service") == "registry.docker.io"
    assert challenge.get("scope") == "s:t"
    assert challenge.get("error") == ""


def test_several_challenges_in_one_field_and_in_several() -> None:
    one = parse(['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'])
    assert [c.scheme for c in one] == ["newauth", "basic"]
    assert one[0].get("title") == 'Login to "apps"'
    assert one[1].get("realm") == "simple"
    assert parse(['Bearer realm="a"', "Basic"]) == parse(['Bearer realm="a", Basic'])


@pytest.mark.parametrize(
    "value",
    [
        'Negotiate YIIKhQ==, Basic realm="x"',
        'Negotiate YI/IKhQ, Basic realm="x"',
        'Negotiate, Basic realm="x"',
        'Negotiate abc , , Basic realm = "x"',
        'NTLM\tTlRMTVNTUAACAAAA=,BASIC Realm="x"',
    ],
)
def test_token68_of_another_scheme_is_passed_over(value: str) -> None:
    found = parse([value])
    assert [c.scheme for c in found][1:] == ["basic"]
    assert found[0].parameters == {}
    assert found[1].get("realm") == "x"


@pytest.mark.parametrize(
    ("value", "realm"),
    [
        ("Bearer realm=https://auth.example/token,service=x", "https://auth.example/token"),
        ('bEaReR REALM="r"', "r"),
        ('Bearer realm="a,b=c Basic"', "a,b=c Basic"),
        ('Bearer realm="r",realm="r"', "r"),
        (' ,, Bearer realm="r" ,', "r"),
    ],
)
def test_spellings_of_a_realm(value: str, realm: str) -> None:
    (challenge,) = parse([value])
    assert challenge.scheme == "bearer"
    assert challenge.get("realm") == realm


@pytest.mark.parametrize(
    "value",
    [
        'Bearer realm="unterminated',
        'Bearer realm="escaped quote\\"',
        'Bearer realm="ends in a backslash\\',
        'realm="no scheme"',
        'Bearer realm="a",realm="b"',
        '"quoted"',
        "Bearer realm=\x00",
        "Bearer @",
        "=",
    ],
)
def test_malformed_is_a_protocol_error(value: str) -> None:
    with pytest.raises(RegistryProtocol, match="malformed"):
        parse([value])


def test_caps() -> None:
    assert len(parse([", ".join(["x y=z"] * MAX_CHALLENGES)])) == MAX_CHALLENGES
    with pytest.raises(RegistryProtocol, match="too many challenges"):
        parse([", ".join(["x y=z"] * (MAX_CHALLENGES + 1))])
    with pytest.raises(RegistryProtocol, match="too many challenges"):
        parse(["x"] * (MAX_CHALLENGES + 1))
    many = ",".join(f"p{n}=1" for n in range(MAX_PARAMETERS))
    assert len(parse([f"x {many}"])[0].parameters) == MAX_PARAMETERS
    with pytest.raises(RegistryProtocol, match="too many parameters"):
        parse([f"x {many},more=1"])
    with pytest.raises(RegistryProtocol, match="too long"):
        parse(["x" * (MAX_LENGTH // 2), "y" * (MAX_LENGTH // 2 + 1)])


@pytest.mark.parametrize("piece", ['"', "\\", "a=", 'a="', ", ", " ", "=", "a b=c,", "a ", 'x="\\'])
def test_the_longest_input_takes_no_time(piece: str) -> None:
    text = (piece * MAX_LENGTH)[:MAX_LENGTH]
    begin = time.process_time()
    with contextlib.suppress(RegistryProtocol):
        parse([text])
    assert time.process_time() - begin < 1.0


def test_choice() -> None:
    basic = Challenge("basic", {"realm": "x"})
    bearer = Challenge("bearer", {"realm": "https://a/token"})
    other = Challenge("negotiate", {})
    assert choose([other, basic, bearer]) is bearer
    assert choose([other, basic]) is basic
    assert choose([Challenge("bearer", {}), basic]) is basic
    assert choose([other]) is None
    assert choose([]) is None


@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_text_gives_challenges_or_a_protocol_error(values: list[str]) -> None:
    try:
        found = parse(values)
    except RegistryProtocol:
        return
    assert all(c.scheme == c.scheme.lower() for c in found)


_TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10)


@given(
    st.lists(
        st.tuples(
            _TOKEN,
            st.dictionaries(
                _TOKEN, st.text(st.characters(codec="ascii"), max_size=20), min_size=1, max_size=6
            ),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} " + ", ".join(f"{k}={quoted(v)}" for k, v in parameters.items())
        for scheme, parameters in challenges
    )
    assert [(c.scheme, dict(c.parameters)) for c in parse([text])] == challenges
