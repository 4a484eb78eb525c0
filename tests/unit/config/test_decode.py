"""Tables become values; what is wrong is found, all of it, and named."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from orlop.config.decode import Decoder, section
from orlop.config.durations import Duration
from orlop.config.schema import ImageConfig, RegistryAuth, RuntimePlatform
from orlop.errors import InvalidArgument


def read(table: dict[str, object]) -> tuple[ImageConfig, Decoder]:
    decoder = Decoder()
    return decoder.struct(ImageConfig, table, key=("images",)), decoder


def problems(table: dict[str, object]) -> dict[str, str]:
    _, decoder = read(table)
    return {".".join(problem.key): problem.cause for problem in decoder.problems}


def test_an_empty_table_is_the_defaults() -> None:
    value, decoder = read({})
    assert value == ImageConfig()
    assert not decoder.problems
    assert not decoder.unknown


def test_every_kind_of_value() -> None:
    value, decoder = read(
        {
            "snapshotter": "native",
            "discard_unpacked_layers": True,
            "max_concurrent_downloads": -1,
            "image_pull_progress_timeout": "1m30s",
            "runtime_platforms": {"kata": {"platform": "linux/arm64", "snapshotter": "x"}},
            "registry": {
                "mirrors": {"*": {"endpoint": ["http://a", "https://b/v2"]}},
                "configs": {"a:5000": {"auth": {"username": "u", "password": "p"}}},
                "headers": {"X-A": ["1", "2"]},
                "ca_files": {"a": "/ca.pem"},
                "insecure_registries": ["a:5000"],
            },
        }
    )
    assert not decoder.problems
    assert value.snapshotter == "native"
    assert value.discard_unpacked_layers is True
    assert value.max_concurrent_downloads == -1
    assert value.image_pull_progress_timeout == Duration.parse("90s")
    assert value.runtime_platforms["kata"] == RuntimePlatform(
        platform="linux/arm64", snapshotter="x"
    )
    assert value.registry.mirrors["*"].endpoint == ("http://a", "https://b/v2")
    assert value.registry.configs["a:5000"].auth == RegistryAuth(username="u", password="p")
    assert value.registry.headers == {"X-A": ("1", "2")}
    assert value.registry.ca_files == {"a": "/ca.pem"}
    assert value.registry.insecure_registries == ("a:5000",)


def test_names_are_laid_over_the_default_table() -> None:
    value, _ = read({"pinned_images": {"mine": "busybox"}})
    assert value.pinned_images == {"sandbox": "registry.k8s.io/pause:3.10.2", "mine": "busybox"}
    value, _ = read({"pinned_images": {"sandbox": ""}})
    assert value.pinned_images == {"sandbox": ""}


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("snapshotter", 3, "expected str, got int"),
        ("snapshotter", "", "the name is empty"),
        ("snapshotter", "a/b", "not a name"),
        ("disable_snapshot_annotations", 1, "expected bool, got int"),
        ("max_concurrent_downloads", "3", "expected int, got str"),
        ("max_concurrent_downloads", 3.0, "expected int, got float"),
        ("max_concurrent_downloads", True, "expected int, got bool"),
        ("max_concurrent_downloads", 2**70, "expected int <= 1048576"),
        ("max_total_downloads", -1, "expected int >= 0"),
        ("max_concurrent_unpacks", -1, "expected int >= 0"),
        ("concurrent_layer_fetch_buffer", -1, "expected int >= 0"),
        ("stats_collect_period", 0, "expected int >= 1"),
        ("min_pull_rate", -1, "expected int >= 0"),
        ("image_pull_progress_timeout", "", "not a duration"),
        ("image_pull_progress_timeout", "-1s", "negative"),
        ("image_pull_progress_timeout", 300, "expected a duration, got a number"),
        ("drain_timeout", "soon", "not a duration"),
        ("image_decryption", {"key_model": "other"}, "invalid enum value"),
        ("image_decryption", "node", "expected a table, got a string"),
        ("pinned_images", ["x"], "expected a table, got an array"),
        ("pinned_images", {"a": 1}, "expected str, got int"),
        ("pinned_images", {"a": "not a reference"}, "invalid reference"),
        ("runtime_platforms", {"": {}}, "the name is empty"),
        ("runtime_platforms", {"x": {"platform": "nowhere"}}, "platform"),
        ("runtime_platforms", {"x": "y"}, "expected a table, got a string"),
        ("registry", {"mirrors": {"https://x": {}}}, "not a host"),
        ("registry", {"mirrors": {"x": {"endpoint": "https://x"}}}, "expected an array"),
        ("registry", {"mirrors": {"x": {"endpoint": [1]}}}, "expected str, got int"),
        ("registry", {"mirrors": {"x": {"endpoint": ["x"]}}}, "not the address of a registry"),
        ("registry", {"headers": {"a b": []}}, "not the name of an HTTP header"),
        ("registry", {"headers": {"a": "b"}}, "expected an array, got a string"),
        ("registry", {"config_path": "certs.d"}, "not an absolute path"),
    ],
)
def test_wrong_value(name: str, value: object, cause: str) -> None:
    found = problems({name: value})
    assert len(found) == 1
    key, text = found.popitem()
    assert key.startswith(f"images.{name}")
    assert cause in text


def test_all_problems_are_found_and_the_rest_is_read() -> None:
    value, decoder = read({"snapshotter": 1, "stats_collect_period": 0, "max_total_downloads": 7})
    assert len(decoder.problems) == 2
    assert value.max_total_downloads == 7
    assert value.snapshotter == "overlayfs"


def test_a_wrong_entry_deep_below_is_named_exactly() -> None:
    found = problems({"registry": {"configs": {"h": {"auth": {"password": 5}}}}})
    assert found == {"images.registry.configs.h.auth.password": "expected str, got int"}


def test_unknown_keys_are_gathered_with_the_nearest_one() -> None:
    _, decoder = read({"snapshoter": "x", "registry": {"zzz": 1}})
    assert [str(unknown) for unknown in decoder.unknown] == [
        "images.registry.zzz: unknown key, ignored",
        "images.snapshoter: unknown key, ignored; did you mean snapshotter?",
    ]
    assert not decoder.problems


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    size: Annotated[int, Meta(ge=1)] = 1
    names: Mapping[str, str] = {}


def test_section_reads_a_plugins_own_table() -> None:
    assert section(Plugin, {"size": 3, "names": {"a": "b"}}) == Plugin(size=3, names={"a": "b"})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"size": 0}, "plugin.size: expected int >= 1"),
        ({"sise": 1}, "plugin.sise: unknown key, ignored; did you mean size?"),
        ([], "plugin: expected a table, got an array"),
    ],
)
def test_section_refuses(table: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        section(Plugin, table, key=("plugin",))
    assert caught.value.message == message
