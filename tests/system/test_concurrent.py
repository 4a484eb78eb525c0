"""Many pulls at once: they end, a small one is not last, and the daemon goes on answering."""

from __future__ import annotations

from typing import Final

import pytest

from bench.concurrent import percentile, run

pytestmark = pytest.mark.root

PULLS: Final = 64

RATE: Final = 12_000_000
"""Bytes per second of all downloads, so that the large images take some seconds."""

USUAL_SECONDS: Final = 0.25
"""Half of the calls of ListImages take less; on a machine with nothing else to do, all."""

LONGEST_SECONDS: Final = 5.0
"""No call waits for the pulls, however busy the machine is."""


def test_a_node_that_starts(capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(images=20, pulls=PULLS, megabytes=10, rate=RATE)
    with capsys.disabled():
        print(f"\n{figures}")
    assert len(figures.ends) == PULLS
    assert percentile(figures.calls, 50) <= USUAL_SECONDS
    assert max(figures.calls) <= LONGEST_SECONDS
    _, ended = figures.late
    assert ended < max(figures.ends), "the small image that came late was stuck behind the others"
