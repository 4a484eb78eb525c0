"""Keys of a configuration document: their names, their text, the lines they stand on.

Pure. A key is the tuple of the names from the top of the document, such as
``("plugins", "io.containerd.cri.v1.images", "snapshotter")``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

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

_NAME = r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
_DOTTED = rf"[ \t]*(?:{_NAME})(?:[ \t]*\.[ \t]*(?:{_NAME}))*[ \t]*"
_HEADER = re.compile(rf"[ \t]*\[\[?({_DOTTED})\]\]?[ \t]*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"({_DOTTED})=(.*)", re.DOTALL)
_NAMES = re.compile(_NAME)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_USERINFO = re.compile(r"//[^/@\s]*@")
_ESCAPE = re.compile(r'\\(["\\])')


def show(key: Key) -> str:
    """The key as TOML writes it; credentials in an address that serves as a name are left out."""
    return ".".join(
        name if _BARE.fullmatch(name) else '"' + _USERINFO.sub("//***@", name) + '"' for name in key
    )


def locate(text: str) -> dict[Key, int]:
    """Find the line (from 1) of each table header and each assignment of a valid document.

    Keys inside inline tables and arrays have no entry: ask for the key that
    holds them.
    """
    found: dict[Key, int] = {}
    table: Key = ()
    closing = ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if closing:
            closing = _still_open(line, closing)
        elif header := _HEADER.fullmatch(line):
            table = _names(header[1])
            _enter(found, table, 0, number)
        elif assignment := _ASSIGNMENT.match(line):
            _enter(found, table + _names(assignment[1]), len(table), number)
            closing = _still_open(assignment[2], "")
    return found


def line_of(key: Key, lines: Mapping[Key, int]) -> int:
    """The line of ``key``, or of the innermost table around it; 0 if there is none."""
    for length in range(len(key), 0, -1):
        if key[:length] in lines:
            return lines[key[:length]]
    return 0


def _enter(found: dict[Key, int], key: Key, known: int, line: int) -> None:
    """Note the line of a key and of the tables that it makes on the way."""
    for length in range(known + 1, len(key) + 1):
        found.setdefault(key[:length], line)


def _names(dotted: str) -> Key:
    return tuple(_unquoted(name) for name in _NAMES.findall(dotted))


def _unquoted(name: str) -> str:
    if name.startswith("'"):
        return name[1:-1]
    if name.startswith('"'):
        return _ESCAPE.sub(r"\1", name[1:-1])
    return name


def _still_open(line: str, closing: str) -> str:
    """Which multi-line string (its quotes) is open at the end of ``line``, "" if none."""
    position = 0
    while True:
        if closing:
            end = line.find(closing, position)
            if end < 0:
                return closing
            position, closing = end + 3, ""
        start = min(
            (i for i in map(line.find, ('"""', "'''"), [position] * 2) if i >= 0), default=-1
        )
        if start < 0:
            return ""
        closing, position = line[start : start + 3], start + 3
