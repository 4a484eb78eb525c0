"""References, digests and platforms: what holds for every text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import InvalidArgument, InvalidReference
from orlop.model.digest import HEX_LENGTHS, Digest
from orlop.model.platform import Platform, from_machine, rank
from orlop.model.quote import quote
from orlop.model.reference import Reference, from_user

ANY_TEXT = st.text(st.characters())  # lone surrogates included
NEAR_TEXT = st.text(st.sampled_from("aA0zZ9._-:/@[]% \n\u212a"), max_size=40)

component = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
domain = st.one_of(
    st.sampled_from(["docker.io", "localhost", "[::1]", "[fd00::1]:5000", "Upper", "r:1"]),
    st.from_regex(
        r"[a-z0-9]{1,5}(-[a-zA-Z0-9]{1,3})?\.[a-z]{2,5}(:[1-9][0-9]{0,3})?", fullmatch=True
    ),
)
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
digests = st.builds(
    lambda algorithm, data: Digest.of(data, algorithm),
    st.sampled_from(sorted(HEX_LENGTHS)),
    st.binary(max_size=8),
)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    registry = draw(domain)
    path = "/".join(draw(st.lists(component, min_size=1, max_size=4)))
    if registry == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Reference(registry, path, draw(st.none() | tag), draw(st.none() | digests))


@given(references())
def test_references_survive_their_text(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(references())
def test_from_user_reads_canonical_text_as_it_is(reference: Reference) -> None:
    expected = reference.without_tag_if_digest()
    if reference.tag is None and reference.digest is None:
        expected = reference.with_tag("latest")
    assert from_user(str(reference)) == expected
    assert from_user(reference.familiar) == expected


@given(st.one_of(ANY_TEXT, NEAR_TEXT))
@example("docker.io/localhost/x")
@example("library/" + "0" * 64)
def test_from_user_is_idempotent_or_refuses(text: str) -> None:
    with contextlib.suppress(InvalidReference):
        reference = from_user(text)
        assert from_user(str(reference)) == reference
        assert from_user(reference.familiar) == reference
        assert len(reference.familiar) <= len(str(reference))
        assert len(reference.name) <= 255
        assert str(reference).isascii()


@given(st.one_of(ANY_TEXT, NEAR_TEXT))
def test_parse_gives_back_the_text_or_refuses(text: str) -> None:
    with contextlib.suppress(InvalidReference):
        assert str(Reference.parse(text)) == text


@given(ANY_TEXT)
def test_messages_are_one_printable_line(text: str) -> None:
    shown = quote(text)
    assert shown.isprintable()
    assert len(shown) < 128 * 10 + 40
    with pytest.raises(InvalidReference) as caught:
        from_user(f"{text}!")
    assert str(caught.value).isprintable()
    assert caught.value.hint.isprintable()


@given(digests)
def test_digests_survive_their_text(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


@given(ANY_TEXT | st.from_regex(r"\Asha(256|512):[0-9a-fA-F]{60,130}\Z"))
def test_digest_parse_gives_back_the_text_or_refuses(text: str) -> None:
    with contextlib.suppress(InvalidReference):
        assert str(Digest.parse(text)) == text


platforms = st.builds(
    Platform,
    st.sampled_from(["linux", "Linux", "macos", "unknown", ""]) | ANY_TEXT,
    st.sampled_from(["amd64", "x86_64", "arm", "armhf", "arm64", "aarch64", "386"]) | ANY_TEXT,
    st.sampled_from(["", "v1", "v2", "v3", "v5", "7", "v8", "v8.0", "v8.4", "v9", "9.3"])
    | ANY_TEXT,
)


@given(platforms)
def test_normalising_is_idempotent(platform: Platform) -> None:
    once = platform.normalised()
    assert once.normalised() == once


@given(platforms, platforms)
def test_rank_does_not_depend_on_spelling(one: Platform, other: Platform) -> None:
    assert rank(one, other) == rank(one.normalised(), other.normalised())


@given(platforms, platforms)
def test_only_the_same_platform_ranks_first(one: Platform, other: Platform) -> None:
    if rank(one, other) == 0:
        assert one.normalised() == other.normalised()


@given(platforms, platforms, platforms)
def test_what_runs_on_a_platform_that_runs_here_runs_here(
    here: Platform, middle: Platform, lowest: Platform
) -> None:
    if rank(here, middle) is not None and rank(middle, lowest) is not None:
        assert rank(here, lowest) is not None


@given(ANY_TEXT | st.text(st.sampled_from("linuxarmd648v/._"), max_size=24))
def test_platform_parse_is_idempotent_or_refuses(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        platform = Platform.parse(text)
        assert Platform.parse(str(platform)) == platform
    with contextlib.suppress(InvalidArgument):
        assert from_machine(text).os == "linux"
