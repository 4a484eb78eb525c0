"""The composition root: plugins and configuration become a service, and end again."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct, structs
from structlog.testing import capture_logs

from orlop.app import (
    Stock,
    at_home,
    embedded,
    embedded_app,
    in_stock,
    opened,
    with_directories,
)
from orlop.builtin import (
    ENTRANCE,
    PULL_KEYS,
    REGISTRY_KEYS,
    SERVICE_KEYS,
    SNAPSHOTTER,
    UNPACK,
    builtin,
)
from orlop.config.durations import Duration
from orlop.config.load import Loaded, loads
from orlop.config.related import TransferConfig, UnpackConfig
from orlop.config.schema import (
    Config,
    GrpcConfig,
    ImageConfig,
    MetricsConfig,
    RegistryConfig,
    RuntimePlatform,
)
from orlop.control import HealthDoor
from orlop.doors import DOOR, SERVICE
from orlop.errors import (
    FailedPrecondition,
    InvalidArgument,
    OrlopError,
    StoreCorrupt,
    StoreLocked,
)
from orlop.plugins.graph import plan
from orlop.plugins.host import Reloaded
from orlop.plugins.registration import Context, Registration
from orlop.ports.service import PullOptions
from orlop.settings import pull_settings, service_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orlop.plugins.registration import Draft, Migrate


def config(root: Path, **images: object) -> Config:
    own = structs.replace(Config().images, **images)
    made = structs.replace(Config(), images=own)
    return with_directories(made, root=str(root), state=str(root / "state"))


def test_the_table_can_be_started() -> None:
    order = plan(builtin())
    names = [one.name for one in builtin()]
    assert len(set(names)) == len(names)
    assert names[-1] == ENTRANCE
    assert [one.name for one in order.order] == names


def test_a_program_without_a_daemon_has_no_doors() -> None:
    order = plan(builtin(), daemon=False)
    assert order.order[-1].name == SERVICE
    assert {one.type for one in order.order}.isdisjoint({DOOR, ENTRANCE.rpartition(".")[0]})


def test_directories_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = with_directories(Config(), root="a", state="b/../c")
    assert (made.root, made.state) == (f"{tmp_path}/a", f"{tmp_path}/c")


def test_settings_of_the_pull() -> None:
    made = pull_settings(
        structs.replace(
            ImageConfig(),
            image_pull_progress_timeout=Duration.parse("1m500ms"),
            max_concurrent_downloads=-1,
            max_total_downloads=7,
            max_concurrent_unpacks=2,
        )
    )
    assert (made.progress_timeout, made.concurrent_downloads) == (60.5, -1)
    assert (made.total_downloads, made.concurrent_unpacks) == (7, 2)


def test_settings_of_the_service() -> None:
    made = service_settings(
        structs.replace(
            ImageConfig(),
            snapshotter="native",
            pinned_images={"sandbox": "registry.example/pause:3.9"},
            runtime_platforms={"kata": RuntimePlatform(platform="linux/arm64")},
        ),
        TransferConfig(unpack_config=(UnpackConfig(snapshotter="overlayfs"),)),
    )
    assert made.snapshotter == "native"
    assert [one.snapshotter for one in made.unpack] == [""]  # the images section goes before it
    assert made.pinned == ("registry.example/pause:3.9",)
    assert made.runtimes["kata"].platform == "linux/arm64"
    assert made.platform.os == "linux"


@pytest.mark.root
async def test_everything_starts_and_ends(tmp_path: Path) -> None:
    threads, descriptors = set(threading.enumerate()), open_files()
    for _ in range(2):
        async with opened(config(tmp_path / "root")) as app:
            states = {one.name: one.state for one in app.states}
            assert states.keys() >= {one.name for one in builtin()}
            assert {states[one.name] for one in builtin() if not one.daemon} == {"loaded"}
            assert {states[one.name] for one in builtin() if one.daemon} == {"skipped"}
            assert await app.service.images() == []
            assert [one.usage.bytes for one in await app.service.filesystems()] == [0]
    left = {one.name for one in set(threading.enumerate()) - threads}
    assert all(name.startswith("asyncio_") for name in left)
    assert open_files() == descriptors


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.root
async def test_what_is_made_belongs_to_root_alone(tmp_path: Path) -> None:
    os.umask(old := os.umask(0))
    os.umask(0)
    try:
        async with embedded(root=str(tmp_path / "root"), loaded=Loaded(Config())):
            for path in (tmp_path / "root").rglob("*"):
                if path.is_dir() and path.name != "fs":
                    assert path.stat().st_mode & 0o077 == 0, path
        assert (tmp_path / "root" / "state").is_dir()
    finally:
        os.umask(old)


@pytest.mark.root
async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with embedded(root=str(tmp_path / "root")):
        with pytest.raises(StoreLocked):
            async with embedded(root=str(tmp_path / "root")):
                pass
    async with embedded(root=str(tmp_path / "root")) as service:
        assert await service.images() == []


@pytest.mark.root
async def test_a_root_that_others_may_enter(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").touch()
    (tmp_path / "root").chmod(0o755)
    with pytest.raises(StoreCorrupt):
        async with embedded(root=str(tmp_path / "root")):
            pass


@pytest.mark.root
async def test_a_snapshotter_that_is_not_loaded(tmp_path: Path) -> None:
    made = structs.replace(config(tmp_path / "root"), disabled_plugins=(f"{SNAPSHOTTER}.native",))
    async with opened(made) as app:
        states = {one.name: one.state for one in app.states}
        assert states[f"{SNAPSHOTTER}.native"] == "skipped"
        with pytest.raises(InvalidArgument, match="unknown snapshotter 'native'"):
            await app.service.pull("busybox", PullOptions(snapshotter="native"))


@pytest.mark.root
async def test_a_part_that_cannot_start_stops_the_others(tmp_path: Path) -> None:
    descriptors = open_files()
    made = structs.replace(config(tmp_path / "root"), disabled_plugins=(f"{UNPACK}.workers",))
    with pytest.raises(InvalidArgument, match=rf"requires {UNPACK}, which is disabled"):
        async with opened(made):
            pass
    assert open_files() == descriptors
    async with opened(config(tmp_path / "root")):
        pass


@pytest.mark.root
async def test_a_default_snapshotter_that_is_not_loaded(tmp_path: Path) -> None:
    made = config(tmp_path / "root", snapshotter="native")
    made = structs.replace(made, disabled_plugins=(f"{SNAPSHOTTER}.native",))
    with pytest.raises(InvalidArgument, match='the snapshotter "native" is not loaded') as caught:
        async with opened(made):
            pass
    assert SERVICE in caught.value.message
    assert caught.value.hint == "loaded are: overlayfs"


@pytest.mark.root
async def test_a_part_that_fails_is_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    (root / "io.containerd.metadata.v1.sqlite").write_text("no directory")
    with pytest.raises(OrlopError, match=r"^plugin io\.containerd\.metadata\.v1\.sqlite cannot "):
        async with opened(config(root)):
            pass


@pytest.mark.root
async def test_a_daemon_without_one_of_its_doors(tmp_path: Path) -> None:
    made = structs.replace(config(tmp_path / "root"), disabled_plugins=(f"{DOOR}.control",))
    async with opened(made, daemon=True) as app:
        services = [service for door in app.entrance.doors for service in door.services]
        assert app.warnings == ()
    assert services == [
        "runtime.v1.ImageService",
        "runtime.v1.RuntimeService",
        "grpc.health.v1.Health",
    ]
    made = structs.replace(made, disabled_plugins=(f"{DOOR}.cri",))
    async with opened(made, daemon=True) as app:
        assert "kubelet and crictl are not served" in app.warnings[0]
    async with opened(made) as app:
        assert app.warnings == ()


class ExtraDoor:
    """A door of somebody else."""

    services = ("extra.v1.Extra",)

    def register(self, server: object, watch: object) -> None: ...

    def stop(self) -> None: ...


@pytest.mark.root
async def test_a_door_of_somebody_else(tmp_path: Path) -> None:
    extra = Registration(
        DOOR, "extra", lambda _: nullcontext(ExtraDoor()), requires=(SERVICE,), optional=True
    )
    stock = Stock((*builtin(), extra))
    made = config(tmp_path / "root")
    async with opened(made, stock, daemon=True) as app:
        assert "extra.v1.Extra" in [name for door in app.entrance.doors for name in door.services]
        (health,) = (door for door in app.entrance.doors if isinstance(door, HealthDoor))
        assert "extra.v1.Extra" in health.others
    # It is no different from ours: a program with a store of its own does not start it.
    async with opened(made, Stock((*builtin(), replace(extra, daemon=True)))) as app:
        states = {one.id: one.state for one in app.states}
        assert states["extra"] == "skipped"


@pytest.mark.root
async def test_a_daemon_that_nobody_could_enter(tmp_path: Path) -> None:
    doors = tuple(one.name for one in builtin() if one.type == DOOR)
    made = structs.replace(config(tmp_path / "root"), disabled_plugins=doors)
    with pytest.raises(InvalidArgument, match=rf"{ENTRANCE} requires {DOOR}, which is disabled"):
        async with opened(made, daemon=True):
            pass
    made = structs.replace(made, disabled_plugins=(ENTRANCE,))
    async with opened(made, daemon=True) as app:
        with pytest.raises(InvalidArgument, match="a daemon without it serves nobody"):
            app.entrance  # noqa: B018 -- a property that raises


@pytest.mark.root
async def test_metrics_that_cannot_be_served_stop_a_daemon_only_if_required(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        made = structs.replace(config(tmp_path / "root"), metrics=MetricsConfig(address=address))
        async with opened(made, daemon=True) as app:
            (state,) = (one for one in app.states if one.id == "prometheus")
            assert state.state == "failed"
            assert address in state.reason
        made = structs.replace(made, required_plugins=("io.containerd.server.v1.metrics",))
        with pytest.raises(FailedPrecondition, match=r"observer\.v1\.prometheus cannot start"):
            async with opened(made, daemon=True):
                pass
        # A command with --root must not want the daemon's port.
        async with opened(made) as app:
            assert await app.service.images() == []


@pytest.mark.root
async def test_required_plugins_of_the_runtime_are_warned_about(tmp_path: Path) -> None:
    required = ("io.containerd.cri.v1.runtime", "io.containerd.metadata.v1.bolt")
    made = structs.replace(config(tmp_path / "root"), required_plugins=required)
    async with opened(made) as app:
        assert len(app.warnings) == 1
        assert required[0] in app.warnings[0]


@pytest.mark.root
async def test_a_new_configuration(tmp_path: Path) -> None:
    root = tmp_path / "root"
    document = [config(root, max_concurrent_downloads=1, drain_timeout=Duration.parse("9s"))]
    async with opened(document[0], in_stock(), read=lambda: Loaded(document[0])) as app:
        assert await app.reload() == Reloaded()
        assert app.drain_seconds == 9
        document[0] = config(
            root,
            max_concurrent_downloads=2,
            drain_timeout=Duration.parse("4s"),
            image_pull_with_sync_fs=False,
            registry=RegistryConfig(insecure_registries=("a.example",)),
        )
        for applied in (("max_concurrent_downloads", "drain_timeout"), ()):
            reloaded = await app.reload()
            images = 'plugins."io.containerd.cri.v1.images"'
            assert set(reloaded.applied) == {
                *(f"{images}.{key}" for key in applied),
                *([f"{images}.registry.insecure_registries"] if applied else []),
            }
            assert reloaded.restart == (f"{images}.image_pull_with_sync_fs",)
        assert app.drain_seconds == 4
        document[0] = structs.replace(document[0], state="/elsewhere")
        assert (await app.reload()).restart[-1] == "state"


def test_a_user_s_places_are_at_home() -> None:
    environ = {"HOME": "/users/me", "XDG_RUNTIME_DIR": "/run/user/7"}
    found = at_home(Config(), environ)
    assert (found.root, found.state) == ("/users/me/.local/share/orlop", "/run/user/7/orlop")
    assert found.grpc.address == "unix:///run/user/7/orlop/orlop.sock"
    assert at_home(Config(), {**environ, "XDG_DATA_HOME": "/data"}).root == "/data/orlop"
    chosen = Config(root="/r", state="/s", grpc=GrpcConfig(address="unix:///a"))
    assert at_home(chosen, environ) == chosen
    assert at_home(Config(), {}) == Config()


def test_of_every_key_it_is_known_whether_it_can_change() -> None:
    """A new key belongs into a list of ``orlop.builtin`` and the daemon's page, or here."""
    restart = {
        "disable_snapshot_annotations",
        "ignore_chown_errors",
        "image_decryption",
        "image_pull_with_sync_fs",
        "isolation",
        "limits",
        "scrub_interval",
        "scrub_rate",
        "snapshotter",
        "stats_collect_period",
        "use_local_image_pull",
    }
    changing = {*PULL_KEYS, *REGISTRY_KEYS, *SERVICE_KEYS, "drain_timeout"}
    assert changing | restart == set(ImageConfig.__struct_fields__)
    assert changing.isdisjoint(restart)
    page = (Path(__file__).parents[2] / "docs/rooms/daemon.md").read_text()
    assert [key for key in changing if f"`{key}`" not in page] == []


@pytest.mark.root
async def test_a_program_with_a_store_has_nothing_to_read_again(tmp_path: Path) -> None:
    async with embedded_app(root=str(tmp_path / "root"), loaded=Loaded(Config())) as app:
        with pytest.raises(FailedPrecondition, match="no configuration to read again"):
            await app.reload()
        assert await app.plugins() == app.states


class Strange(Struct, frozen=True):
    """The table of a plugin of somebody else."""

    level: int = 1
    name: str = ""


def stock_with(
    prepare: Callable[[object], Callable[[], None]], migrate: Migrate | None = None
) -> Stock:
    """All that is in the box, and a plugin that lets itself be configured."""

    @asynccontextmanager
    async def init(context: Context) -> AsyncIterator[object]:
        context.on_reload(prepare, keys=("level",))
        yield context.config

    strange = Registration("strange.v1", "x", init, config=Strange, migrate=migrate)
    return Stock((*builtin(), strange))


def strange(root: Path, **table: object) -> Loaded:
    loaded = loads(
        'version = 4\n[plugins."strange.v1.x"]\n'
        + "".join(f"{name} = {value!r}\n" for name, value in table.items()),
        sections=Stock((Registration("strange.v1", "x", nullcontext, config=Strange),)).sections,
    )
    directories = with_directories(loaded.config, root=str(root), state=str(root / "state"))
    return replace(loaded, config=directories)


@pytest.mark.root
async def test_a_plugin_takes_the_keys_that_it_offers_and_no_others(tmp_path: Path) -> None:
    root, given = tmp_path / "root", []

    def prepare(new: object) -> Callable[[], None]:
        return lambda: given.append(new)

    document = [strange(root, level=2)]
    stock = stock_with(prepare)
    async with opened(document[0].config, stock, read=lambda: document[0]) as app:
        document[0] = strange(root, level=3, name="new")
        reloaded = await app.reload()
    assert reloaded.applied == ('plugins."strange.v1.x".level',)
    assert reloaded.restart == ('plugins."strange.v1.x".name',)
    assert given == [Strange(level=3)]


@pytest.mark.root
async def test_one_refusal_is_everybodys(tmp_path: Path) -> None:
    root = tmp_path / "root"

    def prepare(new: object) -> Callable[[], None]:
        raise InvalidArgument("level 3 is too much")

    document = [strange(root)]
    async with opened(document[0].config, stock_with(prepare), read=lambda: document[0]) as app:
        other = strange(root, level=3).config
        images = structs.replace(other.images, drain_timeout=Duration.parse("9s"))
        document[0] = Loaded(structs.replace(other, images=images))
        with pytest.raises(InvalidArgument, match="level 3 is too much"):
            await app.reload()
        assert app.drain_seconds == Config().images.drain_timeout.seconds


@pytest.mark.root
async def test_a_plugin_that_breaks_its_promise_harms_nobody_else(tmp_path: Path) -> None:
    root = tmp_path / "root"

    def prepare(new: object) -> Callable[[], None]:
        return lambda: [].pop()

    document = [strange(root)]
    async with opened(document[0].config, stock_with(prepare), read=lambda: document[0]) as app:
        document[0] = strange(root, level=3)
        with capture_logs() as logs:
            assert len((await app.reload()).applied) == 1
            assert await app.reload() == Reloaded()
    assert "configuration not applied, by a defect of a plugin" in [log["event"] for log in logs]


def test_a_migration_that_fails_is_named() -> None:
    def migrate(version: int, draft: Draft) -> None:
        raise KeyError(version)

    sections = stock_with(lambda _: lambda: None, migrate).sections
    with pytest.raises(InvalidArgument, match=r"plugin strange\.v1\.x cannot lift .* KeyError: 1"):
        loads("version = 1\n", sections=sections)
