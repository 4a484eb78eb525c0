"""Documents written to disk: one replaced as a whole, and new ones beside nothing else.

Nothing is ever overwritten but the document that is replaced.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, InvalidArgument
from orlop.linux import files

if TYPE_CHECKING:
    from collections.abc import Mapping


def replace(path: str, text: str, *, backup: bool) -> str:
    """Put a new text in the place of a document; its owner and mode stay.

    All of the new text is there or all of the old one, also after a power failure.

    Args:
        path: the document; a symbolic link stays, and what it leads to is replaced.
        text: the new text.
        backup: keep the old file as ``FILE.bak``, or ``FILE.bak.N`` with the first
            number that is free.

    Returns:
        The path of the backup, "" without one.

    Raises:
        OSError: as the system calls do; the document is as it was.
        StoreIO: the disk failed.
    """
    path = os.path.realpath(path)
    before = os.stat(path)
    kept = _keep(path) if backup else ""
    with files.replaced(path, mode=stat.S_IMODE(before.st_mode)) as file:
        file.write(text.encode())
        # The owner first: a change of the owner can take bits of the mode away.
        os.fchown(file.fileno(), before.st_uid, before.st_gid)
    return kept


def _keep(path: str) -> str:
    """Give the file one more name, which it keeps when ``path`` gets another file."""
    number = 0
    while True:
        name = f"{path}.bak.{number}" if number else f"{path}.bak"
        try:
            os.link(path, name)
        except FileExistsError:
            number += 1
        else:
            return name


def write_new(directory: str, texts: Mapping[str, str], *, private: frozenset[str]) -> list[str]:
    """Write files where there are none yet.

    Args:
        directory: where; it is made if it is not there.
        texts: what to write, by path relative to the directory.
        private: of these paths, what nobody but the owner may read.

    Returns:
        The whole paths.

    Raises:
        AlreadyExists: one of the files is there; then none is written.
        InvalidArgument: a path leads out of the directory.
        OSError: as the system calls do.
    """
    paths = {name: os.path.normpath(os.path.join(directory, name)) for name in texts}
    for name, path in paths.items():
        if not path.startswith(os.path.join(os.path.normpath(directory), "")):
            raise InvalidArgument(f"{name!r} leads out of {directory}")
        if os.path.lexists(path):
            raise AlreadyExists(
                f"{path}: it is there already", hint="name a directory without such files"
            )
    for name, path in paths.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        mode = 0o600 if name in private else 0o644
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(texts[name])
            file.flush()
            files.fsync(descriptor, what=path)
        files.fsync_dir(os.path.dirname(path))
    files.fsync_dir(directory)
    return list(paths.values())
