"""Programs that know credentials: called as Docker does, bounded, and left nowhere behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from orlop.errors import AuthFailed, HostsInvalid
from orlop.registry import helper
from tests.unit.registry.rig import until


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``docker-credential-test`` has to be."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker-credential-test"


def script(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


async def test_how_it_is_called(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    script(
        program,
        'read server; echo "$1 $# $server $HOME"; pwd; env | cut -d= -f1 | sort; echo x >&2',
    )
    output = await helper.get("test", "a.example")
    assert output is not None
    lines = output.decode().splitlines()
    assert lines[:2] == ["get 1 a.example /somewhere", "/"]
    assert set(lines[2:]) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"HOME", "PATH"}


async def test_it_may_leave_its_input_unread(program: Path) -> None:
    script(program, "echo yes")
    assert await helper.get("test", "a.example" * 100) == b"yes\n"


async def test_it_knows_nothing(program: Path) -> None:
    script(program, "echo credentials not found in native keychain; exit 1")
    assert await helper.get("test", "a.example") is None


async def test_it_fails(program: Path) -> None:
    script(program, "echo hunter2; echo hunter2 >&2; exit 3")
    with pytest.raises(AuthFailed) as caught:
        await helper.get("test", "a.example")
    assert caught.value.message == "credential helper test: it failed (exit status 3)"


async def test_it_is_not_there(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostsInvalid, match="no program docker-credential-test in PATH"):
        await helper.get("test", "a.example")
    script(program, "echo yes")
    monkeypatch.chdir(program.parent)
    monkeypatch.setenv("PATH", ".:relative:")
    with pytest.raises(HostsInvalid, match="no program"):
        await helper.get("test", "a.example")


async def test_it_takes_too_long(program: Path, tmp_path: Path) -> None:
    script(program, f"sleep 60 & echo $! > {tmp_path}/child; sleep 60")
    begin = time.monotonic()
    with pytest.raises(AuthFailed, match=r"test: no answer within 0.3 s"):
        await helper.get("test", "a.example", within=0.3)
    assert time.monotonic() - begin < 5
    child = int((tmp_path / "child").read_text())
    await until(lambda: _ended(child))  # what it started has ended as well


async def test_it_is_cancelled(program: Path, tmp_path: Path) -> None:
    script(program, f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 60")
    task = asyncio.create_task(helper.get("test", "a.example"))
    await until((tmp_path / "pid").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _ended(int((tmp_path / "pid").read_text()))


async def test_it_says_too_much(program: Path) -> None:
    script(program, "cat /dev/zero")
    with pytest.raises(AuthFailed, match="test: it writes more than 65536 bytes"):
        await helper.get("test", "a.example")


def _ended(pid: int) -> bool:
    """True when a process is gone, or waits for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
    finally:
        assert pid != os.getpid()
