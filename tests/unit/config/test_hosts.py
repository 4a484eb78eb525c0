"""Values of ``hosts.toml`` files: URLs, header fields, prefixes."""

from __future__ import annotations

import pytest

from orlop.config.hosts import (
    CredentialSource,
    HostEntry,
    HostsFile,
    HostURL,
    Rules,
    header_fields,
)
from orlop.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example", HostURL("", "registry.example")),
        ("https://Mirror.Example", HostURL("https", "mirror.example")),
        ("HTTP://a.example:5000", HostURL("http", "a.example", 5000)),
        ("httpbin.example", HostURL("", "httpbin.example")),
        ("https://[::1]:5000/v2", HostURL("https", "[::1]", 5000, "/v2")),
        ("https://a.example/", HostURL("https", "a.example")),
        ("https://a.example//x/./y/", HostURL("https", "a.example", None, "/x/y")),
        ("localhost:5000/hub", HostURL("", "localhost", 5000, "/hub")),
        ("https://under_score.example", HostURL("https", "under_score.example")),
    ],
)
def test_urls(text: str, expected: HostURL) -> None:
    assert HostURL.parse(text) == expected
    assert HostURL.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "https://", "ftp://a.example", "file:///x", "https://a.example:0", "a:65536",
        "https://a.example?x=1", "https://a.example#x", "https://a b", "https://a/../b",
        "https://a.example:x", "https://-a", "/path", "https://user:hunter2@a.example",
        "https://a.example/\n", "https://\uff41.example",
    ],
)  # fmt: skip
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        HostURL.parse(text)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "override", "expected"),
    [
        ("https://a", False, "/v2"),
        ("https://a/", False, "/v2"),
        ("https://a/v2", False, "/v2"),
        ("https://a/hub", False, "/hub/v2"),
        ("https://a/v2/hub", False, "/v2/hub/v2"),
        ("https://a/hub", True, "/hub"),
        ("https://a", True, ""),
    ],
)
def test_the_root_of_the_api(url: str, override: bool, expected: str) -> None:
    entry = HostEntry(HostURL.parse(url), override_path=override)
    assert entry.api_path() == expected


def test_a_registry_without_a_url_has_the_usual_root() -> None:
    assert HostEntry(override_path=True).api_path() == "/v2"


def test_header_names_are_canonical_and_sorted() -> None:
    fields = [("x-b", ("1", " 2 ")), ("AUTHORIZATION", ("Basic x",)), ("a", ())]
    assert header_fields(fields) == (("A", ""), ("Authorization", "Basic x"), ("X-B", "1, 2"))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ([("a b", ("x",))], "not the name"),
        ([("", ("x",))], "not the name"),
        ([("X", ("hunter2\r\nY: z",))], "X: not the value"),
        ([("X", ("hunter2\0",))], "X: not the value"),
        ([("x-a", ("1",)), ("X-A", ("2",))], "X-A is there twice"),
        ([("Host", ("a",))], "Host is a header that the client itself sets"),
        ([("content-length", ("1",))], "Content-Length is"),
        ([("range", ("bytes=0-",))], "Range is"),
    ],
)
def test_header_fields_that_cannot_be(
    fields: list[tuple[str, tuple[str, ...]]], cause: str
) -> None:
    with pytest.raises(InvalidArgument, match=cause) as caught:
        header_fields(fields)
    assert "hunter2" not in caught.value.message


def test_the_longest_prefix_of_whole_components_wins() -> None:
    own, team, app = Rules(where="own"), Rules(where="team"), Rules(where="app")
    file = HostsFile(own, (("team", team), ("team/app", app)))
    for repository, expected in {
        "team": "team",
        "team/x": "team",
        "team/app": "app",
        "team/app/y": "app",
        "team/apple": "team",
        "teams/x": "own",
        "x/team": "own",
    }.items():
        assert file.rules_for(repository).where == expected


def test_sources_of_credentials_in_words() -> None:
    assert str(CredentialSource()) == "default"
    assert str(CredentialSource("file", "/x")) == "file:/x"


def test_values_of_headers_are_not_shown() -> None:
    assert "hunter2" not in repr(HostEntry(headers=(("X", "hunter2"),)))
