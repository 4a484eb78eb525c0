"""Image verifiers that are programs in a directory, as containerd's ``bindir`` runs them.

Each is called with ``-name REFERENCE -digest DIGEST -stdin-media-type TYPE`` and
reads the descriptor as JSON. It ends with 0 to agree; anything else refuses the
image, with the reason on its standard output. All must agree, in the order of
their names; the first that does not ends the asking.

Whatever is not a clear yes is a no. Three things that containerd lets pass refuse
the image here: more programs than ``max_verifiers``, a directory that is required
and missing or empty, and a program that somebody else could have written.

Source: containerd, docs/image-verification.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import SignatureRejected
from orlop.model.descriptor import encode
from orlop.model.quote import quote
from orlop.pull.completion import in_thread
from orlop.pull.program import SEARCH_PATH, in_memory, listening, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.reference import Reference
    from orlop.pull.program import Output, Program

DESCRIPTOR_TYPE: Final = "application/vnd.oci.descriptor.v1+json"

_SAID_BYTES: Final = 16 << 10
"""What a verifier may say. A reason is a sentence; who says more is out of order."""

_LINKS: Final = 40
"""Symbolic links on the way to a program; the kernel follows as many (path_resolution(7))."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """Where the verifiers are and what they may cost.

    Attributes:
        bin_dir: directory whose every entry is a verifier.
        required: a missing or empty directory refuses all images; otherwise it means
            that nobody wants to verify.
        max_verifiers: how many there may be; negative is no limit.
        per_verifier_timeout: seconds that each may take.
    """

    bin_dir: str
    required: bool = False
    max_verifiers: int = 10
    per_verifier_timeout: float = 10.0


class BinaryVerifiers:
    """Implements ``orlop.ports.verify.ImageVerifier``; keeps nothing between calls."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._settings = settings

    async def verify(self, reference: Reference | None, descriptor: Descriptor) -> None:
        """See the port."""
        programs = await in_thread(self._programs)
        if programs and reference is None:
            raise SignatureRejected(
                f"image {descriptor.digest} has no name under which verifiers could know it",
                hint="give it one: orlop import --name REF",
            )
        arguments = (
            *("-name", str(reference)),
            *("-digest", str(descriptor.digest)),
            *("-stdin-media-type", DESCRIPTOR_TYPE),
        )
        document = encode(descriptor)
        for name, path in programs.items():
            try:
                said = await self._ask(path, (name, *arguments), document)
            except _Refused as refusal:
                raise SignatureRejected(
                    f"image verifier {quote(name)} {refusal}: {reference}",
                    hint="ask whoever decides which images this node may run",
                ) from refusal
            _log.debug("image verifier %s agrees to %s: %s", name, reference, said)

    def _programs(self) -> Mapping[str, str]:
        """The programs to ask, by name and in order, as paths without links; blocks."""
        settings = self._settings
        try:
            names = sorted(os.listdir(settings.bin_dir))
        except FileNotFoundError as error:
            if not settings.required:
                return {}
            raise _unusable(f"{settings.bin_dir} does not exist") from error
        except OSError as error:
            raise _unusable(f"{settings.bin_dir}: {error.strerror}") from error
        if not names and settings.required:
            raise _unusable(f"{settings.bin_dir} is empty")
        if 0 <= settings.max_verifiers < len(names):
            raise _unusable(
                f"{settings.bin_dir} has {len(names)} entries,"
                f" more than max_verifiers = {settings.max_verifiers}"
            )
        return {name: _program(os.path.join(settings.bin_dir, name)) for name in names}

    async def _ask(self, path: str, arguments: Sequence[str], document: bytes) -> str:
        """What one verifier says when it agrees. Raises _Refused."""
        with ExitStack() as stack:
            stdin = stack.enter_context(in_memory(document))
            out = stack.enter_context(listening(_SAID_BYTES))
            err = stack.enter_context(listening(_SAID_BYTES))
            level = logging.WARNING
            try:
                said = await self._run(path, arguments, stdin, (out, err))
                level = logging.DEBUG
                return said
            finally:
                err.read_rest()
                if err.data:
                    _log.log(level, "image verifier %s: %s", quote(arguments[0]), _line(err.data))

    async def _run(
        self, path: str, arguments: Sequence[str], stdin: int, outputs: tuple[Output, Output]
    ) -> str:
        out, err = outputs
        timeout = self._settings.per_verifier_timeout
        try:
            async with (
                asyncio.timeout(timeout),
                running(
                    path,
                    arguments,
                    environment={"PATH": SEARCH_PATH},
                    descriptors={0: stdin, 1: out.writer, 2: err.writer},
                ) as program,
            ):
                status = await _exit_code(program, out)
        except TimeoutError as error:
            raise _Refused(f"did not answer within {timeout:g}s") from error
        except OSError as error:
            raise _Refused(f"cannot be run: {error.strerror}") from error
        out.read_rest()
        if out.flooded.is_set():
            raise _Refused(f"said more than {_SAID_BYTES} bytes")
        return _agreed(status, bytes(out.data))


class _Refused(Exception):
    """One verifier's no; its text goes on after the verifier's name."""


async def _exit_code(program: Program, out: Output) -> int:
    """Wait for its exit code, or until it has said too much."""
    ended = asyncio.ensure_future(program.ended())
    flooded = asyncio.ensure_future(out.flooded.wait())
    try:
        await asyncio.wait({ended, flooded}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        raise _Refused(f"said more than {_SAID_BYTES} bytes")
    finally:
        for wait in (ended, flooded):
            wait.cancel()
        await asyncio.gather(ended, flooded, return_exceptions=True)


def _agreed(status: int, said: bytes) -> str:
    """What it said, if that was a yes. Raises _Refused."""
    if status < 0:
        raise _Refused(f"was ended by signal {-status}")
    if status:
        reason = _line(said)
        raise _Refused(f"refuses, {reason} (exit code {status})")
    return _line(said)


def _line(said: bytes | bytearray) -> str:
    """Foreign words as part of a message."""
    text = " ".join(said.decode(errors="replace").split())
    return quote(text) if text else "without a reason"


def _unusable(cause: str) -> SignatureRejected:
    return SignatureRejected(
        f"images cannot be verified: {cause}",
        hint='see [plugins."io.containerd.image-verifier.v1.bindir"] in the configuration',
    )


# --- whose program it is -----------------------------------------------------------------


def _program(path: str) -> str:
    """The file that ``path`` leads to, if nobody but root and ourselves could have put it there.

    Raises:
        SignatureRejected: it is no program, or others could replace it.
    """
    try:
        place, found = _follow(path)
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(f"{path} is no program")
    if not found.st_mode & 0o111:
        raise _unusable(f"{path} is not executable")
    if _writable(found):
        raise _unusable(f"{place} can be written by others")
    return place


def _follow(path: str) -> tuple[str, os.stat_result]:
    """Walk to ``path`` name by name, so that every directory and link on the way is looked at."""
    place, found = "/", os.stat("/")
    names = _names(os.path.abspath(path))
    links = 0
    while names:
        if _writable(found) and not found.st_mode & stat.S_ISVTX:
            raise _unusable(f"{place} can be written by others")
        name = names.pop()
        here = os.path.dirname(place) if name == ".." else os.path.join(place, name)
        found = os.lstat(here)
        if not stat.S_ISLNK(found.st_mode):
            place = here
            continue
        links += 1
        if links > _LINKS or not _owned(found):
            raise _unusable(f"{here} is a link of somebody else's, or leads nowhere")
        target = os.readlink(here)
        place = "/" if target.startswith("/") else place
        found = os.stat(place)
        names += _names(target)
    return place, found


def _names(path: str) -> list[str]:
    """The parts of a path, last first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _owned(found: os.stat_result) -> bool:
    return found.st_uid in (0, os.geteuid())


def _writable(found: os.stat_result) -> bool:
    """True when others than root and ourselves may change it."""
    return not _owned(found) or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
