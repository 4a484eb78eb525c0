"""Runs ``docker-credential-NAME`` programs.

The protocol is Docker's: the program is called with ``get``, reads a server's name on
standard input and writes one JSON object. What it writes is a secret: it is read by
``credentials`` and never shown. Its messages on standard error are thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import Final

from orlop.errors import AuthFailed, HostsInvalid

WITHIN: Final = 15.0
"""Seconds; helpers ask token services of clouds, which take one or two."""

_CLOSED_WITHIN: Final = 1.0
_MAX_OUTPUT: Final = 64 << 10
_PREFIX: Final = "docker-credential-"
_NOT_FOUND: Final = b"credentials not found in native keychain"
_ENVIRONMENT: Final = ("PATH", "HOME")


async def get(name: str, server: str, *, within: float = WITHIN) -> bytes | None:
    """What the helper ``name`` has for ``server``; None when it knows nothing.

    Raises:
        HostsInvalid: there is no such program.
        AuthFailed: it fails, takes longer than ``within`` seconds, or says too much.
    """
    program = await asyncio.to_thread(_program, name)
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
        cwd="/",
        start_new_session=True,
        limit=_MAX_OUTPUT,
    )
    try:
        async with asyncio.timeout(within):
            output = await _talk(process, server, name)
            status = await process.wait()
    except TimeoutError as error:
        raise AuthFailed(f"credential helper {name}: no answer within {within:g} s") from error
    finally:
        await _end(process)
    if status == 0:
        return output
    if _NOT_FOUND in output:
        return None
    raise AuthFailed(f"credential helper {name}: it failed (exit status {status})")


async def _talk(process: asyncio.subprocess.Process, server: str, name: str) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):  # it may not read what it does not need
        process.stdin.write(f"{server}\n".encode())
        await process.stdin.drain()
        process.stdin.close()
    output = b""
    while piece := await process.stdout.read(_MAX_OUTPUT):
        output += piece
        if len(output) > _MAX_OUTPUT:
            raise AuthFailed(f"credential helper {name}: it writes more than {_MAX_OUTPUT} bytes")
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it, and what it started, unless it has ended by itself; then close its pipe."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):  # somebody else may hold the other end
        async with asyncio.timeout(_CLOSED_WITHIN):
            while await process.stdout.read(_MAX_OUTPUT):
                pass


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
