"""A writable layer that outlives its mount, in a directory of the user's.

It has what overlayfs needs (``fs``, ``work``) and a file that says on what it was
written: over other layers its contents would mean something else.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, NotFound, PermissionDenied
from orlop.ports.snapshots import Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

TREE: Final = "fs"
WORK: Final = "work"
CHAIN: Final = "chain"
PARTS: Final = (TREE, WORK, CHAIN)
"""Everything in the directory that is ours."""

_OPTIONS: Final = ("index=off", "metacopy=off", "redirect_dir=nofollow")
_CHAIN_BYTES: Final = 256


def claim(layer: str, chain_id: str) -> None:
    """Make the directory ``layer`` the place of what is written on ``chain_id``; blocks.

    Raises:
        NotFound: there is no such directory.
        PermissionDenied: others may change it: they could lead writes elsewhere.
        FailedPrecondition: it has what was written on other layers, or cannot be used.
    """
    path = os.path.join(layer, CHAIN)
    try:
        if not os.path.isdir(layer):
            raise NotFound(f"layer {layer} is no directory", hint=f"mkdir -p {layer}")
        require_own(layer)
        if os.path.lexists(path):
            _require_same(path, chain_id)
        elif os.listdir(layer):
            raise FailedPrecondition(
                f"layer {layer} is not empty, and not a layer that was kept here"
            )
        else:
            # The root of an image is for everybody, as the snapshotter makes it.
            os.mkdir(os.path.join(layer, TREE), 0o755)
            os.mkdir(os.path.join(layer, WORK), 0o700)
            with open(path, "x", encoding="ascii") as file:
                file.write(f"{chain_id}\n")
    except PermissionError as error:
        raise PermissionDenied(f"layer {layer} cannot be used: {error.strerror}") from error
    except OSError as error:
        raise FailedPrecondition(f"layer {layer} cannot be used: {error.strerror}") from error


def require_own(directory: str) -> None:
    """Make sure that nobody but us and root can put anything into ``directory``.

    Raises:
        PermissionDenied: others can.
        OSError: it cannot be looked at.
    """
    found = os.stat(directory)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionDenied(
            f"others may write to {directory}", hint="use a directory of your own, of mode 0755"
        )


def _require_same(path: str, chain_id: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.read(fd, _CHAIN_BYTES).decode(errors="replace").strip()
    finally:
        os.close(fd)
    if found != chain_id:
        raise FailedPrecondition(
            f"layer {os.path.dirname(path)} was written on another image (chain {found})",
            hint="use another directory for this image",
        )


def over(view: Sequence[Mount], layer: str) -> Mount:
    """The recipe of ``layer`` over what is mounted by ``view``, which is one bind or overlay."""
    (below,) = view
    lower = [option for option in below.options if option.startswith("lowerdir=")]
    own = [f"lowerdir={_escaped(below.source)}"] if below.type != "overlay" else lower
    rest = [option for option in below.options if option not in lower and option != "ro"]
    options = rest if below.type == "overlay" else list(_OPTIONS)
    above = [f"{key}={_escaped(os.path.join(layer, name))}" for key, name in _DIRECTORIES]
    return Mount("overlay", "overlay", (*options, *own, *above))


_DIRECTORIES: Final = (("upperdir", TREE), ("workdir", WORK))


def _escaped(path: str) -> str:
    r"""As overlayfs wants it: ``:``, ``,`` and ``\`` escaped."""
    return re.sub(r"([\\:,])", r"\\\1", path)
