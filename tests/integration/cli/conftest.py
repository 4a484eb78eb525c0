"""The program as users run it: a process of its own, a daemon on a socket, a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import sys
import tempfile
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop import daemon
from orlop.testing.memory_service import MemoryService
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_LIMIT = 20.0


@dataclass(frozen=True)
class Served:
    """A service behind a daemon's socket, and how to run the program against it."""

    service: MemoryService
    address: str
    rig: Rig

    async def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run a command without a terminal: exit code, standard output, standard error."""
        process = await self.start(*arguments)
        out, err = await asyncio.wait_for(process.communicate(stdin), _LIMIT)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command with pipes."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self.command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe
        )

    def command(self, *arguments: str) -> list[str]:
        """The words that start the program."""
        return [sys.executable, "-m", "orlop", *arguments, "--address", self.address]


@dataclass
class Terminal:
    """A command on a terminal of its own, and what the terminal has shown so far."""

    process: asyncio.subprocess.Process
    master: int
    shown: bytearray = field(default_factory=bytearray)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def until(self, text: str) -> None:
        """Wait until the terminal has shown ``text``."""
        async with asyncio.timeout(_LIMIT):
            while text.encode() not in self.shown:
                self.changed.clear()
                await self.changed.wait()

    async def reading(self) -> None:
        """Wait until the command sleeps, as it does while it waits for a line.

        A signal in the instant before would be noticed only after that line.
        """
        async with asyncio.timeout(_LIMIT):
            while self.state() != "S":  # noqa: ASYNC110 (the kernel tells nobody)
                await asyncio.sleep(0.01)

    def state(self) -> str:
        """The command's state, in the letters of proc(5)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2][0]

    async def finish(self) -> tuple[int, str]:
        """Wait for the end: exit code, and everything that was shown."""
        code = await asyncio.wait_for(self.process.wait(), _LIMIT)
        self.read()
        return code, self.shown.decode()

    def read(self) -> None:
        # A terminal whose last user has gone answers EIO.
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.master, 65536):
                self.shown += data
                self.changed.set()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    service = MemoryService(accounts={"private.example": ("ann", "s3cret")})
    stop, ready = asyncio.Event(), asyncio.Event()

    # Sockets have room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cli") as directory:
        address = f"unix://{directory}/orlop.sock"
        rig = Rig(service, address)
        async with asyncio.TaskGroup() as group:
            group.create_task(daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set()))
            await asyncio.wait_for(ready.wait(), 5)
            try:
                yield Served(service, address, rig)
            finally:
                stop.set()


@pytest.fixture
async def on_terminal(served: Served) -> AsyncIterator[Callable[..., Awaitable[Terminal]]]:
    """``await on_terminal(*arguments)`` starts a command on a terminal of 24 lines."""
    loop = asyncio.get_running_loop()
    started: list[Terminal] = []

    async def start(*arguments: str) -> Terminal:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        os.set_blocking(master, False)
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        process = await asyncio.create_subprocess_exec(
            "setsid",
            "--ctty",
            *served.command(*arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
        )
        os.close(slave)
        terminal = Terminal(process, master)
        started.append(terminal)
        loop.add_reader(master, terminal.read)
        return terminal

    yield start
    for terminal in started:
        if terminal.process.returncode is None:
            terminal.process.kill()
            await terminal.process.wait()
        loop.remove_reader(terminal.master)
        os.close(terminal.master)
