"""What can go wrong with an answer of a ``FakeRegistry``, and with which.

Values and predicates only; ``orlop.testing.fake_registry`` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in.

    Attributes:
        number: from 0, in the order of arrival.
        method: GET, HEAD, POST, ….
        path: without the query.
        query: as sent, without the question mark.
        headers: names in lower case; of secret fields only the first word is kept.
    """

    number: int
    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer; the parts can be combined.

    Offsets count bytes of the body that is sent (of a range, its own bytes).

    Attributes:
        status: instead of the right one; the body is ``body`` then.
        headers: fields to set; None leaves a field out.
        body: instead of the right one.
        delay: seconds before the answer.
        raw: bytes to send instead of any answer, before closing.
        stall_at: send nothing more from here on, and keep the connection.
        reset_at: reset the connection here.
        truncate_at: close the connection here, in good order.
        corrupt_at: flip the bits of this byte.
        ignore_range: answer with the whole body.
        chunked: send no Content-Length.
        rate: bytes a second; 0 is as fast as possible.
    """

    status: int = 0
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    raw: bytes | None = None
    stall_at: int | None = None
    reset_at: int | None = None
    truncate_at: int | None = None
    corrupt_at: int | None = None
    ignore_range: bool = False
    chunked: bool = False
    rate: int = 0


NO_FAULT: Final = Fault()


def redirect(location: str, *, status: int = 307) -> Fault:
    """A fault that sends the client elsewhere."""
    return Fault(status=status, headers={"Location": location}, body=b"")


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
