"""The same documents through another maker's program: Debian's containerd 1.6.

Its ``config dump`` prints what holds after defaults and imports. It knows
versions 1 and 2. Where both know a key both must mean the same by it; what may
differ is listed here with its reason.
"""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.config.keys import CRI, Key
from orlop.config.load import load
from orlop.config.schema import ImageConfig
from tests.corpus import cases
from tests.integration.config.rig import dump

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULTS: Final = {
    ("pinned_images", "sandbox"): "registry.k8s.io/pause:3.6 belongs to containerd 1.6, the pause "
    "image of today's kubelet is newer",
}
"""Keys whose defaults differ, and why."""

_NAMES_OF_VERSION_1: Final = (
    "it has full names of plugins and no version: 1.6 finds version 1's plugins by their short "
    "names only, containerd 2 and orlop by both"
)
EXPLAINED: Final = {
    ("both-sections/config.toml", "pinned_images.sandbox"): "it sets the new section too, which "
    "1.6 does not know and which wins",
    ("both-sections/config.toml", "max_concurrent_downloads"): "as above",
    ("both-sections/config.toml", "snapshotter"): "as above",
    ("both-sections/config.toml", "registry.config_path"): "as above",
    ("kata-deploy-v2/config.d/kata-deploy.toml", "disable_snapshot_annotations"): (
        _NAMES_OF_VERSION_1
    ),
    ("version-missing/config.toml", "snapshotter"): _NAMES_OF_VERSION_1,
}
"""Keys of documents that differ, and why."""


def meant_by_containerd(path: Path) -> dict[Key, object]:
    """The image keys of the one section of 1.6, under the names that they have today."""
    cri = dump(path)["plugins"][CRI[1]]
    registry = cri["registry"]
    engine = cri["containerd"]
    return {
        ("pinned_images", "sandbox"): cri["sandbox_image"],
        ("max_concurrent_downloads",): cri["max_concurrent_downloads"],
        ("stats_collect_period",): cri["stats_collect_period"],
        ("snapshotter",): engine["snapshotter"],
        ("disable_snapshot_annotations",): engine["disable_snapshot_annotations"],
        ("discard_unpacked_layers",): engine["discard_unpacked_layers"],
        ("image_decryption", "key_model"): cri["image_decryption"]["key_model"],
        ("registry", "config_path"): registry["config_path"],
        ("registry", "headers"): registry["headers"],
        ("registry", "mirrors"): {
            host: mirror["endpoint"] for host, mirror in registry["mirrors"].items()
        },
        # TLS of the old kind is dropped by both of today's programs.
        ("registry", "configs"): {
            host: without_empty(settings.get("auth") or {})
            for host, settings in registry["configs"].items()
        },
        ("registry", "auths"): {
            url: without_empty(auth) for url, auth in registry["auths"].items()
        },
    }


def meant_by_orlop(images: ImageConfig) -> dict[Key, object]:
    registry = images.registry
    return {
        ("pinned_images", "sandbox"): images.pinned_images["sandbox"],
        ("max_concurrent_downloads",): images.max_concurrent_downloads,
        ("stats_collect_period",): images.stats_collect_period,
        ("snapshotter",): images.snapshotter,
        ("disable_snapshot_annotations",): images.disable_snapshot_annotations,
        ("discard_unpacked_layers",): images.discard_unpacked_layers,
        ("image_decryption", "key_model"): images.image_decryption.key_model,
        ("registry", "config_path"): registry.config_path,
        ("registry", "headers"): {name: list(found) for name, found in registry.headers.items()},
        ("registry", "mirrors"): {
            host: list(mirror.endpoint) for host, mirror in registry.mirrors.items()
        },
        ("registry", "configs"): {
            host: without_empty(msgspec.to_builtins(settings.auth))
            for host, settings in registry.configs.items()
        },
        ("registry", "auths"): {
            url: without_empty(msgspec.to_builtins(auth)) for url, auth in registry.auths.items()
        },
    }


def without_empty(table: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in table.items() if value != ""}


def disagreements(path: Path) -> dict[Key, tuple[object, object]]:
    """Keys by which containerd and orlop mean something else, and what; defaults apart."""
    theirs, ours = meant_by_containerd(path), meant_by_orlop(load(str(path)).config.images)
    defaults = meant_by_orlop(ImageConfig())
    return {
        key: (theirs[key], ours[key])
        for key in theirs
        if theirs[key] != ours[key] and not (key in DEFAULTS and ours[key] == defaults[key])
    }


def old_documents() -> list[tuple[str, Path]]:
    """The documents of the corpus that a containerd of 2022 could have been given."""
    found = []
    for case in cases():
        for path in case.documents:
            document = tomllib.loads(path.read_text())
            # Docker's package switches the plugin off, which leaves nothing to compare.
            if document.get("version", 1) <= 2 and "cri" not in document.get(
                "disabled_plugins", []
            ):
                found.append((f"{case}/{path.relative_to(case.directory)}", path))
    return found


OLD: Final = old_documents()


def test_the_defaults_are_the_same_but_for_those_listed(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("version = 2\n")
    theirs, ours = meant_by_containerd(path), meant_by_orlop(ImageConfig())
    assert {key for key in theirs if theirs[key] != ours[key]} == set(DEFAULTS)


@pytest.mark.parametrize(("name", "path"), OLD, ids=[name for name, _ in OLD])
def test_documents_of_the_corpus(name: str, path: Path, tmp_path: Path) -> None:
    document = tomlkit.parse(path.read_text())
    # Here each document counts for itself; what imports do is another test's matter.
    document["imports"] = []
    alone = tmp_path / "config.toml"
    alone.write_text(tomlkit.dumps(document))
    found = {".".join(key): both for key, both in disagreements(alone).items()}
    assert set(found) == {key for document, key in EXPLAINED if document == name}, found


# 1.6 can read no "]" in a name, nor some of what a basic string may hold.
hosts = st.sampled_from(["docker.io", "registry.example", "10.0.0.7:5000", "*"])
words = st.text("abcXYZ019-_$/+=é\"'\\ ", max_size=12)
urls = st.sampled_from(
    ["https://a.example", "http://b.internal:5000", "https://c.example/v2/x", "http://10.0.0.7"]
)
auths = st.fixed_dictionaries(
    {},
    optional={"username": words, "password": words, "auth": words, "identitytoken": words},
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "sandbox_image": st.sampled_from(
            ["a.example/b:1", "pause", "r.example:5/x@sha256:" + 64 * "0"]
        ),
        "max_concurrent_downloads": st.integers(-5, 1 << 20),
        "stats_collect_period": st.integers(1, 86400),
        "enable_selinux": st.booleans(),
        "containerd": st.fixed_dictionaries(
            {},
            optional={
                "snapshotter": st.sampled_from(["overlayfs", "native", "stargz", "a.b-c_d"]),
                "disable_snapshot_annotations": st.booleans(),
                "discard_unpacked_layers": st.booleans(),
                "default_runtime_name": st.sampled_from(["runc", "kata"]),
            },
        ),
        "image_decryption": st.fixed_dictionaries(
            {}, optional={"key_model": st.sampled_from(["", "node"])}
        ),
        "registry": st.one_of(
            st.fixed_dictionaries(
                {"config_path": st.sampled_from(["", "/a", "/a:/b"])},
                optional={
                    "headers": st.dictionaries(st.sampled_from(["X-A", "B"]), st.lists(words))
                },
            ),
            st.fixed_dictionaries(
                {
                    "mirrors": st.dictionaries(
                        hosts, st.fixed_dictionaries({"endpoint": st.lists(urls, max_size=3)})
                    ),
                    "configs": st.dictionaries(
                        hosts, st.fixed_dictionaries({}, optional={"auth": auths})
                    ),
                    "auths": st.dictionaries(urls, auths),
                }
            ),
        ),
    },
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sections)
def test_made_up_documents(tmp_path: Path, section: dict[str, Any]) -> None:
    path = tmp_path / "config.toml"
    path.write_text(tomlkit.dumps({"version": 2, "plugins": {CRI[1]: section}}))
    assert disagreements(path) == {}, json.dumps(section)
