"""A registry in memory that can misbehave on order: for tests, ours and plugin authors'.

Speaks enough of the OCI distribution specification to be pulled from (HEAD and GET of
manifests and blobs, ranges, keep-alive, Basic and bearer authentication with a token
service of its own, TLS), remembers every request, and obeys the ``Rule``s of
``orlop.testing.faults`` that say which requests are to go wrong, and how. Never touches the disk.

::

    with FakeRegistry() as registry:
        layer = registry.add_blob(b"...")
        registry.add_manifest("library/app", "latest", document, media_type)
        registry.fail(Fault(status=503), path="/blobs/", times=2)
        ...  # pull f"{registry.address}/library/app:latest"

``with`` serves from a thread of its own, ``async with`` on the caller's loop.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from orlop.errors import InvalidReference
from orlop.model.digest import Digest
from orlop.testing.faults import NO_FAULT, Fault, RecordedRequest, Rule

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType

_PIECE: Final = 256 << 10
_MAX_HEAD: Final = 64 << 10
_PATH: Final = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<name>[^/]+)")
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_SECRET_FIELDS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class FakeRegistry:
    """Serves blobs and manifests on a free port of 127.0.0.1.

    All methods may be called from any thread, before and while it serves.

    Args:
        auth: "none", "basic", or "bearer" (anonymous tokens are given only if
            there are no ``users``).
        users: passwords by user name.
        identity_tokens: refresh tokens that POST to the token service accepts.
        token_life: seconds; tokens stop working then.
        tls: server context; None serves plain HTTP.
        realm: of bearer challenges; "" is the registry's own ``/token``.
    """

    def __init__(
        self,
        *,
        auth: Literal["none", "basic", "bearer"] = "none",
        users: Mapping[str, str] | None = None,
        identity_tokens: frozenset[str] = frozenset(),
        token_life: float = 300.0,
        tls: ssl.SSLContext | None = None,
        realm: str = "",
    ) -> None:
        self._auth = auth
        self._users = dict(users or {})
        self._identity_tokens = identity_tokens
        self._token_life = token_life
        self._tls = tls
        self._realm = realm
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._rules: list[Rule] = []
        self._requests: list[RecordedRequest] = []
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._thread: _Thread | None = None
        self.port = 0

    # What it holds.

    def add_blob(self, data: bytes) -> Digest:
        """Offer a blob in every repository."""
        digest = Digest.of(data)
        self._blobs[str(digest)] = bytes(data)
        return digest

    def add_manifest(
        self, repository: str, tag: str | None, data: bytes, media_type: str
    ) -> Digest:
        """Offer a manifest or index by its digest and, if there is one, by ``tag``."""
        digest = Digest.of(data)
        for name in filter(None, (str(digest), tag)):
            self._manifests[repository, name] = (bytes(data), media_type)
        return digest

    def remove(self, name: str) -> None:
        """Take back every blob, manifest or tag of that name."""
        self._blobs.pop(name, None)
        for key in [key for key in self._manifests if key[1] == name]:
            del self._manifests[key]

    def expire_tokens(self) -> None:
        """Accept none of the tokens given out so far."""
        self._tokens.clear()

    # How it misbehaves, and what it saw.

    def add_rule(self, rule: Rule) -> Rule:
        """Apply a rule; of several that match a request the oldest wins."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def fail(
        self, fault: Fault, *, method: str = "", path: str = "", times: int | None = 1
    ) -> Rule:
        """Apply ``fault`` to requests with this method (any) whose path contains ``path``."""
        return self.add_rule(
            Rule(lambda r: (not method or r.method == method) and path in r.path, fault, times)
        )

    def clear_rules(self) -> None:
        """Behave again."""
        with self._lock:
            self._rules.clear()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far."""
        with self._lock:
            return list(self._requests)

    def clear_requests(self) -> None:
        """Forget the requests so far; numbers go on from 0."""
        with self._lock:
            self._requests.clear()

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections

    async def all_closed(self) -> None:
        """Wait until the connections that are open now are closed; on the loop that serves."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def address(self) -> str:
        """``127.0.0.1:port``: the domain of references to it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Scheme and address."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    # Life.

    async def start(self) -> None:
        """Serve on the running loop."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def stop(self) -> None:
        """Close the port and every connection; it may be started again on the same port."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = _Thread()
        try:
            self._thread.run(self.start())
        except BaseException:
            self._thread.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._thread is not None
        try:
            self._thread.run(self.stop())
        finally:
            self._thread.close()

    # One connection.

    def _accept(self, listener: socket.socket) -> None:
        # asyncio's own server forgets connections that it accepts while it is being closed.
        try:
            accepted, _ = listener.accept()
        except OSError:
            return  # the client is gone already
        accepted.setblocking(False)
        self._connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: accepted.close())  # also if it never began

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        broken = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.suppress(*broken):
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._tls
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                while await self._serve_one(reader, writer):
                    pass
                writer.close()
                await writer.wait_closed()
            finally:
                transport.abort()
                await asyncio.sleep(0)  # the loop closes the socket in its next round

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        fields = {}
        for line in filter(None, head[1:]):
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        form = await reader.readexactly(int(fields.get("content-length", "0")))
        path, _, query = target.partition("?")
        request, fault = self._record(method, urllib.parse.unquote(path), query, fields)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.raw is not None:
            writer.write(fault.raw)
            await writer.drain()
            return False
        answer = self._answer(request, fields, form, fault)
        sent = await self._send(reader, writer, answer, fault, head_only=method == "HEAD")
        return sent and fields.get("connection", "").lower() != "close"

    def _record(
        self, method: str, path: str, query: str, fields: Mapping[str, str]
    ) -> tuple[RecordedRequest, Fault]:
        shown = {
            name: value.partition(" ")[0] if name in _SECRET_FIELDS else value
            for name, value in fields.items()
        }
        with self._lock:
            request = RecordedRequest(len(self._requests), method, path, query, shown)
            self._requests.append(request)
            rule = next((rule for rule in self._rules if rule.take(request)), None)
        return request, rule.fault if rule else NO_FAULT

    async def _send(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: _Answer,
        fault: Fault,
        *,
        head_only: bool,
    ) -> bool:
        """Send an answer, with its fault; False when the connection is spoiled."""
        body = bytearray(answer.body) if fault.corrupt_at is not None else answer.body
        if isinstance(body, bytearray) and fault.corrupt_at is not None and body:
            body[fault.corrupt_at % len(body)] ^= 0xFF
        headers: dict[str, str | None] = {**answer.headers, **fault.headers}
        if fault.chunked:
            headers.pop("Content-Length", None)
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if head_only:
            await writer.drain()
            return True
        stops = [at for at in (fault.stall_at, fault.reset_at, fault.truncate_at) if at is not None]
        end = min([len(body), *stops])
        await self._send_body(writer, memoryview(body)[:end], fault)
        if not stops:
            return True
        if fault.stall_at is not None:
            await reader.read()  # until the other side hangs up
        if fault.reset_at is not None:
            _reset(writer)
        return False

    async def _send_body(
        self, writer: asyncio.StreamWriter, body: memoryview, fault: Fault
    ) -> None:
        piece = min(_PIECE, max(1, fault.rate // 20)) if fault.rate else _PIECE
        for at in range(0, len(body), piece):
            data = body[at : at + piece]
            if fault.rate:
                await asyncio.sleep(len(data) / fault.rate)
            if fault.chunked:
                writer.write(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
            else:
                writer.write(data)
            await writer.drain()
        if fault.chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    # What the answers are.

    def _answer(
        self, request: RecordedRequest, fields: Mapping[str, str], form: bytes, fault: Fault
    ) -> _Answer:
        if fault.status:
            return _answer(fault.status, fault.body or b"")
        if request.path == "/token":
            answer = self._token(request, fields, form)
        elif not self._authorized(fields):
            answer = self._challenge(request)
        elif request.path in ("/v2/", "/v2"):
            answer = _answer(200, b"{}")
        else:
            answer = self._object(request, fields, fault)
        return answer if fault.body is None else _answer(answer.status, fault.body)

    def _object(self, request: RecordedRequest, fields: Mapping[str, str], fault: Fault) -> _Answer:
        match = _PATH.fullmatch(request.path)
        if match is None or request.method not in ("GET", "HEAD"):
            return _error(404, "UNSUPPORTED", "no such thing")
        name = match["name"]
        if match["kind"] == "manifests":
            found = self._manifests.get((match["repository"], name))
            if found is None:
                return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            data, media_type = found
            digest = Digest.of(data)
            extra = {"Docker-Content-Digest": str(digest), "Content-Type": media_type}
            return _answer(200, data, extra)
        try:
            blob = self._blobs.get(str(Digest.parse(name)))
        except InvalidReference:
            return _error(400, "DIGEST_INVALID", "invalid digest")
        if blob is None:
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        extra = {"Docker-Content-Digest": name, "Accept-Ranges": "bytes"}
        wanted = None if fault.ignore_range else _RANGE.fullmatch(fields.get("range", ""))
        if wanted is None:
            return _answer(200, blob, extra)
        first = int(wanted[1])
        last = min(int(wanted[2] or len(blob)), len(blob) - 1)
        if first > last:
            return _answer(416, b"", {"Content-Range": f"bytes */{len(blob)}"})
        extra["Content-Range"] = f"bytes {first}-{last}/{len(blob)}"
        return _answer(206, blob[first : last + 1], extra)

    def _authorized(self, fields: Mapping[str, str]) -> bool:
        scheme, _, value = fields.get("authorization", "").partition(" ")
        if self._auth == "none":
            return True
        if self._auth == "basic":
            return scheme.lower() == "basic" and self._knows(value)
        return scheme.lower() == "bearer" and self._tokens.get(value, 0) > time.monotonic()

    def _knows(self, encoded: str) -> bool:
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor UTF-8
            return False
        return user in self._users and self._users[user] == password

    def _challenge(self, request: RecordedRequest) -> _Answer:
        if self._auth == "basic":
            wanted = 'Basic realm="fake registry"'
        else:
            match = _PATH.fullmatch(request.path)
            scope = f',scope="repository:{match["repository"]}:pull"' if match else ""
            realm = self._realm or f"{self.url}/token"
            wanted = f'Bearer realm="{realm}",service="fake registry"{scope}'
        answer = _error(401, "UNAUTHORIZED", "authentication required")
        return _Answer(401, {**answer.headers, "WWW-Authenticate": wanted}, answer.body)

    def _token(self, request: RecordedRequest, fields: Mapping[str, str], form: bytes) -> _Answer:
        if request.method == "POST":
            posted = urllib.parse.parse_qs(form.decode())
            known = posted.get("refresh_token", [""])[0] in self._identity_tokens
        else:
            scheme, _, value = fields.get("authorization", "").partition(" ")
            known = not self._users or (scheme.lower() == "basic" and self._knows(value))
        if not known:
            return _error(401, "UNAUTHORIZED", "incorrect username or password")
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + self._token_life
        document = {"token": token, "expires_in": int(self._token_life)}
        return _answer(200, json.dumps(document).encode())


class _Thread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-registry")
        self._thread.start()

    def run(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(
        status,
        {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(body)),
            **(headers or {}),
        },
        body,
    )


def _error(status: int, code: str, message: str) -> _Answer:
    document = {"errors": [{"code": code, "message": message}]}
    return _answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _phrase(status: int) -> str:
    return {200: "OK", 206: "Partial Content", 404: "Not Found"}.get(status, "Status")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN (SO_LINGER with no time, socket(7))."""
    held = writer.get_extra_info("socket")
    if held is not None:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
