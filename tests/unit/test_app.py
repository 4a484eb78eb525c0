"""The composition root: plugins and configuration become a service, and end again."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from orlop.app import embedded, opened, with_directories
from orlop.builtin import (
    METRICS,
    SERVICE,
    SNAPSHOTTER,
    _pull_settings,
    _registry_settings,
    _service_settings,
    builtin,
)
from orlop.config.durations import Duration
from orlop.config.load import Loaded
from orlop.config.schema import Config, ImageConfig, RegistryConfig, RuntimePlatform
from orlop.errors import InvalidArgument, OrlopError, StoreCorrupt, StoreLocked
from orlop.plugins.graph import plan
from orlop.ports.service import PullOptions

if TYPE_CHECKING:
    from pathlib import Path


def config(root: Path, **images: object) -> Config:
    own = structs.replace(Config().images, **images)
    made = structs.replace(Config(), images=own)
    return with_directories(made, root=str(root), state=str(root / "state"))


def test_the_table_can_be_started() -> None:
    order = plan(builtin(), disabled=frozenset(), required=frozenset())
    names = [one.name for one in builtin()]
    assert len(set(names)) == len(names)
    assert names[-1] == SERVICE
    assert [one.name for one in order.order] == names


def test_directories_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = with_directories(Config(), root="a", state="b/../c")
    assert (made.root, made.state) == (f"{tmp_path}/a", f"{tmp_path}/c")


def test_settings_of_the_pull() -> None:
    made = _pull_settings(
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


def test_settings_of_the_registry() -> None:
    registry = structs.replace(
        RegistryConfig(),
        insecure_registries=("plain.example:5000",),
        ca_files={"own.example": "/etc/ca.pem"},
        headers={"X-Tag": ("a", "b")},
    )
    made = _registry_settings(structs.replace(ImageConfig(), registry=registry)).hosts
    assert made["plain.example:5000"].plain_http is True
    assert made["own.example"].plain_http is None
    assert made["own.example"].ca_file == "/etc/ca.pem"


def test_settings_of_the_service() -> None:
    made = _service_settings(
        structs.replace(
            ImageConfig(),
            snapshotter="native",
            pinned_images={"sandbox": "registry.example/pause:3.9"},
            runtime_platforms={"kata": RuntimePlatform(platform="linux/arm64")},
        )
    )
    assert made.snapshotter == "native"
    assert made.pinned == ("registry.example/pause:3.9",)
    assert made.runtimes["kata"].platform == "linux/arm64"
    assert made.platform.os == "linux"


@pytest.mark.root
async def test_everything_starts_and_ends(tmp_path: Path) -> None:
    threads, descriptors = set(threading.enumerate()), open_files()
    for _ in range(2):
        async with opened(config(tmp_path / "root")) as app:
            assert {one.state for one in app.plugins} == {"loaded"}
            assert {one.name for one in app.plugins} >= {one.name for one in builtin()}
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
        states = {one.name: one.state for one in app.plugins}
        assert states[f"{SNAPSHOTTER}.native"] == "skipped"
        with pytest.raises(InvalidArgument, match="unknown snapshotter 'native'"):
            await app.service.pull("busybox", PullOptions(snapshotter="native"))


@pytest.mark.root
async def test_a_part_that_cannot_start_stops_the_others(tmp_path: Path) -> None:
    descriptors = open_files()
    made = structs.replace(config(tmp_path / "root"), disabled_plugins=(f"{METRICS}.prometheus",))
    with pytest.raises(OrlopError) as error:
        async with opened(made):
            pass
    assert "prometheus" in error.value.message or METRICS in error.value.message
    assert open_files() == descriptors
    async with opened(config(tmp_path / "root")):
        pass
