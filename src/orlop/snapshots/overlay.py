"""Overlay: each snapshot holds its own changes; overlayfs lays them over one another.

Layers can be filled before their parents, because deletions are whiteouts and
what is missing is added by ``settle``. Mounts that this module makes are
detached: they have no place, and end with their descriptor.

Source: the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from orlop.linux import files
from orlop.linux.mounts import OVERLAY_OPTIONS, detached_overlay, escape_overlay
from orlop.model import labels
from orlop.model.quote import quote
from orlop.ports.snapshots import Mount
from orlop.snapshots import settle, walk
from orlop.snapshots.directories import Directories, bind, copy_root, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from orlop.ports.snapshots import ApplyMode, Staged

NAME: Final = "overlayfs"

_NO_OVERLAY: Final = frozenset(
    {errno.EINVAL, errno.ENODATA, errno.ENODEV, errno.ENOTSUP, errno.EROFS, errno.EXDEV}
)
"""What the kernel answers where a file system lacks something that overlayfs needs."""

_VOLATILE: Final = "volatile"
"""For layers in the making: the pull has a barrier of its own, so that the kernel need
not write out the whole file system when the mount ends."""


_OURS: Final = frozenset({"lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"})
"""Options that are this module's to set."""


@dataclass(frozen=True, slots=True)
class OverlaySettings:
    """What the overlayfs snapshotter can be told; see ``docs/configuration.md``.

    Attributes:
        path: where the snapshots are; "" is below the store's root.
        upperdir_label: snapshots are labelled with the directory of their changes.
        sync_remove: a removal waits until the disk has it.
        mount_options: for every overlay that a client mounts, beside our own.
        user_xattrs: overlayfs keeps its marks in ``user.overlay.*``, as it must where root
            is that of a user namespace.
    """

    path: str = ""
    upperdir_label: bool = False
    sync_remove: bool = False
    mount_options: tuple[str, ...] = ()
    user_xattrs: bool = False


class Overlay(Directories):
    """The layout of the overlayfs snapshotter; implements ``LayerStaging``.

    Args:
        root: the store's root directory.
        settings: of the configuration.

    Raises:
        InvalidArgument: a mount option that would undo what images rely on.
    """

    def __init__(self, root: str, settings: OverlaySettings = OverlaySettings()) -> None:
        super().__init__(root, NAME, path=settings.path, sync_remove=settings.sync_remove)
        self._upperdir_label = settings.upperdir_label
        self._marks = "user" if settings.user_xattrs else "trusted"
        self._own = (*OVERLAY_OPTIONS, *(("userxattr",) if settings.user_xattrs else ()))
        self._options = _with_ours(self._own, settings.mount_options)

    @property
    def independent(self) -> bool:
        """Layers can be filled in any order."""
        return True

    # The pull's way in.

    def stage(self, lower: Sequence[str]) -> Staged:  # noqa: ARG002 - the port's signature
        """Make an empty tree for one layer. Raises StoreFull, StoreIO."""
        return self.make()

    @contextmanager
    def target(self, staged: Staged, lower: Sequence[str], mode: ApplyMode) -> Iterator[int]:
        """A descriptor of the layer's tree, in ``direct`` mode as seen over ``lower``.

        Whoever got a copy of the descriptor must have closed it before the block ends.

        Raises:
            StoreFull, StoreIO, PermissionDenied: the tree cannot be opened or mounted.
        """
        doing = f"lay {staged.fs} over {len(lower)} layers"
        with ExitStack() as stack:
            with files.translated(doing):
                target = stack.enter_context(opened(staged.fs))
                if mode == "direct" and lower:
                    copy_root(lower[0], staged.fs)  # which a merged root does not show
                    target = stack.enter_context(self._merged(staged, lower))
            yield target

    def settle(
        self,
        staged: Staged,
        lower: Sequence[str],
        *,
        implied: Sequence[bytes],
        opaque: Sequence[bytes],
    ) -> bool:
        """Finish a tree that was filled in ``overlay`` mode; see the port.

        Raises:
            StoreFull, StoreIO, StoreCorrupt: the disk, or a path that is no directory.
        """
        with files.translated(f"settle {staged.fs}"), opened(staged.fs) as tree:
            if lower and (implied or opaque):
                # Of most layers only the root is implied, and the topmost layer has it: a
                # mount of all would take several times as long as the rest of a small layer.
                alone = {settle.ROOT}.issuperset(implied)
                with opened(lower[0]) if alone else _below(lower, self._own) as below:
                    if not settle.inherit(tree, below, implied=implied, opaque=opaque):
                        return False
            settle.mark_opaque(tree, opaque, namespace=self._marks)
        return True

    # The service's way in.

    def start(self, layers: Sequence[str], *, writable: bool) -> Staged:
        """Make an empty tree to lie over ``layers``, whose root looks like theirs.

        Raises:
            StoreFull, StoreIO: the disk.
        """
        staged = self.make(work=writable)
        try:
            with files.translated(f"make {staged.fs}"):
                if layers:
                    copy_root(layers[0], staged.fs)
                files.fsync_dir(staged.root)
        except BaseException:
            self.discard(staged)
            raise
        return staged

    def mounts(self, directory: int, layers: Sequence[str], *, writable: bool) -> list[Mount]:
        """How containerd's overlayfs snapshotter would have it mounted."""
        if not layers:
            return [bind(self.tree(directory), writable=writable)]
        if not writable and len(layers) == 1:
            return [bind(layers[0], writable=False)]
        options = list(self._options)
        if writable:
            options.append(f"workdir={escape_overlay(self.work(directory))}")
            options.append(f"upperdir={escape_overlay(self.tree(directory))}")
        options.append(f"lowerdir={':'.join(escape_overlay(layer) for layer in layers)}")
        return [Mount(type="overlay", source="overlay", options=tuple(options))]

    def labels(self, directory: int) -> Mapping[str, str]:
        """The directory of a snapshot's changes, if that is wanted."""
        return {labels.OVERLAY_UPPERDIR: self.tree(directory)} if self._upperdir_label else {}

    def recover(self, recorded: AbstractSet[int]) -> None:
        """See ``Directories.recover``; then try whether overlayfs works here.

        Raises:
            FailedPrecondition: the file system below the root cannot carry an overlay.
        """
        super().recover(recorded)
        self._try_overlay()

    def _try_overlay(self) -> None:
        """Delete a lower directory and make it again: that needs all that layers need."""
        staged = self.make()
        lower = os.path.join(staged.root, "lower")
        try:
            with files.translated(f"try overlayfs below {self.root}"):
                os.makedirs(os.path.join(lower, "directory"))
            with self._merged(staged, [lower]) as merged:
                os.rmdir("directory", dir_fd=merged)
                os.mkdir("directory", dir_fd=merged)
            mark = f"{self._marks}.{settle.OPAQUE}"
            os.getxattr(os.path.join(staged.fs, "directory"), mark)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise PermissionDenied(
                    f"overlayfs may not be mounted below {self.root}: {error.strerror}",
                    hint="without root it needs the orlop program and Linux 5.11;"
                    " or use the native snapshotter",
                ) from error
            if error.errno not in _NO_OVERLAY:
                raise files.as_store_error(error, f"try overlayfs below {self.root}") from error
            raise FailedPrecondition(
                f"overlayfs does not work below {self.root}: {error.strerror}",
                hint="put the root on ext4, XFS or btrfs, or use the native snapshotter",
            ) from error
        finally:
            self.discard(staged)

    @contextmanager
    def _merged(self, staged: Staged, lower: Sequence[str]) -> Iterator[int]:
        """The root of ``staged`` laid over ``lower``; changes go into ``staged``."""
        with ExitStack() as stack:
            own = stack.enter_context(opened(staged.root))
            stack.callback(_remove_work, own)
            with files.translated(f"make {staged.root}/work"):
                files.make_directory(own, "work")
            mount = detached_overlay(
                lower,
                upper=staged.fs,
                work=os.path.join(staged.root, "work"),
                options=(*self._own, _VOLATILE),
            )
            stack.callback(os.close, mount)
            # The mount's own descriptor is O_PATH; a worker needs one that can be changed.
            merged = os.open(".", files.DIRECTORY, dir_fd=mount)
            stack.callback(os.close, merged)
            yield merged


def _with_ours(ours: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """Our options, and others beside them; the layers are nobody else's to name."""
    own = {option.partition("=")[0]: option for option in ours}
    for option in options:
        key = option.partition("=")[0]
        if key in _OURS or own.get(key, option) != option:
            raise InvalidArgument(
                f"mount option {quote(option)} of the overlayfs snapshotter is refused",
                hint=f"orlop names the layers itself, and mounts with {','.join(ours)}",
            )
    return tuple(dict.fromkeys((*ours, *options)))


@contextmanager
def _below(lower: Sequence[str], options: Sequence[str]) -> Iterator[int]:
    """The root of all the lower layers as one tree, read-only."""
    mount = detached_overlay(lower, options=options)
    try:
        yield mount
    finally:
        os.close(mount)


def _remove_work(own: int) -> None:
    with files.translated("remove a work directory"):
        walk.remove_tree(own, "work")
