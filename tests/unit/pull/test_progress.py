"""Pictures of a running pull."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from orlop.pull.progress import Tracker
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from tests.unit.pull.test_plan import plan

if TYPE_CHECKING:
    from orlop.pull.download import Download
    from orlop.pull.layer import Layer

IMAGE = build_image([build_layer([file(name, b"x" * 5000)]) for name in "ab"])
SIZES = [len(layer.blob) for layer in IMAGE.layers]


def tracker(
    *, blobs: set[int] | None = None, snapshots: set[int] | None = None
) -> tuple[Tracker, ManualClock]:
    clock = ManualClock()
    made = Tracker("registry.example/app:v1", "linux/amd64", clock)
    made.plan = plan(IMAGE, blobs=blobs, snapshots=snapshots)
    return made, clock


def working(tracker: Tracker, *, available: int, waiting: bool = False, consumed: int = 0) -> None:
    """Have all downloads and layers stand there."""
    download = cast("Download", SimpleNamespace(available=available, waiting=waiting))
    layer = cast("Layer", SimpleNamespace(consumed=consumed))
    assert tracker.plan is not None
    tracker.downloads = {one.descriptor.digest: download for one in tracker.plan.layers}
    tracker.layers = {one.chain_id: layer for one in tracker.plan.layers}


def test_before_anything_is_known() -> None:
    clock = ManualClock()
    made = Tracker("registry.example/app:v1", "linux/amd64", clock)
    clock.advance(2.5)
    picture = made.picture()
    assert (picture.phase, picture.elapsed, picture.layers) == ("queued", 2.5, ())
    assert (picture.total, picture.downloaded, picture.resolved) == (0, 0, None)


@pytest.mark.parametrize(
    ("available", "waiting", "consumed", "phase"),
    [
        (0, True, 0, "waiting"),
        (0, False, 0, "downloading"),
        (10, False, 5, "downloading"),
        (SIZES[0], False, 5, "unpacking"),
        (SIZES[0], False, SIZES[0], "staged"),
    ],
)
def test_phases_of_a_layer(available: int, waiting: bool, consumed: int, phase: str) -> None:
    made, _ = tracker()
    working(made, available=available, waiting=waiting, consumed=consumed)
    layer = made.picture().layers[0]
    assert (layer.phase, layer.downloaded, layer.unpacked) == (phase, available, consumed)


def test_before_the_work_is_divided() -> None:
    made, _ = tracker()
    assert {layer.phase for layer in made.picture().layers} == {"waiting"}
    assert made.picture().total == sum(SIZES)


def test_what_was_there_before() -> None:
    made, _ = tracker(blobs={0}, snapshots={0})
    working(made, available=7)
    picture = made.picture()
    assert [layer.phase for layer in picture.layers] == ["present", "downloading"]
    assert picture.layers[0].downloaded == picture.layers[0].unpacked == SIZES[0]
    assert (picture.total, picture.downloaded) == (SIZES[1], 7)


def test_a_blob_that_is_there_is_only_unpacked() -> None:
    made, _ = tracker(blobs={0, 1})
    working(made, available=0, consumed=3)
    assert [layer.phase for layer in made.picture().layers] == ["unpacking", "unpacking"]
    assert made.picture().downloaded == sum(SIZES)


def test_the_end_stops_the_clock() -> None:
    made, clock = tracker()
    clock.advance(3)
    made.end("failed", "it broke")
    clock.advance(5)
    picture = made.picture()
    assert (picture.phase, picture.error, picture.elapsed) == ("failed", "it broke", 3)
    assert replace(picture, error="") != picture
