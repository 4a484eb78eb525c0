"""What a ``FakeRegistry`` answers when nothing goes wrong but what a ``Fault`` says.

Holds blobs and manifests, knows passwords and tokens, and never touches a connection.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import InvalidReference
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orlop.testing.faults import Fault, RecordedRequest

AuthKind = Literal["none", "basic", "bearer"]

_PATH: Final = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<name>[^/]+)")
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_PHRASES: Final = {200: "OK", 206: "Partial Content", 401: "Unauthorized", 404: "Not Found"}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, fields and body; ``first`` is the offset of the body in the whole thing."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    first: int = 0

    def head(self, fault: Fault) -> bytes:
        """Status line and fields as they are sent, with the empty line."""
        headers: dict[str, str | tuple[str, ...] | None] = {**self.headers, **fault.headers}
        if fault.chunked:
            headers.pop("Content-Length", None)
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Status')}"]
        for name, value in headers.items():
            values = (value,) if isinstance(value, str) else value or ()
            lines += [f"{name}: {one}" for one in values]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may pull, and what proves it; see ``FakeRegistry`` for the fields."""

    auth: AuthKind
    users: Mapping[str, str]
    identity_tokens: frozenset[str]
    registry_tokens: frozenset[str]
    token_life: float
    realm: str
    sign: Callable[[Sequence[str]], str] | None


class Answers:
    """Contents and accounts of a registry, and its answers to requests."""

    def __init__(self, access: Access) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.tokens: dict[str, float] = {}
        self._access = access

    def answer(
        self,
        request: RecordedRequest,
        fields: Mapping[str, str],
        form: bytes,
        fault: Fault,
        *,
        url: str,
    ) -> Answer:
        """The answer to a request; its delivery may still go wrong.

        Args:
            request: as recorded.
            fields: all of its header fields, in lower case, secrets included.
            form: its body.
            fault: of its parts those that are about what is answered.
            url: of the registry, for challenges.
        """
        if fault.status:
            return _answer(fault.status, fault.body or b"")
        if request.path == "/token":
            answer = self._token(request, fields, form)
        elif not self._authorized(fields):
            answer = self._challenge(request, url)
        elif request.path in ("/v2/", "/v2"):
            answer = _answer(200, b"{}")
        else:
            answer = self._object(request, fields, fault)
        if fault.body is not None:
            answer = _answer(answer.status, fault.body)
        if fault.corrupt_at is not None and answer.body:
            body = bytearray(answer.body)
            body[fault.corrupt_at % len(body)] ^= 0xFF
            answer = replace(answer, body=bytes(body))
        return answer

    def _object(self, request: RecordedRequest, fields: Mapping[str, str], fault: Fault) -> Answer:
        match = _PATH.fullmatch(request.path)
        if match is None or request.method not in ("GET", "HEAD"):
            return _error(404, "UNSUPPORTED", "no such thing")
        name = match["name"]
        if match["kind"] == "manifests":
            found = self.manifests.get((match["repository"], name))
            if found is None:
                return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            data, media_type = found
            digest = Digest.of(data)
            extra = {"Docker-Content-Digest": str(digest), "Content-Type": media_type}
            return _answer(200, data, extra)
        try:
            blob = self.blobs.get(str(Digest.parse(name)))
        except InvalidReference:
            return _error(400, "DIGEST_INVALID", "invalid digest")
        if blob is None:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        extra = {
            "Docker-Content-Digest": name,
            "Accept-Ranges": "bytes",
            "ETag": f'"{name}"',
        }
        wanted = None if fault.ignore_range else _RANGE.fullmatch(fields.get("range", ""))
        if wanted is None:
            return _answer(200, blob, extra)
        return _part(blob, int(wanted[1]) + fault.shift, wanted[2], extra)

    def _authorized(self, fields: Mapping[str, str]) -> bool:
        scheme, _, value = fields.get("authorization", "").partition(" ")
        if self._access.auth == "none":
            return True
        if self._access.auth == "basic":
            return scheme.lower() == "basic" and self._account(value) is not None
        known = value in self._access.registry_tokens or (
            self.tokens.get(value, 0) > time.monotonic()
        )
        return scheme.lower() == "bearer" and known

    def _account(self, encoded: str) -> str | None:
        """The user of right Basic credentials."""
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor UTF-8
            return None
        return user if self._access.users.get(user) == password else None

    def _challenge(self, request: RecordedRequest, url: str) -> Answer:
        if self._access.auth == "basic":
            wanted = 'Basic realm="fake registry"'
        else:
            match = _PATH.fullmatch(request.path)
            scope = f',scope="repository:{match["repository"]}:pull"' if match else ""
            realm = self._access.realm or f"{url}/token"
            wanted = f'Bearer realm="{realm}",service="fake registry"{scope}'
        answer = _error(401, "UNAUTHORIZED", "authentication required")
        return Answer(401, {**answer.headers, "WWW-Authenticate": wanted}, answer.body)

    def _token(self, request: RecordedRequest, fields: Mapping[str, str], form: bytes) -> Answer:
        if request.method == "POST":
            asked = urllib.parse.parse_qs(form.decode())
            known = asked.get("refresh_token", [""])[0] in self._access.identity_tokens
        else:
            asked = urllib.parse.parse_qs(request.query)
            scheme, _, value = fields.get("authorization", "").partition(" ")
            basic = scheme.lower() == "basic"
            known = not self._access.users or (basic and self._account(value) is not None)
        if not known:
            return _error(401, "UNAUTHORIZED", "incorrect username or password")
        scopes = [scope for value in asked.get("scope", []) for scope in value.split()]
        token = self._access.sign(scopes) if self._access.sign else secrets.token_urlsafe(24)
        self.tokens[token] = time.monotonic() + self._access.token_life
        document = {"token": token, "expires_in": int(self._access.token_life)}
        if request.method == "POST":
            document["access_token"] = token
        return _answer(200, json.dumps(document).encode())


def _part(blob: bytes, first: int, end: str, extra: Mapping[str, str]) -> Answer:
    last = min(int(end or len(blob)), len(blob) - 1)
    if first > last:
        return _answer(416, b"", {"Content-Range": f"bytes */{len(blob)}"})
    said = {**extra, "Content-Range": f"bytes {first}-{last}/{len(blob)}"}
    return replace(_answer(206, blob[first : last + 1], said), first=first)


def _answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        status,
        {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(body)),
            **(headers or {}),
        },
        body,
    )


def _error(status: int, code: str, message: str) -> Answer:
    document = {"errors": [{"code": code, "message": message}]}
    return _answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})
