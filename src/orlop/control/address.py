"""Addresses of the daemon's socket. Pure."""

from __future__ import annotations

from typing import Final

from orlop.errors import InvalidArgument

SOCKET_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux, without its NUL; unix(7)."""


def socket_path(address: str) -> str:
    """The absolute path in ``unix:///PATH`` (``unix:/PATH`` is the same).

    Raises:
        InvalidArgument: it is something else, or longer than a socket's path may be.
    """
    scheme, colon, rest = address.partition(":")
    path = rest.removeprefix("//")
    if scheme != "unix" or not colon or not path.startswith("/") or "\0" in path:
        raise InvalidArgument(
            f'the address "{address}" is not unix:///PATH',
            hint="orlop serves on Unix sockets only, such as unix:///run/orlop/orlop.sock",
        )
    if len(path.encode(errors="surrogateescape")) > SOCKET_PATH_BYTES:
        raise InvalidArgument(
            f"the socket's path {path} is longer than {SOCKET_PATH_BYTES} bytes",
            hint="use a shorter path",
        )
    return path
