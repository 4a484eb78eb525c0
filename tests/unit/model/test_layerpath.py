"""Paths in layers: normalised by text, never above the root; and what whiteout names mean."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded
from orlop.model.layerpath import (
    ROOT,
    Whiteout,
    hidden_name,
    join,
    normalise,
    reserved,
    shown,
    split,
    whiteout,
)
from orlop.model.limits import Limits


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"a", b"a"),
        (b"a/b/c", b"a/b/c"),
        (b"/a/b", b"a/b"),
        (b"///a", b"a"),
        (b"a/", b"a"),
        (b"a//b", b"a/b"),
        (b"./a/./b/.", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/b/../../c", b"c"),
        (b"..a/b..", b"..a/b.."),
        (b"a/...", b"a/..."),
        (b".hidden/.x", b".hidden/.x"),
        (b"\xff\n%s", b"\xff\n%s"),
        (b"", ROOT),
        (b".", ROOT),
        (b"./", ROOT),
        (b"/", ROOT),
        (b"a/..", ROOT),
        (b"/.//a/../.", ROOT),
    ],
)
def test_normalise(path: bytes, expected: bytes) -> None:
    assert normalise(path) == expected


@pytest.mark.parametrize(
    "path", [b"..", b"../a", b"a/../..", b"a/../../a", b"/..", b"./..", b"a/b/../../../etc/passwd"]
)
def test_paths_above_the_root(path: bytes) -> None:
    with pytest.raises(ArchiveEscape, match="leads outside"):
        normalise(path)


@pytest.mark.parametrize("path", [b"a\0b", b"\0", b"a/b\0", b"./a\0"])
def test_nul(path: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="NUL"):
        normalise(path)


def test_longest_paths() -> None:
    name = b"n" * 255
    assert normalise(b"d/" + name) == b"d/" + name
    with pytest.raises(ArchiveInvalid, match="longer than 255"):
        normalise(b"d/n" + name)
    longest = b"/".join([name] * 16)
    assert len(longest) == 4095
    assert normalise(longest) == longest
    with pytest.raises(ArchiveInvalid, match="longer than 4096"):
        normalise(longest + b"/xy")
    # What counts is what is left.
    assert normalise(b"./" * 3000 + b"a") == b"a"


def test_deepest_paths() -> None:
    assert normalise(b"/".join([b"d"] * 255))
    with pytest.raises(LimitExceeded) as caught:
        normalise(b"/".join([b"d"] * 256))
    assert caught.value.limit == "path_depth"
    with pytest.raises(LimitExceeded):
        normalise(b"a/b/c", Limits(path_depth=2))


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"", b".", b"..", b"...", b".x", b"x."]),
            st.binary(min_size=1, max_size=4).map(
                lambda name: name.replace(b"/", b"_").replace(b"\0", b"_")
            ),
        ),
        max_size=8,
    ).map(b"/".join)
)
def test_normalise_is_what_posix_does_below_a_root(path: bytes) -> None:
    relative = posixpath.normpath(path.lstrip(b"/") or b".")
    try:
        found = normalise(path)
    except ArchiveEscape:
        assert relative.split(b"/")[0] == b".."
        return
    assert found == relative
    assert normalise(found) == found


# Whiteouts.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"x", None),
        (b".wh", None),
        (b".whx", None),
        (b"a.wh.b", None),
        (b".WH.x", None),
        (b".wh.x", Whiteout.FILE),
        (b".wh. ", Whiteout.FILE),
        (b".wh....", Whiteout.FILE),
        (b".wh.wh.x", Whiteout.FILE),
        (b".wh.wh..opq", Whiteout.FILE),
        (b".wh..wh..opq", Whiteout.OPAQUE),
        (b".wh..wh..opqx", Whiteout.META),
        (b".wh..wh.", Whiteout.META),
        (b".wh..wh.aufs", Whiteout.META),
        (b".wh..wh.plnk", Whiteout.META),
    ],
)
def test_names(name: bytes, kind: Whiteout | None) -> None:
    assert whiteout(name) is kind
    assert reserved(b"a/" + name + b"/b") is kind


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh..."])
def test_names_that_hide_nothing(name: bytes) -> None:
    for ask in (whiteout, reserved):
        with pytest.raises(ArchiveInvalid, match="hides no name"):
            ask(name)


def test_the_first_reserved_component_counts() -> None:
    assert reserved(b"a/.wh..wh.plnk/.wh.x") is Whiteout.META
    assert reserved(b".wh.x/.wh..wh.plnk") is Whiteout.FILE
    assert reserved(b"a/b/c") is None


def test_hidden_name() -> None:
    assert hidden_name(b".wh.x") == b"x"
    assert hidden_name(b".wh..wh") == b".wh"


# Taking paths apart.


@pytest.mark.parametrize(
    ("path", "parts"), [(b"a", (ROOT, b"a")), (b"a/b", (b"a", b"b")), (b"a/b/c", (b"a/b", b"c"))]
)
def test_split_and_join(path: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split(path) == parts
    assert join(*parts) == path


def test_shown_is_printable_and_short() -> None:
    assert shown(b"a\n\xff\x1b[0m") == "'a\\n\\xff\\x1b[0m'"
    assert len(shown(b"x" * 4096)) < 200
    assert shown(b"x" * 4096 + b"end").endswith("xend'")
