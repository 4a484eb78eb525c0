"""Mirrors leave the document for files; credentials stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.config.draft import CURRENT_VERSION
from orlop.config.hosts_move import REGISTRY, Moved, move_to_hosts
from orlop.config.migrate import lift
from orlop.config.sources import parse
from orlop.errors import InvalidArgument
from tests.rigs.old_keys import at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.config.schema import RegistryConfig

TEXT = """version = 4
[plugins."io.containerd.cri.v1.images".registry]
mirrors."a.example".endpoint = ["https://m.example"]
configs."m.example".auth = { username = "me", password = "hush" }
insecure_registries = ["b.example"]
"""


def mirrors_alone(registry: RegistryConfig) -> Mapping[str, str]:
    return {f"{name}/hosts.toml": str(entry.endpoint) for name, entry in registry.mirrors.items()}


def with_a_secret(registry: RegistryConfig) -> Mapping[str, str]:
    (auth,) = [entry.auth for entry in registry.configs.values()]
    return {**mirrors_alone(registry), "m.example/hosts.toml": f"{auth.username}:{auth.password}"}


def moved(text: str, *, secret: bool = False) -> tuple[Moved, object]:
    migrated = lift(parse(text.encode(), path="c").written, CURRENT_VERSION)
    export = with_a_secret if secret else mirrors_alone
    result = move_to_hosts(migrated, "/certs.d", export)
    return result, at(result.migrated.document, REGISTRY)


def test_mirrors_go_and_credentials_stay() -> None:
    result, registry = moved(TEXT)
    assert registry == {
        "configs": {"m.example": {"auth": {"username": "me", "password": "hush"}}},
        "insecure_registries": ["b.example"],
        "config_path": "/certs.d",
    }
    assert list(result.files) == ["a.example/hosts.toml"]
    assert result.private == frozenset()
    assert result.left == ("configs",)
    (change,) = result.migrated.changes
    assert (change.kind, change.old, change.where.line) == ("moved", (*REGISTRY, "mirrors"), 3)


def test_tables_without_credentials_go_too() -> None:
    result, registry = moved(TEXT.replace('username = "me", password = "hush"', ""))
    assert registry == {"insecure_registries": ["b.example"], "config_path": "/certs.d"}
    assert result.left == ()


def test_a_file_with_a_secret_is_private() -> None:
    result, _ = moved(TEXT, secret=True)
    assert result.private == {"m.example/hosts.toml"}


def test_directories_that_are_searched_already_stay() -> None:
    _, registry = moved(f'{TEXT}config_path = "/old"\n')
    assert isinstance(registry, dict)
    assert registry["config_path"] == "/certs.d:/old"


def test_without_mirrors_there_is_nothing_to_do() -> None:
    result, _ = moved("version = 4")
    assert (result.files, result.migrated.document) == ({}, {"version": 4})


def test_tables_that_cannot_be_read_stay_where_they_are() -> None:
    with pytest.raises(InvalidArgument, match="endpoint: expected"):
        moved(TEXT.replace('["https://m.example"]', "5"))
