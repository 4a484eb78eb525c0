"""Partial downloads that nobody continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotFound, Unavailable
from orlop.gc.ingests import delete_expired, expired
from orlop.ports.content import IngestStatus
from orlop.store.blobs import LocalBlobStore
from orlop.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600 * 10**9


def ingest(ref: str, started: int, updated: int) -> IngestStatus:
    return IngestStatus(ref, 10, 100, started, updated)


def test_which_are_old() -> None:
    found = [ingest("new", 9 * HOUR, 9 * HOUR), ingest("old", HOUR, HOUR)]
    found += [ingest("continued", HOUR, 8 * HOUR), ingest("begun", 8 * HOUR, 0)]
    found += [ingest("of the future", HOUR, 99 * HOUR), ingest("edge", 5 * HOUR, 5 * HOUR)]
    assert expired(found, now=10 * HOUR, seconds=5 * 3600) == ["old"]
    assert expired(found, now=10 * HOUR + 1, seconds=5 * 3600) == ["old", "edge"]
    assert expired(found, now=10 * HOUR, seconds=0) == ()


def test_those_are_deleted(tmp_path: Path) -> None:
    clock = ManualClock()
    with LocalBlobStore(str(tmp_path / "content"), clock=clock) as store:
        for ref in ("closed", "open"):
            with store.ingest(ref) as one:
                one.write(b"bytes")
        kept = store.ingest("open")
        later = min(one.updated_at for one in store.status()) + HOUR
        assert delete_expired(store, now=later, seconds=3600) == 0
        assert delete_expired(store, now=later + HOUR, seconds=3600) == 1
        assert [one.ref for one in store.status()] == ["open"]
        kept.close()


def test_one_that_goes_or_is_opened_meanwhile() -> None:
    class Busy:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def status(self) -> list[IngestStatus]:
            return [ingest(ref, 0, 0) for ref in ("gone", "opened", "left")]

        def abort(self, ref: str) -> None:
            self.asked.append(ref)
            if ref == "gone":
                raise NotFound(ref)
            if ref == "opened":
                raise Unavailable(ref)

    store = Busy()
    assert delete_expired(store, now=HOUR, seconds=1) == 1
    assert store.asked == ["gone", "opened", "left"]
