"""Runs a layer through stream processors, as containerd does.

The first program reads the blob on its standard input, each next one what the
one before wrote, and the last one writes into a file without a name, from which
the layer is unpacked like any other. A blob is processed when all of it has
arrived and its digest agrees: no program is shown bytes that nobody vouches for.
The file takes as much of the disk as the processed layer is long, while it is
being unpacked.

The programs are the operator's; what they write is as little trusted as what a
registry sends. They are gone when the ``async with`` is left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import msgspec

from orlop.errors import FailedPrecondition, LimitExceeded, StoreFull
from orlop.linux.files import translated
from orlop.model.descriptor import encode
from orlop.model.mediatype import is_encrypted
from orlop.model.quote import quote
from orlop.pull.completion import in_thread
from orlop.pull.program import SEARCH_PATH, in_memory, listening, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.limits import Limits
    from orlop.pull.processing import Step
    from orlop.pull.program import Output, Program

_SAID_BYTES: Final = 16 << 10
_LOOK_SECONDS: Final = 0.1
_NEIGHBOURS_SECONDS: Final = 1.0

_BROKEN_PIPE: Final = (-signal.SIGPIPE, 128 + signal.SIGPIPE)
"""How a program ends, itself or as a shell tells it, when nobody reads what it writes."""

_PAYLOAD: Final = 3
"""Descriptor under which a program that decrypts finds its payload."""

_FULL_BYTES: Final = 1 << 20
"""A file system with less than this has no space left, as far as layers are concerned."""

_PAYLOAD_TYPE: Final = "io.containerd.ocicrypt.v1.Payload"


class Processors:
    """Runs programs; keeps nothing between layers.

    Args:
        directory: on the file system that has room for layers; None is the system's.
        limits: of what a layer may become.
    """

    def __init__(self, directory: str | None, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits

    @asynccontextmanager
    async def processed(
        self, blob: int, descriptor: Descriptor, steps: Sequence[Step]
    ) -> AsyncIterator[int]:
        """A descriptor of the file that the last program has written.

        Args:
            blob: descriptor of the layer's file, which is complete; it stays the caller's.
            descriptor: of the layer.
            steps: at least one.

        Raises:
            FailedPrecondition: a program failed, or cannot be run.
            LimitExceeded: the last one wrote more than a layer may have.
            StoreFull: there is no room for what it wrote.
        """
        with ExitStack() as stack:
            with translated("make a file for a processed layer"):
                file = await in_thread(lambda: stack.enter_context(self._file()))
            spool = file.fileno()
            # An own description: the blob's may be written to, and has a position.
            source = os.open(f"/proc/self/fd/{blob}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, source)
            await self._run(source, spool, descriptor, steps)
            yield spool

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._directory, buffering=0)

    def _check_room(self, spool: int, descriptor: Descriptor) -> None:
        """Raises LimitExceeded, StoreFull when nothing more may be written."""
        limits = self._limits
        # What the layer may have when it is uncompressed.
        grown = max(limits.layer_ratio_floor, limits.layer_ratio * descriptor.size)
        most = min(limits.layer_bytes, grown)
        if os.fstat(spool).st_size > most:
            name = "layer_bytes" if most == self._limits.layer_bytes else "layer_ratio"
            raise LimitExceeded(
                f"layer {descriptor.digest} has more than {most} bytes when it is processed",
                limit=name,
            )
        disk = os.fstatvfs(spool)
        if disk.f_bfree * disk.f_frsize < _FULL_BYTES:
            raise StoreFull(f"no space left for layer {descriptor.digest} when it is processed")

    async def _run(
        self, source: int, spool: int, descriptor: Descriptor, steps: Sequence[Step]
    ) -> None:
        """Start all programs, each with a pipe to the next, and wait for all of them.

        Whoever writes without end, or fails for want of space, is found by looking at
        the file: a limit on the program would not hold for what it starts.
        """
        async with AsyncExitStack() as stack:
            programs = []
            # Ours of the pipes' ends are closed as soon as the programs have theirs: only
            # then does one notice that its neighbour has ended.
            with ExitStack() as ends:
                stdin = source
                for step in steps[:-1]:
                    following, stdout = _pipe(ends)
                    programs.append(await _start(stack, step, descriptor, (stdin, stdout)))
                    stdin = following
                programs.append(await _start(stack, steps[-1], descriptor, (stdin, spool)))
            ending = asyncio.ensure_future(_all_well(programs))
            try:
                while not ending.done():
                    await asyncio.wait({ending}, timeout=_LOOK_SECONDS)
                    if not ending.done() or ending.exception() is not None:
                        self._check_room(spool, descriptor)
                ending.result()
            finally:
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Running:
    """A program that was started for a step, and its standard error."""

    step: Step
    program: Program
    errors: Output

    def failure(self, status: int) -> str:
        """Why it failed, from how it ended and the first line that it complained with."""
        self.errors.read_rest()
        how = f"exit code {status}" if status > 0 else f"signal {-status}"
        lines = self.errors.data.decode(errors="replace").split("\n")
        first = next((line.strip() for line in lines if line.strip()), "")
        return f"{quote(first)} ({how})" if first else how


async def _start(
    stack: AsyncExitStack, step: Step, descriptor: Descriptor, ends: tuple[int, int]
) -> _Running:
    """Start the program of one step, which ends with ``stack`` at the latest."""
    processor = step.processor
    path = shutil.which(processor.path, path=SEARCH_PATH)
    if path is None:
        raise _failed(step, f"there is no program {quote(processor.path)}")
    environment = {"PATH": SEARCH_PATH, "STREAM_PROCESSOR_MEDIATYPE": step.media_type}
    environment |= dict(one.split("=", 1) for one in processor.env)
    errors = stack.enter_context(listening(_SAID_BYTES))
    descriptors = dict(enumerate((*ends, errors.writer)))
    if is_encrypted(step.media_type):
        descriptors[_PAYLOAD] = stack.enter_context(in_memory(_payload(descriptor)))
        environment["STREAM_PROCESSOR_PIPE"] = f"/proc/self/fd/{_PAYLOAD}"
    starting = running(
        path, (path, *processor.args), environment=environment, descriptors=descriptors
    )
    try:
        program = await stack.enter_async_context(starting)
    except OSError as error:
        raise _failed(step, error.strerror or str(error)) from error
    return _Running(step, program, errors)


async def _all_well(programs: Sequence[_Running]) -> None:
    """Wait until all have ended well. Raises FailedPrecondition."""
    waits = [asyncio.ensure_future(one.program.ended()) for one in programs]
    try:
        left = set(waits)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            if any(wait.result() for wait in done):
                # One that fails takes its neighbours along; which one it was is told by
                # all of them together.
                await asyncio.wait(waits, timeout=_NEIGHBOURS_SECONDS)
                break
        ended = [
            (one, wait.result()) for one, wait in zip(programs, waits, strict=True) if wait.done()
        ]
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    failed = [(one, status) for one, status in ended if status]
    causes = [(one, status) for one, status in failed if status not in _BROKEN_PIPE]
    if failed:
        one, status = (causes or failed)[0]
        raise _failed(one.step, one.failure(status))


def _failed(step: Step, cause: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"stream processor {quote(step.processor.id)} failed, {cause}:"
        f" layer of media type {quote(step.media_type)}",
        hint="see [stream_processors] in the configuration",
    )


def _pipe(ends: ExitStack) -> tuple[int, int]:
    reader, writer = os.pipe()
    ends.callback(os.close, reader)
    ends.callback(os.close, writer)
    return reader, writer


def _payload(descriptor: Descriptor) -> bytes:
    """What a program that decrypts is told: the descriptor, whose annotations hold wrapped keys.

    A ``google.protobuf.Any`` with a JSON document in it, as containerd's clients make it.
    """
    # Only encrypted layers pay for protobuf.
    from google.protobuf.any_pb2 import Any  # type: ignore[import-untyped] # it has no types

    document = {
        "DecryptConfig": {"Parameters": None},
        "Descriptor": msgspec.Raw(encode(descriptor)),
    }
    value = msgspec.json.encode(document)
    payload: bytes = Any(type_url=_PAYLOAD_TYPE, value=value).SerializeToString()
    return payload
