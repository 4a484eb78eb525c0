"""Several observers are told as one, and none of them can hurt."""

from __future__ import annotations

from structlog.testing import capture_logs

from orlop.images.observers import Observers
from orlop.model.digest import Digest
from orlop.ports.observe import PullEnded

DIGEST = Digest.parse("sha256:" + "0" * 64)
ENDED = PullEnded("a.example/b:c", "a.example", "", 1.0, 2, 3, 4)


class Notes:
    """Writes down what it is told; raises on the first one if it is to."""

    def __init__(self, *, broken: bool = False) -> None:
        self.lines: list[tuple[object, ...]] = []
        self.broken = broken

    def _note(self, *line: object) -> None:
        self.lines.append(line)
        if self.broken:
            raise RuntimeError("broken")

    def pull_started(self, reference: str) -> None:
        self._note("started", reference)

    def pull_ended(self, event: PullEnded) -> None:
        self._note("ended", event)

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:
        self._note("unpacked", digest, seconds, uncompressed)

    def attribute_dropped(self, kind: str, count: int) -> None:
        self._note("dropped", kind, count)


def tell(observers: Observers) -> None:
    observers.pull_started("a.example/b:c")
    observers.layer_unpacked(DIGEST, 0.5, 7)
    observers.attribute_dropped("xattr", 2)
    observers.pull_ended(ENDED)


def test_all_are_told_everything() -> None:
    first, second = Notes(), Notes()
    tell(Observers({"one": first, "two": second}))
    assert first.lines == second.lines
    assert first.lines == [
        ("started", "a.example/b:c"),
        ("unpacked", DIGEST, 0.5, 7),
        ("dropped", "xattr", 2),
        ("ended", ENDED),
    ]


def test_nobody_is_told_nothing() -> None:
    tell(Observers({}))


def test_one_that_raises_is_told_no_more() -> None:
    broken, sound = Notes(broken=True), Notes()
    with capture_logs() as logs:
        tell(Observers({"broken": broken, "sound": sound}))
    assert len(broken.lines) == 1
    assert len(sound.lines) == 4
    assert [(log["event"], log["observer"]) for log in logs] == [
        ("observer failed, told no more", "broken")
    ]
