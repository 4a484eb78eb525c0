"""Runs ``docker-credential-NAME`` programs.

The protocol is Docker's: the program is called with ``get``, reads a server's name on
standard input and writes one JSON object. What it writes is a secret: it is read by
``credentials`` and never shown. Its messages on standard error are thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from typing import Final

from orlop.errors import AuthFailed, HostsInvalid

WITHIN: Final = 15.0
"""Seconds; helpers ask token services of clouds, which take one or two."""

_MAX_OUTPUT: Final = 64 << 10
_PREFIX: Final = "docker-credential-"
_NOT_FOUND: Final = b"credentials not found in native keychain"
_ENVIRONMENT: Final = ("PATH", "HOME")


async def get(name: str, server: str, *, within: float = WITHIN) -> bytes | None:
    """What the helper ``name`` has for ``server``; None when it knows nothing.

    It has ended, with all that it started, when this returns or raises.

    Raises:
        HostsInvalid: there is no such program.
        AuthFailed: it fails, takes longer than ``within`` seconds, or says too much.
    """
    ours, theirs = os.pipe()
    # asyncio's own processes wait for whoever holds their pipes, also when they are cancelled.
    running = asyncio.ensure_future(asyncio.to_thread(_run, name, server, within, ours))
    try:
        status, output = await asyncio.shield(running)
    finally:
        os.close(theirs)  # tells the thread, if it is still at work
        await asyncio.gather(running, return_exceptions=True)
        os.close(ours)
    if status == 0:
        return output
    if _NOT_FOUND in output:
        return None
    raise AuthFailed(f"credential helper {name}: it failed (exit status {status})")


def _run(name: str, server: str, within: float, hang_up: int) -> tuple[int, bytes]:
    """Exit status and output; ends early when the other end of the pipe ``hang_up`` is closed."""
    deadline = time.monotonic() + within
    process = subprocess.Popen(
        [_program(name), "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, contextlib.ExitStack() as stack:
        stack.callback(_end, process)
        with contextlib.suppress(BrokenPipeError):  # it may not read what it does not need
            os.write(process.stdin.fileno(), f"{server}\n".encode())  # fits into the pipe
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        output = b""
        while piece := _read(process.stdout.fileno(), hang_up, deadline):
            output += piece
            if len(output) > _MAX_OUTPUT:
                raise AuthFailed(
                    f"credential helper {name}: it writes more than {_MAX_OUTPUT} bytes"
                )
        late = piece is None
        try:
            status = process.wait(0 if late else max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            late = True
        if late:
            raise AuthFailed(f"credential helper {name}: no answer within {within:g} s")
    return status, output


def _read(source: int, hang_up: int, deadline: float) -> bytes | None:
    """The next bytes, ``b""`` at the end; None when it is late, or nobody waits any more."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(hang_up, select.POLLIN)
    ready = [fd for fd, _ in poll.poll(max(deadline - time.monotonic(), 0) * 1000)]
    return os.read(source, _MAX_OUTPUT) if ready == [source] else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it, and what it started, unless it has ended by itself."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _program(name: str) -> str:
    """Its absolute path.

    Raises:
        HostsInvalid: no directory of PATH has it; relative ones are not looked at.
    """
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(one for one in directories if os.path.isabs(one))
    found = shutil.which(f"{_PREFIX}{name}", path=path)
    if found is None:
        raise HostsInvalid(
            f"credential helper {name}: no program {_PREFIX}{name} in PATH",
            hint="install it, or name another source of credentials",
        )
    return found
