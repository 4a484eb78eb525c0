"""One meaning, written in every version of the format: the same configuration."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
import tomlkit

from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, RUNTIME, Key
from orlop.config.load import Loaded, loads
from orlop.config.schema import Config

SHORT: Final = ("plugins", "cri")

# The section of the images, and the version that the document says (0: it says none).
WRITINGS: Final = {
    "none, short name": (SHORT, 0),
    "none, full name": (CRI, 0),
    "1, short name": (SHORT, 1),
    "1, full name": (CRI, 1),
    "2": (CRI, 2),
    "3": (IMAGES, 3),
    "4": (IMAGES, 4),
}
every_writing = pytest.mark.parametrize("writing", WRITINGS)

# The key in the old section, the key today, a value that is not the default.
KEYS: Final[list[tuple[Key, Key, object]]] = [
    (("sandbox_image",), ("pinned_images", "sandbox"), "registry.example/pause:9"),
    (("image_decryption", "key_model"), ("image_decryption", "key_model"), ""),
    (("max_concurrent_downloads",), ("max_concurrent_downloads",), 7),
    (("image_pull_progress_timeout",), ("image_pull_progress_timeout",), "1h2m3.5s"),
    (("image_pull_with_sync_fs",), ("image_pull_with_sync_fs",), False),
    (("stats_collect_period",), ("stats_collect_period",), 33),
    (("containerd", "snapshotter"), ("snapshotter",), "native"),
    (("containerd", "disable_snapshot_annotations"), ("disable_snapshot_annotations",), False),
    (("containerd", "discard_unpacked_layers"), ("discard_unpacked_layers",), True),
    (("registry", "config_path"), ("registry", "config_path"), "/a/certs.d:/b/certs.d"),
    (("registry", "headers"), ("registry", "headers"), {"X-A": ["1", "2"], "X-B": []}),
    (
        ("registry", "mirrors"),
        ("registry", "mirrors"),
        {"*": {"endpoint": ["https://a.example"]}, "docker.io": {"endpoint": []}},
    ),
    (
        ("registry", "configs"),
        ("registry", "configs"),
        {"r.example": {"auth": {"username": "u", "password": "p"}}},
    ),
    (("registry", "auths"), ("registry", "auths"), {"https://r.example": {"auth": "dTpw"}}),
]


def put(document: dict[str, Any], key: Key, value: object) -> None:
    for name in key[:-1]:
        document = document.setdefault(name, {})
    document[key[-1]] = value


def written(writing: str, keys: list[tuple[Key, Key, object]]) -> Loaded:
    """Load a document with these keys, written in one of the ways."""
    section, version = WRITINGS[writing]
    document: dict[str, Any] = {"version": version} if version else {}
    for old, new, value in keys:
        put(document, (*section, *(new if section == IMAGES else old)), value)
    return loads(tomlkit.dumps(document))


def without_plugins(config: Config) -> Config:
    """Without the tables as they were written, empty ones of the runtime among them."""
    return msgspec.structs.replace(config, plugins={})


@every_writing
@pytest.mark.parametrize("key", KEYS, ids=lambda key: ".".join(key[1]))
def test_each_key(writing: str, key: tuple[Key, Key, object]) -> None:
    found = written(writing, [key]).config
    assert without_plugins(found) == without_plugins(written("4", [key]).config)
    assert found.images != Config().images


@every_writing
def test_all_keys_together(writing: str) -> None:
    # Of two things that exclude each other one is enough.
    keys = [key for key in KEYS if key[1] != ("registry", "config_path")]
    found = written(writing, keys)
    assert without_plugins(found.config) == without_plugins(written("4", keys).config)
    lines = {
        key[len(IMAGES) :]: where.line
        for key, where in found.provenance.items()
        if key[: len(IMAGES)] == IMAGES
    }
    assert all(lines.values())
    for _, new, value in keys:
        if not isinstance(value, dict):
            assert new in lines


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_the_servers_tables(version: int) -> None:
    document: dict[str, Any] = {"version": version} if version else {}
    put(document, ("root",), "/data")
    put(document, ("state",), "/run/data")
    put(document, (*GRPC, "address") if version == 4 else ("grpc", "address"), "/run/a.sock")
    put(document, (*METRICS, "address") if version == 4 else ("metrics", "address"), "[::1]:9")
    config = loads(tomlkit.dumps(document)).config
    assert (config.root, config.state) == ("/data", "/run/data")
    assert config.grpc.socket_path == "/run/a.sock"
    assert config.metrics.address == "[::1]:9"
    assert config.version == 4


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_names_of_plugins(version: int) -> None:
    document: dict[str, Any] = {"version": version} if version else {}
    short = ["cri", "zfs", "tasks-service"]
    full = [
        "io.containerd.grpc.v1.cri",
        "io.containerd.snapshotter.v1.zfs",
        "io.containerd.service.v1.tasks-service",
    ]
    put(document, ("disabled_plugins",), short if version < 2 else full)
    put(document, ("required_plugins",), [*full, "io.containerd.snapshotter.v1.native"])
    config = loads(tomlkit.dumps(document)).config
    assert list(config.disabled_plugins) == full
    assert list(config.required_plugins) == [*full, "io.containerd.snapshotter.v1.native"]


@pytest.mark.parametrize("writing", [name for name, (key, _) in WRITINGS.items() if key != IMAGES])
def test_the_runtimes_part_arrives_whole(writing: str) -> None:
    runtime = {
        "enable_selinux": True,
        "cni": {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"},
        "containerd": {
            "default_runtime_name": "kata",
            "runtimes": {
                "kata": {
                    "runtime_type": "io.containerd.kata.v2",
                    "snapshotter": "native",
                    "options": {"ConfigPath": "/opt/kata.toml"},
                }
            },
        },
    }
    section, version = WRITINGS[writing]
    document: dict[str, Any] = {"version": version} if version else {}
    put(document, section, {**runtime, "stream_server_port": "10010"})
    config = loads(tomlkit.dumps(document)).config
    assert config.plugins[RUNTIME[1]] == runtime
    assert config.plugins[CRI[1]] == {"stream_server_port": "10010"}
    # The handler's snapshotter is the image service's matter too.
    assert config.images.runtime_platforms["kata"].snapshotter == "native"


@pytest.mark.parametrize("version", [5, -1, 99, 2.0, True, "2", [2], {}])
def test_versions_that_there_are_not(version: object) -> None:
    document = tomlkit.dumps({"version": version})
    with pytest.raises(Exception, match=r"^configuration:1: version: "):
        loads(document)
