"""Exit codes, and which error ends with which; pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import Code, ConfigInvalid, ImageInvalid, LimitExceeded, OrlopError

if TYPE_CHECKING:
    from collections.abc import Mapping

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
DAMAGED: Final = 4
REFUSED: Final = 5
TRY_AGAIN: Final = 75
"""``EX_TEMPFAIL`` of sysexits.h: the same command may work later."""
SIGNALLED: Final = 128
"""Added to the number of the signal that ended a command."""

BY_CODE: Final[Mapping[Code, int]] = MappingProxyType(
    {
        Code.INVALID_ARGUMENT: USAGE,
        Code.NOT_FOUND: NOT_FOUND,
        Code.ALREADY_EXISTS: FAILED,
        Code.FAILED_PRECONDITION: FAILED,
        Code.UNIMPLEMENTED: FAILED,
        Code.PERMISSION_DENIED: REFUSED,
        Code.UNAUTHENTICATED: FAILED,
        Code.RESOURCE_EXHAUSTED: FAILED,
        Code.DATA_LOSS: DAMAGED,
        Code.UNAVAILABLE: TRY_AGAIN,
        Code.DEADLINE_EXCEEDED: TRY_AGAIN,
        Code.CANCELLED: FAILED,
        Code.INTERNAL: FAILED,
    }
)


def exit_code(error: OrlopError) -> int:
    """The exit code that tells a script what kind of error this was.

    What is wrong with an image or with a configuration is no mistake in the command,
    and a limit is the node's policy, whatever codes these errors have on the wire.
    """
    if isinstance(error, ImageInvalid) and error.code is Code.INVALID_ARGUMENT:
        return DAMAGED
    if isinstance(error, LimitExceeded):
        return REFUSED
    if isinstance(error, ConfigInvalid):
        return FAILED
    return BY_CODE[error.code]
