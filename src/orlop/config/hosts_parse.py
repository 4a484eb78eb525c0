"""Reads the text of a ``hosts.toml``.

Pure. A value that cannot be meant is an error that starts with the file and the
line, an unknown key a warning: containerd and others read the same files.
"""

from __future__ import annotations

import posixpath
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, TypeVar

from orlop.config.document import MAX_BYTES, tables
from orlop.config.durations import Duration
from orlop.config.hosts import (
    CAPABILITIES,
    DEFAULT_SOURCE,
    Capability,
    CredentialSource,
    HostEntry,
    HostsFile,
    HostURL,
    Rules,
    header_fields,
)
from orlop.config.keys import Key, line_of, show
from orlop.errors import ConfigInvalid, HostsInvalid, InvalidArgument
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

_T = TypeVar("_T")

_ENTRY: Final = frozenset(
    {
        "capabilities",
        "ca",
        "client",
        "skip_verify",
        "header",
        "override_path",
        "dial_timeout",
        "credentials",
        "realms",
    }
)
_RULES: Final = _ENTRY | {"server", "host", "fallback", "blocked"}
_FILE: Final = _RULES | {"prefix"}

_UNSUPPORTED: Final = frozenset({"proxy"})
"""Keys of containerd that we do not honour; to ignore them would send requests elsewhere."""

_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_CREDENTIALS_HINT: Final = 'write "none", "upstream", "file:PATH" or "helper:NAME"'


def parse(data: bytes, *, path: str) -> HostsFile:
    """Read a file.

    Args:
        data: its bytes.
        path: where it is; relative paths in it start at its directory.

    Raises:
        HostsInvalid: it is no TOML, or a value in it cannot be meant; the message begins
            with ``FILE:LINE`` and holds no value that could be secret.
    """
    if len(data) > MAX_BYTES:
        raise HostsInvalid(f"{path}: a file has {MAX_BYTES} bytes at most")
    try:
        _, document, lines = tables(data, path=path)
    except ConfigInvalid as error:
        raise HostsInvalid(error.message, hint=error.hint) from error
    return _Reader(path, lines).file(document)


class _Reader:
    """Turns tables into values; knows where each key stands."""

    def __init__(self, path: str, lines: Mapping[Key, int]) -> None:
        self._path = path
        self._lines = lines
        self._warnings: list[str] = []

    def file(self, document: Mapping[str, object]) -> HostsFile:
        """The whole document."""
        rules = self._rules(document, (), known=_FILE)
        prefixes: dict[str, Rules] = {}
        for name, table in self._table(document, ("prefix",)).items():
            key = ("prefix", name)
            prefix = name.rstrip("/")
            if not _PREFIX.fullmatch(prefix):
                self._refuse(key, 'not the start of a repository such as "library/" or "team/app"')
            if prefix in prefixes:
                self._refuse(key, "the prefix is there twice")
            prefixes[prefix] = self._rules(self._as_table(table, key), key, known=_RULES)
        return HostsFile(rules, tuple(prefixes.items()), tuple(self._warnings))

    def _rules(self, table: Mapping[str, object], key: Key, *, known: frozenset[str]) -> Rules:
        self._warn_of_unknown(table, key, known)
        hosts: dict[HostURL, HostEntry] = {}
        # The order of first mention, which is the order of the parsed table.
        for name, entry in self._table(table, (*key, "host")).items():
            where = (*key, "host", name)
            url = self._url(name, where)
            fields = self._as_table(entry, where)
            self._warn_of_unknown(fields, where, _ENTRY)
            if url in hosts:
                self._refuse(where, "the host is there twice")
            hosts[url] = self._entry(fields, where, url)
        server = table.get("server", "")
        at_server = (*key, "server")
        if not isinstance(server, str):
            self._refuse(at_server, "expected a string")
        url_of_server = self._url(server, at_server) if server else None
        return Rules(
            hosts=tuple(hosts.values()),
            server=self._entry(table, key, url_of_server),
            fallback=self._flag(table, (*key, "fallback"), default=True),
            blocked=self._flag(table, (*key, "blocked"), default=False),
            where=self._where(key),
        )

    def _entry(self, table: Mapping[str, object], key: Key, url: HostURL | None) -> HostEntry:
        at = (*key, "server") if "server" in table else key
        return HostEntry(
            url=url,
            capabilities=self._capabilities(table.get("capabilities"), (*key, "capabilities")),
            ca=tuple(
                self._file(item, (*key, "ca"))
                for item in self._strings(table.get("ca"), (*key, "ca"))
            ),
            client=self._client(table.get("client"), (*key, "client")),
            skip_verify=self._flag(table, (*key, "skip_verify"), default=False),
            headers=self._headers(table, (*key, "header")),
            override_path=self._flag(table, (*key, "override_path"), default=False),
            dial_timeout=self._duration(table.get("dial_timeout"), (*key, "dial_timeout")),
            credentials=self._credentials(table.get("credentials"), (*key, "credentials")),
            realms=self._realms(table.get("realms"), (*key, "realms")),
            where=self._where(at),
        )

    def _url(self, text: str, key: Key) -> HostURL:
        return self._checked(lambda: HostURL.parse(text), key)

    def _capabilities(self, raw: object, key: Key) -> frozenset[Capability]:
        known: dict[str, Capability] = {name: name for name in CAPABILITIES}
        found: set[Capability] = set()
        for text in self._strings(raw, key, single=False):
            capability = known.get(text.lower())
            if capability is None:
                near = get_close_matches(text.lower(), known, 1)
                hint = f'; did you mean "{near[0]}"?' if near else ""
                self._refuse(key, f"unknown capability {quote(text)}{hint}")
            found.add(capability)
        return frozenset(found or CAPABILITIES)  # an empty list is no list, as in containerd

    def _client(self, raw: object, key: Key) -> tuple[tuple[str, str], ...]:
        if raw is None:
            return ()
        if isinstance(raw, str):
            return ((self._file(raw, key), ""),)
        if not isinstance(raw, list):
            self._refuse(key, "expected a path, a list of paths or a list of pairs of paths")
        return tuple(self._pair(item, key) for item in raw)

    def _pair(self, raw: object, key: Key) -> tuple[str, str]:
        if isinstance(raw, str):
            return self._file(raw, key), ""
        if isinstance(raw, list) and len(raw) == 2:
            certificate, private = raw
            if isinstance(certificate, str) and isinstance(private, str):
                # An empty second path means that the key is in the first file.
                return self._file(certificate, key), self._file(private, key) if private else ""
        return self._refuse(key, "expected a path, or a pair of paths: certificate and key")

    def _headers(self, table: Mapping[str, object], key: Key) -> tuple[tuple[str, str], ...]:
        fields = [
            (name, self._strings(value, (*key, name), what="header"))
            for name, value in self._table(table, key).items()
        ]
        return self._checked(lambda: header_fields(fields), key)

    def _duration(self, raw: object, key: Key) -> float | None:
        if raw is None or raw == "":
            return None
        if not isinstance(raw, str):
            self._refuse(key, 'expected a duration in quotes, such as "1s"')
        duration = self._checked(lambda: Duration.parse(raw), key)
        if duration.nanoseconds < 0:
            self._refuse(key, "a negative duration makes no sense here")
        return duration.seconds or None

    def _credentials(self, raw: object, key: Key) -> CredentialSource:
        if raw is None:
            return DEFAULT_SOURCE
        kind, colon, name = raw.partition(":") if isinstance(raw, str) else ("", "", "")
        if kind == "none" and not colon:
            return CredentialSource("none")
        if kind == "upstream" and not colon:
            return CredentialSource("upstream")
        if kind == "file" and name:
            return CredentialSource("file", self._file(name, key))
        if kind == "helper" and _HELPER.fullmatch(name):
            return CredentialSource("helper", name)
        # Not shown: somebody may have written a password here.
        return self._refuse(key, "not a source of credentials", hint=_CREDENTIALS_HINT)

    def _realms(self, raw: object, key: Key) -> tuple[str, ...]:
        found = []
        for text in self._strings(raw, key, single=False):
            url = self._url(text, key)
            if url.scheme or url.path:
                self._refuse(key, 'a realm is "host" or "host:port", without scheme and path')
            found.append(url.address)
        return tuple(found)

    def _file(self, text: str, key: Key) -> str:
        """An absolute path; relative ones start at the directory of this file."""
        if not text or "\0" in text:
            self._refuse(key, "not a path")
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._path), text))

    def _flag(self, table: Mapping[str, object], key: Key, *, default: bool) -> bool:
        value = table.get(key[-1], default)
        if not isinstance(value, bool):
            self._refuse(key, "expected true or false")
        return value

    def _strings(
        self, raw: object, key: Key, *, single: bool = True, what: str = "key"
    ) -> tuple[str, ...]:
        """A list of strings; ``single``: one string alone is such a list too."""
        if raw is None:
            return ()
        if single and isinstance(raw, str):
            return (raw,)
        if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            return tuple(raw)
        form = "a string or a list of strings" if single else "a list of strings"
        return self._refuse(key, f"expected {form} as the value of this {what}")

    def _table(self, table: Mapping[str, object], key: Key) -> Mapping[str, object]:
        return self._as_table(table.get(key[-1], {}), key)

    def _as_table(self, value: object, key: Key) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self._refuse(key, "expected a table")
        return value

    def _warn_of_unknown(
        self, table: Mapping[str, object], key: Key, known: frozenset[str]
    ) -> None:
        for name in table:
            if name in _UNSUPPORTED:
                self._refuse((*key, name), "orlop does not support this key")
            if name not in known:
                near = get_close_matches(name, sorted(known), 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                where = self._where((*key, name))
                self._warnings.append(
                    f"{where}: {_shown((*key, name))}: unknown key, ignored{hint}"
                )

    def _checked(self, read: Callable[[], _T], key: Key) -> _T:
        try:
            return read()
        except InvalidArgument as error:
            return self._refuse(key, error.message, hint=error.hint)

    def _where(self, key: Key) -> str:
        return f"{self._path}:{line_of(key, self._lines) or 1}"

    def _refuse(self, key: Key, cause: str, *, hint: str = "") -> NoReturn:
        shown = f"{_shown(key)}: " if key else ""
        raise HostsInvalid(f"{self._where(key)}: {shown}{cause}", hint=hint)


def _shown(key: Key) -> str:
    """The key as TOML writes it, in one line; names in it are foreign text."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in show(key)[:200])
