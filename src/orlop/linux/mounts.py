"""Mounts: recipes and overlays become system calls.

A recipe (type, source, options) is mounted here, and overlays of up to 500
layers are made. Nothing here knows what a snapshot is, and nothing is mounted
that the caller did not ask for.

Errors are ``OSError`` as ``os`` raises them; the caller translates them
(``orlop.linux.files.translated``).

Binds need Linux 5.12 (mount_setattr). Overlays become quicker with 6.7, which
takes layers one by one instead of in one page of text.

Source: the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from orlop.linux import mountcalls
from orlop.linux.mountcalls import mount, mount_error, unmount

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "OVERLAY_LAYERS",
    "OVERLAY_OPTIONS",
    "Recipe",
    "detached_overlay",
    "escape_overlay",
    "mount",
    "mount_all",
    "split_lowerdir",
    "unmount",
]

OVERLAY_OPTIONS: Final = ("index=off", "metacopy=off", "redirect_dir=nofollow")
"""What every overlay of ours is mounted with.

An image's layers must not be able to point at each other's files: redirects and
metadata-only copies are not followed, whatever the kernel's defaults are.
"""

OVERLAY_LAYERS: Final = 500
"""How many lower layers the kernel takes (``OVL_MAX_STACK``)."""

_LAYER_BY_LAYER_SINCE: Final = (6, 7)  # "lowerdir+" of overlayfs

# Options that are flags of a mount: bit for mount(2), bit for fsmount(2) and mount_setattr(2).
_FLAGS: Final[dict[str, tuple[int, int]]] = {
    "ro": (mountcalls.MS_RDONLY, 0x1),
    "nosuid": (mountcalls.MS_NOSUID, 0x2),
    "nodev": (mountcalls.MS_NODEV, 0x4),
    "noexec": (mountcalls.MS_NOEXEC, 0x8),
    "noatime": (mountcalls.MS_NOATIME, 0x10),
    "strictatime": (mountcalls.MS_STRICTATIME, 0x20),
    "nodiratime": (mountcalls.MS_NODIRATIME, 0x80),
}
_NO_OPERATION: Final = frozenset(
    {"defaults", "rw", "suid", "dev", "exec", "atime", "diratime", "relatime", ""}
)
_BINDS: Final = frozenset({"bind", "rbind"})


class Recipe(Protocol):
    """What ``mount_all`` needs to know of a mount; containerd's words."""

    @property
    def type(self) -> str:
        """``overlay``, ``bind``, or a file system's name."""

    @property
    def source(self) -> str:
        """A directory, a device, or a label."""

    @property
    def options(self) -> Sequence[str]:
        """As after ``mount -o``, one by one."""


def mount_all(mounts: Iterable[Recipe], target: str) -> None:
    """Mount recipes on ``target``, one upon the other; all of them or none.

    Args:
        mounts: ``bind`` and ``overlay`` as snapshotters give them; other types go to
            mount(2) as they are.
        target: an existing directory that is no symbolic link.

    Raises:
        OSError: the kernel refused, or a recipe makes no sense (EINVAL).
    """
    done = 0
    try:
        for recipe in mounts:
            _mount_recipe(recipe, target)
            done += 1
    except BaseException:
        for _ in range(done):
            with suppress(OSError):  # the first error is the one to report
                unmount(target, detach=True)
        raise


def _mount_recipe(recipe: Recipe, target: str) -> None:
    if recipe.type == "bind" or not _BINDS.isdisjoint(recipe.options):
        _bind(recipe, target)
    elif recipe.type == "overlay":
        _Overlay.from_options(recipe.options).mount_on(target)
    else:
        flags, rest = _mount_flags(recipe.options)
        mount(recipe.source, target, fstype=recipe.type, flags=flags, data=",".join(rest))


def _bind(recipe: Recipe, target: str) -> None:
    unknown = [o for o in _mount_flags(recipe.options)[1] if o not in _BINDS]
    if unknown:
        raise mount_error(errno.EINVAL, f"bind with option {unknown[0]!r}")
    copy = mountcalls.clone_tree(recipe.source, recursive="rbind" in recipe.options)
    try:
        if attributes := _attributes(recipe.options):
            mountcalls.set_attributes(copy, attributes)
        mountcalls.attach(copy, target)
    finally:
        os.close(copy)


def _mount_flags(options: Iterable[str]) -> tuple[int, list[str]]:
    """Bits for mount(2), and what is left for the file system."""
    flags, rest = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option][0]
        elif option not in _NO_OPERATION:
            rest.append(option)
    return flags, rest


def _attributes(options: Iterable[str]) -> int:
    """Bits for fsmount(2) and mount_setattr(2)."""
    return sum(_FLAGS[option][1] for option in set(options) if option in _FLAGS)


# --- overlay ------------------------------------------------------------------------------


def escape_overlay(path: str) -> str:
    r"""A directory's name as it stands in ``lowerdir=``: ``:``, ``,`` and ``\`` escaped."""
    return re.sub(r"([\\:,])", r"\\\1", path)


def split_lowerdir(value: str) -> list[str]:
    """The directories of a ``lowerdir=`` value, topmost first, unescaped."""
    parts = re.findall(r"(?:[^\\:]|\\.)+", value, re.DOTALL)
    return [_unescape_overlay(part) for part in parts]


def _unescape_overlay(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def detached_overlay(
    lower: Sequence[str],
    *,
    upper: str = "",
    work: str = "",
    options: Sequence[str] = OVERLAY_OPTIONS,
) -> int:
    """Lay directories over one another without mounting them anywhere.

    Args:
        lower: read-only directories, topmost first, 1 to ``OVERLAY_LAYERS``.
        upper: where writes go; "" makes the whole read-only.
        work: empty directory on the same file system as ``upper``.
        options: for overlayfs.

    Returns:
        A descriptor of the root (``O_PATH``: open ``.`` below it to read or change the
        root itself). The mount ends when it and all that was opened below it are closed.
        A single lower directory without ``upper`` needs no mount and is opened as it is.

    Raises:
        OSError: the kernel refused.
    """
    if len(lower) == 1 and not upper:
        return os.open(lower[0], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return _Overlay(tuple(lower), upper=upper, work=work, options=tuple(options)).detached()


@dataclass(frozen=True, slots=True)
class _Overlay:
    """The layers of an overlay, and the two ways to have the kernel mount them."""

    lower: tuple[str, ...]
    upper: str
    work: str
    options: tuple[str, ...]

    @classmethod
    def from_options(cls, options: Sequence[str]) -> Self:
        lower: list[str] = []
        upper = work = ""
        rest = []
        for option in options:
            key, _, value = option.partition("=")
            if key == "lowerdir":
                lower = split_lowerdir(value)
            elif key == "upperdir":
                upper = _unescape_overlay(value)
            elif key == "workdir":
                work = _unescape_overlay(value)
            else:
                rest.append(option)
        return cls(tuple(lower), upper=upper, work=work, options=tuple(rest))

    def mount_on(self, target: str) -> None:
        if not _layer_by_layer(os.uname().release):
            self.mount_by_options(target)
            return
        descriptor = self.configured()
        try:
            mountcalls.attach(descriptor, target)
        finally:
            os.close(descriptor)

    def detached(self) -> int:
        if _layer_by_layer(os.uname().release):
            return self.configured()
        return self.detached_by_options()

    def configured(self) -> int:
        """Through fsopen(2), layer by layer."""
        with mountcalls.Configuration("overlay") as overlay:
            overlay.set("source", "overlay")
            for directory in self.lower:
                overlay.set_directory("lowerdir+", directory)
            if self.upper:
                overlay.set_directory("upperdir", self.upper)
                overlay.set_directory("workdir", self.work)
            for option in _mount_flags(self.options)[1]:
                overlay.set(*option.partition("=")[::2])
            return overlay.mount(_attributes(self.options))

    def mount_by_options(self, target: str) -> None:
        """Through mount(2): one page of options.

        When the names are too long for it, the layers are opened and called by the
        numbers of their descriptors, seen from /proc/self/fd, in a thread that has a
        working directory of its own.
        """
        flags, rest = _mount_flags(self.options)
        data = self.page([escape_overlay(name) for name in self.directories], rest)
        if len(os.fsencode(data)) < os.sysconf("SC_PAGE_SIZE"):
            mount("overlay", target, fstype="overlay", flags=flags, data=data)
            return
        place = os.path.abspath(target)
        with ExitStack() as opened:
            numbers = []
            for name in self.directories:
                numbers.append(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                opened.callback(os.close, numbers[-1])
            data = self.page([str(number) for number in numbers], rest)

            def mount_from_descriptors() -> None:
                os.chdir("/proc/self/fd")
                mount("overlay", place, fstype="overlay", flags=flags, data=data)

            mountcalls.apart(mountcalls.CLONE_FS, mount_from_descriptors)

    def detached_by_options(self) -> int:
        """Through mount(2) in a mount namespace of its own, which ends at once."""
        place = os.path.abspath(self.lower[0])

        def mount_and_open() -> int:
            mount("none", "/", fstype="", flags=mountcalls.MS_REC | mountcalls.MS_PRIVATE)
            self.mount_by_options(place)
            return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

        return mountcalls.apart(mountcalls.CLONE_NEWNS, mount_and_open)

    @property
    def directories(self) -> tuple[str, ...]:
        return (*self.lower, self.upper, self.work) if self.upper else self.lower

    def page(self, names: Sequence[str], rest: Sequence[str]) -> str:
        """mount(2)'s options, with ``names`` instead of ``directories``."""
        count = len(self.lower)
        above = [f"upperdir={names[count]}", f"workdir={names[count + 1]}"] if self.upper else []
        return ",".join([*rest, f"lowerdir={':'.join(names[:count])}", *above])


def _layer_by_layer(release: str) -> bool:
    """Whether overlayfs of this kernel release takes lower directories one at a time."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return version is not None and (int(version[1]), int(version[2])) >= _LAYER_BY_LAYER_SINCE
