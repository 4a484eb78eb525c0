"""Archives by number: most are what archivers write, some are odd in one way.

An archive is a function of its number alone. What is odd about it has a name; ``ODD`` says
for each name which programs may then come to another result, and why. Where nothing is odd
all of them must agree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.testing import layers
from orlop.testing.layers import Entry, extension, header, pax_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECOND: Final = 10**9
TAR, BSDTAR, UMOCI = "tar", "bsdtar", "umoci"
EVERYBODY: Final = frozenset({TAR, BSDTAR, UMOCI})

NAMES: Final = (b"a", b"b", b"c", b"d", b"\xc3\xa9 x", b"n" * 101, b"line\nbreak")
MEMBERS: Final = 10


class Odd(NamedTuple):
    """What may differ, with whom, and why that is right."""

    programs: frozenset[str]
    why: str


ODD: Final = {
    "a path above the root": Odd(frozenset({UMOCI}), "refused; umoci cuts the path off"),
    "a name that is no text": Odd(
        frozenset({BSDTAR}), "kept byte for byte; bsdtar cannot turn it into its own characters"
    ),
    "a parent that no member describes": Odd(
        frozenset({UMOCI}), "plain, and no change of the one above; umoci lets both inherit"
    ),
    "an old sparse file": Odd(frozenset({UMOCI}), "a file with holes; umoci does not know it"),
    "a file in place of a directory": Odd(
        frozenset({TAR, BSDTAR}), "a layer replaces what is there; archivers keep full directories"
    ),
    "a member below a link": Odd(
        frozenset({BSDTAR}), "links lead inside of the tree; bsdtar follows none at all"
    ),
    "a member below a file": Odd(frozenset(), "refused by everybody"),
    "a hard link to nothing": Odd(frozenset(), "refused by everybody"),
    "a hard link to a link": Odd(frozenset(), "names the link itself"),
    "a lone zero block": Odd(frozenset({TAR, BSDTAR}), "refused; archivers end there, or go on"),
    "bytes behind the end": Odd(frozenset(), "nobody reads them"),
    "no end mark": Odd(
        frozenset({TAR}), "taken; tar wants one member at least, though a layer may be empty"
    ),
    "a global header": Odd(frozenset({TAR, BSDTAR}), "refused; readers apply it or ignore it"),
    "a global comment": Odd(frozenset({UMOCI}), "ignored; umoci does not know the type"),
    "data of a directory": Odd(EVERYBODY, "refused; readers skip it, or take it for a header"),
    "an unknown type": Odd(frozenset({TAR, BSDTAR}), "refused; archivers make a file of it"),
    "a wrong checksum": Odd(frozenset({BSDTAR}), "refused; bsdtar ends well in front of it"),
    "cut short": Odd(frozenset({UMOCI}), "refused; umoci takes what lacks padding only"),
    "a time before 1970": Odd(EVERYBODY, "clamped to 1970, as containerd does"),
    "two sizes": Odd(frozenset(), "PAX counts for everybody"),
    "a contiguous file": Odd(frozenset({UMOCI}), "a file; umoci does not know the type"),
    "an old header": Odd(frozenset(), "everybody reads them"),
    "the same hard link twice": Odd(frozenset(), "once more is no change"),
    "a directory in place of a link": Odd(frozenset(), "replaces it"),
}
"""Every name that ``Archive.odd`` can have."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive.

    Attributes:
        number: what it is made from.
        members: in their order; bytes are headers with their data.
        odd: names of ``ODD``.
        end: what follows the members.
    """

    number: int
    members: tuple[Entry | bytes, ...]
    odd: frozenset[str]
    end: bytes = layers.TRAILER
    cut: int = 0

    @property
    def data(self) -> bytes:
        """Its bytes."""
        whole = layers.tar_bytes(self.members, trailer=False)
        return whole[: len(whole) - self.cut] + self.end


class Author:
    """Writes one archive as an archiver would: parents first, one kind a path."""

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)
        self.members: list[Entry | bytes] = []
        self.kinds: dict[bytes, str] = {}
        self.odd: set[str] = set()

    def path(self) -> bytes:
        """A new path below a directory that is there."""
        parents = [b"", *self.of_kind("directory")]
        parent = self.chance.choice(parents)
        return b"/".join(filter(None, (parent, self.chance.choice(NAMES))))

    def of_kind(self, kind: str) -> list[bytes]:
        return [path for path, known in self.kinds.items() if known == kind]

    def honest(self) -> None:
        """One member of those that need no explanation."""
        path = self.path()
        if path in self.kinds or path.count(b"/") > 3:
            return
        kind = self.chance.choice(
            ("file", "file", "directory", "directory", "link", "hard link", "device", "pipe",
             "sparse")
        )  # fmt: skip
        if kind == "hard link" and not self.of_kind("file"):
            return
        self.members.append(self._member(kind, path))

    def _member(self, kind: str, path: bytes) -> Entry:
        chance = self.chance
        self.kinds[path] = {"sparse": "file", "hard link": "file"}.get(kind, kind)
        if kind == "hard link":
            return layers.hard_link(path, chance.choice([one for one in self.of_kind("file")
                                                         if one != path]))  # fmt: skip
        if kind == "directory":
            slash = chance.choice((b"", b"/"))
            return self._attributes(Entry(path + slash, layers.DIRECTORY))
        if kind == "link":
            target = chance.choice((b"a", b"b/c", b"nowhere", b"../x", b"/etc/passwd", b"l" * 120))
            return self._attributes(Entry(path, layers.SYMLINK, link=target))
        if kind == "device":
            flag = chance.choice((layers.CHAR_DEVICE, layers.BLOCK_DEVICE))
            major, minor = chance.randint(1, 255), chance.randint(0, 255)
            return self._attributes(Entry(path, flag, major=major, minor=minor))
        if kind == "pipe":
            return self._attributes(Entry(path, layers.FIFO))
        if kind == "sparse":
            return self._sparse(path)
        return self._attributes(Entry(path, data=chance.randbytes(chance.choice((0, 1, 511, 900)))))

    def _sparse(self, path: bytes) -> Entry:
        content = bytearray(4096 * 12)
        regions = [(at * 4096, 512) for at in sorted(self.chance.sample(range(12), 3))]
        for at, length in regions:
            content[at : at + length] = self.chance.randbytes(length)
        form = self.chance.choice(("0.0", "0.1", "1.0"))
        return layers.sparse_file(path, bytes(content), regions, format=form)  # type: ignore[arg-type] # one of them

    def _attributes(self, entry: Entry) -> Entry:
        chance = self.chance
        pax = chance.random() < 0.6
        xattrs = {}
        if pax and entry.typeflag in {layers.REGULAR, layers.DIRECTORY} and chance.random() < 0.3:
            xattrs["user.x"] = chance.randbytes(4)
        mode = 0o777 if entry.typeflag == layers.SYMLINK else chance.choice(
            (0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0, 0o7777)
        )  # fmt: skip
        return Entry(
            entry.path,
            entry.typeflag,
            mode=mode,
            uid=chance.choice((0, 0, 1000, 65534, 2**31)),
            gid=chance.choice((0, 0, 1000, 2**31 + 5)),
            mtime_ns=chance.randrange(2**31) * SECOND + (chance.randrange(SECOND) if pax else 0),
            data=entry.data,
            link=entry.link,
            xattrs=xattrs,
            major=entry.major,
            minor=entry.minor,
            format="pax" if pax else "gnu",
        )


def write(number: int) -> Archive:
    """The archive with this number; two of five are odd."""
    author = Author(number)
    chance = author.chance
    if chance.random() < 0.5:
        author.members.append(Entry(b"./", layers.DIRECTORY, mode=0o750, uid=1, mtime_ns=SECOND))
    before = chance.randint(1, MEMBERS)
    for _ in range(before):
        author.honest()
    end, cut = layers.TRAILER, 0
    if chance.random() < 0.4:
        name = chance.choice(sorted(_ODDITIES))
        author.odd.add(name)
        end, cut = _ODDITIES[name](author) or (end, cut)
        if end == layers.TRAILER and not cut and name not in _LAST:
            for _ in range(chance.randint(0, 3)):
                author.honest()
    return Archive(number, tuple(author.members), frozenset(author.odd), end, cut)


def with_members(archive: Archive, members: Sequence[Entry | bytes]) -> Archive:
    """The same with other members."""
    return Archive(archive.number, tuple(members), archive.odd, archive.end, archive.cut)


_End = tuple[bytes, int] | None
_LAST: Final = frozenset({"a wrong checksum", "cut short", "no end mark", "bytes behind the end"})


def _new(author: Author) -> bytes:
    """A path of its own, whose parents are not looked at."""
    return b"odd%d" % len(author.members)


def _above(author: Author) -> _End:
    path = author.chance.choice((b"../up", b"a/../../up", b"../../etc/up"))
    author.members.append(Entry(path, data=b"above"))
    return None


def _no_text(author: Author) -> _End:
    author.members.append(layers.file(_new(author) + b"\xff\xfe", b"1"))
    return None


def _undescribed(author: Author) -> _End:
    above = author.chance.choice([b"odd", *author.of_kind("directory")])
    author.members.append(layers.file(above + b"/" + _new(author) + b"/f", b"1"))
    return None


def _old_sparse(author: Author) -> _End:
    content = b"x" * 512 + bytes(4096 * 3)
    author.members.append(layers.sparse_file(_new(author), content, [(0, 512)], format="gnu"))
    return None


def _file_for_directory(author: Author) -> _End:
    path = _new(author)
    author.members += [layers.directory(path), layers.file(path + b"/f"), layers.file(path, b"1")]
    return None


def _below_link(author: Author) -> _End:
    path = _new(author)
    author.members += [
        layers.directory(path),
        layers.symlink(path + b"l", path),
        layers.file(path + b"l/f", b"below"),
    ]
    return None


def _below_file(author: Author) -> _End:
    path = _new(author)
    author.members += [layers.file(path, b"1"), layers.file(path + b"/f", b"2")]
    return None


def _link_to_nothing(author: Author) -> _End:
    author.members.append(layers.hard_link(_new(author), b"missing"))
    return None


def _link_to_link(author: Author) -> _End:
    path = _new(author)
    author.members += [layers.symlink(path, b"nowhere"), layers.hard_link(path + b"h", path)]
    return None


def _link_twice(author: Author) -> _End:
    path = _new(author)
    link = layers.hard_link(path + b"h", path)
    author.members += [layers.file(path, b"1"), link, link]
    return None


def _directory_for_link(author: Author) -> _End:
    path = _new(author)
    author.members += [
        layers.directory(path),
        layers.symlink(path + b"l", path),
        layers.directory(path + b"l"),
    ]
    return None


def _raw(make: Callable[[bytes], bytes]) -> Callable[[Author], _End]:
    def add(author: Author) -> _End:
        author.members.append(make(_new(author)))
        return None

    return add


def _cut(author: Author) -> _End:
    author.members.append(layers.file(_new(author), author.chance.randbytes(700)))
    return b"", author.chance.randrange(1, 1000)


_ODDITIES: Final[dict[str, Callable[[Author], _End]]] = {
    "a path above the root": _above,
    "a name that is no text": _no_text,
    "a parent that no member describes": _undescribed,
    "an old sparse file": _old_sparse,
    "a file in place of a directory": _file_for_directory,
    "a member below a link": _below_link,
    "a member below a file": _below_file,
    "a hard link to nothing": _link_to_nothing,
    "a hard link to a link": _link_to_link,
    "the same hard link twice": _link_twice,
    "a directory in place of a link": _directory_for_link,
    "a lone zero block": _raw(lambda name: bytes(512) + header(name)),
    "a global header": _raw(
        lambda name: extension(b"g", pax_record(b"path", b"other")) + header(name)
    ),
    "a global comment": _raw(
        lambda name: extension(b"g", pax_record(b"comment", b"text")) + header(name)
    ),
    "data of a directory": _raw(lambda name: header(name, typeflag=b"5", size=512) + bytes(512)),
    "an unknown type": _raw(lambda name: header(name, typeflag=b"Y")),
    "a wrong checksum": _raw(lambda name: header(name, checksum=1)),
    "a time before 1970": _raw(
        lambda name: extension(b"x", pax_record(b"mtime", b"-5.5")) + header(name)
    ),
    "two sizes": _raw(
        lambda name: extension(b"x", pax_record(b"size", b"512")) + header(name) + header(b"hidden")
    ),
    "a contiguous file": _raw(
        lambda name: header(name, typeflag=b"7", size=5) + b"12345".ljust(512, b"\0")
    ),
    "an old header": _raw(lambda name: header(name, typeflag=b"\0", magic=b"", size=0)),
    "bytes behind the end": lambda author: (
        layers.TRAILER + author.chance.randbytes(1024) + header(b"hidden"), 0
    ),
    "no end mark": lambda _: (b"", 0),
    "cut short": _cut,
}  # fmt: skip
