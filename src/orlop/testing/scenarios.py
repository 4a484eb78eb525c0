"""Scenarios for a ``FakeRegistry``: which requests go wrong, and how, as data.

A scenario can be printed, compared and played again. ``random_schedule`` makes one from
a seed: the same seed and arguments always make the same scenario.

::

    with FakeRegistry() as registry:
        registry.play(random_schedule(7, sizes=(2_000_000,)))
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orlop.testing.faults import (
    Act,
    ConnectionFault,
    Drip,
    Event,
    Fault,
    redirect,
    throttle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orlop.testing.faults import RecordedRequest

Kind = Literal["any", "manifest", "blob", "token"]
"""What a request is for, by its path."""

_PLACES: Final[Mapping[Kind, str]] = {
    "any": "",
    "manifest": "/manifests/",
    "blob": "/blobs/",
    "token": "/token",
}


@dataclass(frozen=True, slots=True)
class Match:
    """Requests that a step is for; every condition must hold.

    Attributes:
        kind: what is asked for.
        method: "" is any.
        path: a part of the path; a digest, as a rule.
        ranged: True for requests with a Range field, False for others, None for both.
    """

    kind: Kind = "any"
    method: str = ""
    path: str = ""
    ranged: bool | None = None

    def __call__(self, request: RecordedRequest) -> bool:
        """True when the step is for this request."""
        return (
            _PLACES[self.kind] in request.path
            and self.path in request.path
            and self.method in ("", request.method)
            and self.ranged in (None, bool(request.range))
        )


@dataclass(frozen=True, slots=True)
class Step:
    """The next ``times`` requests that match get the fault; None is all of them."""

    match: Match
    fault: Fault
    times: int | None = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A play for ``FakeRegistry.play``.

    Of several steps that match a request, the first that is not used up is taken.
    ``connections`` are for new connections, in order.
    """

    name: str
    steps: tuple[Step, ...] = ()
    connections: tuple[ConnectionFault, ...] = ()


# Answers without an end. They last until the client hangs up.


def endless_head() -> Fault:
    """Header fields without an end."""
    return Fault(events=(Event(Act.REPEAT, -2, "head", data=b"X-More: of the same\r\n"),))


def endless_interim(status: int = 103) -> Fault:
    """Interim answers (RFC 9110 15.2) without an end."""
    data = f"HTTP/1.1 {status} Wait\r\n\r\n".encode()
    return Fault(events=(Event(Act.REPEAT, 0, "head", data=data),))


def endless_body(*, chunked: bool) -> Fault:
    """A body that does not end: chunks, or bytes until the connection is closed."""
    data = b"400\r\n" + bytes(1024) + b"\r\n" if chunked else bytes(1024)
    headers = {"Content-Length": None, "Transfer-Encoding": "chunked" if chunked else None}
    return Fault(headers=headers, body=b"", events=(Event(Act.REPEAT, data=data),))


def endless_trailers() -> Fault:
    """A chunked body that ends, with trailer fields that do not."""
    headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    return Fault(
        headers=headers,
        body=b"1\r\nx\r\n0\r\n",
        events=(Event(Act.REPEAT, None, data=b"X-More: of the same\r\n"),),
    )


def random_schedule(
    seed: int,
    *,
    sizes: Sequence[int] = (1_000_000,),
    steps: int = 6,
    patience: float = 0.05,
    lies: bool = False,
) -> Scenario:
    """A scenario made from a seed.

    Without lies, an answer may fail to arrive, but what arrives is right: a client
    that tries again and continues where it stopped gets through, unless too much
    happens to one request in a row. With lies, heads and bodies may be wrong.

    Args:
        seed: the same seed makes the same scenario.
        sizes: lengths of the blobs; places in bodies are picked from them.
        steps: faults of requests; as many connections at most are spoiled besides.
        patience: seconds; the longest pause. What is longer than the client's
            time-outs makes it give up on that answer.
        lies: also answers that are wrong.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is what it is for
    makers = [*_HONEST, *_LIES] if lies else _HONEST
    chosen = []
    for _ in range(steps):
        kind: Kind = chance.choices(("manifest", "blob", "token"), (3, 6, 1))[0]
        ranged = chance.choice((None, None, True)) if kind == "blob" else None
        size = chance.choice(list(sizes)) if kind == "blob" else 400
        place = chance.choice((0, 1, size // 2, size - 1, chance.randrange(size)))
        fault = chance.choice(makers)(place, chance.uniform(0, patience))
        chosen.append(Step(Match(kind, ranged=ranged), fault))
    spoiled = tuple(
        chance.choice(_CONNECTIONS)(chance.uniform(0, patience))
        for _ in range(chance.randrange(steps // 3 + 1))
    )
    return Scenario(f"seed {seed}{' with lies' if lies else ''}", tuple(chosen), spoiled)


def _at(act: Act, place: int, seconds: float = 0.0) -> Fault:
    return Fault(events=(Event(act, place, seconds=seconds),))


_HONEST: Final[Sequence[Callable[[int, float], Fault]]] = (
    lambda place, _: _at(Act.RESET, place),
    lambda place, _: _at(Act.CLOSE, place),
    lambda place, _: _at(Act.HALF_CLOSE, place),
    lambda place, seconds: _at(Act.PAUSE, place, seconds),
    lambda place, _: _at(Act.EXPIRE_TOKENS, place),
    lambda place, _: Fault(events=(Event(Act.RESET, place % 100, "head"),)),
    lambda place, _: Fault(events=(Event(Act.CLOSE, place % 100, "head"),)),
    lambda _, seconds: Fault(events=(Event(Act.PAUSE, 20, "head", seconds),)),
    lambda _, seconds: Fault(drip=Drip(50_000, seconds / 20)),
    lambda _, seconds: Fault(drip=Drip(40, seconds / 20, "head"), truncate_at=100),
    lambda _, seconds: Fault(delay=seconds),
    lambda *_: Fault(raw=b""),
    lambda *_: Fault(chunked=True),
    lambda *_: Fault(ignore_range=True),
    lambda *_: Fault(headers={"Content-Length": None}, events=(Event(Act.CLOSE, None),)),
    lambda *_: Fault(events=(Event(Act.CLOSE, None),)),
    lambda *_: throttle("0"),
    lambda *_: throttle("soon", status=503),
    lambda *_: Fault(status=500),
    lambda *_: Fault(status=502, body=b"<html>"),
    lambda *_: Fault(status=408, headers={"Connection": "close"}),
)
"""Faults that a second attempt need not see."""

_LIES: Final[Sequence[Callable[[int, float], Fault]]] = (
    lambda place, _: Fault(corrupt_at=place),
    lambda place, _: Fault(headers={"Content-Length": str(place)}),
    lambda place, _: Fault(headers={"Content-Length": str(place + 10**9)}, truncate_at=place),
    lambda place, _: Fault(headers={"Content-Length": (str(place), str(place + 1))}),
    lambda place, _: Fault(headers={"Content-Range": f"bytes {place}-{place}/{place + 1}"}),
    lambda *_: Fault(shift=1),
    lambda *_: Fault(status=206, body=b"?"),
    lambda *_: Fault(status=416),
    lambda *_: Fault(status=404),
    lambda *_: Fault(
        status=200, body=b"<html>log in</html>", headers={"Content-Type": "text/html"}
    ),
    lambda *_: Fault(headers={"Content-Encoding": "gzip"}),
    lambda *_: Fault(headers={"Content-Type": "text/plain"}),
    lambda *_: Fault(headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}),
    lambda *_: Fault(headers={"Content-Length": None, "Transfer-Encoding": "chunked"}),
    lambda *_: redirect("http://127.0.0.1:1/"),
    lambda *_: redirect("file:///etc/passwd"),
    lambda *_: redirect(""),
    lambda *_: throttle("4000000000"),
    lambda *_: Fault(raw=b"nonsense\r\n\r\n"),
    lambda *_: Fault(raw=b"HTTP/1.1 200 OK\r\n"),
    lambda *_: Fault(headers={"X-Long": "x" * 100_000}),
    lambda *_: endless_head(),
    lambda *_: endless_interim(),
    lambda *_: endless_body(chunked=True),
    lambda *_: endless_body(chunked=False),
)
"""Faults of a registry that is wrong, or hostile."""

_CONNECTIONS: Final[Sequence[Callable[[float], ConnectionFault]]] = (
    lambda seconds: ConnectionFault(delay=seconds),
    lambda seconds: ConnectionFault(delay=seconds, act=Act.RESET),
    lambda _: ConnectionFault(act=Act.CLOSE),
)
