"""OCI runtime bundles: an image that a runtime can start, in a directory.

::

    DIR/
    ├── config.json      what to run and how
    ├── rootfs/          the image, mounted
    └── layer/           what is written there

The image's words about users and directories are looked up in its own files, and
lead nowhere else.

Source: OCI runtime specification, bundle.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, NotFound, OrlopError, PermissionDenied
from orlop.images import kept_layer
from orlop.images.completion import to_the_end
from orlop.model import accounts
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.runtime_spec import ROOT, runtime_spec

if TYPE_CHECKING:
    from orlop.model.image import ImageConfig
    from orlop.ports.rootfs import RootFiles
    from orlop.ports.service import ImageDetail, ImageService

CONFIG: Final = "config.json"
LAYER: Final = "layer"

_UNIFIED: Final = "/sys/fs/cgroup/cgroup.controllers"  # cgroups(7)


async def make_bundle(
    service: ImageService,
    files: RootFiles,
    text: str,
    directory: str,
    *,
    read_only: bool = False,
    limits: Limits = DEFAULTS,
) -> ImageDetail:
    """Make a bundle of an image; all of it is there when this returns, or nothing.

    Args:
        service: has the image, and mounts where this process can see it.
        files: looks into the mounted image.
        text: names the image.
        directory: absolute path; made if it is not there, empty otherwise.
        read_only: the container cannot write to its root file system. The runtime still
            can, before: it makes the mount points that the image lacks.
        limits: of the image's own files.

    Raises:
        NotFound: no such image.
        FailedPrecondition: the directory is not empty, or nothing can be mounted there.
        ImageInvalid: the image's user is unknown, or its files are not what they should be.
        PermissionDenied: mounting needs root, or others may write to the directory.
    """
    detail = await service.detail(text)
    made = await asyncio.to_thread(lambda: _make_directories(directory))
    try:
        image = str(detail.image.record.id)
        root, layer = os.path.join(directory, ROOT), os.path.join(directory, LAYER)
        await service.mount(image, root, layer=layer)
        await to_the_end(
            asyncio.to_thread(
                lambda: _fill(files, detail.config, directory, read_only=read_only, limits=limits)
            )
        )
    except BaseException:
        await to_the_end(_undo(service, files, directory, made=made))
        raise
    return detail


async def remove_bundle(service: ImageService, files: RootFiles, directory: str) -> None:
    """Unmount and remove what ``make_bundle`` made; what others put there stays.

    Raises:
        NotFound: there is no bundle of ours.
        FailedPrecondition: it is in use.
    """
    marker = os.path.join(directory, LAYER, kept_layer.CHAIN)
    if not await asyncio.to_thread(lambda: os.path.lexists(marker)):
        raise NotFound(f"{directory} is no bundle that was made with orlop")
    await to_the_end(_remove(service, files, directory))
    with suppress(OSError):
        await asyncio.to_thread(os.rmdir, directory)


def _make_directories(directory: str) -> bool:
    """Make the directory and those in it; True when it was not there before."""
    try:
        try:
            os.mkdir(directory, 0o700)
            made = True
        except FileExistsError:
            made = False
            kept_layer.require_own(directory)
            if os.listdir(directory):
                raise FailedPrecondition(
                    f"bundle {directory} is not empty", hint=f"orlop bundle --remove {directory}"
                ) from None
        os.mkdir(os.path.join(directory, ROOT), 0o755)
        os.mkdir(os.path.join(directory, LAYER), 0o700)
    except PermissionError as error:
        raise PermissionDenied(f"cannot make bundle {directory}: {error.strerror}") from error
    except OSError as error:
        raise FailedPrecondition(f"cannot make bundle {directory}: {error.strerror}") from error
    return made


def _fill(
    files: RootFiles, config: ImageConfig, directory: str, *, read_only: bool, limits: Limits
) -> None:
    """Write ``config.json``; blocks."""
    root = os.path.join(directory, ROOT)
    identity = accounts.identify(
        config.user,
        passwd=files.read(root, accounts.USERS_FILE, limit=limits.accounts_bytes),
        group=files.read(root, accounts.GROUPS_FILE, limit=limits.accounts_bytes),
    )
    working_dir = posixpath.normpath(f"/{config.working_dir}").replace("//", "/")
    files.make_directory(root, working_dir)
    document = runtime_spec(
        config,
        identity,
        working_dir=working_dir,
        read_only=read_only,
        cgroup_namespace=os.path.exists(_UNIFIED),
    )
    path = os.path.join(directory, CONFIG)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        json.dump(document, file, indent=2)
        file.write("\n")


async def _remove(service: ImageService, files: RootFiles, directory: str) -> None:
    # After a reboot nothing is mounted any more.
    with suppress(NotFound):
        await service.unmount(os.path.join(directory, ROOT))
    await asyncio.to_thread(lambda: _remove_files(files, directory))


def _remove_files(files: RootFiles, directory: str) -> None:
    root = os.path.join(directory, ROOT)
    try:
        with suppress(FileNotFoundError):
            os.rmdir(root)
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, CONFIG))
    except OSError as error:
        raise FailedPrecondition(f"cannot remove {root}: {error.strerror}") from error
    files.remove(directory, LAYER)


async def _undo(service: ImageService, files: RootFiles, directory: str, *, made: bool) -> None:
    """Leave nothing behind; why it failed matters more than what cannot be undone."""
    with suppress(OrlopError):
        await _remove(service, files, directory)
    if made:
        with suppress(OSError):
            await asyncio.to_thread(os.rmdir, directory)
