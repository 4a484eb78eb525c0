"""Deprecated tables in today's words: rules, and the files that take their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.config.hosts_export import directory, hosts_files
from orlop.config.hosts_legacy import mirror_rules
from orlop.config.hosts_parse import parse
from orlop.config.schema import Mirror, RegistryAuth, RegistryConfig, RegistryHostConfig
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from orlop.config.hosts import Rules


def config(**mirrors: list[str]) -> RegistryConfig:
    return RegistryConfig(
        mirrors={name: Mirror(endpoint=tuple(urls)) for name, urls in mirrors.items()}
    )


def shown(rules: Rules) -> list[str]:
    """Where each host's API is, in their order."""
    return [
        f"{one.url.scheme}://{one.url.address}{one.api_path()}" if one.url else "itself"
        for one in (*rules.hosts, rules.server)
    ]


@pytest.mark.parametrize(
    ("name", "endpoints", "expected"),
    [
        ("a.example", [], ["itself"]),
        ("a.example", ["https://m.example"], ["https://m.example/v2", "itself"]),
        ("a.example", ["https://m.example/x"], ["https://m.example/x", "itself"]),
        ("a.example", ["http://a.example"], ["http://a.example/v2"]),
        (
            "a.example",
            ["https://a.example", "https://m.example"],
            ["https://a.example/v2", "https://m.example/v2"],
        ),
        ("docker.io", ["https://registry-1.docker.io"], ["https://registry-1.docker.io/v2"]),
        ("a.example", ["https://m.example", "https://m.example/"], ["https://m.example/v2",
                                                                    "itself"]),
        ("a.example:5000", ["http://a.example:5000"], ["http://a.example:5000/v2"]),
        ("a.example:5000", ["http://a.example"], ["http://a.example/v2", "itself"]),
        ("*", ["https://m.example"], ["https://m.example/v2", "itself"]),
    ],
)  # fmt: skip
def test_mirrors_mean_what_they_meant(name: str, endpoints: list[str], expected: list[str]) -> None:
    assert shown(mirror_rules(config(**{name: endpoints}))[name]) == expected


def test_an_endpoint_that_is_no_url() -> None:
    with pytest.raises(InvalidArgument, match=r"registry.mirrors.a.example: not the URL"):
        mirror_rules(config(**{"a.example": ["https://m.example?x=1"]}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io", "docker.io"),
        ("a.example:5000", "a.example_5000_"),
        ("[::1]:5000", "[::1]_5000_"),
        ("[::1]", "[::1]"),
        ("*", "_default"),
    ],
)
def test_directories(name: str, expected: str) -> None:
    assert directory(name) == expected


def test_the_text_of_a_file() -> None:
    registry = RegistryConfig(
        mirrors={
            "docker.io": Mirror(endpoint=("https://m.example/hub", "https://registry-1.docker.io"))
        },
        configs={"m.example": RegistryHostConfig(auth=RegistryAuth(username="u", password="s3cr"))},
    )
    files = hosts_files(registry)
    assert files == {
        "docker.io/hosts.toml": '# Made from registry.mirrors."docker.io".\n'
        "# The credentials for m.example stay in the main document, where they go on working.\n"
        "# To move them, write a docker config.json and name it in the table of the host:\n"
        '# credentials = "file:/path/to/config.json"\n'
        "\n"
        'server = "https://registry-1.docker.io"\n'
        'capabilities = ["pull", "resolve"]\n'
        "\n"
        '[host."https://m.example/hub"]\n'
        'capabilities = ["pull", "resolve"]\n'
        "override_path = true\n"
    }
    assert "s3cr" not in "".join(files.values())


def test_what_is_written_reads_as_the_same_rules() -> None:
    registry = config(
        **{
            "*": ["https://all.example"],
            "docker.io": ["https://m.example/hub", "http://10.0.0.1:5000"],
            "a.example:5000": ["http://a.example:5000", "https://m.example"],
        }
    )
    files = hosts_files(registry)
    assert list(files) == sorted(files, key=str) or set(files) == {
        "_default/hosts.toml", "a.example_5000_/hosts.toml", "docker.io/hosts.toml",
    }  # fmt: skip
    for name, rules in mirror_rules(registry).items():
        text = files[f"{directory(name)}/hosts.toml"]
        assert parse(text.encode(), path="/x/hosts.toml").rules == rules
