"""Native: each snapshot is a whole copy of its parent, mounted by bind.

For file systems that cannot carry an overlay. It needs the most space and time;
where blocks can be shared (XFS, btrfs), the copies share them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orlop.linux import files
from orlop.snapshots import walk
from orlop.snapshots.copying import copy_tree
from orlop.snapshots.directories import Directories, bind, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.ports.snapshots import ApplyMode, Mount, Staged

NAME: Final = "native"


class Native(Directories):
    """The layout of the native snapshotter; implements ``LayerStaging``.

    Args:
        root: the store's root directory.
        path: where the snapshots are; "" is below ``root``.
    """

    def __init__(self, root: str, path: str = "") -> None:
        super().__init__(root, NAME, path=path)

    @property
    def independent(self) -> bool:
        """A layer is applied to a copy of its parent, which must be complete."""
        return False

    # The pull's way in.

    def stage(self, lower: Sequence[str]) -> Staged:
        """Make a copy of the topmost layer, or an empty tree. Raises StoreFull, StoreIO."""
        staged = self.make()
        if lower:
            try:
                with files.translated(f"copy {lower[0]} to {staged.fs}"):
                    _copy(lower[0], staged)
            except BaseException:
                self.discard(staged)
                raise
        return staged

    @contextmanager
    def target(self, staged: Staged, lower: Sequence[str], mode: ApplyMode) -> Iterator[int]:  # noqa: ARG002 - the port's signature
        """A descriptor of the tree, which shows the lower layers as it is."""
        with files.translated(f"open {staged.fs}"):
            fd = os.open(staged.fs, files.DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def settle(
        self,
        staged: Staged,
        lower: Sequence[str],
        *,
        implied: Sequence[bytes],
        opaque: Sequence[bytes],
    ) -> bool:
        """True: the copy has the lower layers' directories, and nothing is left to tell."""
        del staged, lower, implied, opaque
        return True

    # The service's way in.

    def start(self, layers: Sequence[str], *, writable: bool) -> Staged:
        """Make a copy of the topmost layer for a writer; a view needs none.

        Raises:
            StoreFull, StoreIO: the disk.
        """
        staged = self.stage(layers if writable else ())
        try:
            with files.translated(f"make {staged.fs}"):
                files.fsync_dir(staged.root)
        except BaseException:
            self.discard(staged)
            raise
        return staged

    def mounts(self, directory: int, layers: Sequence[str], *, writable: bool) -> list[Mount]:
        """How containerd's native snapshotter would have it mounted."""
        if layers and not writable:
            return [bind(layers[0], writable=False)]
        return [bind(self.tree(directory), writable=writable)]


def _copy(layer: str, staged: Staged) -> None:
    with opened(staged.root) as own:
        files.make_directory(own, "links")
        copy_tree(layer, staged.fs, links=os.path.join(staged.root, "links"))
        walk.remove_tree(own, "links")
