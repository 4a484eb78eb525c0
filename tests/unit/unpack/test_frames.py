"""Frames: what one side writes, the other reads; anything else is a defect of the worker."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Internal
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression
from orlop.unpack import frames
from orlop.unpack.frames import Done, Failed, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

U64 = st.integers(0, 2**64 - 1)
COMPONENT = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATH = st.lists(COMPONENT, min_size=1, max_size=5).map(b"/".join)
HEX = "0123456789abcdef" * 4


@given(st.sampled_from(Compression), st.sampled_from(["overlay", "direct"]), U64)
def test_job(compression: Compression, mode: str, size: int) -> None:
    for algorithm in ("sha256", "sha512"):
        limits = replace(DEFAULTS, layer_bytes=size, path_depth=7)
        job = Job(compression, "direct" if mode == "direct" else "overlay", algorithm, size, limits)
        frame = frames.job(job)
        assert frames.parse_job(frame) == job
        assert frames.kind_of(frame) is Kind.JOB
        assert len(frame) <= frames.MAX_FRAME


def test_job_carries_every_limit() -> None:
    names = [field.name for field in fields(Limits)]
    limits = Limits(**{name: number for number, name in enumerate(names, 1)})
    job = Job(Compression.ZSTD, "overlay", "sha256", 1, limits)
    assert frames.parse_job(frames.job(job)).limits == limits


@given(st.sampled_from([Kind.AVAILABLE, Kind.END, Kind.PROGRESS]), U64)
def test_count(kind: Kind, number: int) -> None:
    frame = frames.count(kind, number)
    assert frames.kind_of(frame) is kind
    assert frames.parse_count(frame) == number


@given(st.lists(PATH | st.just(b".")), st.sampled_from([Kind.IMPLIED, Kind.OPAQUE]))
def test_paths(paths: list[bytes], kind: Kind) -> None:
    found = []
    for frame in frames.paths(kind, paths):
        assert frames.kind_of(frame) is kind
        found += frames.parse_paths(frame)
    assert found == paths


def test_many_paths_take_several_frames() -> None:
    paths = [b"%04096d" % number for number in range(100)]
    written = list(frames.paths(Kind.IMPLIED, paths))
    assert all(len(frame) <= frames.MAX_FRAME for frame in written)
    assert len(written) == 7
    assert [path for frame in written for path in frames.parse_paths(frame)] == paths


def test_no_paths_take_no_frame() -> None:
    assert list(frames.paths(Kind.OPAQUE, [])) == []


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/a", b"a/", b"a//b", b"..", b"../a", b"a/..", b"a/./b", b"./a", b"a\0b", b"./."],
)
def test_path_that_is_not_plain(path: bytes) -> None:
    frame = bytes([Kind.IMPLIED]) + len(path).to_bytes(2, "little") + path
    with pytest.raises(Internal, match="malformed"):
        frames.parse_paths(frame)


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=64), U64)
def test_dropped(kind: str, number: int) -> None:
    frame = frames.dropped(kind, number)
    assert frames.kind_of(frame) is Kind.DROPPED
    assert frames.parse_dropped(frame) == (kind, number)


@given(U64, U64, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_done(uncompressed: int, entries: int, disk_bytes: int, inodes: int) -> None:
    for diff_hex in (HEX, HEX * 2):
        value = Done(uncompressed, entries, disk_bytes, inodes, diff_hex)
        frame = frames.done(value)
        assert frames.kind_of(frame) is Kind.DONE
        assert frames.parse_done(frame) == value


def test_negative_usage_is_none() -> None:
    # Replacing what lower layers have can make less than nothing.
    found = frames.parse_done(frames.done(Done(1, 1, -5, -1, HEX)))
    assert (found.disk_bytes, found.inodes) == (0, 0)


@pytest.mark.parametrize("limit", ["", "layer_bytes"])
def test_failed(limit: str) -> None:
    value = Failed("archive-invalid", "layer ünd \N{SNOWMAN}", limit)
    frame = frames.failed(value)
    assert frames.kind_of(frame) is Kind.FAILED
    assert frames.parse_failed(frame) == value


def test_message_is_cut_and_made_printable() -> None:
    found = frames.parse_failed(frames.failed(Failed("internal", "a\x1b[31m\n\ud800" + "x" * 9999)))
    assert found.message.isprintable()
    assert len(found.message) <= 2000
    assert found.message.startswith("a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}")
    cut_inside_a_character = frames.failed(Failed("internal", "x" + "\N{SNOWMAN}" * 2000))
    assert frames.parse_failed(cut_inside_a_character).message.startswith("x\N{SNOWMAN}")


@pytest.mark.parametrize(
    ("parse", "frame"),
    [
        (frames.kind_of, b""),
        (frames.kind_of, b"\0"),
        (frames.kind_of, b"\x0d"),
        (frames.kind_of, b"\xff"),
        (frames.parse_count, b""),
        (frames.parse_count, frames.count(Kind.PROGRESS, 1)[:-1]),
        (frames.parse_count, frames.count(Kind.PROGRESS, 1) + b"\0"),
        (frames.parse_paths, b"\x06\x01"),
        (frames.parse_paths, b"\x06\x05\x00abcd"),
        (frames.parse_paths, b"\x06\x01\x00a\x01"),
        (frames.parse_dropped, frames.dropped("", 1)),
        (frames.parse_dropped, frames.dropped("x", 1)[:5]),
        (frames.parse_dropped, frames.dropped("x", 1) + b"\xff"),
        (frames.parse_dropped, frames.dropped("x" * 64, 1) + b"x"),
        (frames.parse_done, b"\x09"),
        (frames.parse_done, frames.done(Done(1, 1, 1, 1, ""))),
        (frames.parse_done, frames.done(Done(1, 1, 1, 1, HEX[:-1]))),
        (frames.parse_done, frames.done(Done(1, 1, 1, 1, HEX[:-1] + "G"))),
        (frames.parse_done, frames.done(Done(1, 1, 1, 1, HEX.upper()))),
        (frames.parse_done, frames.done(Done(1, 1, 1, 1, " " * 64))),
        (frames.parse_failed, b"\x0b"),
        (frames.parse_failed, b"\x0b\x00\x00message"),
        (frames.parse_failed, b"\x0b\x09\x00internal"),
        (frames.parse_failed, b"\x0b\x01\x08internal"),
        (frames.parse_failed, b"\x0b\x01\x00\xffmessage"),
        (frames.parse_failed, b"\x0b\x01\x01aamessage"),
        (frames.parse_failed, b"\x0b\x01\x01a\xffmessage"),
    ],
)
def test_malformed(parse: Callable[[bytes], object], frame: bytes) -> None:
    with pytest.raises(Internal, match="malformed"):
        parse(frame)


@pytest.mark.parametrize(
    "parse",
    [
        frames.kind_of,
        frames.parse_count,
        frames.parse_paths,
        frames.parse_dropped,
        frames.parse_done,
        frames.parse_failed,
    ],
)
@given(frame=st.binary(max_size=200))
def test_random_bytes_are_a_value_or_internal(
    parse: Callable[[bytes], object], frame: bytes
) -> None:
    with suppress(Internal):
        parse(frame)
