"""Whatever a document holds: a configuration, or an error of ours."""

from typing import Any

import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orlop.config.keys import CRI, IMAGES, locate
from orlop.config.load import Loaded, loads
from orlop.config.migrate import migrate
from orlop.config.schema import ImageConfig, RegistryConfig
from orlop.config.text import document
from orlop.errors import InvalidArgument, OrlopError

NAMES = (
    *ImageConfig.__struct_fields__,
    *RegistryConfig.__struct_fields__,
    *("plugins", "version", "root", "grpc", "address", "metrics", "containerd", "runtimes"),
    *("sandbox_image", "auth", "tls", "endpoint", "password", "default_runtime", "cri", "imports"),
    *(IMAGES[1], CRI[1], "io.containerd.server.v1.grpc", "io.containerd.transfer.v1.local"),
)
names = st.sampled_from(NAMES) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
)
scalars = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["5m0s", "/x", "linux/amd64", "127.0.0.1:0", "a.example", "https://a/b"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
    | st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(names, values, max_size=5)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents in which the tables that matter are where they should be, mostly."""
    whole = draw(tables)
    whole["version"] = draw(st.integers(0, 5) | scalars)
    plugins = draw(tables)
    plugins[draw(st.sampled_from([IMAGES[1], CRI[1], "cri"]))] = draw(tables)
    whole["plugins"] = plugins
    return whole


def outcome(data: bytes) -> Loaded | OrlopError:
    """What loading ends with; any other error than ours fails the test."""
    try:
        return loads(data)
    except OrlopError as error:
        return error


@settings(max_examples=150, deadline=None)
@given(documents())
def test_any_document(whole: dict[str, Any]) -> None:
    loaded = outcome(tomlkit.dumps(whole).encode())
    if isinstance(loaded, OrlopError):
        assert "\n" not in loaded.message
    else:
        assert all("\n" not in warning for warning in loaded.warnings)
        document(loaded.config, loaded.document)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="ignore"))
)
@example(b"\xef\xbb\xbfversion = 4")
@example(b"a" + b".a" * 5000 + b" = 1")
@example(b"a = " + b"{a=" * 3000)
def test_any_bytes(data: bytes) -> None:
    loaded = outcome(data)
    if isinstance(loaded, OrlopError):
        assert "\n" not in loaded.message


@settings(max_examples=150, deadline=None)
@given(documents())
def test_migration_reports_or_keeps_every_value(whole: dict[str, Any]) -> None:
    try:
        result = migrate(whole)
    except InvalidArgument:
        return
    assert migrate(result.document).document == result.document
    for change in result.changes:
        assert change.new or change.reason


@given(tables)
def test_every_key_of_a_document_has_a_line(table: dict[str, object]) -> None:
    text = tomlkit.dumps({"top": {"middle": table}})
    lines = locate(text)
    count = text.count("\n") + 1
    assert all(1 <= line <= count for line in lines.values())
    for name, value in table.items():
        if not isinstance(value, dict | list):
            assert ("top", "middle", name) in lines
