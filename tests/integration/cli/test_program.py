"""The program against a daemon: results, signals, terminals."""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from orlop.errors import InvalidArgument
from orlop.plugins.host import PluginState, Reloaded
from orlop.testing.memory_service import MemoryService, shelf
from tests.rigs.doors import Rig

APP = "registry.example/team/app:v1"


class Served(Protocol):
    """See conftest."""

    service: MemoryService
    rig: Rig

    async def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]: ...

    async def start(self, *arguments: str) -> asyncio.subprocess.Process: ...


class Terminal(Protocol):
    """See conftest."""

    def type(self, text: str) -> None: ...

    async def until(self, text: str) -> None: ...

    async def reading(self) -> None: ...

    async def finish(self) -> tuple[int, str]: ...


OnTerminal = Callable[..., Awaitable[Terminal]]


def plain(shown: str) -> str:
    """What was shown, without the sequences that move and colour."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


async def test_the_life_of_an_image(served: Served, tmp_path: Path) -> None:
    code, out, err = await served.run("pull", APP)
    assert (code, out) == (0, f"{shelf()[APP].id}\n")
    assert "\x1b" not in err
    assert err.startswith(f"orlop: {APP}: resolving\n")
    assert err.splitlines()[-3].startswith(f"orlop: pulled {APP}: ")
    served.service.pins.add(shelf()[APP].id)
    (image,) = json.loads((await served.run("images", "-o", "json"))[1])
    assert image["pinned"] is True
    assert APP in (await served.run("images"))[1]
    assert (await served.run("inspect", APP))[0] == 0
    assert (await served.run("mount", APP, str(tmp_path)))[0] == 0
    assert served.service.mounts == {str(tmp_path): (shelf()[APP].id, False)}
    assert (await served.run("unmount", str(tmp_path)))[0] == 0
    assert (await served.run("fs"))[0] == 0
    assert "whole" in (await served.run("check"))[1]
    assert (await served.run("gc", "--dry-run"))[0] == 0
    assert (await served.run("rm", APP))[:2] == (5, "")  # it is pinned
    assert (await served.run("rm", "--force", APP))[:2] == (0, f"removed {APP}\n")
    assert "daemon 1.2.3" in (await served.run("version"))[1]


async def test_errors_cross_the_socket(served: Served) -> None:
    assert (await served.run("inspect", "nothing"))[::2] == (3, "orlop: no image nothing\n")
    code, out, err = await served.run("pull", "registry.example/nothing")
    assert (code, out) == (3, "")
    assert err.splitlines()[-1].startswith("orlop: registry.example/nothing:latest is not")


async def test_credentials_come_through_a_pipe(served: Served) -> None:
    refused = await served.run("pull", "private.example/secret", "--creds", "ann")
    assert refused[0] == 2
    code, out, err = await served.run(
        "pull", "private.example/secret", "--creds", "-", stdin=b"ann:s3cret\n"
    )
    assert code == 0
    assert "s3cret" not in out + err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signals_cancel_the_pull(served: Served, number: int, code: int) -> None:
    served.service.hold[APP] = asyncio.Event()
    process = await served.start("pull", APP)
    assert process.stderr is not None
    assert b"resolving" in await asyncio.wait_for(process.stderr.readline(), 10)
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out, err) == (code, b"", b"")
    await _cancelled(served)


async def test_bars_on_a_terminal(served: Served, on_terminal: OnTerminal) -> None:
    terminal = await on_terminal("pull", APP)
    code, shown = await terminal.finish()
    assert code == 0
    screen = plain(shown)
    for layer in shelf()[APP].layers:
        assert layer.digest.short in screen
    assert "bytes" in screen
    assert "done" in screen
    pulled, took, waited, last = screen.splitlines()[-4:]
    assert last == str(shelf()[APP].id)
    assert pulled.startswith(f"orlop: pulled {APP}: ")
    assert took.startswith("orlop: took ")
    assert waited.startswith("orlop: waited for ")
    assert "\x1b[?25h" in shown, "the cursor is back"


async def test_control_c_on_a_terminal(served: Served, on_terminal: OnTerminal) -> None:
    served.service.hold[APP] = asyncio.Event()
    terminal = await on_terminal("pull", APP)
    await terminal.until("resolving")
    terminal.type("\x03")
    code, shown = await terminal.finish()
    assert code == 130
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"
    await _cancelled(served)


async def test_the_password_is_asked_for_and_not_shown(
    served: Served, on_terminal: OnTerminal
) -> None:
    terminal = await on_terminal("pull", "private.example/secret", "--creds", "ann")
    await terminal.until("Password for ann: ")
    terminal.type("s3cret\n")
    code, shown = await terminal.finish()
    assert code == 0
    assert "s3cret" not in shown


async def test_control_c_at_the_password(served: Served, on_terminal: OnTerminal) -> None:
    terminal = await on_terminal("pull", "private.example/secret", "--creds", "ann")
    await terminal.until("Password for ann: ")
    await terminal.reading()
    terminal.type("\x03")
    code, shown = await terminal.finish()
    assert code == 130
    assert "Traceback" not in shown
    assert served.service.calls == []


async def _cancelled(served: Served) -> None:
    async with asyncio.timeout(10):
        while served.service.cancelled != [APP]:  # noqa: ASYNC110 (nobody tells when)
            await asyncio.sleep(0.01)


async def test_plugins(served: Served) -> None:
    served.rig.states = (
        PluginState("a.v1", "x", "loaded", requires=("b.v1",), exports={"root": "/r", "b": "c"}),
        PluginState("orlop.plugins", "mine", "failed", "no\x1b[31mluck"),
    )
    code, out, err = await served.run("plugins")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "TYPE           ID    STATE   ABOUT",
        "a.v1           x     loaded  b=c, root=/r",
        "orlop.plugins  mine  failed  no\\x1b[31mluck",
    ]
    assert json.loads((await served.run("plugins", "-o", "json"))[1])[0] == {
        "type": "a.v1",
        "id": "x",
        "state": "loaded",
        "reason": "",
        "requires": ["b.v1"],
        "exports": {"root": "/r", "b": "c"},
    }


async def test_reloading_the_configuration(served: Served) -> None:
    served.rig.reloaded = Reloaded(("a", "b"), ("c",), ("file:3: odd",))
    code, out, err = await served.run("config", "reload")
    assert (code, err) == (0, "orlop: warning: file:3: odd\n")
    assert out == "applied: a\napplied: b\nneeds a restart: c\n"
    served.rig.reloaded = InvalidArgument("file:3: wrong", hint="right it")
    code, out, err = await served.run("config", "reload")
    assert (code, out) == (2, "")
    assert err == "orlop: file:3: wrong\nhint: right it\n"
