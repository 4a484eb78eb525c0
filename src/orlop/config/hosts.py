"""What ``hosts.toml`` files say about the hosts of a registry, as frozen values.

Pure. ``orlop.config.hosts_parse`` makes these from a file, ``orlop.config.hosts_legacy``
from the deprecated tables of the main document, so that whoever pulls knows one
form only. The keys are containerd's (its documentation: "Registry Configuration");
``prefix``, ``fallback``, ``blocked``, ``credentials`` and ``realms`` are our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

Capability = Literal["pull", "resolve", "push", "referrers"]

CAPABILITIES: Final[tuple[Capability, ...]] = ("pull", "resolve", "push", "referrers")
"""What a host may be asked for; a host without the key may be asked for everything."""

_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)"
)
_HINT: Final = 'write "https://host[:port][/path]"'
_FRAMING: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")


@dataclass(frozen=True, slots=True)
class HostURL:
    """Where a host is, as its author wrote it.

    Attributes:
        scheme: "http", "https", or "" when the author left it to us.
        host: in lower case; a numeric IPv6 address has its brackets.
        port: None when the author wrote none.
        path: without a slash at its end; "" for none.
    """

    scheme: str
    host: str
    port: int | None = None
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> HostURL:
        """Read ``[scheme://]host[:port][/path]``.

        Raises:
            InvalidArgument: it is something else; the message does not repeat it, for
                a URL can hold a password.
        """
        found = _URL.fullmatch(text)
        if found is None:
            if "@" in text:
                raise InvalidArgument("a URL of a host holds no user name", hint=_HINT)
            raise InvalidArgument("not the URL of a host", hint=_HINT)
        scheme = (found["scheme"] or "").lower()
        if scheme not in ("", "http", "https"):
            raise InvalidArgument(f"a host speaks http or https, not {scheme}", hint=_HINT)
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 0 < port < 65536:
            raise InvalidArgument("the port is not a number from 1 to 65535")
        segments = [part for part in found["path"].split("/") if part not in ("", ".")]
        if ".." in segments:
            raise InvalidArgument("the path of a host must not lead upwards")
        path = "".join(f"/{part}" for part in segments)
        return cls(scheme, found["host"].lower(), port, path)

    @property
    def address(self) -> str:
        """``host[:port]``."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        scheme = f"{self.scheme}://" if self.scheme else ""
        return f"{scheme}{self.address}{self.path}"


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Whose credentials a host gets.

    Attributes:
        kind: "default": the pull's own for the registry itself, configured ones for
            others; "none"; "upstream": what the registry itself would get; "file": of
            the docker configuration file ``name``; "helper": of the program
            ``docker-credential-NAME``.
        name: see there; "" otherwise.
    """

    kind: Literal["default", "none", "upstream", "file", "helper"] = "default"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


DEFAULT_SOURCE: Final = CredentialSource()
"""The pull's own for the registry itself, configured ones for other hosts."""


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One host: a ``[host."URL"]`` table, or the keys at the top, which are the server's.

    Attributes:
        url: None for the registry itself, wherever that is.
        capabilities: what it may be asked for.
        ca: absolute paths of PEM files with authorities to trust besides the system's.
        client: absolute paths of certificate and key; the second is "" when both are
            in one file.
        skip_verify: accept any certificate.
        headers: canonical names and values, sorted by name.
        override_path: the URL's path is the root of the API; else it gets ``/v2``.
        dial_timeout: seconds for a connection; None for the default.
        credentials: whose it gets.
        realms: hosts of token services that may get its credentials.
        where: ``FILE:LINE`` of the entry, for messages.
    """

    url: HostURL | None = None
    capabilities: frozenset[Capability] = frozenset(CAPABILITIES)
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    override_path: bool = False
    dial_timeout: float | None = None
    credentials: CredentialSource = DEFAULT_SOURCE
    realms: tuple[str, ...] = ()
    where: str = field(default="", compare=False)

    def api_path(self) -> str:
        """The path before ``/<repository>/manifests``."""
        path = "" if self.url is None else self.url.path
        if (self.url is not None and self.override_path) or path.endswith("/v2"):
            return path
        return f"{path}/v2"


@dataclass(frozen=True, slots=True)
class Rules:
    """Who serves the repositories of a registry, or those below a prefix.

    Attributes:
        hosts: to be asked first, in this order.
        server: to be asked when none of them helps.
        fallback: False: ``server`` is not asked.
        blocked: nobody is asked, and the pull is refused.
        where: ``FILE:LINE`` of the rules, for messages.
    """

    hosts: tuple[HostEntry, ...] = ()
    server: HostEntry = HostEntry()
    fallback: bool = True
    blocked: bool = False
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class HostsFile:
    """All that one ``hosts.toml`` says.

    Attributes:
        rules: for repositories that no prefix matches.
        prefixes: by the path that repositories have to start with, without a slash at
            its end.
        warnings: unknown keys, as ``FILE:LINE: KEY: cause``.
    """

    rules: Rules
    prefixes: tuple[tuple[str, Rules], ...] = ()
    warnings: tuple[str, ...] = ()

    def rules_for(self, repository: str) -> Rules:
        """The rules of the longest prefix of whole path components, else the file's own."""
        best = max(
            (prefix for prefix, _ in self.prefixes if _is_below(repository, prefix)),
            key=len,
            default=None,
        )
        return self.rules if best is None else dict(self.prefixes)[best]


def header_fields(fields: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[tuple[str, str], ...]:
    """Header fields with canonical names, sorted; several values of a name become one line.

    Names differ in more than their case (RFC 9110 5.1); joining values with commas
    does not change their meaning (5.3).

    Raises:
        InvalidArgument: a name or a value cannot stand in a header, a name is there
            twice, or is one that the client itself has to set. No value is shown.
    """
    found: dict[str, str] = {}
    for name, values in fields:
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidArgument("not the name of an HTTP header")
        canonical = "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))
        if name.lower() in _FRAMING:
            raise InvalidArgument(f"{canonical} is a header that the client itself sets")
        if canonical in found:
            raise InvalidArgument(f"{canonical} is there twice; case does not tell headers apart")
        if not all(map(_HEADER_VALUE.fullmatch, values)):
            raise InvalidArgument(f"{canonical}: not the value of an HTTP header")
        found[canonical] = ", ".join(value.strip() for value in values)
    return tuple(sorted(found.items()))


def _is_below(repository: str, prefix: str) -> bool:
    return repository == prefix or repository.startswith(f"{prefix}/")
