"""The daemon's process: one socket, signals, systemd, draining, logs.

``run`` is the whole life of the process; ``serve`` is the part inside the event
loop. Both are handed a way to open the image service and know nothing of how it
is made. Order: harden, catch signals, open the service (which locks the root
and recovers it), serve, and open the socket last: who can connect is answered.
The end goes backwards.

Never reads configuration or arguments, and never decides anything about images.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc.aio
import structlog

from orlop import __version__, control, cri
from orlop.app import opened, with_directories
from orlop.config.load import load
from orlop.control.address import socket_path
from orlop.errors import FailedPrecondition, InvalidArgument, PermissionDenied, StoreIO
from orlop.linux import procs
from orlop.linux.memory import limit_arenas, trim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from orlop.ports.service import ImageService

TIDY_SECONDS: Final = 0.5
"""From the end of the last call until free memory is given back."""

MESSAGE_BYTES: Final = 16 << 20
"""Longest message either way; what kubelet and crictl read."""

FAREWELL_SECONDS: Final = 0.2
"""How long calls have, when the disk has failed, to tell their clients so."""


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """How to serve.

    Attributes:
        address: ``unix:///PATH`` of the socket.
        version: of orlop, as clients are told it; not empty.
        drain_seconds: how long calls may go on after the first signal to stop.
        log_level: least level that is logged: ``debug``, ``info``, ``warning``, ``error``.
    """

    address: str = "unix:///run/orlop/orlop.sock"
    version: str = "0"
    drain_seconds: float = 30.0
    log_level: str = "info"


def run(
    open_service: Callable[[], AbstractAsyncContextManager[ImageService]],
    settings: DaemonSettings,
) -> int:
    """Be the daemon until SIGTERM or SIGINT; a second signal cuts draining short.

    Args:
        open_service: opens the service, in the event loop; closed before this returns.
        settings: how to serve.

    Returns:
        The exit code: 0.

    Raises:
        OrlopError: the service or the socket cannot be opened, or the disk failed
            while serving.
    """
    harden()
    configure_logs(settings.log_level)
    asyncio.run(_until_signal(open_service, settings))
    return 0


async def serve(
    open_service: Callable[[], AbstractAsyncContextManager[ImageService]],
    settings: DaemonSettings,
    *,
    stop: asyncio.Event,
    hurry: asyncio.Event | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Open the service and the socket, and serve until told to stop.

    Args:
        open_service: opens the service; it is closed after the last call ended.
        settings: how to serve.
        stop: when set, no new calls are taken, and running ones may finish.
        hurry: when set too, running calls are cancelled.
        on_ready: called once, when clients can connect.

    Raises:
        OrlopError: the service or the socket cannot be opened.
        StoreIO: the disk failed while serving; nothing may be written any more.
    """
    log = structlog.get_logger()
    hurry = hurry or asyncio.Event()
    calls = _Calls(stop, hurry)
    path = socket_path(settings.address)
    async with open_service() as service:
        server = grpc.aio.server(options=_server_options())
        cri.register(server, service, version=settings.version, watch=calls.watch)
        control.register(server, service, version=settings.version, watch=calls.watch)
        health = control.register_health(server, (*cri.SERVICES, *control.SERVICES))
        if stop.is_set():
            return
        try:
            async with _listening(server, path):
                on_ready()
                await stop.wait()
                log.info("stopping", drain_seconds=settings.drain_seconds)
                health.stop()
        except BaseException:
            hurry.set()
            raise
        finally:
            await _drain(server, settings.drain_seconds, hurry)
            await calls.idle()
    if calls.failure is not None:
        raise calls.failure
    log.info("stopped")


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
    """Tell the service manager, if there is one; sd_notify(3).

    A manager that does not listen is no reason to fail.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state.encode(), address)
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

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Count a call while the block runs."""
        self._count += 1
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

    def _tidy_soon(self) -> None:
        """Give memory back when nothing has been asked for a moment."""
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.get_running_loop().call_later(TIDY_SECONDS, trim)

    async def idle(self) -> None:
        """Wait until no call is at work."""
        await self._idle.wait()


async def _until_signal(
    open_service: Callable[[], AbstractAsyncContextManager[ImageService]],
    settings: DaemonSettings,
) -> None:
    """Serve until the first signal; one that comes earlier lets the service open, and close."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()
        notify_systemd("STOPPING=1")

    def on_ready() -> None:
        sys.stderr.write(f"orlop: ready on {settings.address}\n")
        sys.stderr.flush()
        notify_systemd("READY=1")

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    await serve(open_service, settings, stop=stop, hurry=hurry, on_ready=on_ready)
    # The loop's end takes its handlers away; one more signal must not spoil the exit code.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


@contextlib.asynccontextmanager
async def _listening(server: grpc.aio.Server, path: str) -> AsyncIterator[None]:
    """Start ``server`` on the socket ``path``; on leaving, nobody finds it there any more.

    It is bound in a private directory, made 0600, and moved into place when the
    server runs: whoever can see it is served, and no umask has to be changed in a
    process with threads. The move replaces a stale socket.
    """
    with _translated(path):
        _claim(path)
        directory = tempfile.mkdtemp(prefix=".", dir=os.path.dirname(path))
        bound = os.path.join(directory, "s")
        try:
            server.add_insecure_port(f"unix:{bound}")
            os.chmod(bound, 0o600)
            await server.start()
            os.rename(bound, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(bound)
            os.rmdir(directory)
        inode = os.stat(path).st_ino
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_ino == inode:
                os.unlink(path)


def _claim(path: str) -> None:
    """Make the socket's directory, and refuse to take what is not a stale socket of ours."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
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
    )


def main(
    config: str | None = None,
    root: str | None = None,
    state: str | None = None,
    address: str | None = None,
) -> int:
    """Read the configuration and be the daemon; arguments win over the document.

    Args:
        config: path of a document; None for the default one, if there is one.
        root: directory of the store.
        state: directory for what ends with the machine's run.
        address: ``unix:///PATH`` of the socket.

    Returns:
        The exit code: 0.

    Raises:
        OrlopError: the configuration is wrong, or as ``run``.
    """
    limit_arenas(2)
    procs.allow_descriptors()
    loaded = load(config)
    settings = loaded.config
    settings = with_directories(settings, root=root or settings.root, state=state or settings.state)

    @contextlib.asynccontextmanager
    async def open_service() -> AsyncIterator[ImageService]:
        log = structlog.get_logger()
        for warning in loaded.warnings:
            log.warning("configuration", message=warning)
        async with opened(settings) as app:
            for plugin in app.plugins:
                if plugin.state == "failed":
                    log.warning("plugin failed", plugin=plugin.name, reason=plugin.reason)
            yield app.service

    return run(
        open_service,
        DaemonSettings(
            address=address or f"unix://{settings.grpc.socket_path}",
            version=__version__,
            drain_seconds=settings.images.drain_timeout.seconds,
        ),
    )
