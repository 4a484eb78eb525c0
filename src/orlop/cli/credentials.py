"""Credentials that a user hands to a command.

``--creds -`` reads them from standard input, ``--creds USER`` asks for the
password on the terminal; only ``--creds USER:PASS`` puts a secret where other
users of the machine can see it. What is read here is shown nowhere.
"""

from __future__ import annotations

import sys

from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials

_HINT = "use --creds USER to be asked for the password, or --creds - to pipe USER:PASS in"


def credentials(text: str | None) -> Credentials | None:
    """What ``--creds`` means; reads a line of standard input, or asks, if it has to.

    Raises:
        InvalidArgument: there is no user, no password, or nobody to ask.
    """
    if text is None:
        return None
    user, colon, password = (_line() if text == "-" else text).partition(":")
    if not user:
        raise InvalidArgument("--creds names no user", hint=_HINT)
    if not colon and text == "-":
        raise InvalidArgument("standard input holds no USER:PASS", hint=_HINT)
    if not colon:
        password = _ask(user)
    if not password:
        raise InvalidArgument("--creds holds no password", hint=_HINT)
    return Credentials(username=user, password=password)


def _line() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _ask(user: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidArgument("--creds holds no password, and there is no terminal", hint=_HINT)
    from getpass import getpass

    return getpass(f"Password for {user}: ", stream=sys.stderr)
