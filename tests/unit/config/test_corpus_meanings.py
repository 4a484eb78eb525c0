"""What containerd means by a document, where that is easily misunderstood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.cli.main import main
from orlop.config.load import load, loads
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = '[plugins."io.containerd.cri.v1.images"]\n'


@pytest.mark.parametrize("version", [3, 4])
def test_a_handlers_snapshotter_counts_in_new_documents_too(version: int) -> None:
    # containerd's runtime plugin tells the image service at its start; migration does it for
    # version 2.
    loaded = loads(
        f"version = {version}\n"
        '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata]\n'
        'snapshotter = "native"\n'
    )
    assert loaded.config.images.runtime_platforms["kata"].snapshotter == "native"


def test_an_import_that_no_file_can_be_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('version = 4\nimports = ["a\\u0000b.toml"]\n')
    with pytest.raises(InvalidArgument, match=r"config\.toml:2: imports"):
        load(str(path))


def test_a_dump_can_be_loaded_where_it_is_put(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "config.toml").write_text('version = 4\nimports = ["a/a.toml"]\n')
    (tmp_path / "a" / "a.toml").write_text('version = 4\nimports = ["b.toml"]\n')
    (tmp_path / "a" / "b.toml").write_text(f"version = 4\n{IMAGES}stats_collect_period = 9\n")
    assert main(["config", "dump", "--config", str(tmp_path / "config.toml")]) == 0
    dumped = tmp_path / "elsewhere.toml"
    dumped.write_text(capsys.readouterr().out)
    assert "stats_collect_period" in dumped.read_text()
    assert load(str(dumped)).config.images.stats_collect_period == 9


def test_a_tuned_transfer_service_beside_the_images_default() -> None:
    # A dumped default says 3 for the images; containerd's engine reads the transfer's number
    # as long as the images' number is the default.
    loaded = loads(
        f"version = 3\n{IMAGES}max_concurrent_downloads = 3\n"
        '[plugins."io.containerd.transfer.v1.local"]\nmax_concurrent_downloads = 10\n'
    )
    assert loaded.config.images.max_concurrent_downloads == 10


def test_metrics_that_containerd_serves_to_others_do_not_stop_the_daemon() -> None:
    # Many nodes have this line for containerd; it is as little orlop's as containerd's socket.
    loaded = loads('version = 2\n[metrics]\naddress = "0.0.0.0:10257"\n')
    assert loaded.config.metrics.address == ""
    assert any("metrics" in text for text in loaded.warnings)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(InvalidArgument):
        load("a\0b")


def test_advice_names_the_key_as_its_author_wrote_it() -> None:
    text = (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n'
        'endpoint = ["https://a.example"]\n'
    )
    (advice,) = (text for text in loads(text).warnings if "deprecated" in text)
    assert "io.containerd.grpc.v1.cri" in advice
