"""Configurations of the field: each means what its author meant, and migration keeps it all."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import tomlkit

from orlop.cli.main import main
from orlop.config.durations import Duration
from orlop.config.keys import CRI, IMAGES, Key
from orlop.config.load import load
from orlop.config.schema import ImageConfig
from tests.corpus import Case, cases

if TYPE_CHECKING:
    from collections.abc import Iterator

every_case = pytest.mark.parametrize("case", cases(), ids=str)

SECRETS = ("not-a-secret", "not-a-token", "not a secret", "service_account", "bm9ib2R5")
"""What the corpus has for passwords and tokens, or parts of it."""

_NAME = r'(?:[A-Za-z0-9_-]+|"[^"]*")'
_WARNING = re.compile(
    rf"(?P<path>.+?\.(?:toml|conf))(?::(?P<line>[0-9]+))?: (?:dropped: |conflict: )?"
    rf"(?P<key>{_NAME}(?:\.{_NAME})*)"
)


def differences(value: msgspec.Struct) -> dict[str, object]:
    """The fields that do not have their defaults, as plain values."""
    default = type(value)()
    return {
        name: plain(getattr(value, name))
        for name in value.__struct_fields__
        if getattr(value, name) != getattr(default, name)
    }


def plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return differences(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Duration) else value


def short(key: Key) -> str:
    """A key without quotes and without what all plugins' keys begin with."""
    return ".".join(key).removeprefix("plugins.").removeprefix("io.containerd.")


SHORT_CRI = ("plugins", "cri")
"""The CRI section as version 1 names it."""


def warned(text: str, home: Path) -> str:
    """``FILE KEY`` of a warning; a line that it names must be about the key."""
    found = _WARNING.match(text)
    assert found is not None, text
    path = Path(found["path"])
    names = tuple(name.strip('"') for name in re.findall(_NAME, found["key"]))
    if found["line"]:
        line = path.read_text().splitlines()[int(found["line"]) - 1]
        assert any(name in line for name in names if name != "plugins"), (text, line)
    for section in (CRI, IMAGES, SHORT_CRI):
        if names[: len(section)] == section:
            names = names[len(section) :]
    return f"{path.relative_to(home)} {short(names)}"


def reported(report: list[dict[str, str]]) -> dict[str, list[str]]:
    """What was dropped, what lost, and what became the image service's: sorted keys by kind."""
    kinds: dict[str, list[str]] = {}
    for change in report:
        old, new = split(change["old"]), split(change["new"])
        if new[: len(IMAGES)] == IMAGES or change["kind"] in ("dropped", "conflict"):
            # What also has another name now was moved all the same.
            kind = "moved" if change["kind"] == "renamed" else change["kind"]
            kinds.setdefault(kind, []).append(short(old))
    return {kind: sorted(keys) for kind, keys in kinds.items()}


def leaves(value: object, above: Key = ()) -> Iterator[tuple[Key, object]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*above, name))
    else:
        yield above, value


def at(document: object, key: Key) -> object:
    for name in key:
        document = document[name] if isinstance(document, dict) and name in document else None
    return document


def follow(key: Key, report: list[dict[str, Any]]) -> tuple[list[Key], bool]:
    """Where a key went, and whether the report gave a reason for its end."""
    now, ended = [key], False
    for change in report:
        old, new = split(change["old"]), split(change["new"])
        for place in list(now):
            if place[: len(old)] != old:
                continue
            moved = (*new, *place[len(old) :])
            if change["kind"] == "copied":
                now.append(moved)
            else:
                now.remove(place)
                now += [moved] if change["kind"] in ("moved", "renamed", "kept") else []
                ended = ended or bool(change["reason"])
    return now, ended


def split(shown: str) -> Key:
    return tuple(name.strip('"') for name in re.findall(_NAME, shown))


def without_registry(images: dict[str, object]) -> dict[str, object]:
    """Without the table that has secrets in it."""
    return {name: value for name, value in images.items() if name != "registry"}


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    out: str
    err: str


def answer(*arguments: str) -> Answer:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(arguments) == 0
    return Answer(out.getvalue(), err.getvalue())


@cache
def migrated(path: Path) -> Answer:
    """A document of the corpus as text."""
    return answer("config", "migrate", str(path))


@cache
def migrated_as_json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A document of the corpus as an object, and the report."""
    document = json.loads(answer("config", "migrate", str(path), "-o", "json").out)
    return document, document.pop("report")


def test_there_are_enough_and_none_is_forgotten() -> None:
    every = cases()
    assert len(every) >= 28
    for case in every:
        left = {path for path in case.directory.rglob("*.toml") if path.name != "hosts.toml"} - set(
            case.documents
        )
        assert left == set(), case


@every_case
def test_hosts_files_are_where_the_configuration_looks(case: Case, tmp_path: Path) -> None:
    registry = load(str(case.lay_out(tmp_path))).config.images.registry
    for path in case.directory.rglob("hosts.toml"):
        place = Path(case.home) / path.relative_to(case.directory).parent.parent
        assert str(place) in registry.config_path.split(":")
        tomllib.loads(path.read_text())


@every_case
def test_images(case: Case, tmp_path: Path) -> None:
    loaded = load(str(case.lay_out(tmp_path)))
    assert differences(loaded.config.images) == case.images
    assert isinstance(loaded.config.images, ImageConfig)


@every_case
def test_warnings(case: Case, tmp_path: Path) -> None:
    main_document = case.lay_out(tmp_path)
    warnings = load(str(main_document)).warnings
    assert sorted(warned(text, main_document.parent) for text in warnings) == sorted(case.warnings)


@every_case
def test_report(case: Case) -> None:
    found = {
        str(path.relative_to(case.directory)): reported(migrated_as_json(path)[1])
        for path in case.documents
    }
    assert found == {
        name: {kind: sorted(keys) for kind, keys in kinds.items()}
        for name, kinds in case.report.items()
    }


@every_case
def test_migrate_loses_nothing(case: Case) -> None:
    for path in case.documents:
        before = tomllib.loads(path.read_text())
        after, report = migrated_as_json(path)
        assert tomllib.loads(migrated(path).out) == after
        # The version is what migration changes; names of plugins in lists get their full form.
        changed = {("version",), ("disabled_plugins",), ("required_plugins",)}
        for key, value in leaves(before):
            places, ended = follow(key, report)
            kept = bool(places) and all(at(after, place) == value for place in places)
            assert kept or (ended and not places) or key in changed, (path, key)


@every_case
def test_migrate_is_idempotent(case: Case, tmp_path: Path) -> None:
    again = tmp_path / "again.toml"
    for path in case.documents:
        again.write_text(migrated(path).out)
        assert answer("config", "migrate", str(again)) == Answer(migrated(path).out, "")


@every_case
def test_migrated_documents_mean_the_same(case: Case, tmp_path: Path) -> None:
    meant = load(str(case.lay_out(tmp_path / "before"))).config
    texts = {name: migrated(case.directory / name).out for name in case.report}
    after = load(str(case.lay_out(tmp_path / "after", texts))).config
    assert after.images == meant.images
    assert after.sections == meant.sections
    assert (after.root, after.grpc, after.metrics) == (meant.root, meant.grpc, meant.metrics)
    assert after.plugins == meant.plugins


@every_case
def test_a_dump_means_the_same_and_holds_no_secret(case: Case, tmp_path: Path) -> None:
    main_document = case.lay_out(tmp_path)
    meant = differences(load(str(main_document)).config.images)
    dumped = answer("config", "dump", "--config", str(main_document)).out
    assert [secret for secret in SECRETS if secret in dumped] == []
    document = tomllib.loads(dumped)
    # All that is imported is in the dump already.
    document["imports"] = []
    main_document.write_text(tomlkit.dumps(document))
    again = differences(load(str(main_document)).config.images)
    assert without_registry(again) == without_registry(meant)
