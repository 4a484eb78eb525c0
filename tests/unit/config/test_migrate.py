"""Older documents: every documented key arrives, or the report says why not."""

import copy
import tomllib
from typing import Any

import pytest

from orlop.config.draft import CURRENT_VERSION, Draft
from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, RUNTIME, TRANSFER, origin_of
from orlop.config.migrate import Migrated, lift, migrate
from orlop.config.moves import adopt
from orlop.config.sources import parse
from orlop.errors import InvalidArgument


def at(document: dict[str, Any], key: tuple[str, ...]) -> Any:
    for name in key:
        document = document[name]
    return document


def v2(text: str) -> Migrated:
    return lift(parse(b"version = 2\n" + text.encode(), path="c").written, CURRENT_VERSION)


MOVED_TO_IMAGES = [
    ('sandbox_image = "a"', ("pinned_images", "sandbox"), "a"),
    ('registry.config_path = "/c"', ("registry", "config_path"), "/c"),
    ('image_decryption.key_model = "node"', ("image_decryption", "key_model"), "node"),
    ("max_concurrent_downloads = 9", ("max_concurrent_downloads",), 9),
    ('image_pull_progress_timeout = "1m"', ("image_pull_progress_timeout",), "1m"),
    ("image_pull_with_sync_fs = false", ("image_pull_with_sync_fs",), False),
    ("stats_collect_period = 7", ("stats_collect_period",), 7),
    ('containerd.snapshotter = "stargz"', ("snapshotter",), "stargz"),
    ("containerd.disable_snapshot_annotations = false", ("disable_snapshot_annotations",), False),
    ("containerd.discard_unpacked_layers = true", ("discard_unpacked_layers",), True),
    ("use_local_image_pull = true", ("use_local_image_pull",), True),
    ("concurrent_layer_fetch_buffer = 1024", ("concurrent_layer_fetch_buffer",), 1024),
]


@pytest.mark.parametrize(("line", "key", "value"), MOVED_TO_IMAGES)
def test_each_image_key_moves_for_itself(line: str, key: tuple[str, ...], value: object) -> None:
    result = v2(f'[plugins."io.containerd.grpc.v1.cri"]\n{line}\n')
    assert at(result.document, (*IMAGES, *key)) == value
    assert CRI[1] not in at(result.document, ("plugins",))
    (change,) = result.changes
    assert change.kind == ("renamed" if "sandbox" in key else "moved")
    where = origin_of((*IMAGES, *key), result.origins)
    assert (where.key, str(where)) == ((*CRI, *line.partition(" = ")[0].split(".")), "c:3")


def test_runtime_keys_move_to_the_runtime_and_some_stay() -> None:
    result = v2("""
[plugins."io.containerd.grpc.v1.cri"]
enable_selinux = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
""")
    plugins = at(result.document, ("plugins",))
    assert plugins[RUNTIME[1]] == {
        "enable_selinux": True,
        "cni": {"bin_dir": "/opt"},
        "containerd": {"default_runtime_name": "runc"},
    }
    assert plugins[CRI[1]] == {"stream_server_port": "0"}


def test_a_runtimes_snapshotter_is_copied_and_stays() -> None:
    result = v2("""
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
snapshotter = "nydus"
runtime_type = "io.containerd.kata.v2"
runtime_root = "/x"
""")
    plugins = at(result.document, ("plugins",))
    assert plugins[IMAGES[1]]["runtime_platforms"] == {"kata": {"snapshotter": "nydus"}}
    assert plugins[RUNTIME[1]]["containerd"]["runtimes"]["kata"] == {
        "snapshotter": "nydus",
        "runtime_type": "io.containerd.kata.v2",
    }


@pytest.mark.parametrize(
    "line",
    [
        "systemd_cgroup = true",
        "containerd.default_runtime.runtime_type = 'x'",
        "containerd.untrusted_workload_runtime.runtime_type = 'x'",
        "containerd.runtimes.r.runtime_engine = 'x'",
        "registry.configs.h.tls.ca_file = '/x'",
    ],
)
def test_what_is_dropped_is_reported(line: str) -> None:
    result = v2(f'[plugins."io.containerd.grpc.v1.cri"]\n{line}\n')
    dropped = [change for change in result.changes if change.kind == "dropped"]
    assert len(dropped) == 1
    assert dropped[0].reason
    assert "'x'" not in repr(result.document)


def test_new_beats_old_and_the_report_says_so() -> None:
    result = v2("""
[plugins."io.containerd.grpc.v1.cri"]
max_concurrent_downloads = 1
stats_collect_period = 5
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/old"
headers.X = ["old"]
[plugins."io.containerd.cri.v1.images"]
max_concurrent_downloads = 2
stats_collect_period = 5
registry.config_path = "/new"
""")
    images = at(result.document, IMAGES)
    assert images["max_concurrent_downloads"] == 2
    assert images["registry"] == {"config_path": "/new", "headers": {"X": ["old"]}}
    conflicts = {change.old[-1] for change in result.changes if change.kind == "conflict"}
    assert conflicts == {"max_concurrent_downloads", "config_path"}
    assert all("wins" in str(c) for c in result.changes if c.kind == "conflict")


def test_version_1_names_become_full() -> None:
    text = b"""disabled_plugins = ["cri", "io.containerd.x.v1.y", 5]
[plugins]
cri.sandbox_image = "a"
native.root_path = "/n"
diff-service.default = ["x"]
unheard.a = 1
"""
    result = lift(parse(text, path="c").written, CURRENT_VERSION)
    plugins = at(result.document, ("plugins",))
    assert plugins[IMAGES[1]] == {"pinned_images": {"sandbox": "a"}}
    assert plugins["io.containerd.snapshotter.v1.native"] == {"root_path": "/n"}
    assert plugins["io.containerd.service.v1.diff-service"] == {"default": ["x"]}
    assert plugins["io.containerd.grpc.v1.unheard"] == {"a": 1}
    assert result.document["disabled_plugins"] == [CRI[1], "io.containerd.x.v1.y", 5]
    where = origin_of((*IMAGES, "pinned_images", "sandbox"), result.origins)
    assert (where.key, where.line) == (("plugins", "cri", "sandbox_image"), 3)


def test_version_3_tables_become_plugins() -> None:
    result = migrate(
        {
            "version": 3,
            "grpc": {"address": "/run/x.sock", "uid": 5, "tcp_address": ""},
            "metrics": {"address": "127.0.0.1:1", "grpc_histogram": True},
            "debug": {"level": "info", "address": ""},
            "ttrpc": {"address": ""},
        }
    )
    assert at(result.document, GRPC) == {"address": "/run/x.sock", "uid": 5}
    assert at(result.document, METRICS) == {"address": "127.0.0.1:1"}
    assert result.document["debug"] == {"level": "info"}
    assert {"grpc", "metrics", "ttrpc"}.isdisjoint(result.document)
    assert result.document["version"] == 4


def test_version_3_leaves_old_image_keys_alone() -> None:
    document = {"version": 3, "plugins": {CRI[1]: {"sandbox_image": "a"}}}
    assert migrate(document).document["plugins"] == document["plugins"]


def test_todays_version_is_unchanged() -> None:
    document = {"version": 4, "plugins": {IMAGES[1]: {"snapshotter": "x"}}, "anything": [1]}
    result = migrate(document)
    assert result.document == document
    assert result.changes == ()


@pytest.mark.parametrize(
    "cri",
    [
        {"registry": 5, "containerd": "x", "image_decryption": []},
        {"containerd": {"runtimes": 7}},
        {"containerd": {"runtimes": {"a": 1}}, "registry": {"configs": {"h": 1}}},
        {"registry": {"configs": []}},
    ],
)
def test_ill_typed_values_move_as_they_are(cri: dict[str, object]) -> None:
    result = migrate({"version": 2, "plugins": {CRI[1]: cri}})
    everything = repr(result.document)
    for name in cri:
        assert name in everything


@pytest.mark.parametrize(
    "document",
    [
        {"version": 2, "plugins": {CRI[1]: {"sandbox_image": "a"}, IMAGES[1]: 5}},
        {"version": 3, "grpc": {"address": "/x"}, "plugins": "none"},
    ],
)
def test_a_value_where_a_table_must_be(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="expected a table"):
        migrate(document)


@pytest.mark.parametrize("version", [5, -1, 10**400, "2", 2.0, True, None, [2]])
def test_versions_that_nobody_knows(version: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^version"):
        migrate({"version": version})


def test_the_input_is_not_changed() -> None:
    document = tomllib.loads("""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "a"
registry.configs.h.tls.ca_file = "/x"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
snapshotter = "nydus"
""")
    before = copy.deepcopy(document)
    result = migrate(document)
    at(result.document, (*IMAGES, "runtime_platforms"))["kata"]["snapshotter"] = "changed"
    assert document == before


def test_migration_is_idempotent() -> None:
    once = v2('[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "a"\n')
    assert migrate(once.document).document == once.document


def test_the_transfer_services_keys_count_where_images_is_silent() -> None:
    document: dict[str, Any] = {
        "plugins": {
            TRANSFER[1]: {"max_concurrent_unpacks": 4, "max_concurrent_downloads": 8, "other": 1},
            IMAGES[1]: {"max_concurrent_downloads": 2},
        }
    }
    draft = Draft(copy.deepcopy(document))
    adopt(draft)
    assert at(draft.document, IMAGES) == {
        "max_concurrent_downloads": 2,
        "max_concurrent_unpacks": 4,
    }
    assert at(draft.document, TRANSFER) == at(document, TRANSFER)
    assert [change.kind for change in draft.changes] == ["copied"]
