"""Faults that other readers of these documents have; each must not be here.

The letters are those of a list of faults that containerd's migration and
validation of image settings were seen with.
"""

from pathlib import Path

import pytest
import tomlkit

from orlop.config.draft import CURRENT_VERSION
from orlop.config.load import load, loads
from orlop.config.migrate import lift, migrate
from orlop.config.schema import Config, ImageConfig, RuntimePlatform
from orlop.config.sources import parse
from orlop.errors import ConfigInvalid
from tests.rigs.old_keys import CRI, IMAGE_KEYS, IMAGES, Old, at, document

OLD = f'version = 2\n[plugins."{CRI}"]\n'
NEW = 'version = 4\n[plugins."io.containerd.cri.v1.images"]\n'


def test_a_keys_of_containerd_move_without_a_table_of_runtimes(tmp_path: Path) -> None:
    drop_in = tmp_path / "drop-in.toml"
    drop_in.write_text(
        f'version = 2\n[plugins."{CRI}".containerd]\nsnapshotter = "stargz"\n'
        "disable_snapshot_annotations = false\ndiscard_unpacked_layers = true\n"
    )
    main = tmp_path / "config.toml"
    for version in (2, 3, 4):
        main.write_text(f'version = {version}\nimports = ["drop-in.toml"]\n')
        images = load(str(main)).config.images
        assert images.snapshotter == "stargz"
        assert images.disable_snapshot_annotations is False
        assert images.discard_unpacked_layers is True


def test_a_a_drop_in_and_its_main_document_are_one_before_they_are_migrated(
    tmp_path: Path,
) -> None:
    (tmp_path / "drop-in").write_text(f"{OLD}max_concurrent_downloads = 5\n")
    main = tmp_path / "config.toml"
    main.write_text(
        f'version = 2\nimports = ["drop-in"]\n[plugins."{CRI}"]\nmax_concurrent_downloads = 4\n'
        '[plugins."io.containerd.cri.v1.images"]\nstats_collect_period = 30\n'
    )
    loaded = load(str(main))
    assert loaded.config.images.max_concurrent_downloads == 5
    assert loaded.config.images.stats_collect_period == 30
    where = loaded.provenance[(*IMAGES, "max_concurrent_downloads")]
    assert str(where) == f"{tmp_path}/drop-in:3"


def test_b_a_runtimes_snapshotter_keeps_its_names() -> None:
    loaded = loads(
        f'version = 2\n[plugins."{CRI}".containerd.runtimes.kata]\nsnapshotter = "nydus"\n'
    )
    assert loaded.config.images.runtime_platforms == {"kata": RuntimePlatform(snapshotter="nydus")}
    misspelt = loads(f'{NEW}runtime_platform.kata.snapshotter = "nydus"\n')
    assert "did you mean runtime_platforms?" in misspelt.warnings[0]


@pytest.mark.parametrize("old", IMAGE_KEYS, ids=lambda old: old.key[-1])
def test_c_the_new_value_wins_and_the_old_one_is_reported(old: Old) -> None:
    both = document([old, Old(old.new, "new", "stays", old.new)])
    result = migrate(both)
    assert at(result.document, old.new) == "new"
    (conflict,) = [change for change in result.changes if change.kind == "conflict"]
    assert (conflict.old, conflict.new) == (old.key, old.new)
    assert conflict.loses


@pytest.mark.parametrize(
    "line",
    [
        "registry = 1",
        "registry.configs = 1",
        "registry.configs.h = 1",
        "registry.mirrors = []",
        "containerd = 1",
        "containerd.runtimes = 1",
        "containerd.runtimes.x = 1",
        "containerd.runtimes.x.snapshotter = 1",
        "sandbox_image = {}",
        "image_decryption = 'x'",
    ],
)
def test_d_ill_typed_values_end_in_a_message_with_their_line(line: str) -> None:
    # What is the runtime's alone is the runtime's to judge.
    if line.startswith("containerd") and not line.endswith("snapshotter = 1"):
        loads(OLD + line)
        return
    with pytest.raises(ConfigInvalid, match=r"^c:3: plugins"):
        loads(OLD + line, name="c")


def test_e_image_keys_that_a_document_of_version_3_left_behind_are_ignored() -> None:
    loaded = loads(
        f'version = 3\n[plugins."{CRI}"]\nsandbox_image = "a"\ncontainerd.snapshotter = "b"\n',
        name="c",
    )
    assert loaded.config.images == ImageConfig()
    ignored = [warning for warning in loaded.warnings if "ignored" in warning]
    assert [warning.partition(" ")[0] for warning in ignored] == ["c:4:", "c:3:"]


def test_f_a_moved_value_changes_nothing_beside_it() -> None:
    images = loads(f"{OLD}max_concurrent_downloads = 9\n").config.images
    assert images == ImageConfig(max_concurrent_downloads=9)


def test_g_every_image_key_is_read_under_its_old_name() -> None:
    keys = [old for old in IMAGE_KEYS if old.key[-1] != "config_path"]
    source = parse(tomlkit.dumps(document(keys)).encode(), path="c")
    result = lift(source.written, CURRENT_VERSION)
    for old in keys:
        assert at(result.document, old.new) == old.value
        assert result.origins[old.new].key == old.key


@pytest.mark.parametrize("value", ["", "-1s", "soon", "5", "1h-3m"])
def test_h_a_timeout_that_nobody_can_mean_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^c:3: .*image_pull_progress_timeout: ") as caught:
        loads(f'{NEW}image_pull_progress_timeout = "{value}"\n', name="c")
    assert caught.value.message.count("\n") == 0


@pytest.mark.parametrize(("value", "nanoseconds"), [("0s", 0), ("0", 0), ("1ns", 1), ("5m", 3e11)])
def test_h_every_other_timeout_is_read(value: str, nanoseconds: float) -> None:
    images = loads(f'{NEW}image_pull_progress_timeout = "{value}"\n').config.images
    assert images.image_pull_progress_timeout.nanoseconds == nanoseconds


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"10"', "true"])
def test_j_statistics_are_not_collected_without_a_pause(value: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^c:3: .*stats_collect_period: "):
        loads(f"{NEW}stats_collect_period = {value}\n", name="c")


def test_k_every_directory_of_config_path_counts() -> None:
    images = loads(f'{NEW}registry.config_path = "/a:/b"\n').config.images
    assert images.registry.config_path == "/a:/b"
    for wrong in ("/a:b", "/a:", ":/a", "a"):
        with pytest.raises(ConfigInvalid, match="not an absolute path"):
            loads(f'{NEW}registry.config_path = "{wrong}"\n')


def test_l_the_snapshotter_of_every_runtime_is_known() -> None:
    images = loads(
        f'version = 2\n[plugins."{CRI}".containerd]\nsnapshotter = "native"\n'
        'runtimes.a.snapshotter = "x"\nruntimes.b.snapshotter = "y"\nruntimes.c.path = "t"\n'
    ).config.images
    used = {images.snapshotter, *(entry.snapshotter for entry in images.runtime_platforms.values())}
    assert used == {"native", "x", "y"}


def test_nothing_of_this_is_there_without_a_document() -> None:
    assert loads("version = 4").config == Config()


def test_image_keys_that_were_misspelt_in_the_old_section() -> None:
    loaded = loads("""[plugins.cri]
max_concurrent_downlods = 5
max_container_log_line_size = 16384
[plugins.cri.containerd]
snapshoter = "native"
default_runtime_name = "runc"
""")
    texts = [text for text in loaded.warnings if "did you mean" in text]
    assert texts == [
        (
            "configuration:2: plugins.cri.max_concurrent_downlods: kept for the runtime;"
            " did you mean max_concurrent_downloads?"
        ),
        (
            "configuration:5: plugins.cri.containerd.snapshoter: kept for the runtime;"
            " did you mean snapshotter?"
        ),
    ]
