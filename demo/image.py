"""An image made from files of this machine: four layers, more than 100 MB.

Three layers carry programs and libraries, the fourth changes what they brought: it
deletes a file, hides a directory and adds a file. Nothing here touches the network,
and nothing is written to the disk.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isal import igzip

from orlop.model.mediatype import Compression
from orlop.model.platform import from_machine
from orlop.testing.images import BuiltImage, Layer, build_image
from orlop.testing.layers import Entry, directory, file, opaque, symlink, tar_bytes, whiteout

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER_BYTES: Final = 40_000_000
"""How much of the machine's files goes into each of the lower layers."""

LONGEST_FILE: Final = 16_000_000
"""Longer files are left out: one alone would fill a layer."""

GREETING: Final = b"This file came with the top layer.\n"


@dataclass(frozen=True, slots=True)
class DemoImage:
    """The image, and what must be true of its mounted tree.

    Attributes:
        same: path of a file that must be there, with the SHA-256 of its content.
        deleted: path of a file that a lower layer has and the top layer deletes.
        hidden: path of a file in a directory that the top layer hides.
    """

    built: BuiltImage
    same: tuple[str, str]
    deleted: str
    hidden: str

    @property
    def unpacked_bytes(self) -> int:
        """Length of all uncompressed layers."""
        return sum(len(layer.tar) for layer in self.built.layers)

    @property
    def compressed_bytes(self) -> int:
        """Length of all layers as the registry serves them."""
        return sum(len(layer.blob) for layer in self.built.layers)


def make() -> DemoImage:
    """Read files of this machine and make the image."""
    files = _files(_sources())
    lower = [_take(files, LAYER_BYTES) for _ in range(3)]
    kept = next(entry for entry in lower[0] if entry.data)
    deleted = next(entry for entry in lower[1] if entry.data)
    lower[2] += [directory("srv/demo"), file("srv/demo/hidden", b"nobody sees this\n")]
    upper = [
        whiteout(deleted.path),
        directory("srv/demo"),
        opaque("srv/demo"),
        file("srv/demo/greeting", GREETING),
        symlink("greeting", "srv/demo/greeting"),
    ]
    archives = [*map(tar_bytes, lower), tar_bytes(upper)]
    layers = [_gzip(archives[0]), _zstd(archives[1]), _gzip(archives[2]), _gzip(archives[3])]
    built = build_image(
        layers,
        platform=str(from_machine(platform.machine())),
        config={"author": "make demo", "config": {"Cmd": ["/bin/sh"], "User": "1000"}},
    )
    return DemoImage(
        built,
        same=(os.fsdecode(kept.path), hashlib.sha256(kept.data).hexdigest()),
        deleted=os.fsdecode(deleted.path),
        hidden="srv/demo/hidden",
    )


def _sources() -> list[Path]:
    """Directories to read, real ones only; even a small machine has enough in them."""
    own = Path(sys.prefix, "lib"), Path(sys.base_prefix, "lib")
    wanted = (Path("/usr/bin"), *own, Path("/usr/lib"), Path("/usr/share"))
    return list(dict.fromkeys(path.resolve() for path in wanted if path.is_dir()))


def _files(directories: list[Path]) -> Iterator[Entry]:
    """Regular files and symbolic links below the directories, each path once, in order."""
    seen: set[str] = set()
    for top in directories:
        for parent, children, names in os.walk(top):
            children.sort()
            for name in sorted(names):
                path = os.path.join(parent, name)
                if path not in seen and (entry := _entry(path)) is not None:
                    seen.add(path)
                    yield entry


def _entry(path: str) -> Entry | None:
    """One file as a member of an archive; None for what is of no use, or gone by now."""
    try:
        found = os.lstat(path)
        inside = os.fsencode(path.lstrip("/"))
        if stat.S_ISLNK(found.st_mode):
            return symlink(inside, os.fsencode(os.readlink(path)))
        if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST_FILE:
            return None
        content = Path(path).read_bytes()
    except OSError:
        return None
    return Entry(
        inside,
        data=content,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
    )


def _take(files: Iterator[Entry], budget: int) -> list[Entry]:
    """The next files, until they have ``budget`` bytes together."""
    taken: list[Entry] = []
    while budget > 0 and (entry := next(files, None)) is not None:
        taken.append(entry)
        budget -= len(entry.data)
    return taken


def _gzip(tar: bytes) -> Layer:
    return Layer(tar, igzip.compress(tar, 1), Compression.GZIP)


def _zstd(tar: bytes) -> Layer:
    return Layer(tar, zstd.compress(tar), Compression.ZSTD)
