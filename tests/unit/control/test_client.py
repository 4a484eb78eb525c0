"""The client of orlop.v1 against its server: what goes in here comes out there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from orlop import errors
from orlop.control.client import ControlClient
from orlop.plugins.host import Host, PluginState, Reloaded
from orlop.ports.gc import Chain, Explanation, Link
from orlop.ports.registry import Credentials
from orlop.ports.service import CheckReport, ImageService, LeaseOptions, PullOptions
from orlop.testing.images import build_image
from orlop.testing.memory_service import Call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.ports.observe import PullProgress

    from .conftest import Ends

BUSYBOX = "docker.io/library/busybox:latest"
APP = "registry.example/team/app:v1"


def run(script: str, *arguments: str) -> str:
    """What a Python program prints."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=20)
    return done.stdout


def as_host(client: ControlClient) -> Host:
    """The type checker's word that the client is a Host."""
    return client


def as_service(client: ControlClient) -> ImageService:
    """The type checker's word that the client is an ImageService."""
    return client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- the service has no event for it
            await asyncio.sleep(0.01)


class TestPull:
    async def test_the_image_comes_back_as_the_service_has_it(self, ends: Ends) -> None:
        image = await as_service(ends.client).pull("busybox")
        assert [image] == await ends.service.images()

    async def test_options_and_credentials_go_through(self, ends: Ends) -> None:
        options = PullOptions(
            platform="linux/amd64",
            snapshotter="native",
            runtime_handler="runc",
            namespace="builds",
            credentials=Credentials("ann", "s3cret", "refresh", "bearer", "private.example"),
        )
        await ends.client.pull("private.example/secret", options)
        assert ends.service.calls == [Call("pull", ("private.example/secret", options))]

    async def test_without_options(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        assert ends.service.calls == [Call("pull", ("busybox", PullOptions()))]

    async def test_the_last_picture_is_never_lost(self, ends: Ends) -> None:
        pictures: list[PullProgress] = []
        await ends.client.pull(APP, progress=pictures.append)
        assert pictures[-1].phase == "done"
        assert pictures == sorted(pictures, key=lambda picture: picture.elapsed)

    async def test_the_last_picture_tells_where_the_time_went(self, ends: Ends) -> None:
        sent: list[PullProgress] = []
        came: list[PullProgress] = []
        await ends.service.pull(APP, progress=sent.append)
        await ends.client.pull(APP, progress=came.append)
        assert came[-1] == sent[-1]
        assert came[-1].spans
        assert not any(picture.spans for picture in came[:-1])

    async def test_pictures_come_while_the_pull_runs(self, ends: Ends) -> None:
        gate = ends.service.hold[APP] = asyncio.Event()
        pictures: list[PullProgress] = []
        async with asyncio.TaskGroup() as group:
            pull = group.create_task(ends.client.pull(APP, progress=pictures.append))
            await until(lambda: bool(pictures))
            assert not pull.done()
            gate.set()
        assert pictures[0].phase == "resolving"
        assert len(pictures[0].layers) == 2
        assert pictures[-1].total == pictures[-1].downloaded > 0
        assert pictures[-1].resolved is not None

    async def test_a_failure_is_the_same_error(self, ends: Ends) -> None:
        sent = errors.RegistryRejected("429 Too Many Requests", status=429, hint="log in")
        ends.service.failures[BUSYBOX] = sent
        pictures: list[PullProgress] = []
        with pytest.raises(errors.RegistryRejected) as caught:
            await ends.client.pull("busybox", progress=pictures.append)
        assert vars(caught.value) == vars(sent)
        assert (pictures[-1].phase, pictures[-1].error) == ("failed", sent.message)

    async def test_cancelling_cancels_the_pull_in_the_daemon(self, ends: Ends) -> None:
        ends.service.hold[BUSYBOX] = asyncio.Event()
        pull = asyncio.create_task(ends.client.pull("busybox"))
        await until(lambda: bool(ends.service.pulls()))
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        await until(lambda: ends.service.cancelled == [BUSYBOX])

    async def test_a_defect_is_internal(self, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken(*_: object) -> None:
            raise ZeroDivisionError("s3cret")

        monkeypatch.setattr(ends.service, "pull", broken)
        with pytest.raises(errors.Internal) as caught:
            await ends.client.pull("busybox")
        assert "s3cret" not in str(caught.value)

    async def test_running_pulls_are_seen_from_another_client(self, ends: Ends) -> None:
        ends.service.hold[APP] = asyncio.Event()
        pull = asyncio.create_task(ends.client.pull(APP))
        await until(lambda: bool(ends.service.pulls()))
        async with ControlClient(ends.address) as other:
            assert await other.running() == ends.service.pulls()
        ends.service.hold[APP].set()
        await pull


class TestLeases:
    async def test_there_and_back(self, ends: Ends) -> None:
        options = LeaseOptions("mine", seconds=2.5, flat=True)
        held = await as_service(ends.client).add_lease(["busybox", "app"], options, "builds")
        assert list(await ends.client.leases("builds")) == [held]
        assert list(await ends.service.leases("builds")) == [held]
        assert await ends.client.leases() == ()
        with pytest.raises(errors.AlreadyExists):
            await ends.client.add_lease(["app"], options, "builds")
        await ends.client.remove_lease("mine", "builds")
        with pytest.raises(errors.NotFound):
            await ends.client.remove_lease("mine", "builds")


class TestReasons:
    async def test_what_keeps_a_thing(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        found = await as_service(ends.client).why("busybox", "builds")
        assert list(found) == await ends.service.why("busybox", "builds")
        with pytest.raises(errors.NotFound):
            await ends.client.why("absent")

    async def test_all_of_a_chain_goes_through(
        self, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        links = (Link("", "snapshot", "fs/mount-1"), Link("parent", "snapshot", "fs/a"))
        chain = Chain("snapshot", "view", "/mnt", 5, links)
        explanation = Explanation("builds", "snapshot", "fs/a", 1 << 40, (chain,))

        async def why(text: str, namespace: str = "") -> list[Explanation]:
            return [explanation]

        monkeypatch.setattr(ends.service, "why", why)
        assert list(await ends.client.why("fs/a")) == [explanation]

    async def test_what_images_occupy(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        usage = await as_service(ends.client).disk_usage("builds")
        assert usage == await ends.service.disk_usage("builds")
        assert usage.images
        assert usage.namespace == "builds"


class TestQuestions:
    async def test_find(self, ends: Ends) -> None:
        image = await ends.client.pull("busybox")
        assert await ends.client.find("busybox", "builds") == image
        assert await ends.client.find("absent") is None
        assert Call("find", ("busybox", "builds")) in ends.service.calls

    async def test_find_tells_of_ambiguity(self, ends: Ends) -> None:
        for number in range(17):
            ends.service.put(f"a.example/b:{number}", build_image(config={"author": str(number)}))
        digits = [image.record.id.hex[0] for image in await ends.client.images()]
        twice = next(digit for digit in digits if digits.count(digit) > 1)
        with pytest.raises(errors.InvalidArgument, match="ambiguous"):
            await ends.client.find(twice)

    async def test_images(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        app = await ends.client.pull(APP)
        assert await ends.client.images() == await ends.service.images()
        assert await ends.client.images(APP, "builds") == [app]
        assert ends.service.calls[-1] == Call("images", (APP, "builds"))

    async def test_images_come_in_pages(self, ends: Ends) -> None:
        assert await ends.client.images() == []
        for number in range(250):
            ends.service.put(f"a.example/b:{number}", build_image(config={"author": str(number)}))
        assert await ends.client.images() == await ends.service.images()

    async def test_detail(self, ends: Ends) -> None:
        await ends.client.pull(APP)
        assert await ends.client.detail(APP) == await ends.service.detail(APP)
        with pytest.raises(errors.NotFound, match="no image absent"):
            await ends.client.detail("absent")

    async def test_pinned_is_what_the_daemon_said_last(self, ends: Ends) -> None:
        image = await ends.client.pull("busybox")
        assert not ends.client.pinned(image)
        ends.service.pins.add(image.record.id)
        await ends.client.find("busybox")
        assert ends.client.pinned(image)
        ends.service.pins.clear()
        await ends.client.images()
        assert not ends.client.pinned(image)

    async def test_filesystems(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        ends.service.mountpoint = "/srv/\udcff"  # a path that is not UTF-8
        assert await ends.client.filesystems() == await ends.service.filesystems()

    async def test_version(self, ends: Ends) -> None:
        assert await ends.client.version() == "1.2.3"


class TestChanges:
    async def test_remove(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        assert await ends.client.remove("busybox", "builds")
        assert not await ends.client.remove("busybox")
        assert Call("remove", ("busybox", "builds")) in ends.service.calls

    async def test_remove_name(self, ends: Ends) -> None:
        await ends.client.pull("busybox")
        await ends.client.pull("busybox:1.37")
        assert await ends.client.remove_name("busybox", "builds")
        (image,) = await ends.client.images()
        assert BUSYBOX not in [name.name for name in image.names]
        assert Call("remove_name", ("busybox", "builds")) in ends.service.calls

    async def test_mount_and_unmount(
        self, ends: Ends, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = await ends.client.pull("busybox")
        monkeypatch.chdir(directory)
        await ends.client.mount("busybox", "rootfs", writable=True)
        await ends.client.mount("busybox", "/srv/\udcff")
        assert ends.service.mounts == {
            f"{directory}/rootfs": (image.record.id, True),
            "/srv/\udcff": (image.record.id, False),
        }
        await ends.client.unmount("rootfs")
        with pytest.raises(errors.NotFound, match="nothing of ours is mounted"):
            await ends.client.unmount("rootfs")

    async def test_check(self, ends: Ends) -> None:
        image = await ends.client.pull("busybox")
        ends.service.damaged.add(image.record.id)
        names = tuple(name.name for name in image.names)
        hurt = CheckReport(str(image.record.id), names, ("the config is damaged",), repaired=True)
        assert await ends.client.check("busybox", repair=True) == [hurt]
        assert await ends.client.check() == [CheckReport(str(image.record.id), names, ())]
        with pytest.raises(errors.NotFound):
            await ends.client.check("absent")

    async def test_collect(self, ends: Ends) -> None:
        assert await ends.client.collect(dry_run=True) == await ends.service.collect()
        assert ends.service.calls[0] == Call("collect", (True,))

    async def test_the_longest_errors_fit_into_trailers(
        self, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def failing(*_: object, **__: object) -> None:
            raise errors.StoreCorrupt("€" * 9999, hint="€" * 9999)

        monkeypatch.setattr(ends.service, "collect", failing)
        with pytest.raises(errors.StoreCorrupt) as caught:
            await ends.client.collect()
        assert caught.value.message.startswith("€" * 600)
        assert caught.value.hint.startswith("€" * 600)


class TestNobodyThere:
    async def test_no_socket(self, directory: Path) -> None:
        async with ControlClient(f"unix://{directory}/orlop.sock") as client:
            with pytest.raises(errors.Unavailable, match="No such file") as caught:
                await client.images()
        assert f"{directory}/orlop.sock" in str(caught.value)
        assert "orlop daemon" in caught.value.hint
        assert "--root" in caught.value.hint

    async def test_a_stale_socket(self, directory: Path) -> None:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f"{directory}/orlop.sock")
        async with ControlClient(f"unix://{directory}/orlop.sock") as client:
            with pytest.raises(errors.Unavailable, match="Connection refused") as caught:
                await client.pull("busybox")
        assert "orlop daemon" in caught.value.hint

    @pytest.mark.root
    def test_a_socket_of_root(self, directory: Path) -> None:
        """Root may connect anywhere, so that a child gives up being root."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{directory}/orlop.sock")
            os.chmod(f"{directory}/orlop.sock", 0o600)
            os.chmod(directory, 0o755)
            listening.listen()
            script = (
                "import asyncio, os, sys\n"
                "from orlop.control.client import ControlClient\n"
                "from orlop.errors import PermissionDenied\n"
                "os.setresuid(65534, 65534, 65534)\n"
                "try:\n"
                "    asyncio.run(ControlClient(sys.argv[1]).images())\n"
                "except PermissionDenied as error:\n"
                "    print(error, '--', error.hint)\n"
            )
            address = f"unix://{directory}/orlop.sock"
            assert "Permission denied -- use root" in run(script, address)

    async def test_a_server_that_is_no_orlop(self, directory: Path) -> None:
        server = grpc.aio.server()
        server.add_insecure_port(f"unix:{directory}/other.sock")
        await server.start()
        async with ControlClient(f"unix://{directory}/other.sock") as client:
            with pytest.raises(errors.Unimplemented, match="does not know this call"):
                await client.images()
        await server.stop(None)

    async def test_a_daemon_that_stops_meanwhile(self, ends: Ends) -> None:
        ends.service.hold[BUSYBOX] = asyncio.Event()
        pull = asyncio.create_task(ends.client.pull("busybox"))
        await until(lambda: bool(ends.service.pulls()))
        ends.stop.set()
        with pytest.raises(errors.Unavailable):
            await pull
        assert ends.service.cancelled == [BUSYBOX]

    def test_a_bad_address(self) -> None:
        with pytest.raises(errors.InvalidArgument):
            ControlClient("tcp://localhost:1")

    async def test_a_closed_client_connects_again(self, ends: Ends) -> None:
        assert await ends.client.version() == "1.2.3"
        await ends.client.close()
        assert await ends.client.version() == "1.2.3"


def test_the_client_is_light() -> None:
    """Every command of the command line pays for this import."""
    script = (
        "import sys, orlop.control.client\n"
        "heavy = {'structlog', 'rich', 'aiohttp', 'apsw', 'orlop.control.server',"
        " 'orlop.model.manifest', 'orlop._proto.runtime_v1_pb2', 'prometheus_client'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run(script) == "[]\n"


class TestPlugins:
    async def test_they_come_back_as_the_daemon_has_them(self, ends: Ends) -> None:
        ends.rig.states = (
            PluginState("a.v1", "x", "loaded", exports={"root": "/r", "b": "ä"}),
            PluginState("b.v1", "y", "failed", "no luck", ("a.v1", "a.v1.x")),
            PluginState("orlop.plugins", "mine", "skipped", "disabled"),
        )
        assert await as_host(ends.client).plugins() == ends.rig.states

    async def test_the_configuration_is_read_again(self, ends: Ends) -> None:
        ends.rig.reloaded = Reloaded(("a", "b"), ("c",), ("file:3: odd",))
        assert await as_host(ends.client).reload() == ends.rig.reloaded
        assert ends.rig.reloads == 1

    async def test_a_refusal_comes_back_as_the_error(self, ends: Ends) -> None:
        ends.rig.reloaded = errors.InvalidArgument("file:3: wrong", hint="right it")
        with pytest.raises(errors.InvalidArgument, match="file:3: wrong") as caught:
            await ends.client.reload()
        assert caught.value.hint == "right it"
