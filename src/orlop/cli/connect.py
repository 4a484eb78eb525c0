"""Gives a command its image service: the daemon's, or one inside this process.

``run`` is the only place where a command's coroutine is run. It owns the event
loop and the signals: SIGINT and SIGTERM cancel the work, so that everything it
started ends in order, and then end the command with 128 + the signal's number.
A second signal does not wait for that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import typer

from orlop.cli import exits
from orlop.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    import signal
    from contextlib import AbstractAsyncContextManager

    from orlop.control.client import ControlClient
    from orlop.plugins.host import Host
    from orlop.ports.service import ImageService

T = TypeVar("T")
S = TypeVar("S")

DEFAULT_ADDRESS: Final = "unix:///run/orlop/orlop.sock"


def default_address(environ: Mapping[str, str], user: int) -> str:
    """Where to look for a daemon: at the user's own socket if it is there, else the machine's."""
    own = os.path.join(environ.get("XDG_RUNTIME_DIR", ""), "orlop", "orlop.sock")
    if user and os.path.isabs(own) and os.path.exists(own):
        return f"unix://{own}"
    return DEFAULT_ADDRESS


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the image service is.

    Attributes:
        root: absolute path of a store to work on in this process; "" to use a daemon.
        address: of the daemon's socket; ignored when there is a root.
    """

    root: str = ""
    address: str = DEFAULT_ADDRESS


Connector = Callable[[Endpoint], "AbstractAsyncContextManager[ImageService]"]
Work = Callable[["ImageService"], Awaitable[T]]


def endpoint(address: str | None, root: str | None) -> Endpoint:
    """What ``--address`` and ``--root`` mean together.

    Raises:
        InvalidArgument: both are given, or one is empty.
    """
    if address is not None and root is not None:
        raise InvalidArgument(
            "--address and --root exclude each other",
            hint="--address talks to a daemon, --root works without one",
        )
    if root == "" or address == "":
        raise InvalidArgument(f"{'--root' if root == '' else '--address'} is empty")
    return Endpoint(
        root=os.path.abspath(root) if root else "",
        address=address or default_address(os.environ, os.geteuid()),
    )


def mounting_endpoint(address: str | None, root: str | None) -> Endpoint:
    """``endpoint`` for a command that leaves a mount behind.

    Raises:
        InvalidArgument: as ``endpoint``.
        FailedPrecondition: without root, the mount would end with the command.
    """
    where = endpoint(address, root)
    if where.root and os.geteuid():
        raise FailedPrecondition(
            "without root, what this command mounts would end with it",
            hint="start `orlop daemon` and leave --root out; its page on security says more",
        )
    return where


def connect(where: Endpoint) -> AbstractAsyncContextManager[ImageService]:
    """The image service at ``where``, for as long as the ``async with`` lasts."""
    if where.root:
        import structlog

        from orlop.app import embedded
        from orlop.linux.procs import allow_descriptors

        allow_descriptors()
        # Standard output is for results alone.
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
        return embedded(root=where.root)
    return _client(where)


def run(context: typer.Context, where: Endpoint, work: Work[T]) -> T:
    """Run a command's ``work`` with the image service at ``where``.

    Args:
        context: carries the ``Connector`` that ``orlop.cli.main`` was given.
        where: the service to use.
        work: gets the service, which is closed when it returns or raises.

    Raises:
        typer.Exit: a signal ended it.
        OrlopError: from the service.
    """
    connector: Connector = context.find_root().obj
    return _run(where, lambda: connector(where), work)


def administer(where: Endpoint, work: Callable[[Host], Awaitable[T]]) -> T:
    """Run a command's ``work`` with what runs the plugins at ``where``.

    Raises:
        typer.Exit: a signal ended it.
        OrlopError: from the daemon, or the plugins do not start.
    """
    return _run(where, lambda: _host(where), work)


def _host(where: Endpoint) -> AbstractAsyncContextManager[Host]:
    if where.root:
        from orlop.app import embedded_app

        return embedded_app(root=where.root)
    return _client(where)


def _client(where: Endpoint) -> ControlClient:
    # gRPC would tell people, too, when a daemon hangs up; our own message is enough.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from orlop.control.client import ControlClient

    return ControlClient(where.address)


def _run(
    where: Endpoint,
    connect: Callable[[], AbstractAsyncContextManager[S]],
    work: Callable[[S], Awaitable[T]],
) -> T:
    """Run ``work`` with what ``connect`` gives; see the module."""
    if where.root:
        from orlop.linux.userns import become_root

        become_root()  # the process must have one thread, and no event loop
    import asyncio
    import signal

    received: list[signal.Signals] = []

    async def session() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: signal.Signals) -> None:
            received.append(number)
            loop.remove_signal_handler(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        async with connect() as connected:
            return await work(connected)

    try:
        return asyncio.run(session())
    except BaseException:
        # Whatever the cancelled work raised: the signal is why it ended.
        if received:
            raise typer.Exit(exits.SIGNALLED + received[0]) from None
        raise
