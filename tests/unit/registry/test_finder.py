"""From files to a plan: whose rules hold, and that changed TLS files are read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.config.hosts import HostEntry, HostURL, Rules
from orlop.errors import HostsInvalid, RegistryBlocked
from orlop.model.reference import Reference
from orlop.registry.finder import HostFinder, Planned
from orlop.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = Reference.parse("a.example/team/app:1")


def put(root: Path, text: str) -> None:
    (root / "a.example").mkdir(exist_ok=True)
    (root / "a.example" / "hosts.toml").write_text(text)


def find(root: Path) -> Planned:
    return HostFinder(RegistrySettings(directories=(str(root),))).find(REFERENCE)


def test_without_any_file_the_registry_is_asked(tmp_path: Path) -> None:
    found = find(tmp_path)
    assert [str(one.origin) for one in found.plan.endpoints] == ["https://a.example"]
    assert len(found.looked) == 3


def test_files_decide(tmp_path: Path) -> None:
    put(tmp_path, '[host."https://m.example"]\nodd = 1\n[prefix.team]\nblocked = true\n')
    with pytest.raises(RegistryBlocked):
        find(tmp_path)
    put(tmp_path, '[host."https://m.example"]\nodd = 1\n')
    found = find(tmp_path)
    assert [str(one.origin) for one in found.plan.endpoints] == [
        "https://m.example",
        "https://a.example",
    ]
    assert found.fresh
    assert "odd: unknown key" in found.warnings[0]


def test_a_broken_file_never_falls_back(tmp_path: Path) -> None:
    put(tmp_path, '[host."https://m.example"\n')
    with pytest.raises(HostsInvalid, match=r"a.example/hosts.toml:1: not TOML"):
        find(tmp_path)


def test_mirrors_of_the_main_document_come_without_files(tmp_path: Path) -> None:
    put(tmp_path, "broken")
    mirror = HostEntry(HostURL("https", "m.example"))
    settings = RegistrySettings(rules={"*": Rules((mirror,))}, directories=(str(tmp_path),))
    found = HostFinder(settings).find(REFERENCE)
    assert [one.origin.host for one in found.plan.endpoints] == ["m.example", "a.example"]
    assert found.looked == ()


def test_a_changed_authority_makes_other_tls_settings(tmp_path: Path) -> None:
    put(tmp_path, 'ca = "ca.crt"\n')
    authority = tmp_path / "a.example" / "ca.crt"

    def tls() -> object:
        return find(tmp_path).plan.endpoints[0].tls

    missing = tls()
    authority.write_text("one")
    first = tls()
    assert first != missing
    assert tls() == first
    authority.write_text("another")
    assert tls() != first
