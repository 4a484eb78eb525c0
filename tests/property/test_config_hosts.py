"""Whatever a ``hosts.toml`` holds: rules, or an error with the file and the line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tomlkit
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.config.hosts_export import directory, hosts_files
from orlop.config.hosts_legacy import mirror_rules
from orlop.config.hosts_parse import parse
from orlop.config.schema import Mirror, RegistryConfig
from orlop.errors import HostsInvalid
from orlop.model.reference import Reference
from orlop.registry.hosts import plan
from orlop.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from orlop.config.hosts import HostsFile

PATH = "/etc/certs.d/a.example/hosts.toml"
KEYS = (
    *("server", "host", "prefix", "capabilities", "ca", "client", "skip_verify", "header"),
    *("override_path", "dial_timeout", "credentials", "realms", "fallback", "blocked", "proxy"),
    *("https://m.example", "http://10.0.0.1:5000/x", "library/", "X-Token"),
)
names = st.sampled_from(KEYS) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
)
scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["5m0s", "/x", "pull", "a.example", "https://a/b", "none", "file:x", ""])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    | st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(names, values, max_size=5)
hosts = st.sampled_from(
    ["docker.io", "a.example", "b.example:5000", "localhost:5000", "[::1]:5000"]
)
endpoints = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["registry-1.docker.io", "m.example", "m.example:444", "[::1]"]) | hosts,
    st.sampled_from(["", "/", "/v2", "/hub", "/hub/v2/"]),
)
registries = st.builds(
    lambda mirrors: RegistryConfig(
        mirrors={name: Mirror(endpoint=tuple(urls)) for name, urls in mirrors.items()}
    ),
    st.dictionaries(hosts | st.just("*"), st.lists(endpoints, max_size=4), min_size=1, max_size=3),
)


def check(data: bytes) -> HostsFile | None:
    """Read it; None when it is refused; any other error than ours fails the test."""
    try:
        return parse(data, path=PATH)
    except HostsInvalid as error:
        message = error.message
    assert re.match(rf"{re.escape(PATH)}(:\d+)?: ", message)
    assert message.isprintable()
    return None


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
@example(b'[host."a"]\n[host."a".header]\n"\\n" = "x"')
@example(b'host."\\u0001".ca = 1')
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(documents)
def test_any_document(document: dict[str, Any]) -> None:
    check(tomlkit.dumps(document).encode())


@given(st.lists(st.integers(0, 50), unique=True, min_size=1, max_size=12), st.data())
def test_order_is_that_of_the_first_mention(numbers: list[int], data: st.DataObject) -> None:
    urls = [f"https://m{number}.example" for number in numbers]
    headers = [f'[host."{url}".header]\nX = "1"\n' for url in urls]
    own = [f'[host."{url}"]\n' for url in urls]
    later = data.draw(st.permutations(headers))
    file = check("".join([*own, *later]).encode())
    assert file is not None
    assert [str(entry.url) for entry in file.rules.hosts] == urls
    assert all(entry.headers for entry in file.rules.hosts)


@given(registries, hosts)
def test_exported_files_mean_the_same_endpoints(registry: RegistryConfig, domain: str) -> None:
    files, rules = hosts_files(registry), mirror_rules(registry)
    assert set(files) == {f"{directory(name)}/hosts.toml" for name in rules}
    reference = Reference.parse(f"{domain}/library/app:1")
    for name, ours in rules.items():
        file = check(files[f"{directory(name)}/hosts.toml"].encode())
        assert file is not None
        assert (file.rules, file.warnings) == (ours, ())
        settings = RegistrySettings()
        old, new = plan(reference, settings, ours), plan(reference, settings, file.rules)
        assert [
            (one.origin, one.prefix, one.capabilities, one.namespace) for one in old.endpoints
        ] == [(one.origin, one.prefix, one.capabilities, one.namespace) for one in new.endpoints]
