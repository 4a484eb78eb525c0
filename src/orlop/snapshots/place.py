"""A place for snapshots outside of the store's root (``root_path``).

At a start everything that has no record is removed, so such a directory must be
this store's alone. It is locked, and says in a file whose it is. One that has
something in it and does not say so is refused: it may be containerd's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition
from orlop.linux import files
from orlop.linux.root import lock_root, open_root

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER: Final = "owner"
_NOBODYS: Final = frozenset({"lock", f".{_OWNER}.new", "lost+found"})


@contextmanager
def own_place(path: str, root: str) -> Iterator[None]:
    """Have ``path`` for the store in ``root`` as long as the block lasts; "" is no place.

    It is made if it is not there.

    Raises:
        FailedPrecondition: it is another store's, or another program's.
        StoreLocked: another process has it.
        StoreCorrupt: it is not ours alone; see ``orlop.linux.root.open_root``.
        PermissionDenied, StoreFull, StoreIO: it cannot be made or opened.
    """
    if not path:
        yield
        return
    os.close(open_root(path))
    with files.translated(f"look at {path}"):
        owner = _owner(path)
        foreign = not owner and set(os.listdir(path)) - _NOBODYS
    if foreign or owner not in ("", root):
        whose = f"the store in {owner}" if owner else "another program"
        raise FailedPrecondition(
            f"snapshots cannot be kept in {path}: it belongs to {whose}",
            hint="name an empty directory as root_path; what is in it would be removed",
        )
    with lock_root(path):
        if not owner:
            with (
                files.translated(f"claim {path}"),
                files.replaced(os.path.join(path, _OWNER)) as file,
            ):
                file.write(os.fsencode(root))
        yield


def _owner(path: str) -> str:
    try:
        with open(os.path.join(path, _OWNER), "rb") as file:
            return os.fsdecode(file.read())
    except FileNotFoundError:
        return ""
