"""A registry in memory that can misbehave on order: for tests, ours and plugin authors'.

Speaks enough of the OCI distribution specification to be pulled from (HEAD and GET of
manifests and blobs, ranges, keep-alive, Basic and bearer authentication with a token
service of its own, TLS), remembers every request, and obeys the ``Rule``s of
``orlop.testing.faults`` that say which requests are to go wrong, and how; whole plays of
them are ``Scenario``s of ``orlop.testing.scenarios``. Never touches the disk.

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
import contextlib
import socket
import threading
import urllib.parse
from typing import TYPE_CHECKING, Final, Self

from orlop.model.digest import Digest
from orlop.testing.answers import Access, Answers, AuthKind
from orlop.testing.delivery import Delivery
from orlop.testing.faults import (
    NO_FAULT,
    ConnectionFault,
    Fault,
    RecordedAnswer,
    RecordedRequest,
    Rule,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from orlop.testing.scenarios import Scenario

_MAX_HEAD: Final = 64 << 10
_SECRET_FIELDS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


class FakeRegistry:
    """Serves blobs and manifests on a free port of 127.0.0.1.

    All methods may be called from any thread, before and while it serves.

    Args:
        auth: "none", "basic", or "bearer" (anonymous tokens are given only if
            there are no ``users``).
        users: passwords by user name.
        identity_tokens: refresh tokens that POST to the token service accepts.
        registry_tokens: bearer tokens that are good without the token service.
        token_life: seconds; tokens stop working then.
        tls: server context; None serves plain HTTP.
        realm: of bearer challenges; "" is the registry's own ``/token``.
        sign: makes a token for these scopes, for another registry to check; None makes
            random ones. Called on the thread that serves.
    """

    def __init__(
        self,
        *,
        auth: AuthKind = "none",
        users: Mapping[str, str] | None = None,
        identity_tokens: frozenset[str] = frozenset(),
        registry_tokens: frozenset[str] = frozenset(),
        token_life: float = 300.0,
        tls: ssl.SSLContext | None = None,
        realm: str = "",
        sign: Callable[[Sequence[str]], str] | None = None,
    ) -> None:
        self._answers = Answers(
            Access(
                auth=auth,
                users=dict(users or {}),
                identity_tokens=identity_tokens,
                registry_tokens=registry_tokens,
                token_life=token_life,
                realm=realm,
                sign=sign,
            )
        )
        self._tls = tls
        self._rules: list[Rule] = []
        self._connection_faults: list[ConnectionFault] = []
        self._requests: list[RecordedRequest] = []
        self._answered: list[RecordedAnswer] = []
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
        self._answers.blobs[str(digest)] = bytes(data)
        return digest

    def add_manifest(
        self, repository: str, tag: str | None, data: bytes, media_type: str
    ) -> Digest:
        """Offer a manifest or index by its digest and, if there is one, by ``tag``."""
        digest = Digest.of(data)
        for name in filter(None, (str(digest), tag)):
            self._answers.manifests[repository, name] = (bytes(data), media_type)
        return digest

    def remove(self, name: str) -> None:
        """Take back every blob, manifest or tag of that name."""
        self._answers.blobs.pop(name, None)
        for key in [key for key in self._answers.manifests if key[1] == name]:
            del self._answers.manifests[key]

    @property
    def tokens(self) -> list[str]:
        """Tokens that its token service gave out, the oldest first."""
        return list(self._answers.tokens)

    def share_tokens(self, service: FakeRegistry) -> None:
        """Accept the tokens that ``service`` gives out, and give out such."""
        self._answers.tokens = service._answers.tokens

    def expire_tokens(self) -> None:
        """Accept none of the tokens given out so far."""
        self._answers.tokens.clear()

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

    def fail_connection(self, fault: ConnectionFault, *, times: int = 1) -> None:
        """Spoil the next ``times`` new connections; after those that were ordered before."""
        with self._lock:
            self._connection_faults += [fault] * times

    def play(self, scenario: Scenario) -> None:
        """Apply the steps of a scenario, after the rules that are there already."""
        for fault in scenario.connections:
            self.fail_connection(fault)
        for step in scenario.steps:
            self.add_rule(Rule(step.match, step.fault, step.times))

    def clear_rules(self) -> None:
        """Behave again."""
        with self._lock:
            self._rules.clear()
            self._connection_faults.clear()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far."""
        with self._lock:
            return list(self._requests)

    @property
    def answers(self) -> list[RecordedAnswer]:
        """What was sent so far, in the order in which sending ended."""
        with self._lock:
            return list(self._answered)

    def fetched(self, name: str) -> list[tuple[int, int]]:
        """First byte and end of each piece of a blob or manifest that was sent, sorted.

        Pieces that do not overlap were not asked for twice.
        """
        return sorted(
            (answer.first, answer.first + answer.sent)
            for answer in self.answers
            if answer.sent
            and answer.status in (200, 206)
            and answer.request.path.endswith(f"/{name}")
        )

    def clear_requests(self) -> None:
        """Forget requests and answers so far; numbers of requests go on from 0."""
        with self._lock:
            self._requests.clear()
            self._answered.clear()

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
        with self._lock:
            number = self._connections
            self._connections += 1
            fault = self._connection_faults.pop(0) if self._connection_faults else None
        task = asyncio.get_running_loop().create_task(self._serve(accepted, number, fault))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: accepted.close())  # also if it never began

    async def _serve(
        self, accepted: socket.socket, number: int, fault: ConnectionFault | None
    ) -> None:
        spoiled = fault is not None and (fault.act is not None or fault.raw != b"")
        broken = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.suppress(*broken):
            if fault is not None:
                await asyncio.sleep(fault.delay)
            delivery = await self._connected(accepted, None if spoiled else self._tls)
            writer = delivery.writer
            try:
                if fault is not None and spoiled:
                    writer.write(fault.raw)
                    if fault.act is not None:
                        await delivery.end(fault.act)
                else:
                    while await self._serve_one(delivery, number):
                        pass
                writer.close()
                await writer.wait_closed()
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)  # the loop closes the socket in its next round

    async def _connected(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> Delivery:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=tls)
        # What is drained has been sent, but for a byte: TLS never gets going again below that.
        transport.set_write_buffer_limits(high=1, low=0)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return Delivery(reader, writer, self.expire_tokens)

    async def _serve_one(self, delivery: Delivery, connection: int) -> bool:
        """Answer one request; False when the connection is to be closed."""
        reader, writer = delivery.reader, delivery.writer
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        fields = {}
        for line in filter(None, head[1:]):
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        form = await reader.readexactly(int(fields.get("content-length", "0")))
        path, _, query = target.partition("?")
        request, fault = self._record(method, urllib.parse.unquote(path), query, fields, connection)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.raw is not None:
            writer.write(fault.raw)
            await writer.drain()
            self._sent(RecordedAnswer(request, 0, 0, 0))
            return False
        answer = self._answers.answer(request, fields, form, fault, url=self.url)
        delivery.sent = 0
        try:
            sent = await delivery.send(
                answer.head(fault), answer.body, fault, head_only=method == "HEAD"
            )
        finally:
            self._sent(RecordedAnswer(request, answer.status, answer.first, delivery.sent))
        return sent and fields.get("connection", "").lower() != "close"

    def _record(
        self, method: str, path: str, query: str, fields: Mapping[str, str], connection: int
    ) -> tuple[RecordedRequest, Fault]:
        shown = {
            name: value.partition(" ")[0] if name in _SECRET_FIELDS else value
            for name, value in fields.items()
        }
        with self._lock:
            request = RecordedRequest(len(self._requests), method, path, query, shown, connection)
            self._requests.append(request)
            rule = next((rule for rule in self._rules if rule.take(request)), None)
        return request, rule.fault if rule else NO_FAULT

    def _sent(self, answer: RecordedAnswer) -> None:
        with self._lock:
            self._answered.append(answer)


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
