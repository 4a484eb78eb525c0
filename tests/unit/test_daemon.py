"""The daemon's life: sockets, signals, systemd, draining."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from orlop import daemon
from orlop.control.client import ControlClient
from orlop.errors import (
    FailedPrecondition,
    InvalidArgument,
    OrlopError,
    StoreIO,
    StoreLocked,
    Unavailable,
)
from orlop.plugins.host import Reloaded
from orlop.testing.memory_service import MemoryService
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

BUSYBOX = "docker.io/library/busybox:latest"

PROGRAM = textwrap.dedent(
    """
    import asyncio, contextlib, ctypes, resource, sys
    from orlop import daemon
    from orlop.errors import StoreIO
    from orlop.testing.memory_service import MemoryService
    from tests.rigs.doors import Rig

    @contextlib.asynccontextmanager
    async def open_served():
        service = MemoryService()
        service.hold["docker.io/library/busybox:latest"] = asyncio.Event()
        service.failures["registry.example/team/app:v1"] = StoreIO("fsync: I/O error")
        sys.stderr.write("opened\\n")
        yield Rig(service, sys.argv[1], float(sys.argv[2]))
        sys.stderr.write(f"closed after {service.cancelled}\\n")
        sys.stderr.write(f"core {resource.getrlimit(resource.RLIMIT_CORE)}\\n")
        sys.stderr.write(f"dumpable {ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)}\\n")

    sys.exit(daemon.run(open_served))
    """
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="daemon") as path:
        yield Path(path)


@contextlib.asynccontextmanager
async def served(
    path: Path, service: MemoryService, *, drain_seconds: float = 5
) -> AsyncIterator[asyncio.Task[None]]:
    """A daemon that serves ``service`` at ``path``; it is stopped if it has not stopped."""
    stop, ready = asyncio.Event(), asyncio.Event()
    rig = Rig(service, f"unix://{path}", drain_seconds)
    serving = asyncio.create_task(
        daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set())
    )
    await asyncio.wait(
        [serving, waiting := asyncio.create_task(ready.wait())],
        timeout=5,
        return_when=asyncio.FIRST_COMPLETED,
    )
    waiting.cancel()
    try:
        if serving.done():
            await serving
        yield serving
    finally:
        stop.set()
        with contextlib.suppress(OrlopError):
            await asyncio.wait_for(serving, 10)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- the service has no event for it
            await asyncio.sleep(0.01)


class TestSocket:
    @pytest.mark.row("L02")
    async def test_it_and_a_missing_directory_are_private(self, directory: Path) -> None:
        path = directory / "run" / "orlop.sock"
        async with served(path, MemoryService()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert os.listdir(path.parent) == ["orlop.sock"]
        assert os.listdir(path.parent) == []

    async def test_an_existing_directory_keeps_its_mode(self, directory: Path) -> None:
        os.chmod(directory, 0o755)
        async with served(directory / "orlop.sock", MemoryService()):
            assert stat.S_IMODE(os.stat(directory).st_mode) == 0o755

    @pytest.mark.row("L02")
    async def test_a_stale_socket_is_replaced(self, directory: Path) -> None:
        path = directory / "orlop.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        async with (
            served(path, MemoryService()),
            ControlClient(f"unix://{path}") as client,
        ):
            assert await client.version() == "1.2.3"

    @pytest.mark.row("L02")
    async def test_a_socket_in_use_is_not(self, directory: Path) -> None:
        path = directory / "orlop.sock"
        async with served(path, MemoryService()):
            with pytest.raises(FailedPrecondition, match="another process listens"):
                async with served(path, MemoryService()):
                    pass
            async with ControlClient(f"unix://{path}") as client:
                assert await client.version() == "1.2.3"

    @pytest.mark.row("L02")
    async def test_what_is_no_socket_is_refused_and_kept(self, directory: Path) -> None:
        path = directory / "orlop.sock"
        path.write_text("precious")
        with pytest.raises(FailedPrecondition, match="is no socket of ours"):
            async with served(path, MemoryService()):
                pass
        assert path.read_text() == "precious"
        assert os.listdir(directory) == ["orlop.sock"]

    @pytest.mark.row("L02")
    async def test_a_socket_of_somebody_else_is_not_removed(self, directory: Path) -> None:
        path = directory / "orlop.sock"
        async with served(path, MemoryService()):
            path.unlink()
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(path))
        assert path.is_socket()

    async def test_a_path_that_cannot_be(self, directory: Path) -> None:
        (directory / "file").write_text("")
        with pytest.raises(FailedPrecondition, match="cannot listen at"):
            async with served(directory / "file" / "orlop.sock", MemoryService()):
                pass
        with pytest.raises(InvalidArgument, match="longer than 107 bytes"):
            async with served(directory / ("x" * 107), MemoryService()):
                pass

    async def test_a_service_that_does_not_open_leaves_no_socket(self, directory: Path) -> None:
        @contextlib.asynccontextmanager
        async def locked() -> AsyncIterator[Rig]:
            if not os.listdir(directory):
                raise StoreLocked("the root belongs to process 1")
            yield Rig(MemoryService(), f"unix://{directory}/orlop.sock")

        with pytest.raises(StoreLocked):
            await daemon.serve(locked, stop=asyncio.Event())
        assert os.listdir(directory) == []


class TestDraining:
    async def test_a_running_call_may_finish(self, directory: Path) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        gate = service.hold[BUSYBOX] = asyncio.Event()
        async with ControlClient(f"unix://{path}") as client:
            async with served(path, service):
                pull = asyncio.create_task(client.pull("busybox"))
                await until(lambda: bool(service.pulls()))
                asyncio.get_running_loop().call_later(0.2, gate.set)
            assert (await pull).names
        assert service.cancelled == []

    async def test_a_call_that_takes_too_long_is_cancelled(self, directory: Path) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        service.hold[BUSYBOX] = asyncio.Event()
        async with ControlClient(f"unix://{path}") as client:
            async with served(path, service, drain_seconds=0.1):
                pull = asyncio.create_task(client.pull("busybox"))
                await until(lambda: bool(service.pulls()))
            assert service.cancelled == [BUSYBOX]
            with pytest.raises(Unavailable):
                await pull

    async def test_the_service_closes_after_the_last_call_has_cleaned_up(
        self, directory: Path
    ) -> None:
        path, events = directory / "orlop.sock", []

        class Slow(MemoryService):
            async def unmount(self, target: str) -> None:
                events.append("began")
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.2)
                    events.append("cleaned up")

        async with ControlClient(f"unix://{path}") as client:
            async with served(path, Slow(), drain_seconds=0) as serving:
                unmount = asyncio.create_task(client.unmount("/x"))
                await until(lambda: events == ["began"])
                serving.add_done_callback(lambda _: events.append("ended"))
            with pytest.raises(Unavailable):
                await unmount
        await until(lambda: events == ["began", "cleaned up", "ended"])

    async def test_new_clients_find_no_socket(self, directory: Path) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        gate = service.hold[BUSYBOX] = asyncio.Event()
        stop, ready = asyncio.Event(), asyncio.Event()

        async with ControlClient(f"unix://{path}") as client, asyncio.TaskGroup() as group:
            rig = Rig(service, f"unix://{path}")
            group.create_task(daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set()))
            await ready.wait()
            group.create_task(client.pull("busybox"))
            await until(lambda: bool(service.pulls()))
            stop.set()
            await until(lambda: not path.exists())
            assert service.pulls()
            gate.set()

    async def test_a_failed_disk_stops_the_daemon(self, directory: Path) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        service.hold[BUSYBOX] = asyncio.Event()
        service.failures["registry.example/team/app:v1"] = StoreIO("fsync: I/O error")
        async with (
            served(path, service, drain_seconds=60) as serving,
            ControlClient(f"unix://{path}") as client,
        ):
            other = asyncio.create_task(client.pull("busybox"))
            await until(lambda: bool(service.pulls()))
            with pytest.raises(StoreIO):
                await client.pull("registry.example/team/app:v1")
            with pytest.raises(StoreIO, match="I/O error"):
                await asyncio.wait_for(serving, 5)
            with pytest.raises(Unavailable):
                await other
        assert service.cancelled == [BUSYBOX]

    async def test_cancelling_serve_leaves_nothing_behind(self, directory: Path) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        service.hold[BUSYBOX] = asyncio.Event()
        async with ControlClient(f"unix://{path}") as client:
            with contextlib.suppress(asyncio.CancelledError):
                async with served(path, service, drain_seconds=60) as serving:
                    pull = asyncio.create_task(client.pull("busybox"))
                    await until(lambda: bool(service.pulls()))
                    serving.cancel()
                    await asyncio.wait([serving], timeout=5)
                    assert serving.cancelled()
            with pytest.raises(Unavailable):
                await pull
        assert service.cancelled == [BUSYBOX]
        assert os.listdir(directory) == []


class Process:
    """A daemon in a process of its own, on a memory service."""

    def __init__(self, directory: Path, *, drain_seconds: float = 5, **environment: str) -> None:
        self.address = f"unix://{directory}/orlop.sock"
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.address, str(drain_seconds)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],  # where tests.rigs is found
            env={**os.environ, **environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for(self, text: str) -> str:
        """Read stderr up to the line that contains ``text``; that line."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if text in line:
                return line
        pytest.fail(f"the daemon ended without saying {text!r}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> tuple[int, str]:
        """Exit code, and the rest of stderr."""
        _, rest = self._process.communicate(timeout=10)
        return self._process.returncode, rest


class TestProcess:
    @pytest.mark.row("L15")
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_well(self, directory: Path, number: signal.Signals) -> None:
        with Process(directory) as process:
            line = process.wait_for("ready on")
            assert line == f"orlop: ready on {process.address}\n"
            process.signal(number)
            code, rest = process.end()
        assert code == 0
        assert "closed after []\n" in rest
        assert "Traceback" not in rest
        assert os.listdir(directory) == []

    @pytest.mark.row("L15")
    def test_signals_up_to_the_very_end_do_not_spoil_it(self, directory: Path) -> None:
        with Process(directory) as process:
            process.wait_for("ready on")
            while not process.ended():
                process.signal(signal.SIGTERM)
                time.sleep(0.0005)
            code, _ = process.end()
        assert code == 0

    def test_memory_is_kept_from_cores_and_tracers(self, directory: Path) -> None:
        with Process(directory) as process:
            process.wait_for("ready on")
            process.signal(signal.SIGTERM)
            _, rest = process.end()
        assert "core (0, 0)\n" in rest
        assert "dumpable 0\n" in rest

    async def test_a_second_signal_cuts_draining_short(self, directory: Path) -> None:
        with Process(directory, drain_seconds=60) as process:
            process.wait_for("ready on")
            async with ControlClient(process.address) as client:
                pull = asyncio.create_task(client.pull("busybox"))
                assert "image=busybox" in await asyncio.to_thread(process.wait_for, "pull started")
                process.signal(signal.SIGTERM)
                assert "drain_seconds=60" in await asyncio.to_thread(process.wait_for, "stopping")
                assert not pull.done()
                process.signal(signal.SIGTERM)
                with pytest.raises(Unavailable):
                    await pull
            code, rest = await asyncio.to_thread(process.end)
        assert code == 0
        assert f"closed after ['{BUSYBOX}']\n" in rest

    async def test_a_failed_disk_is_an_error(self, directory: Path) -> None:
        with Process(directory) as process:
            process.wait_for("ready on")
            async with ControlClient(process.address) as client:
                with pytest.raises(StoreIO):
                    await client.pull("registry.example/team/app:v1")
            code, rest = await asyncio.to_thread(process.end)
        assert code != 0
        assert "StoreIO: fsync: I/O error" in rest

    async def test_logs_are_one_line_an_event_and_hold_no_secret(self, directory: Path) -> None:
        from orlop.ports.registry import Credentials
        from orlop.ports.service import PullOptions

        with Process(directory) as process:
            process.wait_for("ready on")
            async with ControlClient(process.address) as client:
                await client.pull(
                    "busybox:1.37", PullOptions(credentials=Credentials("ann", "s3cret"))
                )
            process.signal(signal.SIGTERM)
            _, rest = await asyncio.to_thread(process.end)
        started, done = (line for line in rest.splitlines() if "image=busybox:1.37" in line)
        assert started.startswith("time=20")
        assert 'level=info msg="pull started"' in started
        assert 'msg="pull done"' in done
        assert "id=sha256:" in done
        assert "s3cret" not in rest

    @pytest.mark.parametrize("abstract", [False, True])
    def test_systemd_is_told(self, directory: Path, abstract: bool) -> None:
        name = f"@orlop-test-{directory.name}" if abstract else f"{directory}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name.replace("@", "\0"))
            manager.settimeout(10)
            with Process(directory, NOTIFY_SOCKET=name) as process:
                assert manager.recv(100) == b"READY=1"
                assert process.wait_for("ready on")
                process.signal(signal.SIGTERM)
                assert manager.recv(100) == b"STOPPING=1"
                assert process.end()[0] == 0

    def test_a_manager_that_does_not_listen_is_no_failure(self, directory: Path) -> None:
        with Process(directory, NOTIFY_SOCKET=f"{directory}/absent") as process:
            process.wait_for("ready on")
            assert "systemd was not told" in process.wait_for("not told")
            process.signal(signal.SIGTERM)
            assert process.end()[0] == 0


class TestReloading:
    async def test_it_is_asked_each_time_and_survives_refusals(self, directory: Path) -> None:
        rig = Rig(MemoryService(), f"unix://{directory}/orlop.sock")
        stop, again, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        again.set()  # a signal before it is ready is not forgotten
        async with asyncio.TaskGroup() as group:
            group.create_task(
                daemon.serve(opening(rig), stop=stop, again=again, on_ready=lambda _: ready.set())
            )
            await ready.wait()
            await until(lambda: rig.reloads == 1)
            rig.reloaded = InvalidArgument("file:3: wrong")
            again.set()
            await until(lambda: rig.reloads == 2)
            rig.reloaded = Reloaded()
            again.set()
            await until(lambda: rig.reloads == 3)
            stop.set()

    async def test_the_time_to_drain_is_the_one_that_holds_at_the_end(
        self, directory: Path
    ) -> None:
        path, service = directory / "orlop.sock", MemoryService()
        service.hold[BUSYBOX] = asyncio.Event()
        rig = Rig(service, f"unix://{path}", drain_seconds=60)
        stop, ready = asyncio.Event(), asyncio.Event()
        async with ControlClient(rig.address) as client, asyncio.TaskGroup() as group:
            serving = group.create_task(
                daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set())
            )
            await ready.wait()
            pull = asyncio.ensure_future(client.pull("busybox"))
            await until(lambda: bool(service.pulls()))
            rig.drain_seconds = 0
            stop.set()
            await asyncio.wait_for(serving, 5)
            with pytest.raises(Unavailable):
                await pull


def test_an_unknown_log_level_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='no log level "loud"'):
        daemon.configure_logs("loud")
