"""Checks of single values, for what a type and a range cannot say.

Pure. Each function takes one decoded value and raises ``InvalidArgument`` with
the cause alone: the reader adds the key, the file and the line.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orlop.errors import InvalidArgument
from orlop.model import reference
from orlop.model.platform import Platform
from orlop.model.quote import quote

if TYPE_CHECKING:
    from orlop.config.durations import Duration

_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_MAX_IDENTIFIER = 76
_MAX_PORT = 65535
_MAX_SOCKET_PATH = 107
# "linux" alone means the machine's processor; which one does not matter for the check.
_ANY_HOST = Platform("linux", "amd64")


def identifier(text: str) -> None:
    """A name in containerd's sense, such as a snapshotter's; "" is none."""
    if text and (len(text) > _MAX_IDENTIFIER or not _IDENTIFIER.fullmatch(text)):
        raise InvalidArgument(
            f"not a name: {quote(text)}",
            hint="a name has letters and digits, with single . _ - between them",
        )


def required_identifier(text: str) -> None:
    """An ``identifier`` that may not be empty."""
    not_empty(text)
    identifier(text)


def not_empty(text: str) -> None:
    """A name of the author's choice, such as a runtime handler's."""
    if not text:
        raise InvalidArgument("the name is empty")


def plugin_name(text: str) -> None:
    """A plugin's full name, such as ``io.containerd.snapshotter.v1.native``."""
    if "." not in text or not _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(
            f"not a plugin's full name: {quote(text)}",
            hint='a full name is the type, a dot and the id: "io.containerd.snapshotter.v1.native"',
        )


def not_negative(duration: Duration) -> None:
    """A duration of zero or more."""
    if duration.nanoseconds < 0:
        raise InvalidArgument(f"a negative duration makes no sense here: {duration}")


def positive(duration: Duration) -> None:
    """A duration of more than zero."""
    if duration.nanoseconds <= 0:
        raise InvalidArgument(f"expected a duration of more than zero, got {duration}")


def platform(text: str) -> None:
    """``os/arch[/variant]``; "" is the machine's own."""
    if text:
        Platform.parse(text, _ANY_HOST)


def image_reference(text: str) -> None:
    """An image as users write it; "" is none."""
    if text:
        reference.from_user(text)


def path_pattern(text: str) -> None:
    """A path, with ``*`` where any name may stand."""
    if not text or "\0" in text:
        raise InvalidArgument(f"not a path: {quote(text)}")


def absolute_path(text: str) -> None:
    """A path from the root of the file system."""
    if not text.startswith("/") or "\0" in text:
        raise InvalidArgument(f"not an absolute path: {quote(text)}")


def absolute_path_or_none(text: str) -> None:
    """An ``absolute_path``; "" is none."""
    if text:
        absolute_path(text)


def mount_option(text: str) -> None:
    """One option of a mount, without commas."""
    if not text or any(character in text for character in ",\0\n"):
        raise InvalidArgument(f"not one mount option: {quote(text)}")


def environment(text: str) -> None:
    """``NAME=VALUE``; the value may be secret and is never shown."""
    name, equals, _ = text.partition("=")
    if not name or not equals or "\0" in text:
        raise InvalidArgument("not an environment variable", hint='write "NAME=VALUE"')


def search_path(text: str) -> None:
    """Absolute directories with colons between them; "" is the built-in list."""
    for part in text.split(":") if text else ():
        absolute_path(part)


def host(text: str) -> None:
    """``name[:port]`` of a registry, without scheme and path."""
    _split_host(text)


def registry_host(text: str) -> None:
    """A ``host``, or ``*`` for all of them."""
    if text != "*":
        host(text)


def registry_url(text: str) -> None:
    """``http(s)://host[:port][/path]`` without credentials."""
    parts = _split_url(text)
    if parts is None or parts[0] not in ("http", "https"):
        raise InvalidArgument(
            "not the address of a registry", hint='write "https://host[:port][/path]"'
        )
    host(parts[1])


def auth_url(text: str) -> None:
    """The name of an entry of ``registry.auths``: a URL, or a host alone."""
    auth_host(text)


def auth_host(text: str) -> str:
    """The host that an entry of ``registry.auths`` is for.

    Raises:
        InvalidArgument: neither a URL nor a host.
    """
    parts = _split_url(text if "://" in text else f"//{text}")
    if parts is None or not parts[1]:
        raise InvalidArgument("neither a URL nor a host")
    host(parts[1])
    return parts[1]


def header_name(text: str) -> None:
    """The name of an HTTP header (RFC 9110, section 5.1)."""
    if not _HEADER_NAME.fullmatch(text):
        raise InvalidArgument("not the name of an HTTP header")


def header_value(text: str) -> None:
    """The value of an HTTP header; it may be secret and is never shown."""
    if any(character in text for character in "\r\n\0"):
        raise InvalidArgument("not the value of an HTTP header: it has a line break or a null")


def socket_address(text: str) -> None:
    """``unix:///path`` or ``/path``, short enough for the kernel (unix(7))."""
    path = text.removeprefix("unix://")
    absolute_path(path)
    if len(path.encode(errors="surrogateescape")) > _MAX_SOCKET_PATH:
        raise InvalidArgument(
            f"the path of a socket may have {_MAX_SOCKET_PATH} bytes at most: {quote(path)}"
        )


def loopback_address(text: str) -> None:
    """``host:port`` on the loopback interface; "" is off."""
    if text:
        split_loopback(text)


def is_public(text: str) -> bool:
    """Whether a ``host:port`` is an IP address that other machines can reach."""
    try:
        name, _ = _split_host(text)
        return not ip_address(name).is_loopback
    except (ValueError, InvalidArgument):
        return False


def split_loopback(text: str) -> tuple[str, int]:
    """The IP address and the port of a ``host:port`` on the loopback interface.

    ``localhost`` is 127.0.0.1; port 0 lets the kernel choose.

    Raises:
        InvalidArgument: it is malformed, or other machines could reach it.
    """
    name, port = _split_host(text)
    if port is None:
        raise InvalidArgument(
            f"no port: {quote(text)}", hint='write "127.0.0.1:PORT" or "[::1]:PORT"'
        )
    name = "127.0.0.1" if name == "localhost" else name
    try:
        loopback = ip_address(name).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidArgument(
            f"not a loopback address: {quote(text)}",
            hint="other machines must not reach it; put a proxy in front if they have to",
        )
    return name, port


def _split_host(text: str) -> tuple[str, int | None]:
    """Name (or IPv6 address without brackets) and port of ``name[:port]``."""
    if text.startswith("["):
        name, bracket, after = text[1:].partition("]")
        valid = _is_ipv6(name) and bracket + after[:1] in ("]", "]:")
    else:
        name, colon, port = text.partition(":")
        valid, after = _HOST_NAME.fullmatch(name) is not None, colon + port
    if not valid:
        raise InvalidArgument(
            "not a host", hint='write "name", "name:port" or "[ipv6]:port", without scheme and path'
        )
    if not after:
        return name, None
    digits = after[1:]
    if not (
        digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= _MAX_PORT
    ):
        raise InvalidArgument("not a host: the port is no number from 0 to 65535")
    return name, int(digits)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _split_url(text: str) -> tuple[str, str] | None:
    """Scheme and host part; None if it is no URL."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
