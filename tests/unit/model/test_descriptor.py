"""Descriptors in documents (threats M02, M03, M16)."""

from __future__ import annotations

import base64
import json

import pytest

from orlop.errors import ManifestInvalid, UnsupportedMediaType
from orlop.model.descriptor import Descriptor, encode, from_node
from orlop.model.digest import Digest
from orlop.model.document import Node
from orlop.model.limits import Limits
from orlop.model.platform import Platform

DATA = b'{"hello": "world"}'
DIGEST = Digest.of(DATA)


def fields(**changes: object) -> dict[str, object]:
    return {"mediaType": "a/b", "digest": str(DIGEST), "size": len(DATA)} | changes


def read(**changes: object) -> Descriptor:
    return from_node(Node(fields(**changes), "manifest.config"))


def test_the_least_descriptor() -> None:
    assert read() == Descriptor("a/b", DIGEST, len(DATA))


def test_all_fields() -> None:
    descriptor = read(
        platform={"os": "Linux", "architecture": "aarch64", "variant": "v8", "os.features": ["x"]},
        annotations={"k": "v"},
        urls=["https://elsewhere.example/blob"],
        data=base64.b64encode(DATA).decode(),
        artifactType="application/x",
        unknown=[1, 2],
    )
    assert descriptor.platform == Platform("linux", "arm64", os_features=("x",))
    assert descriptor.annotations == {"k": "v"}
    assert descriptor.urls == ("https://elsewhere.example/blob",)
    assert descriptor.data == DATA
    assert descriptor.artifact_type == "application/x"


def test_nulls_are_absent() -> None:
    nothing = dict.fromkeys(("platform", "annotations", "urls", "data", "artifactType"))
    assert read(**nothing) == read()


@pytest.mark.parametrize("size", [0, 1, 2**53 - 1])
def test_sizes(size: int) -> None:
    assert read(size=size).size == size


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"mediaType": None}, r"manifest\.config\.mediaType is missing"),
        ({"mediaType": ""}, "mediaType is missing"),
        ({"mediaType": 5}, "mediaType is no string"),
        ({"digest": None}, r"manifest\.config\.digest: digest '' has no algorithm"),
        ({"digest": "sha256:../../x"}, "hex digits"),
        ({"digest": f"sha256:{DIGEST.hex.upper()}"}, "not lower-case hex"),
        ({"digest": f"sha256-{DIGEST.hex}"}, "no algorithm"),
        ({"size": None}, r"manifest\.config\.size is missing"),
        ({"size": -1}, "size is -1, outside"),
        ({"size": 2**53}, "outside 0 to"),
        ({"size": "18"}, "size is no whole number"),
        ({"size": 18.0}, "size is no whole number"),
        ({"urls": "https://x"}, "urls is no list"),
        ({"annotations": {"k": 1}}, "no string"),
        ({"platform": "linux/amd64"}, r"platform is no object"),
        ({"platform": {"os": 1}}, r"platform\.os is no string"),
        ({"platform": {"OS": "linux"}}, r"platform has 'OS' where only 'os' may be"),
        ({"Digest": str(DIGEST)}, "has 'Digest' where only 'digest' may be"),
        ({"data": 5}, "data is no string"),
    ],
)
def test_broken_descriptors(changes: dict[str, object], cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=cause):
        read(**changes)


def test_unknown_algorithms_are_unsupported() -> None:
    with pytest.raises(UnsupportedMediaType, match="'md5'"):
        read(digest="md5:d41d8cd98f00b204e9800998ecf8427e")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(base64.b64encode(DATA + b"!").decode(), id="longer"),
        pytest.param(base64.b64encode(DATA[:-1]).decode(), id="shorter"),
        pytest.param(base64.b64encode(DATA[::-1]).decode(), id="other bytes"),
        pytest.param(base64.b64encode(DATA).decode() + "\n", id="line end"),
        pytest.param("****", id="no base64"),
        pytest.param("\u20ac", id="not ASCII"),
        pytest.param("", id="empty"),
    ],
)
def test_data_that_does_not_agree_is_dropped(data: str) -> None:
    assert read(data=data).data is None


def test_long_data_is_dropped_unread() -> None:
    data = base64.b64encode(DATA).decode()
    node = Node(fields(data=data), "x")
    assert from_node(node, Limits(data_bytes=len(DATA))).data == DATA
    assert from_node(node, Limits(data_bytes=len(DATA) - 1)).data is None


def test_data_is_checked_with_the_digests_algorithm() -> None:
    data = base64.b64encode(DATA).decode()
    assert read(digest=str(Digest.of(DATA, "sha512")), data=data).data == DATA


def test_descriptors_can_be_in_sets() -> None:
    assert len({read(annotations={"k": "v"}), read(annotations={"k": "v"}), read(size=1)}) == 2


def test_programs_are_told_all_but_the_data() -> None:
    told = {
        **fields(urls=["https://x.example/a"], annotations={"k": "v"}, artifactType="a/b"),
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    }
    descriptor = from_node(Node(told, "x"))
    assert from_node(Node(json.loads(encode(descriptor)), "x")) == descriptor
    assert json.loads(encode(Descriptor("a/b", DIGEST, 0, data=b""))) == {
        "mediaType": "a/b",
        "digest": str(DIGEST),
        "size": 0,
    }
