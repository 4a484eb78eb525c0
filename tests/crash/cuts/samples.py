"""The images of the rigs, in two sets that have the same names.

``small`` has everything in it that a file system keeps apart, made in memory and the same
every time. ``real`` is made of this machine's files: thousands of them, with links and
programs that belong to root.
"""

from __future__ import annotations

import random
import sysconfig
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.model.mediatype import Compression
from orlop.testing.images import BuiltImage, build_image, build_layer
from orlop.testing.layers import Entry, device, directory, file, hard_link, symlink

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST: Final = "cuts.test"
"""The registry that images are from; a test says where it is."""

COLLECTIONS: Final = ("small", "real")

_CACHE: Final = Path(__file__).resolve().parents[3] / ".cache" / "cuts" / "real"
_MOST_BYTES: Final = 12 << 20
_LIBRARY: Final = sysconfig.get_path("stdlib").lstrip("/")
_PARTS: Final = (
    ("etc/**/*.conf", "usr/bin/[a-g]*"),
    tuple(f"{_LIBRARY}/{name}/**/*" for name in ("asyncio", "email", "encodings", "unittest")),
    ("usr/bin/[m-z]*", "usr/sbin/[a-f]*"),
    ("usr/share/zoneinfo/**/*",),
    tuple(f"{_LIBRARY}/{name}/**/*" for name in ("json", "logging", "xml", "http", "ctypes")),
)
"""What the layers of the real images are made of."""

_SEED: Final = 20
_OPAQUE: Final = ".wh..wh..opq"


def names(collection: str = "small") -> Mapping[str, BuiltImage]:
    """The images of a set, by name."""
    return _small() if collection == "small" else _real()


def _real() -> Mapping[str, BuiltImage]:
    """Made once, since programs may be installed meanwhile."""
    archives = [_CACHE / f"{number}.tar" for number in range(len(_PARTS))]
    for archive, part in zip(archives, _PARTS, strict=True):
        if not archive.exists():
            _pack(part, archive)
    base, library, tool, zones, late = (
        build_layer(archive.read_bytes(), Compression.NONE) for archive in archives
    )
    layers = {
        "app": [base, library, tool],
        "service": [base, zones],
        "many": [zones],
        "moved": [base, library, late],
        "late": [late],
    }
    return {name: build_image(list(one)) for name, one in layers.items()}


def _pack(part: tuple[str, ...], archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_suffix(".new")
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
        for pattern in part:
            for path in sorted(Path("/").glob(pattern)):
                large = tar.offset + path.lstat().st_size > _MOST_BYTES
                if not large and "__pycache__" not in path.parts:
                    tar.add(path, recursive=False)
    draft.replace(archive)


def _small() -> Mapping[str, BuiltImage]:
    dice = random.Random(_SEED)
    base, library, tool = _base(dice), _library(dice), _tool(dice)
    images = {
        "app": [base, library, tool],
        "service": [base, _many(dice, "srv", 40)],
        "many": [_many(dice, "var/lib/many", 90)],
        "moved": [base, library, _patch(dice)],
        "late": [_tool(dice), [file(f"late/{number}", dice.randbytes(700)) for number in range(9)]],
    }
    return {name: build_image(layers) for name, layers in images.items()}


def _base(dice: random.Random) -> list[Entry]:
    entries = [directory("etc", mode=0o750, uid=3), directory("usr"), directory("usr/bin")]
    entries += [file(f"etc/{n}", dice.randbytes(dice.randrange(1, 5000))) for n in range(12)]
    entries += [
        file("usr/bin/large", dice.randbytes(300_000), mode=0o755),
        file("usr/bin/su", dice.randbytes(9000), mode=0o4755),
        file("etc/empty", b""),
        replace(file("etc/labelled", b"labelled" * 40), xattrs={"user.kind": b"kept" * 30}),
        symlink("bin", "usr/bin"),
        hard_link("usr/bin/large-too", "usr/bin/large"),
    ]
    return entries


def _library(dice: random.Random) -> list[Entry]:
    entries = [directory("usr/lib"), directory("usr/lib/deep"), directory("usr/lib/deep/er")]
    entries += [
        file(f"usr/lib/deep/er/{n}.so", dice.randbytes(dice.randrange(1, 9000))) for n in range(25)
    ]
    entries += [file("etc/.wh.3"), file("usr/bin/.wh.large-too"), hard_link("etc/linked", "etc/4")]
    return entries


def _tool(dice: random.Random) -> list[Entry]:
    return [
        directory("opt"),
        directory("opt/tool"),
        file(f"opt/tool/{_OPAQUE}"),
        file("opt/tool/data", dice.randbytes(150_000)),
        symlink("opt/current", "tool"),
        device("opt/null", major=1, minor=3),
        file("bin/through-the-link", b"#!/bin/sh\n", mode=0o755),
    ]


def _patch(dice: random.Random) -> list[Entry]:
    return [
        directory("etc", mode=0o711, uid=4),
        file("etc/1", dice.randbytes(400)),
        file("usr/bin/large", dice.randbytes(200_000), mode=0o755),
        file("usr/lib/deep/.wh.er"),
    ]


def _many(dice: random.Random, top: str, count: int) -> list[Entry]:
    parts = top.split("/")
    entries: list[Entry] = [directory("/".join(parts[: n + 1])) for n in range(len(parts))]
    entries += [file(f"{top}/{n}", dice.randbytes(dice.randrange(0, 3000))) for n in range(count)]
    return entries
