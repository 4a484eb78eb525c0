"""Independent opinions on what an image's root file system looks like.

``extract_with_tar`` carries out the image specification (layer.md) in the plainest
way: deletions by hand, everything else by GNU tar, layer by layer into one
directory. tar runs inside a chroot of that directory, so that links of the image
lead nowhere else. ``extract_with_umoci`` asks umoci. Neither uses code of orlop
that unpacks; both need root. They are for honest layers: what an oracle does with
a broken one says nothing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.testing.images import BuiltImage

_TOOLS = ".oracle"
_LINKS_FOLLOWED = 40
_TAR = (
    "--extract",
    "--file=-",
    "--absolute-names",
    "--same-owner",
    "--same-permissions",
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--delay-directory-restore",
    "--exclude=.wh.*",
)


class OracleError(Exception):
    """An oracle could not extract the layers; its own words are in the message."""


def extract_with_tar(archives: Sequence[bytes], root: Path) -> None:
    """Apply uncompressed layers, lowest first, to the directory ``root``.

    Directories that a layer does not name keep their times, whatever happens in them.
    """
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as listing:
            members = listing.getmembers()
        with _directory_times(root, members):
            _remove_hidden(root, members)
            _remove_replaced(root, members)
            _run_tar(archive, root)


def extract_with_umoci(image: BuiltImage, root: Path) -> None:
    """Let umoci unpack the image into ``root``, which must not exist."""
    with tempfile.TemporaryDirectory() as scratch:
        layout = Path(scratch, "layout")
        write_layout(image, layout)
        _run(["umoci", "raw", "unpack", "--image", f"{layout}:latest", str(root)])


def write_layout(image: BuiltImage, directory: Path, tag: str = "latest") -> None:
    """Write an OCI image layout (image-layout.md) that names the image ``tag``."""
    blobs = {**image.blobs, image.digest: image.manifest}
    for digest, blob in blobs.items():
        path = directory / "blobs" / digest.algorithm / digest.hex
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    entry = {
        "mediaType": image.media_type,
        "digest": str(image.digest),
        "size": len(image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    index = {"schemaVersion": 2, "manifests": [entry]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _remove_hidden(root: Path, members: Sequence[tarfile.TarInfo]) -> None:
    """Carry out whiteouts and opaque markers; only lower layers are there yet."""
    for member in members:
        parent, _, name = member.name.rstrip("/").rpartition("/")
        if not name.startswith(".wh."):
            continue
        where = _inside(root, parent)
        if where is None or not where.is_dir():
            continue
        if name == ".wh..wh..opq":
            for child in where.iterdir():
                _remove(child)
        elif not name.startswith(".wh..wh."):
            _remove(where / name.removeprefix(".wh."))


def _remove_replaced(root: Path, members: Sequence[tarfile.TarInfo]) -> None:
    """Make room where something else than a directory replaces one with content."""
    for member in members:
        place = _place(root, member)
        if place is None or member.isdir():
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)


def _place(root: Path, member: tarfile.TarInfo) -> Path | None:
    """Where a member goes: links lead its directory, but not its last name."""
    parent, _, name = member.name.rstrip("/").rpartition("/")
    if name in {"", ".", ".."}:
        return _inside(root, member.name)
    where = _inside(root, parent)
    return where and where / name


def _inside(root: Path, path: str) -> Path | None:
    """The place that ``path`` leads to when ``root`` is ``/``; None if it leads nowhere."""
    todo = path.split("/")[::-1]
    at: list[str] = []
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del at[-1:]
        elif part not in {"", "."}:
            here = root.joinpath(*at, part)
            if not here.is_symlink():
                at.append(part)
                continue
            followed += 1
            if followed > _LINKS_FOLLOWED:
                return None
            target = os.readlink(here)
            if target.startswith("/"):
                at = []
            todo += target.split("/")[::-1]
    found = root.joinpath(*at)
    return found if os.path.lexists(found) else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _directory_times(root: Path, members: Sequence[tarfile.TarInfo]) -> Iterator[None]:
    """Give directories that the layer does not name their times back."""
    named = {_place(root, member) for member in members if member.isdir()}
    before = {}
    for place, _, _ in os.walk(root):
        if Path(place) not in named:
            info = os.lstat(place)
            before[place] = (info.st_ino, info.st_atime_ns, info.st_mtime_ns)
    yield
    for place, (inode, accessed, modified) in before.items():
        try:
            info = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(info.st_mode) and info.st_ino == inode:
            os.utime(place, ns=(accessed, modified))


def _run_tar(archive: bytes, root: Path) -> None:
    before = root.stat()
    tools = root / _TOOLS
    tools.mkdir(mode=0o700)
    try:
        loader = _copy_program("tar", tools)
        inside = f"/{_TOOLS}"
        program = [f"{inside}/{loader}", "--library-path", inside, f"{inside}/tar", *_TAR]
        # The tree's own time must not show that the tools were in it.
        os.utime(root, ns=(before.st_atime_ns, before.st_mtime_ns))
        _run(["chroot", str(root), *program], stdin=archive)
        after = root.stat()
    finally:
        shutil.rmtree(tools)
    os.utime(root, ns=(after.st_atime_ns, after.st_mtime_ns))


def _copy_program(name: str, directory: Path) -> str:
    """Copy a program and its libraries into ``directory``; the name of its loader."""
    program = shutil.which(name)
    if program is None:
        raise OracleError(f"{name} is not installed")
    listed = _run(["ldd", program])
    libraries = [Path(found) for found in re.findall(r"(/\S+) \(0x", listed)]
    shutil.copy(program, directory / name)
    for library in libraries:
        shutil.copy(library, directory / library.name)
    return next(library.name for library in libraries if library.name.startswith("ld-"))


def _run(command: Sequence[str], *, stdin: bytes = b"") -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        umask=0o022,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"},
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise OracleError(f"{command[0]} ended with {done.returncode}: {words}")
    return done.stdout.decode()
