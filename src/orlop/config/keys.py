"""Keys of a configuration document: their names, their text, the lines they stand on.

Pure. A key is the tuple of the names from the top of the document, such as
``("plugins", "io.containerd.cri.v1.images", "snapshotter")``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orlop.config.lexer import items

Key = tuple[str, ...]

PLUGINS: Key = ("plugins",)
IMAGES: Key = (*PLUGINS, "io.containerd.cri.v1.images")
RUNTIME: Key = (*PLUGINS, "io.containerd.cri.v1.runtime")
CRI: Key = (*PLUGINS, "io.containerd.grpc.v1.cri")
TRANSFER: Key = (*PLUGINS, "io.containerd.transfer.v1.local")
GRPC: Key = (*PLUGINS, "io.containerd.server.v1.grpc")
METRICS: Key = (*PLUGINS, "io.containerd.server.v1.metrics")
OVERLAYFS: Key = (*PLUGINS, "io.containerd.snapshotter.v1.overlayfs")
NATIVE: Key = (*PLUGINS, "io.containerd.snapshotter.v1.native")
METADATA: Key = (*PLUGINS, "io.containerd.metadata.v1.bolt")
GC: Key = (*PLUGINS, "io.containerd.gc.v1.scheduler")
VERIFIER: Key = (*PLUGINS, "io.containerd.image-verifier.v1.bindir")
DIFF: Key = (*PLUGINS, "io.containerd.service.v1.diff-service")

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a key.

    Attributes:
        path: the document; "" for none.
        line: from 1; 0 when it is not known.
        key: the key as its author wrote it, before any migration.
    """

    path: str
    line: int
    key: Key

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


Origins = Mapping[Key, Where]
"""Where each key of a document was written."""


def is_bare(name: str) -> bool:
    """Whether a name needs no quotes."""
    return _BARE.fullmatch(name) is not None


def show(key: Key) -> str:
    """The key as TOML writes it; credentials in an address that serves as a name are left out."""
    return ".".join(
        name if is_bare(name) else '"' + _USERINFO.sub("//***@", name) + '"' for name in key
    )


def locate(text: str) -> dict[Key, int]:
    """Find the line (from 1) of each table and each key of a valid document.

    Tables that a longer key makes on the way have the line of the first such key.
    The elements of an array have their number for a name.
    """
    found: dict[Key, int] = {}
    for item in items(text):
        for length in range(len(item.key), 0, -1):
            # Inner items come before the key whose value they stand in.
            line = found.get(item.key[:length])
            if line is not None and line <= item.line:
                break
            found[item.key[:length]] = item.line
    return found


def line_of(key: Key, lines: Mapping[Key, int]) -> int:
    """The line of ``key``, or of the innermost table around it; 0 if there is none."""
    return next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 0)


def leaves(table: Mapping[str, object], above: Key = ()) -> Iterator[tuple[Key, object]]:
    """The values of a document with their keys; of tables only those with nothing in them."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def origin_of(key: Key, origins: Origins) -> Where:
    """Where ``key`` was written, or the innermost table around it."""
    for length in range(len(key), 0, -1):
        where = origins.get(key[:length])
        if where is not None:
            return Where(where.path, where.line, where.key + key[length:])
    return Where("", 0, key)
