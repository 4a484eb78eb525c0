"""Strict JSON (threats M05, M07) and typed fields."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from orlop.errors import LimitExceeded, ManifestInvalid, UnsupportedMediaType
from orlop.model.document import Node, decode
from orlop.model.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

HEX = "c3" * 32


def test_decode_reads_plain_json() -> None:
    node = decode(b' {"a": [1, 2.5, -3, true, null, "\xc3\xa9\\n"]}\n', "thing")
    assert node == Node({"a": [1, 2.5, -3, True, None, "\u00e9\n"]}, "thing")


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        pytest.param(b"", "is not JSON", id="empty"),
        pytest.param(b'{"a":1', "is not JSON", id="cut"),
        pytest.param(b"{'a':1}", "is not JSON", id="single quotes"),
        pytest.param(b'{"a":1,}', "is not JSON", id="trailing comma"),
        pytest.param(b'{"a":1}{}', "is not JSON: Extra data", id="second document"),
        pytest.param(b'{"a":1}\0', "is not JSON: Extra data", id="trailing NUL"),
        pytest.param(b'{"a":01}', "is not JSON", id="leading zero"),
        pytest.param(b'{"a":"\n"}', "is not JSON", id="raw control character"),
        pytest.param(b'{"a":"\\x41"}', "is not JSON", id="bad escape"),
        pytest.param(b"[]", "is no JSON object", id="list"),
        pytest.param(b'"text"', "is no JSON object", id="string"),
        pytest.param(b"null", "is no JSON object", id="null"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', "BOM", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), "not UTF-8", id="UTF-16 with mark"),
        pytest.param('{"a":1}'.encode("utf-16-le"), "not JSON", id="UTF-16"),
        pytest.param(b'{"a":"\xff"}', "not UTF-8", id="no UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "not UTF-8", id="encoded surrogate"),
        pytest.param(b'{"a":"\xc0\x80"}', "not UTF-8", id="overlong NUL"),
        pytest.param(b'{"a":"\\ud800"}', "half of a surrogate", id="high surrogate"),
        pytest.param(b'{"a":"\\uDC00x"}', "half of a surrogate", id="low surrogate"),
        pytest.param(b'{"a":"\\udc00\\ud800"}', "half of a surrogate", id="swapped"),
        pytest.param(b'{"a":"\\ud83d\\ud83d\\ude00"}', "half of a surrogate", id="high twice"),
        pytest.param(b'{"a":"\\ud83d\\ude00\\ude00"}', "half of a surrogate", id="low twice"),
        pytest.param(b'{"a":"\\ud83d\\\\\\ude00"}', "half of a surrogate", id="torn apart"),
        pytest.param(b'{"\\ud800":1}', "half of a surrogate", id="in a key"),
        pytest.param(b'{"a":1,"a":1}', "has the key 'a' twice", id="equal keys"),
        pytest.param(b'{"a":1,"\\u0061":2}', "has the key 'a' twice", id="equal after escapes"),
        pytest.param(b'{"x":[{"a":{"b":1,"b":2}}]}', "the key 'b' twice", id="deep equal keys"),
        pytest.param(b'{"a":NaN}', "has NaN", id="NaN"),
        pytest.param(b'{"a":-Infinity}', "has -Infinity", id="Infinity"),
        pytest.param(b'{"a":1e999}', "number '1e999'", id="overflow"),
        pytest.param(b'{"a":-1e999}', "number '-1e999'", id="negative overflow"),
        pytest.param(b'{"a":' + b"9" * 20 + b"}", "more than 19 digits", id="20 digits"),
        pytest.param(b'{"a":-' + b"9" * 20 + b".5}", "more than 19 digits", id="in a fraction"),
        pytest.param(b'{"a":' + b"1" * 10**6 + b"}", "more than 19 digits", id="10^6 digits"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64", id="65 objects"),
        pytest.param(b'{"a":' + b"[" * 10**3 + b"]" * 10**3 + b"}", "deeper", id="1000 lists"),
        pytest.param(b"[" * 10**5, "deeper than 64", id="unbalanced"),
        pytest.param(b'{"a":[' + b"[]," * 10**5 + b"1]}", "more than 100000 obj", id="many"),
        pytest.param(b"]" * 10**5 + b"[" * 10**5, "is not JSON", id="closing first"),
    ],
)
def test_decode_refuses(raw: bytes, cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=f"^thing .*{cause}") as caught:
        decode(raw, "thing")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b'"\\ud83d\\ude00"', "\U0001f600", id="pair"),
        pytest.param(b'"\\uD83D\\uDE00\\uD83D\\uDE00"', "\U0001f600" * 2, id="two pairs"),
        pytest.param(b'"\\\\ud800"', "\\ud800", id="escaped backslash before ud800"),
        pytest.param(b'"\\\\\\\\"', "\\\\", id="backslashes"),
        pytest.param(b'"' + b"[{" * 100 + b'"', "[{" * 100, id="brackets in a string"),
        pytest.param(b'"\\"' + b"[" * 100 + b'"', '"' + "[" * 100, id="after a quote"),
        pytest.param(b'"' + b"1" * 40 + b'"', "1" * 40, id="digits in a string"),
        pytest.param(b"0." + b"1" * 30, 1 / 9, id="long fraction"),
        pytest.param(b"9223372036854775807", 2**63 - 1, id="largest int64"),
        pytest.param(b"-9223372036854775808", -(2**63), id="smallest int64"),
    ],
)
def test_decode_accepts(raw: bytes, value: object) -> None:
    assert decode(b'{"a":' + raw + b"}", "thing").fields == {"a": value}


def test_limits_are_inclusive() -> None:
    depth = b'{"a":' * 3 + b"1" + b"}" * 3
    decode(depth, "thing", Limits(json_depth=3, json_containers=3))
    with pytest.raises(ManifestInvalid, match="deeper than 2"):
        decode(depth, "thing", Limits(json_depth=2))
    with pytest.raises(ManifestInvalid, match="more than 2 objects"):
        decode(depth, "thing", Limits(json_containers=2))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":[' + b"[]," * 1_398_000 + b"[]]}", id="lists"),
        pytest.param(b'{"a":"' + b'\\"' * 2_097_000 + b'"}', id="quotes"),
        pytest.param(b'{"a":"' + b"\\ud83d\\ude00" * 349_000 + b'"}', id="surrogates"),
        pytest.param(b'"' * 4_194_304, id="empty strings"),
        pytest.param(b"\\" * 4_194_304, id="backslashes"),
        pytest.param(b"[" * 4_194_304, id="depth"),
        pytest.param(b'{"a":' + b"1" * 4_194_000 + b"}", id="digits"),
        pytest.param(b'{"a":[' + b"0.1," * 1_048_000 + b"1]}", id="floats"),
        pytest.param(b"{" + b",".join(b'"%d":1' % n for n in range(400_000)) + b"}", id="keys"),
    ],
)
def test_four_mebibytes_are_quick(raw: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(ManifestInvalid):
        decode(raw, "thing")
    assert time.process_time() - start < 1.5  # five times what it takes


def _node(raw: bytes) -> Node:
    return decode(raw, "thing")


@pytest.mark.parametrize("raw", [b"{}", b'{"f":null}'])
def test_absent_and_null_are_empty(raw: bytes) -> None:
    node = _node(raw)
    assert not node.has("f")
    assert node.text("f") == ""
    assert node.texts("f") == ()
    assert node.node("f") is None
    assert node.nodes("f", most=0, limit="layers") == ()
    assert node.text_map("f") == {}
    assert node.names("f") == ()
    assert node.digests("f") == ()
    with pytest.raises(ManifestInvalid, match=r"thing\.f is missing"):
        node.integer("f")


def test_fields_come_typed() -> None:
    node = _node(
        b'{"text":"t","texts":["a","b"],"n":-5,"node":{"x":"y"},"nodes":[{},{"z":1}],'
        b'"map":{"k":"v","none":null},"set":{"b":{},"a":{}}}'
    )
    assert node.has("n")
    assert node.text("text") == "t"
    assert node.texts("texts") == ("a", "b")
    assert node.integer("n") == -5
    assert node.node("node") == Node({"x": "y"}, "thing.node")
    nodes = node.nodes("nodes", most=2, limit="layers")
    assert [n.path for n in nodes] == ["thing.nodes[0]", "thing.nodes[1]"]
    assert node.text_map("map") == {"k": "v", "none": ""}
    assert node.names("set") == ("a", "b")


@pytest.mark.parametrize(
    ("read", "raw", "cause"),
    [
        (lambda n: n.text("f"), b"1", r"thing\.f is no string"),
        (lambda n: n.text("f"), b'["t"]', r"thing\.f is no string"),
        (lambda n: n.texts("f"), b'"t"', r"thing\.f is no list"),
        (lambda n: n.texts("f"), b'["a",1]', r"thing\.f\[1\] is no string"),
        (lambda n: n.texts("f"), b"[null]", r"thing\.f\[0\] is no string"),
        (lambda n: n.integer("f"), b'"1"', r"thing\.f is no whole number"),
        (lambda n: n.integer("f"), b"1.0", r"thing\.f is no whole number"),
        (lambda n: n.integer("f"), b"true", r"thing\.f is no whole number"),
        (lambda n: n.node("f"), b"[]", r"thing\.f is no object"),
        (lambda n: n.nodes("f", most=9, limit="layers"), b"{}", r"thing\.f is no list"),
        (lambda n: n.nodes("f", most=9, limit="layers"), b"[{},1]", r"thing\.f\[1\] is no object"),
        (lambda n: n.text_map("f"), b'{"k":1}', r"thing\.f has a member 'k' that is no string"),
        (lambda n: n.text_map("f"), b"[]", r"thing\.f is no object"),
        (lambda n: n.names("f"), b'["a"]', r"thing\.f is no object"),
        (lambda n: n.digest("f"), b"5", r"thing\.f is no string"),
        (lambda n: n.digest("f"), b'"sha256:00"', r"thing\.f: digest .* has 2 hex digits"),
        (lambda n: n.digest("f"), b'"SHA256:00"', r"thing\.f: unsupported digest algorithm"),
        (lambda n: n.digests("f"), b'["x"]', r"thing\.f\[0\]: digest 'x' has no algorithm"),
    ],
)
def test_wrong_types_are_named(read: Callable[[Node], object], raw: bytes, cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=cause):
        read(_node(b'{"f":' + raw + b"}"))


def test_digests_are_parsed() -> None:
    node = Node({"one": f"sha256:{HEX}", "many": [f"sha256:{HEX}"] * 2}, "thing")
    assert node.digest("one").hex == HEX
    assert node.digests("many") == (node.digest("one"),) * 2


@pytest.mark.parametrize("text", ["md5:" + HEX[:32], "blake3:00", "multihash+base58:Qm"])
def test_unknown_algorithms_are_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"thing\.f has the unsupported algorithm"):
        Node({"f": text}, "thing").digest("f")


def test_too_many_entries_name_their_limit() -> None:
    node = Node({"f": [{}, {}, {}]}, "thing")
    with pytest.raises(LimitExceeded, match=r"thing\.f has 3 entries, more than 2") as caught:
        node.nodes("f", most=2, limit="layers")
    assert caught.value.limit == "layers"


@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f", "mediatype"])
def test_keys_in_another_case_are_refused(key: str) -> None:
    node = Node({key: 1}, "thing")
    with pytest.raises(ManifestInvalid, match=r"where only '(layers|mediaType)' may be"):
        node.expect("layers", "mediaType")


def test_other_keys_are_nobodys_business() -> None:
    Node({"layers": 1, "mediaType": 2, "x": 3, "X": 4}, "thing").expect("layers", "mediaType")
