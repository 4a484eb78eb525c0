"""Headers that are written, read by our own parser and by the standard library's."""

from __future__ import annotations

import io
import tarfile

import pytest

from orlop.model.tar import BLOCK, Entry, TarParser
from orlop.model.tarwrite import END, header, padding


@pytest.mark.parametrize("length", [1, 99, 100, 101, 141, 980])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_files(length: int, size: int) -> None:
    name, data = "n" * length, b"x" * size
    archive = header(name, size) + data + padding(size) + END
    assert len(archive) % BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as theirs:
        (member,) = theirs.getmembers()
        content = theirs.extractfile(member)
        assert content is not None
        assert (member.name, content.read(), member.mtime, member.uid) == (name, data, 0, 0)
    parser = TarParser()
    (entry, *pieces) = parser.feed(archive)
    parser.close()
    assert isinstance(entry, Entry)
    assert (entry.path, entry.size, entry.mode) == (name.encode(), size, 0o444)
    assert b"".join(bytes(piece) for piece in pieces if not isinstance(piece, Entry)) == data


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 40])
def test_large_files(size: int) -> None:
    parser = TarParser()
    found = list(parser.feed(header("large", size)))
    assert [entry.size for entry in found if isinstance(entry, Entry)] == [size]
    assert parser.skip() == size + len(padding(size))
    assert [*parser.feed(END)] == []
    parser.close()


def test_lengths_of_records_that_grow_by_a_digit() -> None:
    for length in range(101, 1200):
        (entry,) = TarParser().feed(header("n" * length, 0))
        assert isinstance(entry, Entry)
        assert len(entry.path) == length
