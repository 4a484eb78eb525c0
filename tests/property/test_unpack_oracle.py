"""Generated honest layers: the trees that we make are those that GNU tar makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.testing import layers
from orlop.testing.layers import Entry
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import Node, differences, tree
from tests.unit.unpack.rig import MODES, Images, apply_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

NAMES = ["a", "b", "c", "\u00e9 x", "n" * 101]
SECOND = 10**9


def settings_for(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def scratch() -> Iterator[Path]:
    before = os.umask(0)
    path = Path(tempfile.mkdtemp(prefix="layers-"))
    try:
        yield path
    finally:
        os.umask(before)
        shutil.rmtree(path)


class Archive:
    """Builds one layer that every archiver could have written: parents before children.

    Args:
        known: kinds of the paths of the lower layers.
        alone: True when there is no other layer.
    """

    def __init__(self, draw: st.DrawFn, known: dict[str, str], *, alone: bool) -> None:
        self._draw = draw
        self._alone = alone
        self.members: list[Entry] = []
        self.kinds = dict(known)
        self._own: dict[str, str] = {}

    def add(self) -> None:
        """Append one more member."""
        draw = self._draw
        parents = ["", *(path for path, kind in self.kinds.items() if kind == "directory")]
        parent = draw(st.sampled_from(parents))
        name = draw(st.sampled_from(NAMES))
        path = f"{parent}/{name}".lstrip("/")
        if path.count("/") > 3 or self._own.get(path) == "directory":
            return
        self._name_parents(parent)
        member = self._member(path, draw)
        if member is not None:
            self.members.append(member)

    def delete(self) -> None:
        """Append a whiteout of something in the lower layers, or an opaque mark."""
        draw = self._draw
        lower = sorted(path for path in self.kinds if path not in self._own)
        if not lower:
            return
        path = draw(st.sampled_from(lower))
        parent = path.rpartition("/")[0]
        if any(path == own or own.startswith(path + "/") for own in self._own):
            return
        self._name_parents(parent)
        if self.kinds[path] == "directory" and draw(st.booleans()):
            self._name_parents(path)
            self.members.append(layers.opaque(path))
        else:
            self.members.append(layers.whiteout(path))
            self._own[path] = "gone"
        for known in list(self.kinds):
            if known.startswith(path + "/") or (known == path and self._own.get(path) == "gone"):
                del self.kinds[known]

    def _name_parents(self, path: str) -> None:
        if path and path not in self._own:
            self._name_parents(path.rpartition("/")[0])
            self._own[path] = self.kinds[path] = "directory"
            self.members.append(self._attributes(layers.directory(path)))

    def _member(self, path: str, draw: st.DrawFn) -> Entry | None:
        kind = draw(
            st.sampled_from(
                ["file", "file", "directory", "symlink", "hard link", "device", "fifo", "sparse"]
            )
        )
        if kind == "hard link":
            files = [p for p, k in self._own.items() if k == "file" and p != path]
            if not files:
                return None
            self._take(path, "file")
            return layers.hard_link(path, draw(st.sampled_from(files)))
        self._take(path, "file" if kind == "sparse" else kind)
        if kind == "file":
            return self._attributes(layers.file(path, draw(st.binary(max_size=1500))))
        if kind == "sparse":
            return self._sparse(path, draw)
        if kind == "directory":
            return self._attributes(layers.directory(path))
        if kind == "symlink":
            return self._attributes(layers.symlink(path, draw(st.sampled_from([*NAMES, "/x/y"]))))
        if kind == "fifo":
            return self._attributes(layers.fifo(path))
        flag = draw(st.sampled_from([layers.CHAR_DEVICE, layers.BLOCK_DEVICE]))
        number = draw(st.integers(1, 4095))
        return self._attributes(layers.device(path, flag, major=number, minor=number))

    def _take(self, path: str, kind: str) -> None:
        """A path changes its kind: what was below it in the lower layers is gone."""
        for known in list(self.kinds):
            if kind != "directory" and known.startswith(path + "/"):
                del self.kinds[known]
        self._own[path] = self.kinds[path] = kind

    def _sparse(self, path: str, draw: st.DrawFn) -> Entry:
        kind = draw(st.sampled_from(["gnu", "0.0", "0.1", "1.0"]))
        starts = sorted(draw(st.sets(st.integers(0, 40), max_size=8)))
        content = bytearray(4096 * 42)
        for start in starts:
            content[start * 4096 : start * 4096 + 512] = b"%3d" % start * 170 + b"xx"
        regions = [(start * 4096, 512) for start in starts]
        return layers.sparse_file(path, bytes(content), regions, format=kind)  # type: ignore[arg-type] # sampled

    def _attributes(self, entry: Entry) -> Entry:
        draw = self._draw
        form = draw(st.sampled_from(["pax", "pax", "gnu"]))
        xattrs: dict[str, bytes] = {}
        plain = entry.typeflag in {layers.REGULAR, layers.DIRECTORY}
        # tar leaves a directory the attributes of lower layers; a container does not see them.
        plain = plain and (self._alone or entry.typeflag == layers.REGULAR)
        if form == "pax" and plain and draw(st.booleans()):
            xattrs["user.x"] = draw(st.binary(min_size=1, max_size=8))
        if form == "pax" and entry.typeflag == layers.REGULAR and draw(st.booleans()):
            xattrs["security.capability"] = bytes.fromhex("01000002" + "00040000" + "00" * 12)
        seconds = draw(st.integers(0, 2**31))
        mode = 0o777 if entry.typeflag == layers.SYMLINK else draw(st.integers(0, 0o7777))
        return Entry(
            entry.path,
            entry.typeflag,
            mode=mode,
            uid=draw(st.sampled_from([0, 0, 1000, 65534, 2**31])),
            gid=draw(st.sampled_from([0, 0, 1000, 2**32 - 2])),
            mtime_ns=seconds * SECOND + (draw(st.integers(0, SECOND - 1)) if form == "pax" else 0),
            data=entry.data,
            link=entry.link,
            xattrs=xattrs,
            major=entry.major,
            minor=entry.minor,
            format=form,  # type: ignore[arg-type] # sampled
        )


ROOT = Entry(b"./", layers.DIRECTORY, mode=0o750, uid=1, gid=2, mtime_ns=12345 * SECOND)


@st.composite
def one_layer(draw: st.DrawFn) -> list[Entry]:
    archive = Archive(draw, {}, alone=True)
    for _ in range(draw(st.integers(1, 14))):
        archive.add()
    return [ROOT, *archive.members]


@st.composite
def two_layers(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    lower = Archive(draw, {}, alone=False)
    for _ in range(draw(st.integers(3, 12))):
        lower.add()
    upper = Archive(draw, lower.kinds, alone=False)
    for _ in range(draw(st.integers(1, 10))):
        if draw(st.booleans()):
            upper.add()
        else:
            upper.delete()
    return [ROOT, *lower.members], [ROOT, *upper.members]


def by_tar(root: Path, members: list[Entry]) -> dict[bytes, Node]:
    """The same as the oracle, but quick: no link leads anywhere, and nothing is deleted."""
    root.mkdir()
    subprocess.run(
        [
            *("tar", "--extract", "--file=-", f"--directory={root}", "--same-owner"),
            *("--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"),
            *("--delay-directory-restore", "--absolute-names"),
        ],
        input=layers.tar_bytes(members),
        capture_output=True,
        check=True,
        umask=0o022,
    )
    return tree(root)


@settings_for(300)
@given(one_layer())
def test_one_layer(members: list[Entry]) -> None:
    with scratch() as work:
        expected = by_tar(work / "oracle", members)
        for mode in MODES:
            root = work / mode
            root.mkdir()
            applied = apply_layer(root, members, mode)
            assert differences(expected, tree(root)) == []
            assert applied.dropped == {}
            assert applied.implied == set()


@settings_for(100)
@given(two_layers())
def test_two_layers(both: tuple[list[Entry], list[Entry]]) -> None:
    lower, upper = both
    with scratch() as work, ExitStack() as cleanup:
        oracle = work / "oracle"
        oracle.mkdir()
        extract_with_tar([layers.tar_bytes(lower), layers.tar_bytes(upper)], oracle)
        expected = tree(oracle)
        images = Images(work, cleanup)
        for mode in MODES:
            image = images.make(mode, upper, lower)
            assert differences(expected, image.nodes()) == [], mode
