"""What can go wrong with an answer of a ``FakeRegistry``, and with which.

Values and predicates only; ``orlop.testing.delivery`` and ``orlop.testing.fake_registry``
carry them out, ``orlop.testing.scenarios`` makes whole schedules of them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Part = Literal["head", "body"]
"""Of an answer: status line and fields up to the empty line; what follows."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in.

    Attributes:
        number: from 0, in the order of arrival.
        method: GET, HEAD, POST, ….
        path: without the query.
        query: as sent, without the question mark.
        headers: names in lower case; of secret fields only the first word is kept.
        connection: number of the connection it came on, from 0; a connection that
            serves several requests was kept alive.
    """

    number: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    connection: int = 0

    @property
    def range(self) -> str:
        """The Range field; "" if there is none."""
        return self.headers.get("range", "")

    @property
    def authorized(self) -> bool:
        """True when it carries an Authorization field, right or wrong."""
        return "authorization" in self.headers


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What was sent in answer to a request; the client need not have received it.

    Attributes:
        request: the request.
        status: the status; 0 when raw bytes were sent instead of an answer.
        first: offset in the blob or manifest of the first byte of the body.
        sent: bytes of the body, without the framing of chunks.
    """

    request: RecordedRequest
    status: int
    first: int
    sent: int


class Act(enum.Enum):
    """What happens at one place of an answer."""

    PAUSE = "pause"
    """Wait for some seconds, then go on."""
    STALL = "stall"
    """Send nothing more, and keep the connection until the client hangs up."""
    RESET = "reset"
    """Close with RST."""
    CLOSE = "close"
    """Close in good order: FIN, and the end of TLS before it."""
    HALF_CLOSE = "half-close"
    """Send FIN, without the end of TLS before it, and go on listening."""
    INSERT = "insert"
    """Send extra bytes, then go on."""
    REPEAT = "repeat"
    """Send extra bytes again and again until the client hangs up."""
    EXPIRE_TOKENS = "expire-tokens"
    """Accept no token that was given out so far, then go on."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens when an answer has been sent up to a certain byte.

    Attributes:
        act: what.
        at: bytes of the part that are sent before; a negative number counts from the
            end of the part, and None is its end. Places beyond the end are the end.
        part: which part ``at`` counts in. An answer to HEAD has no body, and what
            would happen there does not happen.
        seconds: of a pause.
        data: to insert or to repeat; sent as it is, outside of any chunk.
    """

    act: Act
    at: int | None = 0
    part: Part = "body"
    seconds: float = 0.0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Drip:
    """Sends ``size`` bytes every so many seconds, from the start of ``part`` on."""

    size: int
    every: float
    part: Part = "body"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer; the parts can be combined.

    Offsets count bytes of the body that is sent (of a range, its own bytes).

    Attributes:
        status: instead of the right one; the body is ``body`` then.
        headers: fields to set; several values are several fields, None leaves it out.
        body: instead of the right one.
        delay: seconds before the answer.
        raw: bytes to send instead of any answer, before closing.
        stall_at, reset_at, truncate_at: an ``Event`` there in the body: STALL, RESET, CLOSE.
        corrupt_at: flip the bits of this byte.
        ignore_range: answer with the whole body.
        shift: begin this many bytes after the start of the range that was asked for, and say so.
        chunked: send no Content-Length.
        rate: bytes of the body a second; 0 is as fast as possible.
        drip: sends slowly, byte by byte if need be.
        events: what happens on the way.
    """

    status: int = 0
    headers: Mapping[str, str | tuple[str, ...] | None] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    raw: bytes | None = None
    stall_at: int | None = None
    reset_at: int | None = None
    truncate_at: int | None = None
    corrupt_at: int | None = None
    ignore_range: bool = False
    shift: int = 0
    chunked: bool = False
    rate: int = 0
    drip: Drip | None = None
    events: tuple[Event, ...] = ()

    @property
    def timeline(self) -> tuple[Event, ...]:
        """All events, those of the short fields among them; in no particular order."""
        short = (
            (Act.STALL, self.stall_at),
            (Act.RESET, self.reset_at),
            (Act.CLOSE, self.truncate_at),
        )
        return (*self.events, *(Event(act, at) for act, at in short if at is not None))


NO_FAULT: Final = Fault()


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """What goes wrong with a connection before its first request is read.

    Attributes:
        delay: seconds during which nothing is read or written, not even TLS.
        raw: bytes to send then (in place of a TLS handshake, if there is one).
        act: how it ends then: STALL, RESET or CLOSE; None serves it as usual.
    """

    delay: float = 0.0
    raw: bytes = b""
    act: Act | None = None


def redirect(location: str, *, status: int = 307) -> Fault:
    """A fault that sends the client elsewhere."""
    return Fault(status=status, headers={"Location": location}, body=b"")


def throttle(retry_after: str | None, *, status: int = 429) -> Fault:
    """A fault that asks for patience: seconds, a date, or nonsense."""
    return Fault(status=status, headers={"Retry-After": retry_after}, body=b"")


def challenge(*values: str) -> Fault:
    """A fault that asks for credentials, with one WWW-Authenticate field for each value."""
    return Fault(status=401, headers={"WWW-Authenticate": values}, body=b"")


@dataclass(slots=True)
class Rule:
    """Applies ``fault`` to requests that ``matches`` likes, ``times`` times (None: always)."""

    matches: Callable[[RecordedRequest], bool]
    fault: Fault
    times: int | None = None

    def take(self, request: RecordedRequest) -> bool:
        """True, and counted, when the rule applies to this request."""
        if self.times == 0 or not self.matches(request):
            return False
        if self.times is not None:
            self.times -= 1
        return True
