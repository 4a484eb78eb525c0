"""Sections: built-in ones and those of third parties are read alike."""

from typing import Annotated

import pytest
from msgspec import Struct, structs

from orlop.config.annotate import key
from orlop.config.draft import Draft
from orlop.config.keys import show
from orlop.config.load import loads
from orlop.config.related import (
    DiffConfig,
    MetadataConfig,
    OverlayfsConfig,
    SchedulerConfig,
    StreamProcessor,
    TransferConfig,
    UnpackConfig,
    VerifierConfig,
)
from orlop.config.schema import Config, GrpcConfig, ImageConfig
from orlop.config.sections import BUILTIN_SECTIONS, Section
from orlop.config.text import explained
from orlop.errors import InvalidArgument


class Lazy(Struct, frozen=True, kw_only=True):
    """Settings of somebody's snapshotter."""

    limit: Annotated[int, key("How many.")] = 3


NAME = "org.example.snapshotter.v1.lazy"
LAZY = Section(NAME, Lazy)


def test_without_a_document_each_section_has_its_defaults() -> None:
    for section in BUILTIN_SECTIONS:
        assert Config().section(section.name, section.schema) == section.schema()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "io.containerd.snapshotter.v1.overlayfs",
            'root_path = "/s"\nsync_remove = true\nmount_options = ["volatile"]',
            OverlayfsConfig(root_path="/s", sync_remove=True, mount_options=("volatile",)),
        ),
        (
            "io.containerd.metadata.v1.bolt",
            'content_sharing_policy = "isolated"',
            MetadataConfig(content_sharing_policy="isolated"),
        ),
        (
            "io.containerd.transfer.v1.local",
            (
                '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
                'platform = "linux/amd64"\nsnapshotter = "native"'
            ),
            TransferConfig(
                unpack_config=(UnpackConfig(platform="linux/amd64", snapshotter="native"),)
            ),
        ),
        (
            "io.containerd.gc.v1.scheduler",
            "pause_threshold = 0.5\ndeletion_threshold = 7",
            SchedulerConfig(pause_threshold=0.5, deletion_threshold=7),
        ),
        (
            "io.containerd.image-verifier.v1.bindir",
            "max_verifiers = -1",
            VerifierConfig(max_verifiers=-1),
        ),
        (
            "io.containerd.service.v1.diff-service",
            'default = ["walking", "erofs"]',
            DiffConfig(default=("walking", "erofs")),
        ),
    ],
)
def test_a_section_is_read(name: str, text: str, expected: Struct) -> None:
    loaded = loads(f'version = 4\n[plugins."{name}"]\n{text}\n')
    assert loaded.config.section(name, type(expected)) == expected
    assert loaded.warnings == ()


def test_the_typed_attributes_are_sections_too() -> None:
    config = loads('version = 4\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "x"').config
    assert config.section("io.containerd.cri.v1.images", ImageConfig) is config.images
    assert config.section("io.containerd.server.v1.grpc", GrpcConfig) is config.grpc


@pytest.mark.parametrize(
    "line",
    [
        "pause_threshold = 0.51",
        "pause_threshold = -0.1",
        "deletion_threshold = -1",
        'startup_delay = "-1s"',
        'schedule_delay = ""',
    ],
)
def test_a_value_out_of_range_is_refused_with_its_line(line: str) -> None:
    text = f'version = 4\n[plugins."io.containerd.gc.v1.scheduler"]\n{line}\n'
    with pytest.raises(InvalidArgument, match=r"^c:3: plugins\."):
        loads(text, name="c")


def test_stream_processors() -> None:
    config = loads("""version = 4
[stream_processors."io.example.decrypt"]
accepts = ["application/vnd.oci.image.layer.v1.tar+encrypted"]
returns = "application/vnd.oci.image.layer.v1.tar"
path = "decoder"
args = ["--keys", "/k"]
env = ["A=b"]
""").config
    assert config.stream_processors == {
        "io.example.decrypt": StreamProcessor(
            accepts=("application/vnd.oci.image.layer.v1.tar+encrypted",),
            returns="application/vnd.oci.image.layer.v1.tar",
            path="decoder",
            args=("--keys", "/k"),
            env=("A=b",),
        )
    }


def test_a_third_partys_section_is_read_and_checked() -> None:
    text = f'version = 4\n[plugins."{NAME}"]\nlimit = 5\nlimt = 6\n'
    loaded = loads(text, name="c", sections=[LAZY])
    assert loaded.config.section(NAME, Lazy) == Lazy(limit=5)
    assert [warning.partition(" ")[0] for warning in loaded.warnings] == ["c:4:"]
    with pytest.raises(InvalidArgument, match=r"^c:3: "):
        loads(text.replace("5", "'five'"), name="c", sections=[LAZY])


def test_a_section_that_nobody_announced_is_read_when_it_is_asked_for() -> None:
    config = loads(f'version = 4\n[plugins."{NAME}"]\nlimit = 5\n').config
    assert config.section(NAME, Lazy).limit == 5
    config = loads(f'version = 4\n[plugins."{NAME}"]\nlimit = "x"\n').config
    with pytest.raises(InvalidArgument, match="limit: expected"):
        config.section(NAME, Lazy)


def test_a_third_party_brings_its_own_migration() -> None:
    def lift(version: int, draft: Draft) -> None:
        if version == 2:
            draft.move(("plugins", "org.example.old"), ("plugins", NAME))

    sections = [Section(NAME, Lazy, migrate=lift)]
    old = 'version = {}\n[plugins."org.example.old"]\nlimit = 5\n'
    assert loads(old.format(2), sections=sections).config.section(NAME, Lazy).limit == 5
    assert loads(old.format(3), sections=sections).config.section(NAME, Lazy).limit == 3


def without_effect() -> dict[str, str]:
    """A line of a document for each key that claims to have no effect."""
    values = {"boolean": "true", "integer": "7", "string": '"/x"', "array": '["x"]'}
    found = {}
    for one in explained():
        if one.meaning.startswith("Accepted and without effect"):
            *table, name = one.key
            value = '"x"' if name in ("differ", "config_type") else values[one.type]
            header = show(tuple(part.removesuffix("[]") for part in table))
            brackets = f"[[{header}]]" if table[-1].endswith("[]") else f"[{header}]"
            found[show(one.key)] = f"{brackets}\n{name} = {value}"
    return found


@pytest.mark.parametrize("key", without_effect())
def test_a_key_without_effect_is_accepted(key: str) -> None:
    loaded = loads(f"version = 4\n{without_effect()[key]}\n")
    told = [warning for warning in loaded.warnings if "without effect" not in warning]
    assert told == []
    untouched = {"use_local_image_pull": False}
    assert structs.replace(loaded.config.images, **untouched) == ImageConfig()
