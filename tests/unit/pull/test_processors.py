"""Layers that go through real programs, and programs that fail."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import zlib
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from google.protobuf.any_pb2 import Any  # type: ignore[import-untyped] # it has no types

from orlop.errors import FailedPrecondition, LimitExceeded, StoreFull
from orlop.linux.mounts import unmount
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS
from orlop.pull.processing import Step, StreamProcessor
from orlop.pull.processors import Processors
from tests.unit.pull.rig import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATA = os.urandom(300_000)
PLAIN = "app/plain"
SECRET = "app/layer+encrypted"


def shell(line: str, *, name: str = "program", media_type: str = PLAIN) -> Step:
    """A step that a line of shell does."""
    return Step(StreamProcessor(name, (media_type,), "app/x", "sh", ("-c", line)), media_type)


@asynccontextmanager
async def processed(
    place: Path, *steps: Step, processors: Processors | None = None, **fields: object
) -> AsyncIterator[bytes]:
    """What the steps make of ``DATA``."""
    blob = place / "blob"
    blob.write_bytes(DATA)
    fd = os.open(blob, os.O_RDWR)
    descriptor = replace(Descriptor(PLAIN, Digest.of(DATA), len(DATA)), **fields)  # type: ignore[arg-type]
    processors = processors or Processors(str(place), DEFAULTS)
    try:
        os.lseek(fd, 1000, os.SEEK_SET)  # whoever reads the blob has a position of its own
        async with processors.processed(fd, descriptor, steps) as spool:
            assert sorted(path.name for path in place.iterdir() if path.suffix == "") == ["blob"]
            yield os.pread(spool, 1 << 24, 0)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 1000
    finally:
        os.close(fd)


async def failure(place: Path, *steps: Step) -> str:
    gc.collect()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FailedPrecondition) as caught:
        async with processed(place, *steps):
            pass
    assert os.listdir("/proc/self/fd") == before
    assert "\n" not in caught.value.message
    return caught.value.message


async def test_one_program(tmp_path: Path) -> None:
    async with processed(tmp_path, shell("tr '\\000-\\377' '\\001-\\377\\000'")) as found:
        assert found == bytes((one + 1) % 256 for one in DATA)


async def test_three_in_a_row(tmp_path: Path) -> None:
    steps = [shell("gzip -1"), shell("cat"), shell("gzip -d | gzip -9")]
    async with processed(tmp_path, *steps) as found:
        assert zlib.decompress(found, 31) == DATA


async def test_what_a_program_is_told(tmp_path: Path) -> None:
    step = shell("env; ls /proc/self/fd | wc -l")
    processor = replace(step.processor, env=("KEYS=/etc/keys=1",))
    async with processed(tmp_path, Step(processor, PLAIN)) as found:
        lines = found.decode().splitlines()
    told = {line.partition("=")[0] for line in lines[:-1]} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert told == {"PATH", "STREAM_PROCESSOR_MEDIATYPE", "KEYS"}
    assert f"STREAM_PROCESSOR_MEDIATYPE={PLAIN}" in lines
    assert "KEYS=/etc/keys=1" in lines
    assert int(lines[-1]) == 4  # the three, and that of the listing


@pytest.mark.parametrize("line", ["cat <&3", 'cat "$STREAM_PROCESSOR_PIPE"'])
async def test_what_a_program_that_decrypts_is_told(tmp_path: Path, line: str) -> None:
    step = shell(line, media_type=SECRET)
    annotations = {"org.opencontainers.image.enc.keys.jwe": "wrapped"}
    async with processed(tmp_path, step, annotations=annotations, media_type=SECRET) as found:
        payload = Any.FromString(found)
    assert payload.type_url == "io.containerd.ocicrypt.v1.Payload"
    document = json.loads(payload.value)
    assert document["DecryptConfig"] == {"Parameters": None}
    assert document["Descriptor"] == {
        "mediaType": SECRET,
        "digest": str(Digest.of(DATA)),
        "size": len(DATA),
        "annotations": annotations,
    }


async def test_the_blob_cannot_be_changed_by_a_program(tmp_path: Path) -> None:
    async with processed(tmp_path, shell("echo changed >&0; cat")) as found:
        assert found == DATA
    assert (tmp_path / "blob").read_bytes() == DATA


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("exit 3", "exit code 3"),
        ("echo >&2; echo no key >&2; echo more >&2; exit 1", "'no key' (exit code 1)"),
        (r"printf 'a\033[2J\n' >&2; exit 1", r"'a\x1b[2J' (exit code 1)"),
        ("kill -9 $$", "signal 9"),
        ("cat; echo too late >&2; exit 7", "'too late' (exit code 7)"),
        ("head -c 1000000 /dev/zero | tr '\\0' '\\n' >&2; exit 5", "exit code 5"),
    ],
)
async def test_a_program_that_fails(tmp_path: Path, line: str, cause: str) -> None:
    message = await failure(tmp_path, shell(line, name="opens"))
    assert message == (f"stream processor 'opens' failed, {cause}: layer of media type '{PLAIN}'")


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_the_one_that_fails_is_named(tmp_path: Path, at: int) -> None:
    lines = ["cat", "cat", "cat"]
    lines[at] = "head -c 10; echo broken >&2; exit 1"
    steps = [shell(line, name=f"p{place}") for place, line in enumerate(lines)]
    message = await failure(tmp_path, *steps)
    assert message.startswith(f"stream processor 'p{at}' failed, 'broken' (exit code 1)")


async def test_one_that_stops_reading(tmp_path: Path) -> None:
    async with processed(tmp_path, shell("head -c 10")) as found:
        assert found == DATA[:10]
    message = await failure(tmp_path, shell("exec cat", name="a"), shell("head -c 10", name="b"))
    assert message.startswith("stream processor 'a' failed, signal 13")


async def test_a_neighbour_that_does_not_end_keeps_nobody_waiting(tmp_path: Path) -> None:
    message = await failure(tmp_path, shell("exit 3", name="a"), shell("sleep 60", name="b"))
    assert message.startswith("stream processor 'a' failed, exit code 3")


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    for path, cause in (("no-such", "there is no program"), (str(tmp_path), "there is no program")):
        step = Step(StreamProcessor("a", (PLAIN,), "x", path), PLAIN)
        assert cause in await failure(tmp_path, step)
    program = tmp_path / "program.sh"
    program.write_text("no program")
    program.chmod(0o700)
    step = Step(StreamProcessor("a", (PLAIN,), "x", str(program)), PLAIN)
    assert "failed, Exec format error" in await failure(tmp_path, shell("cat"), step)


async def test_one_that_never_ends_goes_with_the_pull(tmp_path: Path) -> None:
    note = tmp_path / "pids.txt"
    line = f"sleep 60 & echo $$ $! >{note}.new; mv {note}.new {note}; cat; wait"

    async def work() -> None:
        async with processed(tmp_path, shell(line), shell("cat")):
            pass

    before = os.listdir("/proc/self/fd")
    working = asyncio.create_task(work())
    await until(note.exists)
    pids = [int(word) for word in note.read_text().split()]
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("line", ["cat /dev/zero", "yes", "trap '' XFSZ; cat /dev/zero || exit 1"])
async def test_one_that_writes_without_end(tmp_path: Path, line: str) -> None:
    limits = replace(DEFAULTS, layer_ratio_floor=1 << 20, layer_ratio=3)
    most = max(1 << 20, 3 * len(DATA))
    with pytest.raises(LimitExceeded, match=re.escape(f"has more than {most} bytes")) as caught:
        async with processed(tmp_path, shell(line), processors=Processors(str(tmp_path), limits)):
            pass
    assert caught.value.limit == "layer_ratio"


@pytest.mark.root
async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = await asyncio.create_subprocess_exec(
        *("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk))
    )
    assert await mounting.wait() == 0
    try:
        small = Processors(str(disk), DEFAULTS)
        with pytest.raises(StoreFull, match="no space left for layer"):
            async with processed(tmp_path, shell("cat /dev/zero"), processors=small):
                pass
        assert os.statvfs(disk).f_bfree * 4096 >= (4 << 20) - 8192
    finally:
        unmount(str(disk))
