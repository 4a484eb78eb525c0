"""The daemon's process: one socket, signals, systemd, draining, logs.

``run`` is the whole life of the process; ``serve`` is the part inside the event
loop. Both are handed a way to open what is served and know nothing of how it is
made. Order: harden, catch signals, open the plugins (which locks the root and
recovers it), put the doors in place, and open the socket last: who can connect is
answered. The end goes backwards.

Never decides anything about images, plugins or the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import grpc.aio
import structlog
from msgspec import structs

from orlop import app
from orlop.control.address import socket_path
from orlop.errors import FailedPrecondition, InvalidArgument, OrlopError, PermissionDenied, StoreIO
from orlop.linux import procs, systemd
from orlop.linux.memory import keep_for_good, limit_arenas, look_seldom_for_circles, trim
from orlop.linux.peers import Peers
from orlop.linux.polling import FairSelector
from orlop.linux.priority import prefer_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.config.load import Loaded
    from orlop.config.schema import Config
    from orlop.plugins.host import Reloaded
    from orlop.ports.doors import Entrance

TIDY_SECONDS: Final = 0.5
"""From the end of the last call until free memory is given back."""

MESSAGE_BYTES: Final = 16 << 20
"""Longest message either way; what kubelet and crictl read."""

EVENTS_A_TURN: Final = 4
"""Connections that the event loop serves before it looks again: a call does not wait
for all downloads."""

CALLS_FIRST: Final = 10
"""Levels of niceness between the threads that answer calls and those that work for pulls."""

STREAMS: Final = 1000
"""Calls that one connection may have at work; more of them wait."""

FAREWELL_SECONDS: Final = 0.2
"""How long calls have, when the disk has failed, to tell their clients so."""


class Served(Protocol):
    """What a daemon serves; ``orlop.app.App`` is one."""

    @property
    def entrance(self) -> Entrance:
        """Where the doors are. Raises InvalidArgument: there are none."""

    @property
    def drain_seconds(self) -> float:
        """How long calls may go on after the first signal to stop."""

    async def reload(self) -> Reloaded:
        """Read the configuration again. Raises OrlopError: it is refused, nothing changed."""


Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Served]]
"""Opens what is served, in the event loop."""


def run(open_served: Open, *, log_level: str = "info") -> int:
    """Be the daemon until SIGTERM or SIGINT; a second signal cuts draining short.

    SIGHUP reads the configuration again.

    Args:
        open_served: what it opens is closed before this returns.
        log_level: least level that is logged: ``debug``, ``info``, ``warning``, ``error``.

    Returns:
        The exit code: 0.

    Raises:
        OrlopError: what is to be served or the socket cannot be opened, or the disk
            failed while serving.
    """
    harden()
    configure_logs(log_level)
    selector = FairSelector(EVENTS_A_TURN)
    with asyncio.Runner(loop_factory=partial(asyncio.SelectorEventLoop, selector)) as runner:
        # Clients wait for this thread and for gRPC's, pulls for the threads of the executor.
        work_as_usual = prefer_thread(CALLS_FIRST)
        runner.get_loop().set_default_executor(
            ThreadPoolExecutor(thread_name_prefix="work", initializer=work_as_usual)
        )
        runner.run(_until_signal(partial(serve, open_served, calls_first=selector.first)))
    return 0


async def serve(
    open_served: Open,
    *,
    stop: asyncio.Event,
    hurry: asyncio.Event | None = None,
    again: asyncio.Event | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    calls_first: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Open what is served, then the socket, and serve until told to stop.

    Args:
        open_served: what it opens is closed after the last call ended.
        stop: when set, no new calls are taken, and running ones may finish.
        hurry: when set too, running calls are cancelled.
        again: when set, the configuration is read again, and the event cleared.
        on_ready: called once with the address, when clients can connect.
        calls_first: around what tells the event loop that there is news of a call.

    Raises:
        OrlopError: what is to be served or the socket cannot be opened.
        StoreIO: the disk failed while serving; nothing may be written any more.
    """
    log = structlog.get_logger()
    hurry = hurry or asyncio.Event()
    calls = _Calls(stop, hurry)
    async with open_served() as served:
        entrance = served.entrance
        path = socket_path(entrance.address)
        with calls_first():
            server = grpc.aio.server(options=_server_options())
        for door in entrance.doors:
            door.register(server, calls.watch)
        if stop.is_set():
            return
        try:
            listening = _listening(
                server, path, uid=entrance.uid, gid=entrance.gid, bound=calls.come_from
            )
            async with listening:
                on_ready(entrance.address)
                keep_for_good()
                async with _reloading(served, again or asyncio.Event()):
                    await stop.wait()
                log.info("stopping", drain_seconds=served.drain_seconds)
                for door in entrance.doors:
                    door.stop()
        except BaseException:
            hurry.set()
            raise
        finally:
            await _drain(server, served.drain_seconds, hurry)
            await calls.idle()
    if calls.failure is not None:
        raise calls.failure
    log.info("stopped")


@contextlib.asynccontextmanager
async def _reloading(served: Served, again: asyncio.Event) -> AsyncIterator[None]:
    """Read the configuration again whenever ``again`` is set, while the block runs."""

    async def follow() -> None:
        while True:
            await again.wait()
            again.clear()
            await _reload(served)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _reload(served: Served) -> None:
    """Reload, and tell the service manager when it begins and ends; sd_notify(3)."""
    log = structlog.get_logger()
    notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        await served.reload()
    except OrlopError as error:
        log.warning(
            "configuration refused, the old one holds", error=error.message, hint=error.hint
        )
    except Exception:
        log.exception("configuration not read again, by a defect")
    notify_systemd("READY=1")


def harden() -> None:
    """Keep the process's memory, which may hold credentials, out of core files and from tracers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    procs.hide_memory()


def configure_logs(level: str) -> None:
    """Log to stderr, one ``key=value`` line an event, our own and the libraries'.

    Raises:
        InvalidArgument: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise InvalidArgument(f'no log level "{level}"', hint="use debug, info, warning or error")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.LogfmtRenderer(key_order=["time", "level", "msg"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        level=max(number, logging.WARNING),
        stream=sys.stderr,
        format='time=%(asctime)s level=%(levelname)s logger=%(name)s msg="%(message)s"',
        force=True,
    )


def notify_systemd(state: str) -> None:
    """Tell the service manager; one that does not listen is no reason to fail."""
    try:
        systemd.notify(state)
    except OSError as error:
        structlog.get_logger().warning("systemd was not told", state=state, error=str(error))


class _Calls:
    """The calls at work on the service; a failed disk among them stops the daemon at once.

    gRPC calls a handler ended when it has told it to be cancelled. The service
    may be closed only when the handler has cleaned up after itself.
    """

    def __init__(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        self.failure: StoreIO | None = None
        self._stop, self._hurry = stop, hurry
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tidying: asyncio.TimerHandle | None = None
        self._peers: Peers | None = None

    def come_from(self, name: str) -> None:
        """Log, from now on, who is connected to the socket that was bound to ``name``."""
        self._peers = Peers(name)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Count a call while the block runs, and log its connection if that is new."""
        self._count += 1
        self._greet()
        self._idle.clear()
        try:
            yield
        except StoreIO as error:
            self.failure = error
            self._stop.set()
            asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._hurry.set)
            raise
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()
                self._tidy_soon()

    def _greet(self) -> None:
        """Log the connections that have come; the call's own is among them."""
        with contextlib.suppress(OSError):  # no descriptor left to look with
            for peer in self._peers.new() if self._peers else ():
                structlog.get_logger().info(
                    "connected", pid=peer.pid, uid=peer.uid, gid=peer.gid, program=peer.program
                )

    def _tidy_soon(self) -> None:
        """Give memory back when nothing has been asked for a moment."""
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.get_running_loop().call_later(TIDY_SECONDS, trim)

    async def idle(self) -> None:
        """Wait until no call is at work."""
        await self._idle.wait()


async def _until_signal(serve: Callable[..., Awaitable[None]]) -> None:
    """Serve until the first signal; one that comes earlier lets the plugins open, and close."""
    loop = asyncio.get_running_loop()
    stop, hurry, again = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()
        notify_systemd("STOPPING=1")

    def on_ready(address: str) -> None:
        sys.stderr.write(f"orlop: ready on {address}\n")
        sys.stderr.flush()
        notify_systemd("READY=1")

    heard = {signal.SIGTERM: on_signal, signal.SIGINT: on_signal, signal.SIGHUP: again.set}
    # Not by the loop: its end would take the handlers away before the process is at its own,
    # and a late signal, in whatever thread, would spoil the exit code.
    for number, act in heard.items():
        signal.signal(number, lambda *_, act=act: loop.call_soon_threadsafe(act))
    try:
        await serve(stop=stop, hurry=hurry, again=again, on_ready=on_ready)
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)


@contextlib.asynccontextmanager
async def _listening(
    server: grpc.aio.Server, path: str, *, uid: int, gid: int, bound: Callable[[str], None]
) -> AsyncIterator[None]:
    """Start ``server`` on the socket ``path``; on leaving, nobody finds it there any more.

    It is bound in a private directory, made 0600 (0660 for a group), and moved into
    place when the server runs: whoever can see it is served, and no umask has to be
    changed in a process with threads. The move replaces a stale socket.

    Args:
        server: has not started; gRPC does not tell it who connects, so that the
            permissions of the socket are all that decides.
        path: of the socket.
        uid: its owner; 0 is this process's.
        gid: its group; 0 is none.
        bound: is told the name that the socket has for the kernel.
    """
    with _translated(path):
        _claim(path, uid=uid, gid=gid)
        directory = tempfile.mkdtemp(prefix=".", dir=os.path.dirname(path))
        name = os.path.join(directory, "s")
        bound(name)
        try:
            server.add_insecure_port(f"unix:{name}")
            os.chown(name, uid or -1, gid or -1)
            os.chmod(name, 0o660 if gid else 0o600)
            await server.start()
            os.rename(name, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            os.rmdir(directory)
        inode = os.stat(path).st_ino
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_ino == inode:
                os.unlink(path)


def _claim(path: str, *, uid: int, gid: int) -> None:
    """Make the socket's directory, and refuse to take what is not a stale socket of ours."""
    directory = os.path.dirname(path)
    if gid and not os.path.lexists(directory):
        os.makedirs(directory, mode=0o750)
        os.chown(directory, -1, gid)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in (os.geteuid(), uid):
        raise FailedPrecondition(
            f"{path} is there already and is no socket of ours",
            hint="move it away, or choose another --address",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise FailedPrecondition(
                f"another process listens at {path}",
                hint="stop it, or choose another --address",
            )


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(f"may not listen at {path}: {error.strerror}") from error
    except OSError as error:
        raise FailedPrecondition(f"cannot listen at {path}: {error.strerror}") from error
    except RuntimeError as error:  # what gRPC makes of a failed bind(2)
        raise FailedPrecondition(f"cannot listen at {path}: {error}") from error


async def _drain(server: grpc.aio.Server, seconds: float, hurry: asyncio.Event) -> None:
    """Let running calls end for ``seconds``, or until ``hurry``; then cancel them."""

    async def hasten() -> None:
        await hurry.wait()
        await server.stop(None)

    async with asyncio.TaskGroup() as group:
        hastening = group.create_task(hasten())
        await server.stop(seconds)
        hastening.cancel()


def _server_options() -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_concurrent_streams", STREAMS),
    )


def main(
    config_file: str | None = None,
    root: str | None = None,
    state: str | None = None,
    address: str | None = None,
    *,
    user: int = 0,
) -> int:
    """Read the configuration and be the daemon; arguments win over the document.

    Args:
        config_file: path of a document; None for the default one, if there is one.
        root: directory of the store.
        state: directory for what ends with the machine's run.
        address: ``unix:///PATH`` of the socket.
        user: who started it; one that is not root has other default places.

    Returns:
        The exit code: 0.

    Raises:
        OrlopError: the configuration is wrong, or as ``run``.
    """
    limit_arenas(2)
    look_seldom_for_circles()
    procs.allow_descriptors()
    stock = app.in_stock()

    def read() -> Loaded:
        loaded = stock.load(config_file)
        config = app.at_home(loaded.config, os.environ) if user else loaded.config
        return replace(loaded, config=_with_options(config, root, state, address))

    loaded = read()

    @contextlib.asynccontextmanager
    async def open_served() -> AsyncIterator[Served]:
        log = structlog.get_logger()
        for warning in loaded.warnings:
            log.warning("configuration", message=warning)
        async with app.opened(loaded.config, stock, daemon=True, read=read) as opened:
            for warning in opened.warnings:
                log.warning("configuration", message=warning)
            for plugin in opened.states:
                if plugin.state == "failed":
                    log.warning("plugin failed", plugin=plugin.name, reason=plugin.reason)
                elif plugin.state == "skipped":
                    log.debug("plugin skipped", plugin=plugin.name, reason=plugin.reason)
            yield opened

    return run(open_served)


def _with_options(
    config: Config, root: str | None, state: str | None, address: str | None
) -> Config:
    """The configuration with what the command line says instead."""
    if address is not None:
        config = structs.replace(config, grpc=structs.replace(config.grpc, address=address))
    return app.with_directories(config, root=root or config.root, state=state or config.state)
