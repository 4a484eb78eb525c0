"""The kernel's mounts behind one small interface (``orlop.ports.mounting``)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from orlop.errors import FailedPrecondition, NotFound, PermissionDenied
from orlop.linux.mountcalls import unmount
from orlop.linux.mountinfo import read_mountinfo
from orlop.linux.mounts import mount_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.linux.mounts import Recipe


class SystemMounter:
    """Mounts in this process's mount namespace."""

    def mount(self, mounts: Sequence[Recipe], target: str) -> None:
        """Mount on ``target``. Raises NotFound, PermissionDenied, FailedPrecondition."""
        if not os.path.isdir(target):
            raise NotFound(f"mount target {target} is no directory", hint=f"mkdir -p {target}")
        try:
            mount_all(mounts, target)
        except OSError as error:
            raise _translated(error, f"cannot mount on {target}") from error

    def unmount(self, target: str) -> None:
        """Undo the topmost mount. Raises NotFound, PermissionDenied, FailedPrecondition."""
        try:
            unmount(target)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise NotFound(f"nothing is mounted on {target}") from error
            raise _translated(error, f"cannot unmount {target}") from error

    def is_mounted(self, target: str) -> bool:
        """True when something is mounted exactly on ``target``."""
        real = os.path.realpath(target)
        return any(point.target == real for point in read_mountinfo())


def _translated(error: OSError, what: str) -> FailedPrecondition | PermissionDenied | NotFound:
    message = f"{what}: {error.strerror}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(message, hint="mounting needs root")
    if error.errno == errno.ENOENT:
        return NotFound(message)
    return FailedPrecondition(message)
