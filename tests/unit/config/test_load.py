"""The front door: files in, one configuration out, errors with file and line."""

import subprocess
import sys
from pathlib import Path

import pytest

from orlop.config.keys import IMAGES
from orlop.config.load import Loaded, load, loads
from orlop.config.related import StreamProcessor
from orlop.config.schema import Config, RegistryAuth
from orlop.errors import InvalidArgument, NotFound

SECTION = '[plugins."io.containerd.cri.v1.images"]\n'
TRANSFER_SECTION = '[plugins."io.containerd.transfer.v1.local"]\n'


def images(text: str, version: int = 4) -> Loaded:
    return loads(f"version = {version}\n{SECTION}{text}")


def test_nothing_is_the_defaults() -> None:
    loaded = loads("version = 4")
    assert loaded.config == Config()
    assert loaded.warnings == ()


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.toml"):
        load(str(tmp_path / "none.toml"))


def test_without_a_name_the_document_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    missing = load(None, default_path=str(path))
    assert missing.config == Config()
    assert missing.provenance == {}
    path.write_text('version = 4\nroot = "/data"')
    assert load(None, default_path=str(path)).config.root == "/data"


def test_a_link_to_nowhere_is_not_taken_for_no_document(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to("nowhere")
    with pytest.raises(NotFound):
        load(None, default_path=str(tmp_path / "config.toml"))


@pytest.mark.parametrize("version", [3, 4])
def test_native_versions(version: int) -> None:
    loaded = images('snapshotter = "native"\nimage_pull_with_sync_fs = false', version)
    assert loaded.config.images.snapshotter == "native"
    assert loaded.config.images.image_pull_with_sync_fs is False


def test_top_of_the_document_and_server_tables(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("""
version = 3
root = "/data"
state = "/data/run"
disabled_plugins = ["io.containerd.snapshotter.v1.zfs"]
required_plugins = ["io.containerd.snapshotter.v1.overlayfs"]
oom_score = -999
[grpc]
address = "/data/run/s.sock"
max_recv_message_size = 1
[metrics]
address = "127.0.0.1:9464"
[plugins."io.containerd.cri.v1.runtime"]
enable_selinux = true
""")
    loaded = load(str(path))
    config = loaded.config
    assert (config.root, config.state) == ("/data", "/data/run")
    assert config.disabled_plugins == ("io.containerd.snapshotter.v1.zfs",)
    assert config.required_plugins == ("io.containerd.snapshotter.v1.overlayfs",)
    assert config.grpc.socket_path == "/data/run/s.sock"
    assert config.metrics.address == "127.0.0.1:9464"
    assert config.plugins["io.containerd.cri.v1.runtime"] == {"enable_selinux": True}
    assert loaded.warnings == (f"{path}: version 3 is read as 4",)


def test_a_version_2_document() -> None:
    loaded = loads(
        """version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.example/pause:1"
max_concurrent_downloads = 5
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "stargz"
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example".auth]
username = "u"
""",
        name="c",
    )
    config = loaded.config.images
    assert config.pinned_images == {"sandbox": "registry.example/pause:1"}
    assert config.max_concurrent_downloads == 5
    assert config.snapshotter == "stargz"
    assert config.registry.auth_for("r.example") == RegistryAuth(username="u")
    where = loaded.provenance[(*IMAGES, "snapshotter")]
    assert (str(where), where.key[-2:]) == ("c:6", ("containerd", "snapshotter"))
    assert "c: version 2 is read as 4" in loaded.warnings
    assert any("deprecated" in warning for warning in loaded.warnings)


def test_a_wrong_value_in_an_old_document_is_named_as_its_author_wrote_it() -> None:
    with pytest.raises(InvalidArgument) as caught:
        loads(
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = 5\n',
            name="c",
        )
    assert caught.value.message == (
        'c:3: plugins."io.containerd.grpc.v1.cri".containerd.snapshotter: expected str, got int'
    )


def test_no_version_counts_as_1() -> None:
    loaded = loads('[plugins.cri]\nsandbox_image = "a"')
    assert loaded.config.images.pinned_images["sandbox"] == "a"
    assert "version 1 (it does not say) is read as 4" in loaded.warnings[0]


def test_lost_and_losing_keys_are_warned_about() -> None:
    loaded = loads(
        """version = 2
[plugins."io.containerd.grpc.v1.cri"]
max_concurrent_downloads = 1
[plugins."io.containerd.grpc.v1.cri".registry.configs.h.tls]
ca_file = "/x"
[plugins."io.containerd.cri.v1.images"]
max_concurrent_downloads = 2
""",
        name="c",
    )
    text = "\n".join(loaded.warnings)
    assert "c:4: dropped:" in text
    assert "c:3: conflict:" in text
    assert loaded.config.images.max_concurrent_downloads == 2


def test_all_wrong_values_are_reported_with_their_lines() -> None:
    with pytest.raises(InvalidArgument) as caught:
        images('snapshotter = 3\nimage_pull_progress_timeout = "soon"\n')
    first, second = caught.value.message.split("; ")
    assert first.startswith("configuration:3: ")
    assert first.endswith(".snapshotter: expected str, got int")
    assert second.startswith("configuration:4: ")


def test_a_message_stays_readable() -> None:
    wrong = "".join(f"registry.ca_files.h{number} = 5\n" for number in range(1000))
    with pytest.raises(InvalidArgument) as caught:
        images(wrong)
    assert caught.value.message.endswith("; and 992 more")
    assert len(caught.value.message) < 2000


def test_the_hint_of_the_first_problem_is_kept() -> None:
    with pytest.raises(InvalidArgument) as caught:
        images('image_pull_progress_timeout = ""')
    assert '"0s"' in caught.value.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version = 4\nroot = 5", 2),
        ('version = 4\nroot = "relative"', 2),
        ("version = 4\nplugins = 5", 2),
        ("version = 2\nplugins = 5\ngrpc.address = '/x'", 2),
        ('version = 4\n[plugins]\n"io.containerd.cri.v1.images" = 5', 3),
        (
            (
                "version = 4\n"
                '[plugins]\n"io.containerd.cri.v1.images" = 5\n'
                '[plugins."io.containerd.transfer.v1.local"]\nmax_concurrent_downloads = 5'
            ),
            3,
        ),
        ('version = 4\n\n[plugins]\n"io.containerd.cri.v1.images" = 5', 4),
        ('version = 4\n[plugins."io.containerd.server.v1.grpc"]\naddress = "tcp://x"', 3),
        ('version = 4\n[plugins."io.containerd.server.v1.metrics"]\naddress = "0.0.0.0:1"', 3),
        ('version = 3\n[metrics]\naddress = "example.com:80"', 3),
        ('version = 4\ndisabled_plugins = ["cri"]', 2),
        ('version = 4\nimports = "x"', 2),
        (f"version = 4\n{SECTION}registry = {{ config_path = 3 }}", 3),
    ],
)
def test_lines_of_wrong_values(text: str, line: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^configuration:{line}: "):
        loads(text)


def test_contradictions() -> None:
    with pytest.raises(InvalidArgument, match="together with") as caught:
        images('registry = { config_path = "/c", mirrors = { x = {} } }')
    assert "hosts.toml" in caught.value.hint
    with pytest.raises(InvalidArgument, match="min_pull_rate"):
        images('min_pull_rate = 1\nimage_pull_progress_timeout = "0s"')


def test_unknown_keys_are_warned_about_with_the_nearest() -> None:
    loaded = loads(f'version = 4\nrot = "/x"\n{SECTION}snapshoter = "native"\n', name="c")
    assert loaded.config == Config(plugins=loaded.config.plugins)
    assert loaded.warnings == (
        "c:2: rot: unknown key, ignored; did you mean root?",
        (
            'c:4: plugins."io.containerd.cri.v1.images".snapshoter: unknown key, ignored; '
            "did you mean snapshotter?"
        ),
    )


def test_a_misspelt_section_is_noticed_and_the_runtimes_is_not() -> None:
    (warning,) = loads('version = 4\n[plugins."io.containerd.cri.v1.image"]\n').warnings
    assert "did you mean" in warning
    assert loads('version = 4\n[plugins."io.containerd.cri.v1.runtime"]\nx = 1').warnings == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("use_local_image_pull = true", "without effect"),
        (
            'registry.mirrors."*".endpoint = ["https://m"]',
            "registry.mirrors: deprecated; use _default/hosts.toml in a directory of",
        ),
        (
            'registry.mirrors = { a = {}, "b:5" = {}, c = {}, d = {} }',
            "use a/hosts.toml, b:5/hosts.toml, c/hosts.toml and 1 more in",
        ),
        (
            'registry.configs."m:1".auth.username = "x"',
            "registry.configs: deprecated; use credentials that clients send, or name a file",
        ),
        ('registry.auths."https://m/v1".username = "x"', "with them in m/hosts.toml in"),
    ],
)
def test_advice(text: str, part: str) -> None:
    (warning,) = images(text).warnings
    assert part in warning
    assert warning.startswith("configuration:3: ")


def test_image_keys_that_were_left_in_the_old_section() -> None:
    loaded = loads('version = 3\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "a"\n')
    assert loaded.config.images.pinned_images["sandbox"] != "a"
    assert "since version 3" in loaded.warnings[-1]


def test_containerds_own_places_are_not_taken() -> None:
    loaded = loads("""version = 3
root = "/var/lib/containerd/"
state = "/run/containerd"
[grpc]
address = "unix:///run/containerd/containerd.sock"
""")
    assert (loaded.config.root, loaded.config.state) == ("/var/lib/orlop", "/run/orlop")
    assert loaded.config.grpc == Config().grpc
    assert [warning.split(": ")[0] for warning in loaded.warnings[1:]] == [
        "configuration:2",
        "configuration:3",
        "configuration:5",
    ]


def test_the_transfer_services_keys() -> None:
    loaded = loads("""version = 4
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_unpacks = 4
config_path = "/unused"
""")
    assert loaded.config.images.max_concurrent_unpacks == 4
    where = loaded.provenance[(*IMAGES, "max_concurrent_unpacks")]
    assert str(where) == "configuration:3"


def test_a_wrong_key_of_the_transfer_service_is_named_there() -> None:
    with pytest.raises(InvalidArgument, match=r"^configuration:3: plugins.*transfer"):
        loads(
            'version = 4\n[plugins."io.containerd.transfer.v1.local"]\nmax_concurrent_unpacks="x"'
        )


def test_drop_ins_are_migrated_alone_and_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/old.toml").write_text(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "stargz"\n'
    )
    main = tmp_path / "config.toml"
    main.write_text(
        f'version = 4\nimports = ["conf.d/*.toml"]\n{SECTION}snapshotter = "native"\n'
        "max_concurrent_downloads = 4\n"
    )
    loaded = load(str(main))
    assert loaded.config.images.snapshotter == "stargz"
    assert loaded.config.images.max_concurrent_downloads == 4
    assert str(loaded.provenance[(*IMAGES, "snapshotter")]) == f"{tmp_path}/conf.d/old.toml:3"
    assert str(loaded.provenance[(*IMAGES, "max_concurrent_downloads")]) == f"{main}:5"


def test_no_secret_in_messages_and_representations() -> None:
    text = (
        'registry.configs.h.auth = { password = "hunter2", identitytoken = 5 }\n'
        'registry.headers.Authorization = "hunter3"\n'
        '[plugins."io.containerd.cri.v1.images".registry.auths."https://u:hunter4@h"]\n'
        'password = "hunter5"\n'
    )
    with pytest.raises(InvalidArgument) as caught:
        images(text)
    assert "hunter" not in caught.value.message + caught.value.hint
    loaded = images('registry.configs.h.auth = { password = "hunter2", pasword = "hunter3" }')
    assert "hunter" not in repr(loaded.config.images)
    assert "hunter" not in "".join(loaded.warnings)


def test_the_daemon_does_without_what_commands_need_for_printing() -> None:
    program = "import sys, orlop.config.load; print([m for m in sys.modules if 'tomlkit' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_arrays_at_the_top_gain_what_is_new_and_others_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "drop-in").write_text(
        'version = 4\ndisabled_plugins = ["b.c", "d.e"]\n'
        f'{SECTION}registry.insecure_registries = ["new.example"]\n'
        '[stream_processors.x]\npath = "new"\n'
    )
    main = tmp_path / "config.toml"
    main.write_text(
        'version = 4\nimports = ["drop-in"]\ndisabled_plugins = ["a.b", "b.c"]\n'
        f'{SECTION}registry.insecure_registries = ["old.example"]\n'
        '[stream_processors.x]\npath = "old"\nargs = ["old"]\n'
    )
    loaded = load(str(main))
    assert loaded.config.disabled_plugins == ("a.b", "b.c", "d.e")
    assert loaded.config.images.registry.insecure_registries == ("new.example",)
    assert loaded.config.stream_processors == {"x": StreamProcessor(path="new")}
    assert str(loaded.provenance[("stream_processors", "x", "path")]) == f"{tmp_path}/drop-in:6"


@pytest.mark.parametrize(("main", "drop_in"), [(4, 1), (1, 4), (3, 2), (2, 3)])
def test_documents_of_different_ages_become_one(tmp_path: Path, main: int, drop_in: int) -> None:
    text = {
        1: "[plugins.cri]\nstats_collect_period = {}\n",
        2: '[plugins."io.containerd.grpc.v1.cri"]\nstats_collect_period = {}\n',
        3: f"{SECTION}stats_collect_period = {{}}\n",
        4: f"{SECTION}stats_collect_period = {{}}\n",
    }
    (tmp_path / "x.toml").write_text(f"version = {drop_in}\n{text[drop_in].format(20)}")
    path = tmp_path / "config.toml"
    path.write_text(f'version = {main}\nimports = ["*.toml"]\n{text[main].format(30)}')
    loaded = load(str(path))
    where = loaded.provenance[(*IMAGES, "stats_collect_period")]
    assert loaded.config.images.stats_collect_period == 20
    assert str(where) == f"{tmp_path}/x.toml:3"


def test_tables_of_containerd_are_left_alone_and_others_are_named() -> None:
    known = loads(
        "version = 4\n"
        + "".join(
            f'[plugins."io.containerd.{name}"]\nanything = 1\n'
            for name in (
                "cri.v1.runtime",
                "grpc.v1.cri",
                "server.v1.ttrpc",
                "server.v1.grpc-tcp",
                "snapshotter.v1.devmapper",
                "snapshotter.v1.zfs",
                "nri.v1.nri",
                "internal.v1.restart",
                "service.v1.tasks-service",
                "ttrpc.v1.otelttrpc",
                "tracing.processor.v1.otlp",
            )
        )
    )
    assert known.warnings == ()
    for name, near in (
        ("io.containerd.snapshotter.v1.overlays", "io.containerd.snapshotter.v1.overlayfs"),
        ("io.containers.gc.v1.scheduler", "io.containerd.gc.v1.scheduler"),
    ):
        (warning,) = loads(f'version = 4\n[plugins."{name}"]\n', name="c").warnings
        assert warning == f'c:2: plugins."{name}": nobody reads this table; did you mean {near}?'


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[images]\n", "c:2: images: unknown key, ignored"),
        ("[plugin]\n", "c:2: plugin: unknown key, ignored; did you mean plugins?"),
        (
            '[grpc]\naddress = "/x"\n',
            (
                "c:3: grpc.address: ignored; since version 4 it belongs into "
                'plugins."io.containerd.server.v1.grpc"'
            ),
        ),
        (
            '[plugins."io.containerd.server.v1.grpc"]\nuidd = 5\n',
            (
                'c:3: plugins."io.containerd.server.v1.grpc".uidd: unknown key, ignored; '
                "did you mean uid?"
            ),
        ),
        (
            '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n\nplatfrom = "x"\n',
            (
                'c:4: plugins."io.containerd.transfer.v1.local".unpack_config.0.platfrom: '
                "unknown key, ignored; did you mean platform?"
            ),
        ),
    ],
)
def test_what_nobody_reads_is_named_with_its_line(text: str, warning: str) -> None:
    assert loads(f"version = 4\n{text}", name="c").warnings == (warning,)


def test_a_wrong_value_in_an_array_of_tables_is_found() -> None:
    table = '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
    with pytest.raises(InvalidArgument, match=r"^c:5: .*unpack_config\.1\.platform: "):
        loads(
            f'version = 4\n{table}platform = "linux/amd64"\n{table}platform = "a/b/c/d"\n', name="c"
        )


@pytest.mark.parametrize(
    ("images", "transfer", "expected"),
    [(None, 10, 10), (None, 3, 3), (3, 10, 10), (3, 3, 3), (4, 10, 4), (4, None, 4)],
)
def test_a_default_of_the_image_section_says_nothing_beside_a_tuned_transfer_service(
    images: int | None, transfer: int | None, expected: int
) -> None:
    text = "version = 4\n"
    for section, value in ((SECTION, images), (TRANSFER_SECTION, transfer)):
        text += section + (f"max_concurrent_downloads = {value}\n" if value else "")
    assert loads(text).config.images.max_concurrent_downloads == expected


@pytest.mark.parametrize("version", [3, 4])
def test_a_handlers_snapshotter_counts_where_the_image_section_is_silent(version: int) -> None:
    runtime = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes]\n'
    loaded = loads(
        f"version = {version}\n{runtime}"
        'kata.snapshotter = "native"\nrunc.snapshotter = ""\nfast.snapshotter = "native"\n'
        f'{SECTION}runtime_platforms.fast.snapshotter = "overlayfs"\n',
        name="c",
    )
    found = {name: one.snapshotter for name, one in loaded.config.images.runtime_platforms.items()}
    assert found == {"kata": "native", "fast": "overlayfs"}
    assert str(loaded.provenance[(*IMAGES, "runtime_platforms", "kata", "snapshotter")]) == "c:3"


@pytest.mark.parametrize("address", ["0.0.0.0:1338", "[::]:1338", "192.0.2.7:1"])
def test_metrics_that_containerd_serves_to_others_are_left_to_it(address: str) -> None:
    loaded = loads(f'version = 3\n[metrics]\naddress = "{address}"\n', name="c")
    assert loaded.config.metrics.address == ""
    assert f"c:3: metrics.address: {address} is containerd's, orlop's default holds" in (
        loaded.warnings
    )


def test_imports_are_absolute_once_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.toml").write_text('version = 4\nimports = ["x/*.toml"]\n')
    path = tmp_path / "config.toml"
    path.write_text('version = 4\nimports = ["d/a.toml"]\n')
    assert load(str(path)).config.imports == (f"{tmp_path}/d/a.toml", f"{tmp_path}/d/x/*.toml")


@pytest.mark.parametrize("name", ["", "a\\u0000b"])
def test_an_import_that_no_file_can_be(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'version = 4\nimports = ["{name}"]\n')
    with pytest.raises(InvalidArgument, match=r"config\.toml:2: imports\.0: not a path"):
        load(str(path))
    with pytest.raises(InvalidArgument, match="not a path"):
        load("a\0b")
