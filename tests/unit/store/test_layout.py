"""Names and texts of the blob store."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidArgument
from orlop.model.digest import Digest
from orlop.store import layout


def test_directories_come_after_their_parents() -> None:
    seen = {""}
    for path in layout.directories():
        assert path.rpartition("/")[0] in seen
        seen.add(path)
    assert {"blobs/sha256", "blobs/sha512", "ingest"} <= seen


def test_an_ingest_is_named_by_the_hash_of_its_reference() -> None:
    name = layout.ingest_name("layer-1")
    assert name == Digest.of(b"layer-1").hex
    assert layout.is_ingest_of(name, "layer-1")
    assert not layout.is_ingest_of(name, "layer-2")
    assert not layout.is_ingest_of(name, "")


@pytest.mark.parametrize("ref", ["", "x" * 1025, "\ud800"])
def test_references_that_name_nothing(ref: str) -> None:
    with pytest.raises(InvalidArgument):
        layout.ingest_name(ref)


def test_only_digests_name_blobs() -> None:
    name = "a" * 64
    assert layout.blob_digest("sha256", name) == Digest("sha256", name)
    for bad in ("", "a" * 63, "A" * 64, "..", f"{name}.tmp"):
        assert layout.blob_digest("sha256", bad) is None


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_700_000_000_500_000_000, "2023-11-14T22:13:20.5Z"),
        (4_102_444_800_000_000_000, "2100-01-01T00:00:00Z"),
    ],
)
def test_times(nanoseconds: int, text: str) -> None:
    assert layout.format_time(nanoseconds) == text
    assert layout.parse_time(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "now", "2023-13-01T00:00:00Z", "2023-11-14 22:13:20Z"])
def test_a_time_that_makes_no_sense_is_unknown(text: str) -> None:
    assert layout.parse_time(text) == 0


@pytest.mark.parametrize(
    ("text", "total"), [("0", 0), ("123", 123), ("", 0), ("-1", 0), ("1e3", 0), ("9" * 30, 0)]
)
def test_totals(text: str, total: int) -> None:
    assert layout.parse_total(text) == total
