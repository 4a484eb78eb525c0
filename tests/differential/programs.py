"""Lets each program unpack many archives, in few processes; the caller cleans up.

orlop works in this process, as a worker does but for its isolation. The others are started
by one shell for a whole batch, in directories of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.model import mediatype
from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.testing.images import Layer, build_image
from orlop.unpack.directories import NeedsParent
from tests.differential.archives import BSDTAR, TAR, UMOCI, Archive
from tests.rigs.tree import Node, tree
from tests.unit.unpack.rig import MODES, apply_archive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_COMMANDS: Final = {
    TAR: "tar --extract --file=../$1.tar --directory=$2 --same-owner --same-permissions"
    " --numeric-owner --xattrs --xattrs-include='*' --delay-directory-restore",
    BSDTAR: "bsdtar -x -f ../$1.tar -C $2 -p --same-owner --numeric-owner --xattrs",
    UMOCI: "rmdir $2; umoci raw unpack --image ../layout:n$1 $2",
}
_LOOP: Final = """
for number in {numbers}; do
    mkdir -m 0755 "$number"
    set -- "$number" "$number"
    if {command} >"$number.out" 2>&1 </dev/null; then echo 0; else echo 1; fi
done
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program made of an archive.

    Attributes:
        refused: its words when it did not take the archive; "" when it did.
        nodes: the tree, whatever it said.
        implied: directories that orlop had to make for others, whose times nobody gave.
    """

    refused: str
    nodes: dict[bytes, Node]
    implied: frozenset[bytes] = frozenset()


def by_orlop(archive: Archive, work: Path) -> list[Outcome]:
    """In both modes."""
    return [_applied(archive, work, mode) for mode in MODES]


def _applied(archive: Archive, work: Path, mode: str) -> Outcome:
    root = work / f"orlop-{mode}-{archive.number}"
    root.mkdir(mode=0o755)
    umask = os.umask(0)
    try:
        found = apply_archive(root, archive.data, mode)  # type: ignore[arg-type] # one of MODES
    except (OrlopError, NeedsParent) as error:
        return Outcome(str(error) or type(error).__name__, {})
    finally:
        os.umask(umask)
    return Outcome("", tree(root), found.implied | {b"."})


def by_program(name: str, archives: Sequence[Archive], work: Path) -> list[Outcome]:
    """By one of the others; ``work`` must not have been used for these archives by it."""
    place = work / name
    place.mkdir()
    for archive in archives:
        (work / f"{archive.number}.tar").write_bytes(archive.data)
    if name == UMOCI:
        _write_layout(archives, work / "layout")
    numbers = " ".join(str(archive.number) for archive in archives)
    script = _LOOP.format(numbers=numbers, command=_COMMANDS[name])
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=place,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
        umask=0o022,
    )
    outcomes = []
    for archive, code in zip(archives, done.stdout.split(), strict=True):
        root = place / str(archive.number)
        words = (place / f"{archive.number}.out").read_bytes().decode(errors="replace")
        refused = (words.strip() or "it failed") if code != "0" else ""
        outcomes.append(Outcome(refused, tree(root) if root.is_dir() else {}))
    return outcomes


def _write_layout(archives: Sequence[Archive], layout: Path) -> None:
    """An OCI image layout (image-layout.md) with an image of one layer for each archive."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    entries = []
    for archive in archives:
        data = archive.data
        image = build_image([Layer(data, data, Compression.NONE)])
        for digest, blob in {**image.blobs, image.digest: image.manifest}.items():
            (blobs / digest.hex).write_bytes(blob)
        entries.append(
            {
                "mediaType": mediatype.OCI_MANIFEST,
                "digest": str(Digest.of(image.manifest)),
                "size": len(image.manifest),
                "annotations": {"org.opencontainers.image.ref.name": f"n{archive.number}"},
            }
        )
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
