"""What the fuzzer has kept still passes, and the targets can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzz import corpus, targets
from fuzz.corpus import CORPUS, MOST_BYTES, MOST_INPUTS, inputs, keep, lines_of
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from orlop.model.mediatype import Compression
from orlop.unpack import frames

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_was_found_is_mended(name: str) -> None:
    for data in inputs(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_nothing(name: str) -> None:
    for data in (b"", b"\0", b"\0" * 600, b"\xff" * 600, bytes(range(256)) * 3):
        TARGETS[name](data)


def test_every_target_has_seeds_and_a_corpus() -> None:
    assert set(seeds()) == set(TARGETS)
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_the_corpus_stays_small() -> None:
    for name in TARGETS:
        sizes = [path.stat().st_size for path in (CORPUS / name).iterdir()]
        assert 0 < len(sizes) <= MOST_INPUTS
        assert max(sizes) <= MOST_BYTES


def test_seeds_reach_the_end_of_what_they_are_for() -> None:
    # A seed that is refused at once would leave the search at the front door.
    assert targets._tar_events(seeds()["tar"][0], 512)[2] == ""
    gzip = b"\x1f\x8b" + seeds()["gzip"][0]
    assert targets._decompressed(gzip, Compression.GZIP, 100)[1] == ""


def test_a_parser_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(frames, "kind_of", broken)
    with pytest.raises(KeyError):
        targets.worker_frames(b"x")


def test_what_reaches_something_new_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path / "corpus")
    found = tmp_path / "found"
    found.mkdir()
    (found / "a").write_bytes(b"")  # no frame at all: no seed is like it
    (found / "b").write_bytes(inputs("worker_frames")[0])  # nothing that it reaches is new
    assert keep("worker_frames", found) == 1
    assert [path.read_bytes() for path in (tmp_path / "corpus/worker_frames").iterdir()] == [b""]
    assert keep("worker_frames", found) == 0
    assert lines_of("worker_frames", b"")
