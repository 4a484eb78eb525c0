"""One image layer: from an overlay's upper directory to compressed blobs.

The change set in an upper directory speaks overlayfs (character devices 0:0,
an ``opaque`` attribute); a layer speaks OCI (``.wh.`` files). This module
translates and packs. It never runs package managers and knows no image.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"

LAYER_TYPES = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""Media type of a layer by the name of its compression."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of the cache that is named by its digest.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits.
        size: Length in bytes.
    """

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with all its compressed forms.

    Attributes:
        diff_id: Digest of the uncompressed archive.
        size: Length of the uncompressed archive in bytes.
        entries: Number of members of the archive.
        content: Sum of the lengths of its regular files in bytes.
        blobs: The compressed forms by name of the compression.
    """

    diff_id: str
    size: int
    entries: int
    content: int
    blobs: dict[str, Blob]


def translate_whiteouts(upper: Path) -> int:
    """Turns overlayfs's marks below ``upper`` into those of the OCI layer format.

    Changes the directory in place, so it must not serve as a lower directory
    afterwards. Modification times of directories stay as they were. Linux
    marks new directories as opaque too, where a mark changes nothing; they
    are kept, as builders of images keep them.

    Returns:
        How many marks were translated.

    See the section "Whiteouts" of the OCI image layer specification and
    ``Documentation/filesystems/overlayfs.rst`` of Linux.
    """
    count = 0
    for directory, names, files in os.walk(upper):
        marks = [name for name in files if _is_whiteout(os.path.join(directory, name))]
        opaque = _is_opaque(directory)
        if not marks and not opaque:
            continue
        status = os.stat(directory)
        for name in marks:
            os.unlink(os.path.join(directory, name))
            _touch(os.path.join(directory, WHITEOUT_PREFIX + name))
        if opaque:
            os.removexattr(directory, OPAQUE_ATTRIBUTE)
            _touch(os.path.join(directory, OPAQUE_MARKER))
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
        names.sort()
        count += len(marks) + opaque
    return count


def pack(upper: Path, work: Path, blobs: Path) -> Layer:
    """Archives and compresses the tree at ``upper`` in every form of ``LAYER_TYPES``.

    Args:
        upper: The tree; its whiteouts are OCI's already.
        work: An existing directory for the uncompressed archive; it is removed again.
        blobs: Where the blobs go, each under the hexadecimal part of its digest.
    """
    archive = work / "layer.tar"
    try:
        _write_archive(upper, archive)
        entries, content = _count(archive)
        return Layer(
            diff_id=digest_of(archive),
            size=archive.stat().st_size,
            entries=entries,
            content=content,
            blobs={name: _compress(archive, name, blobs) for name in LAYER_TYPES},
        )
    finally:
        archive.unlink(missing_ok=True)


def read_chunks(path: Path, size: int = _CHUNK) -> Iterator[bytes]:
    """Yields the bytes of a file in pieces of ``size`` bytes."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(size):
            yield chunk


def digest_of(path: Path) -> str:
    """Returns the SHA-256 digest of a file in the form of OCI."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def add_blob(path: Path, blobs: Path) -> Blob:
    """Moves a file of the same file system into the directory of blobs."""
    digest = digest_of(path)
    size = path.stat().st_size
    path.replace(blobs / digest.removeprefix("sha256:"))
    return Blob(digest=digest, size=size)


def _write_archive(upper: Path, archive: Path) -> None:
    """Writes a pax archive with sorted names, numeric owners and whole seconds.

    Times of access and of status change are left out, as builders of images
    do; with them every member would need an extended header.
    """
    options = [
        "--create",
        "--format=pax",
        "--pax-option=delete=atime,delete=ctime,delete=mtime,exthdr.name=%d/PaxHeaders/%f",
        "--sort=name",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--xattrs-exclude=trusted.overlay.*",
    ]
    names = sorted(os.listdir(upper))
    subprocess.run(
        ["tar", *options, f"--file={archive}", f"--directory={upper}", "--", *names], check=True
    )


def _count(archive: Path) -> tuple[int, int]:
    """Returns the number of members and the bytes in regular files."""
    entries = content = 0
    with tarfile.open(archive, "r:") as members:
        for member in members:
            entries += 1
            content += member.size if member.isreg() else 0
    return entries, content


def _compress(archive: Path, compression: str, blobs: Path) -> Blob:
    target = archive.with_suffix(f".{compression}")
    try:
        with archive.open("rb") as source, target.open("wb") as sink:
            subprocess.run(_compressor(compression), stdin=source, stdout=sink, check=True)
        return add_blob(target, blobs)
    finally:
        target.unlink(missing_ok=True)


def _compressor(compression: str) -> list[str]:
    if compression == "zstd":
        return ["zstd", "--quiet", "-3", "-T0", "--stdout"]
    return [shutil.which("pigz") or "gzip", "-6", "-n", "--stdout"]


def _is_whiteout(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: str) -> bool:
    with suppress(OSError):  # the attribute is absent, or the file system has none
        return os.getxattr(path, OPAQUE_ATTRIBUTE) == b"y"
    return False


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
