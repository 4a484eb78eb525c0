"""The manifest of a tree: what records add up to, and files that are not whole."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import StoreCorrupt
from orlop.model import treemanifest
from orlop.model.treemanifest import MAGIC, Kind, Node, block, end, link, mark, node, parse

FILE = Node(Kind.FILE, 0o4755, 1, 2, -5, 7, 8, xattrs={b"user.a": b"\0", b"user.b": b""})
LINK = Node(Kind.SYMLINK, 0o777, target=b"../else/where")
DEVICE = Node(Kind.CHARACTER_DEVICE, 0o600, size=0x103)


def whole(*records: bytes) -> bytes:
    body = MAGIC + b"".join(block(record) for record in records)
    return body + end(hashlib.sha256(body).digest())


def test_everything_comes_back() -> None:
    nodes = {b".": Node(Kind.DIRECTORY, 0o711), b"f": FILE, b"l": LINK, b"dev/null": DEVICE}
    nodes[b"w"] = Node(Kind.WHITEOUT)
    nodes[b"i"] = Node(Kind.IMPLIED)
    assert parse(whole(*(node(path, one) for path, one in nodes.items()))) == nodes
    assert parse(whole(b"".join(node(path, one) for path, one in nodes.items()))) == nodes


def test_the_last_record_of_a_path_counts() -> None:
    records = [mark(Kind.IMPLIED, b"a"), node(b"a", FILE), mark(Kind.REMOVED, b"b")]
    assert parse(whole(*records)) == {b"a": FILE}


def test_names_of_one_inode_share_it() -> None:
    records = [
        node(b"a", FILE),
        link(b"b", b"a"),
        mark(Kind.REMOVED, b"a"),
        node(b"a", LINK),
        link(b"c", b"b"),
    ]
    tree = parse(whole(*records))
    assert tree[b"b"] is tree[b"c"]
    assert (tree[b"a"], tree[b"b"]) == (LINK, FILE)


@given(st.data())
def test_any_change_of_the_file_is_found(data: st.DataObject) -> None:
    good = whole(node(b"a", FILE), node(b"b", LINK))
    bad = bytearray(good)
    at = data.draw(st.integers(0, len(bad) - 1))
    bad[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoreCorrupt):
        parse(bytes(bad))
    with pytest.raises(StoreCorrupt):
        parse(good[:at])


@given(st.binary(max_size=60))
def test_records_that_a_stranger_wrote(records: bytes) -> None:
    try:
        tree = parse(whole(records))
    except StoreCorrupt:
        return
    assert all(isinstance(path, bytes) for path in tree)


@pytest.mark.parametrize("lengths", [(0, 5), (1 << 30, 5), (5, 1 << 31)])
def test_blocks_that_are_not_what_they_say(lengths: tuple[int, int]) -> None:
    stored, length = lengths
    body = MAGIC + treemanifest._BLOCK.pack(stored, length) + b"x\x9c\x03"
    with pytest.raises(StoreCorrupt):
        parse(body + end(hashlib.sha256(body).digest()))
