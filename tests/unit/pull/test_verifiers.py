"""Image verifiers: real programs, and everything that can be wrong with them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import SignatureRejected
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_INDEX
from orlop.model.reference import from_user
from orlop.pull.verifiers import BinaryVerifiers, VerifierSettings
from tests.unit.pull.rig import until

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = from_user("registry.example/team/app:v1")
TARGET = Descriptor(OCI_INDEX, Digest.of(b"index"), 1234)


class Verifiers:
    """A directory of verifiers that tests write as shell scripts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.place = directory.parent
        self.settings = VerifierSettings(str(directory), required=True, per_verifier_timeout=10)

    def add(self, name: str, *lines: str, mode: int = 0o755) -> Path:
        self.directory.mkdir(exist_ok=True)
        path = self.directory / name
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(mode)
        return path

    async def ask(self, descriptor: Descriptor = TARGET, **settings: object) -> None:
        chosen = replace(self.settings, **settings)  # type: ignore[arg-type]
        await BinaryVerifiers(chosen).verify(REFERENCE, descriptor)

    async def refusal(self, descriptor: Descriptor = TARGET, **settings: object) -> str:
        before = descriptors()
        with pytest.raises(SignatureRejected) as caught:
            await self.ask(descriptor, **settings)
        assert descriptors() == before
        assert "\n" not in caught.value.message
        return caught.value.message

    def pids(self) -> list[int]:
        """Processes whose numbers the scripts wrote down."""
        return [int(word) for word in (self.place / "pids").read_text().split()]


@pytest.fixture
def verifiers(tmp_path: Path) -> Verifiers:
    return Verifiers(tmp_path / "bin")


def descriptors() -> list[str]:
    gc.collect()  # loops of earlier tests
    return sorted(os.listdir("/proc/self/fd"))


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- the protocol ------------------------------------------------------------------------


async def test_what_a_verifier_is_told(verifiers: Verifiers) -> None:
    place = verifiers.place
    verifiers.add("one", f'printf "%s\\n" "$0" "$@" >{place}/argv', f"cat >{place}/stdin")
    verifiers.add("two", f"/usr/bin/env >{place}/env")
    target = replace(TARGET, annotations={"a": "b"}, artifact_type="x/y", data=b"no")
    await verifiers.ask(target)
    name, *arguments = (place / "argv").read_text().split("\n")[:-1]
    assert name == str(verifiers.directory / "one")
    assert arguments == [
        *("-name", "registry.example/team/app:v1"),
        *("-digest", str(TARGET.digest)),
        *("-stdin-media-type", "application/vnd.oci.descriptor.v1+json"),
    ]
    assert json.loads((place / "stdin").read_text()) == {
        "mediaType": OCI_INDEX,
        "digest": str(TARGET.digest),
        "size": 1234,
        "annotations": {"a": "b"},
        "artifactType": "x/y",
    }
    names = {line.partition("=")[0] for line in (place / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH"}  # those are the shell's own


async def test_all_must_agree_in_the_order_of_their_names(verifiers: Verifiers) -> None:
    for name in ("c", "a", "b"):
        verifiers.add(name, f"echo {name} >>{verifiers.place}/order")
    await verifiers.ask()
    assert (verifiers.place / "order").read_text() == "a\nb\nc\n"


async def test_the_first_refusal_ends_the_asking(verifiers: Verifiers) -> None:
    verifiers.add("a")
    verifiers.add("b", "echo 'no signature'", "exit 3")
    verifiers.add("c", f"touch {verifiers.place}/asked")
    assert await verifiers.refusal() == (
        "image verifier 'b' refuses, 'no signature' (exit code 3): registry.example/team/app:v1"
    )
    assert not (verifiers.place / "asked").exists()


async def test_a_reason_is_foreign_text(verifiers: Verifiers) -> None:
    verifiers.add("a", r"printf 'evil\033[2J\n\n \t line\000\377%0300d' 0", "exit 1")
    message = await verifiers.refusal()
    assert "'evil\\x1b[2J line\\x00\\ufffd000" in message
    assert len(message) < 300


async def test_a_refusal_needs_no_reason(verifiers: Verifiers) -> None:
    verifiers.add("a", "exit 1")
    assert "refuses, without a reason (exit code 1)" in await verifiers.refusal()


@pytest.mark.parametrize(("code", "level"), [(0, "DEBUG"), (1, "WARNING")])
async def test_what_it_says_on_stderr_is_logged(
    verifiers: Verifiers, caplog: pytest.LogCaptureFixture, code: int, level: str
) -> None:
    caplog.set_level(logging.DEBUG, "orlop.pull.verifiers")
    verifiers.add("a", "echo looking for keys >&2", "yes | head -c 999999 >&2", f"exit {code}")
    if code:
        await verifiers.refusal()
    else:
        await verifiers.ask()
    record = caplog.records[0]
    assert record.message.startswith("image verifier 'a': 'looking for keys y y y")
    assert (record.levelname, len(record.message) < 200) == (level, True)


# --- programs that misbehave -------------------------------------------------------------


async def test_too_slow(verifiers: Verifiers) -> None:
    verifiers.add("a", f"echo $$ >>{verifiers.place}/pids", "sleep 60")
    begun = time.monotonic()
    message = await verifiers.refusal(per_verifier_timeout=0.2)
    assert "image verifier 'a' did not answer within 0.2s" in message
    assert time.monotonic() - begun < 5
    assert not any(lives(pid) for pid in verifiers.pids())


async def test_the_time_is_for_each(verifiers: Verifiers) -> None:
    for name in "abc":
        verifiers.add(name, "sleep 0.2")
    await verifiers.ask(per_verifier_timeout=0.5)


async def test_one_that_ignores_signals(verifiers: Verifiers) -> None:
    note = f"{verifiers.place}/pids"
    verifiers.add("a", "trap '' TERM INT HUP", f"sleep 60 & echo $$ $! >{note}", "wait")
    assert "did not answer" in await verifiers.refusal(per_verifier_timeout=0.2)
    assert len(verifiers.pids()) == 2
    await until(lambda: not any(lives(pid) for pid in verifiers.pids()))


async def test_a_child_that_keeps_the_output_open(verifiers: Verifiers) -> None:
    verifiers.add("a", f"sleep 60 & echo $! >{verifiers.place}/pids", "echo fine", "exit 0")
    begun = time.monotonic()
    await verifiers.ask()
    assert time.monotonic() - begun < 5
    await until(lambda: not any(lives(pid) for pid in verifiers.pids()))


async def test_a_child_that_leaves_the_session_cannot_hold_us(verifiers: Verifiers) -> None:
    verifiers.add("a", f"setsid sleep 5 & echo $! >{verifiers.place}/pids", "echo no", "exit 1")
    assert "refuses, 'no'" in await verifiers.refusal()


@pytest.mark.parametrize("last", ["exit 0", "sleep 60"])
async def test_one_that_says_too_much(verifiers: Verifiers, last: str) -> None:
    verifiers.add("a", "head -c 20000 /dev/zero", last)
    assert "said more than 16384 bytes" in await verifiers.refusal()


async def test_one_that_never_stops_talking(verifiers: Verifiers) -> None:
    verifiers.add("a", "exec cat /dev/zero")
    assert "said more than 16384 bytes" in await verifiers.refusal()


async def test_exactly_so_much_is_not_too_much(verifiers: Verifiers) -> None:
    verifiers.add("a", "head -c 16384 /dev/zero")
    await verifiers.ask()


@pytest.mark.parametrize("line", ["exec <&-", "exec <&-; sleep 0.1", "head -c 1 >/dev/null"])
async def test_one_that_does_not_read(verifiers: Verifiers, line: str) -> None:
    verifiers.add("a", line)
    await verifiers.ask(replace(TARGET, annotations={"a": "x" * 1_000_000}))


async def test_a_long_descriptor_arrives_whole(verifiers: Verifiers) -> None:
    verifiers.add("a", f"cat >{verifiers.place}/stdin")
    await verifiers.ask(replace(TARGET, annotations={"a": "x" * 1_000_000}))
    assert json.loads((verifiers.place / "stdin").read_text())["annotations"]["a"][-1] == "x"


async def test_one_that_is_killed(verifiers: Verifiers) -> None:
    verifiers.add("a", "kill -9 $$")
    assert "was ended by signal 9" in await verifiers.refusal()


async def test_a_cancelled_pull_leaves_none_behind(verifiers: Verifiers) -> None:
    note = verifiers.place / "pids"
    verifiers.add("a", f"sleep 60 & echo $$ $! >{note}.new; mv {note}.new {note}", "wait")
    before = descriptors()
    asking = asyncio.create_task(verifiers.ask())
    await until(note.exists)
    assert all(lives(pid) for pid in verifiers.pids())
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: not any(lives(pid) for pid in verifiers.pids()))
    assert descriptors() == before


async def test_many_at_once(verifiers: Verifiers) -> None:
    verifiers.add("a", "cat >/dev/null", "echo fine")
    before = descriptors()
    await asyncio.gather(*(verifiers.ask() for _ in range(20)))
    assert descriptors() == before


# --- the directory and whose programs there are ------------------------------------------


async def test_a_directory_that_is_not_there(verifiers: Verifiers) -> None:
    assert f"{verifiers.directory} does not exist" in await verifiers.refusal()
    await verifiers.ask(required=False)


async def test_a_directory_that_is_empty(verifiers: Verifiers) -> None:
    verifiers.directory.mkdir()
    assert f"{verifiers.directory} is empty" in await verifiers.refusal()
    await verifiers.ask(required=False)


@pytest.mark.parametrize("required", [True, False])
async def test_a_directory_that_is_none(verifiers: Verifiers, *, required: bool) -> None:
    verifiers.directory.write_text("")
    assert "Not a directory" in await verifiers.refusal(required=required)


async def test_more_than_are_allowed(verifiers: Verifiers) -> None:
    for name in "abc":
        verifiers.add(name)
    await verifiers.ask(max_verifiers=3)
    await verifiers.ask(max_verifiers=-1)
    assert "has 3 entries, more than max_verifiers = 2" in await verifiers.refusal(max_verifiers=2)
    assert "more than max_verifiers = 0" in await verifiers.refusal(max_verifiers=0)


async def test_a_file_that_is_not_executable(verifiers: Verifiers) -> None:
    verifiers.add("a")
    verifiers.add("b", mode=0o644)
    assert "/bin/b is not executable" in await verifiers.refusal()


async def test_a_file_that_is_no_program(verifiers: Verifiers) -> None:
    verifiers.add("a").write_text("words")
    assert "image verifier 'a' cannot be run: Exec format error" in await verifiers.refusal()


async def test_a_directory_among_them(verifiers: Verifiers) -> None:
    verifiers.add("a")
    (verifiers.directory / "b").mkdir()
    assert "/bin/b is no program" in await verifiers.refusal()


async def test_a_link_to_a_program(verifiers: Verifiers) -> None:
    program = verifiers.add("a", f'echo "$0" >{verifiers.place}/name')
    elsewhere = verifiers.place / "elsewhere"
    elsewhere.mkdir()
    program.rename(elsewhere / "program")
    program.symlink_to("../elsewhere/./program")
    await verifiers.ask()
    assert (verifiers.place / "name").read_text() == f"{elsewhere}/program\n"


async def test_a_link_that_leads_nowhere(verifiers: Verifiers) -> None:
    verifiers.add("b")
    (verifiers.directory / "a").symlink_to("gone")
    assert "No such file" in await verifiers.refusal()
    (verifiers.directory / "gone").symlink_to("a")
    assert "leads nowhere" in await verifiers.refusal()


@pytest.mark.parametrize("mode", [0o757, 0o775])
async def test_a_program_that_others_can_write(verifiers: Verifiers, mode: int) -> None:
    verifiers.add("a", mode=mode)
    assert "/bin/a can be written by others" in await verifiers.refusal()


async def test_a_directory_that_others_can_write(verifiers: Verifiers) -> None:
    verifiers.add("a")
    verifiers.directory.chmod(0o777)
    assert f"{verifiers.directory} can be written by others" in await verifiers.refusal()


async def test_a_directory_above_that_others_can_write(verifiers: Verifiers) -> None:
    verifiers.add("a")
    verifiers.place.chmod(0o777)
    assert f"{verifiers.place} can be written by others" in await verifiers.refusal()


async def test_a_link_through_a_directory_that_others_can_write(verifiers: Verifiers) -> None:
    program = verifiers.add("a")
    shared, own = verifiers.place / "shared", verifiers.place / "own"
    shared.mkdir()
    program.rename(own)
    (shared / "link").symlink_to(own)
    program.symlink_to(shared / "link")
    await verifiers.ask()
    shared.chmod(0o777)
    assert f"{shared} can be written by others" in await verifiers.refusal()


@pytest.mark.root
@pytest.mark.parametrize("what", ["program", "directory", "link"])
async def test_what_belongs_to_somebody_else(verifiers: Verifiers, what: str) -> None:
    program = verifiers.add("a")
    if what == "link":
        program.rename(verifiers.place / "own")
        program.symlink_to(verifiers.place / "own")
    owned = verifiers.directory if what == "directory" else program
    os.chown(owned, 1234, 1234, follow_symlinks=False)
    assert str(owned) in await verifiers.refusal()
