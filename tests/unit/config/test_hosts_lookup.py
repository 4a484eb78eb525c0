"""Directories of ``registry.config_path``: which one holds, and what was read when."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.config.hosts import HostEntry, Rules
from orlop.config.hosts_lookup import (
    DEFAULT_DIRECTORIES,
    Found,
    HostsDirectories,
    candidates,
    split_path,
    stamp_of,
)
from orlop.errors import HostsInvalid

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, name: str, text: str) -> Path:
    """A ``hosts.toml`` in the directory ``name``."""
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "hosts.toml"
    file.write_text(text)
    return file


def server(found: Found) -> str:
    assert found.rules is not None
    return str(found.rules.server.url)


def find(domain: str, *roots: Path, repository: str = "library/app") -> Found:
    return HostsDirectories([str(root) for root in roots]).find(domain, repository)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("docker.io", ["docker.io", "*.io", "_default"]),
        ("localhost", ["localhost", "_default"]),
        (
            "a.b.example:5000",
            [
                "a.b.example_5000_", "a.b.example:5000",
                "*.b.example_5000_", "*.b.example:5000", "*.b.example",
                "*.example_5000_", "*.example:5000", "*.example", "_default",
            ],
        ),
        (
            "a.example:443",
            [
                "a.example_443_", "a.example:443", "a.example",
                "*.example_443_", "*.example:443", "*.example", "_default",
            ],
        ),
        ("A.Example", ["a.example", "A.Example", "*.example", "_default"]),
        ("[::1]:5000", ["[::1]_5000_", "[::1]:5000", "_default"]),
        ("[::1]", ["[::1]", "_default"]),
    ],
)  # fmt: skip
def test_names_of_directories(domain: str, expected: list[str]) -> None:
    assert list(candidates(domain)) == expected


def test_search_paths() -> None:
    assert split_path("") == DEFAULT_DIRECTORIES
    assert split_path("/a:/b") == ("/a", "/b")


def test_nothing_is_there(tmp_path: Path) -> None:
    found = find("a.example", tmp_path / "gone", tmp_path)
    assert found.rules is None
    assert found.looked[0].path == str(tmp_path / "gone" / "a.example")
    assert {one.found for one in found.looked} == {"nothing"}


def test_the_first_directory_that_has_the_host_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    put(two, "a.example", 'server = "https://two.example"')
    assert server(find("a.example", one, two)) == "https://two.example"
    put(one, "a.example", 'server = "https://one.example"')
    assert server(find("a.example", one, two)) == "https://one.example"
    # As in containerd, a default of an earlier directory counts as having the host.
    put(one, "_default", 'server = "https://default.example"')
    put(two, "b.example", 'server = "https://b.example"')
    assert server(find("b.example", one, two)) == "https://default.example"


def test_names_of_one_directory_in_their_order(tmp_path: Path) -> None:
    names = [
        "_default", "*.example", "*.b.example", "*.b.example_5000_", "a.b.example:5000",
        "a.b.example_5000_",
    ]  # fmt: skip
    for number, name in enumerate(names):
        put(tmp_path, name, f'server = "https://s{number}.test"')
        assert server(find("a.b.example:5000", tmp_path)) == f"https://s{number}.test"


def test_a_wildcard_covers_what_is_below_it_only(tmp_path: Path) -> None:
    put(tmp_path, "*.corp.example", "blocked = true")
    for domain, expected in {
        "a.corp.example": True,
        "a.b.corp.example:5000": True,
        "A.CORP.EXAMPLE": True,
        "corp.example": False,
        "xcorp.example": False,
    }.items():
        assert (find(domain, tmp_path).rules is not None) is expected


def test_a_rule_cannot_be_passed_by_another_spelling(tmp_path: Path) -> None:
    put(tmp_path, "a.example", "blocked = true")
    for domain in ("a.example", "A.Example", "a.example:443"):
        assert find(domain, tmp_path).rules == Rules(blocked=True)


def test_rules_of_a_prefix(tmp_path: Path) -> None:
    put(tmp_path, "a.example", 'server = "https://x.test"\n[prefix.team]\nblocked = true\n')
    assert find("a.example", tmp_path, repository="team/app").rules == Rules(blocked=True)
    assert server(find("a.example", tmp_path, repository="other/app")) == "https://x.test"


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    file = put(tmp_path, "a.example", 'server = "https://one.test"\nunknown = 1\n')
    directories = HostsDirectories([str(tmp_path)])
    first = directories.find("a.example", "app")
    assert (server(first), first.fresh, len(first.warnings)) == ("https://one.test", True, 1)
    again = directories.find("a.example", "app")
    assert (server(again), again.fresh, len(again.warnings)) == ("https://one.test", False, 1)
    before = file.stat()
    file.write_text('server = "https://two.test"\nunknown = 1\n')
    # The time of the last change of the inode cannot be set back.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    third = directories.find("a.example", "app")
    assert (server(third), third.fresh) == ("https://two.test", True)
    file.write_text("broken")
    with pytest.raises(HostsInvalid):
        directories.find("a.example", "app")
    file.unlink()
    assert directories.find("a.example", "app").rules == Rules()


def test_certificates_in_dockers_layout(tmp_path: Path) -> None:
    directory = tmp_path / "a.example"
    directory.mkdir()
    for name in ("b.crt", "a.crt", "c.cert", "c.key", "both.cert", "x.key", "readme"):
        (directory / name).touch()
    found = find("a.example", tmp_path)
    assert found.rules == Rules(
        server=HostEntry(
            ca=(f"{directory}/a.crt", f"{directory}/b.crt"),
            client=((f"{directory}/both.cert", ""), (f"{directory}/c.cert", f"{directory}/c.key")),
        )
    )
    assert found.looked[-1].found == "certificates"
    # An empty file is none, and another one takes the place of all certificates.
    (directory / "hosts.toml").touch()
    assert find("a.example", tmp_path).rules == found.rules
    (directory / "hosts.toml").write_text("# mine\n")
    assert find("a.example", tmp_path).rules == Rules()


def test_an_empty_directory_hides_the_default(tmp_path: Path) -> None:
    put(tmp_path, "_default", "blocked = true")
    (tmp_path / "a.example").mkdir()
    found = find("a.example", tmp_path)
    assert found.rules == Rules()
    assert found.looked[-1].found == "a directory without settings"


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.example").symlink_to("gone")
    with pytest.raises(HostsInvalid, match=f"{tmp_path}/a.example: a link that leads nowhere"):
        find("a.example", tmp_path)
    (tmp_path / "b.example").mkdir()
    (tmp_path / "b.example" / "hosts.toml").symlink_to("gone")
    with pytest.raises(HostsInvalid, match=r"hosts.toml: a link that leads nowhere"):
        find("b.example", tmp_path)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.example").touch()  # a file where a directory belongs
    with pytest.raises(HostsInvalid, match="Not a directory"):
        find("a.example", tmp_path)
    (tmp_path / "b.example" / "hosts.toml").mkdir(parents=True)
    with pytest.raises(HostsInvalid, match=r"hosts.toml: it is no file"):
        find("b.example", tmp_path)
    (tmp_path / "c.example").symlink_to("c.example")
    with pytest.raises(HostsInvalid, match="Too many levels"):
        find("c.example", tmp_path)


def test_stamps_differ_when_files_do(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    paths = [str(file)]
    assert stamp_of(paths) == (None,)
    file.write_text("a")
    before = stamp_of(paths)
    assert stamp_of(paths) == before
    file.write_text("b")
    assert stamp_of(paths) != before
    assert stamp_of([str(tmp_path)]) == (None,)
