"""What the tests of the tar parser share: archives, and the parser's words about them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from orlop.errors import ArchiveInvalid
from orlop.model import tar
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.tar import TarParser
from orlop.testing import layers
from orlop.testing.layers import (
    Entry,
    device,
    directory,
    extension,
    fifo,
    file,
    hard_link,
    pax_records,
    symlink,
    tar_bytes,
)

CHUNKS = [1, 7, 511, 512, 513, 65536]
SECOND = 1_000_000_000
LONG = b"/".join([b"directory-name"] * 20) + b"/file"
FORMATS: tuple[layers.SparseFormat, ...] = ("gnu", "0.0", "0.1", "1.0")
PATH_A = pax_records([(b"path", b"a")])


class Member(NamedTuple):
    """What the parser says of a member, with its data put together."""

    entry: tar.Entry
    data: bytes

    @property
    def head(self) -> tuple[object, ...]:
        e = self.entry
        return (
            e.path,
            e.type,
            e.mode,
            e.uid,
            e.gid,
            e.mtime,
            e.size,
            e.link,
            e.major,
            e.minor,
            e.xattrs,
            e.sparse,
            e.real_size,
        )


def parse(archive: bytes, *, chunk: int = 4096, limits: Limits = DEFAULTS) -> list[Member]:
    parser = TarParser(limits)
    members: list[tuple[tar.Entry, list[bytes]]] = []
    for at in range(0, len(archive), chunk):
        for event in parser.feed(archive[at : at + chunk]):
            if isinstance(event, tar.Entry):
                members.append((event, []))
            else:
                assert len(event)
                members[-1][1].append(bytes(event))
    parser.close()
    assert parser.entries == len(members)
    found = [Member(entry, b"".join(pieces)) for entry, pieces in members]
    assert all(len(member.data) == member.entry.size for member in found)
    return found


def parse_one(*members: Entry | bytes, chunk: int = 4096, limits: Limits = DEFAULTS) -> Member:
    (found,) = parse(tar_bytes(members), chunk=chunk, limits=limits)
    return found


def refused(*members: Entry | bytes, cause: str = "malformed", trailer: bool = True) -> None:
    """Refused whatever the chunks are."""
    archive = tar_bytes(members, trailer=trailer)
    for chunk in (1, 512, 65536):
        with pytest.raises(ArchiveInvalid, match=cause):
            parse(archive, chunk=chunk)


EVERYTHING: list[Entry | bytes] = [
    directory("d", mode=0o1755, uid=7),
    file("d/f", b"content", mode=0o4644, uid=1000),
    file("d/block", b"x" * 512),
    file("d/more", b"y" * 1500),
    symlink("d/s", "f"),
    hard_link("d/h", "d/f"),
    device("d/c", major=1, minor=3),
    device("d/b", layers.BLOCK_DEVICE, major=4095, minor=1048575),
    fifo("d/p"),
    Entry(b"d/x", data=b"z", xattrs={"user.a": b"1", "security.capability": b"\1\0"}),
    Entry(b"d/t", mtime_ns=1_234_567_890_123_456_789),
    Entry(b"d/contiguous", layers.CONTIGUOUS, data=b"c"),
    Entry(LONG, data=b"long", format="gnu"),
    Entry(LONG + b"2", layers.SYMLINK, link=LONG, format="gnu"),
    Entry(LONG + b"3", layers.SYMLINK, link=LONG, format="pax"),
    Entry(b"p/" * 70 + b"q", format="ustar"),
    Entry(b"big", uid=2**31, gid=2**32 - 2, format="gnu"),
    Entry(b"big2", uid=2**31, gid=2**32 - 2, format="pax"),
    extension(layers.PAX_GLOBAL, pax_records([(b"comment", b"commit")])),
    *(
        layers.sparse_file(
            f"sparse{n}",
            b"a" * 512 + bytes(9000) + b"b" * 100,
            [(0, 512), (9512, 100)],
            format=kind,
        )
        for n, kind in enumerate(FORMATS)
    ),
    layers.sparse_file(
        "many", bytes(range(256)) * 2 * 100, [(at * 1024, 512) for at in range(50)], format="gnu"
    ),
    layers.sparse_file(
        "many2", bytes(range(256)) * 2 * 100, [(at * 1024, 512) for at in range(50)], format="1.0"
    ),
    layers.sparse_file("hole", bytes(5000), [], format="1.0"),
    file("last", b"last"),
]
