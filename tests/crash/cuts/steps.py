"""The steps of the protocol, and how each is left out: what a rig must notice.

``docs/durability.md`` says why each is there. They are taken out of this process alone,
which works on a store that is given up; the product has no switch for it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from orlop.gc.collect import Collector
from orlop.linux import files
from orlop.metadata import db
from orlop.metadata.store import MetadataStore
from orlop.pull.pending import TreeState
from orlop.pull.publish import ImagePublisher
from orlop.store.blobs import LocalBlobStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from orlop.gc.graph import Root
    from orlop.model.digest import Digest
    from orlop.ports.metadata import Garbage, Inventory, Publication
    from orlop.ports.snapshots import LayerStaging
    from orlop.pull.pending import PendingBlob, PendingTree

_SNAPSHOTS: Final = "/snapshots"
_BLOBS: Final = "/blobs/sha256"
_BLOB: Final = "blob "


@contextmanager
def left_out(step: str) -> Iterator[None]:
    """Leave a step out for the length of the block; "" is none.

    Raises:
        KeyError: there is no such step.
    """
    with ExitStack() as stack:
        if step:
            STEPS[step](stack)
        yield


def _replace(stack: ExitStack, owner: object, name: str, value: object) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _no_syncfs(stack: ExitStack) -> None:
    _replace(stack, files, "syncfs", lambda _, *, what="": None)


def _late_syncfs(stack: ExitStack) -> None:
    """The barrier comes after the trees have got their names."""
    syncfs, fsync = files.syncfs, files.fsync
    waiting: list[int] = []

    def later(fd: int, *, what: str = "") -> None:
        waiting.append(fd)

    def first(fd: int, *, what: str = "") -> None:
        if what.endswith(_SNAPSHOTS) and waiting:
            waiting.clear()
            syncfs(fd, what=what)
        fsync(fd, what=what)

    _replace(stack, files, "syncfs", later)
    _replace(stack, files, "fsync", first)


def _without_fsync(stack: ExitStack, skipped: Callable[[str], bool]) -> None:
    """Leave fsync out for what is called so."""
    fsync = files.fsync

    def some(fd: int, *, what: str = "") -> None:
        if not skipped(what):
            fsync(fd, what=what)

    _replace(stack, files, "fsync", some)


def _no_names(stack: ExitStack) -> None:
    _without_fsync(stack, lambda what: what.endswith((_SNAPSHOTS, _BLOBS)))


def _no_snapshots_dir(stack: ExitStack) -> None:
    _without_fsync(stack, lambda what: what.endswith(_SNAPSHOTS))


def _no_blob(stack: ExitStack) -> None:
    _without_fsync(stack, lambda what: what.startswith(_BLOB))


def _no_blobs_dir(stack: ExitStack) -> None:
    _without_fsync(stack, lambda what: what.endswith(_BLOBS))


def _no_layout(stack: ExitStack) -> None:
    _without_fsync(stack, lambda what: not what.endswith((_SNAPSHOTS, _BLOBS)))


def _replacing_rename(stack: ExitStack) -> None:
    renameat2 = files.renameat2

    def rename(olddirfd: int, old: bytes, newdirfd: int, new: bytes, _: int = 0) -> None:
        renameat2(olddirfd, old, newdirfd, new)

    _replace(stack, files, "renameat2", rename)


def _no_full(stack: ExitStack) -> None:
    _replace(stack, db, "_SYNC", ("synchronous", "NORMAL", 1))


def _shared_blocks(stack: ExitStack) -> None:
    _replace(stack, db, "_PARAMETERS", "psow=1")


def _log_goes_on(stack: ExitStack) -> None:
    _replace(stack, db, "_restart_log", lambda _: None)


def _transaction_first(stack: ExitStack) -> None:
    """Trees and blobs get their names when the record is there already."""
    publish = MetadataStore.publish
    name_trees, name_blobs = ImagePublisher._name_trees, ImagePublisher._name_blobs
    late: list[Callable[[], Awaitable[None]]] = []

    async def later_trees(
        self: ImagePublisher, staging: LayerStaging, trees: Sequence[PendingTree]
    ) -> None:
        staged = [tree for tree in trees if tree.state is TreeState.STAGED]

        async def name() -> None:
            for tree in staged:
                tree.state = TreeState.STAGED
            await name_trees(self, staging, staged)
            for tree in staged:
                tree.state = TreeState.RECORDED

        late.append(name)

    async def later_blobs(self: ImagePublisher, blobs: Sequence[PendingBlob]) -> None:
        late.append(lambda: name_blobs(self, blobs))

    async def first(self: MetadataStore, namespace: str, publication: Publication) -> None:
        await publish(self, namespace, publication)
        while late:
            await late.pop(0)()

    _replace(stack, ImagePublisher, "_name_trees", later_trees)
    _replace(stack, ImagePublisher, "_name_blobs", later_blobs)
    _replace(stack, MetadataStore, "publish", first)


def _files_first(stack: ExitStack) -> None:
    """A collection deletes blobs, and the disk has that, before their records go."""
    mark, delete_blob = Collector._mark, LocalBlobStore.delete
    stores: list[LocalBlobStore] = []

    def delete_one(self: LocalBlobStore, digest: Digest) -> None:
        stores.append(self)
        delete_blob(self, digest)

    async def delete(self: Collector, inventory: Inventory, protected: frozenset[Root]) -> Garbage:
        garbage = await mark(self, inventory, protected)
        await self._delete_blobs(garbage.blobs)
        while stores:
            stores.pop().sync()
        return garbage

    _replace(stack, LocalBlobStore, "delete", delete_one)
    _replace(stack, Collector, "_mark", delete)


STEPS: Final[dict[str, Callable[[ExitStack], None]]] = {
    "image-syncfs": _no_syncfs,
    "snapshot-rename-after-sync": _late_syncfs,
    "snapshots-dir-fsync": _no_snapshots_dir,
    "blob-fsync": _no_blob,
    "blob-dir-fsync": _no_blobs_dir,
    "names-fsync": _no_names,
    "layout-fsync": _no_layout,
    "blob-rename-noreplace": _replacing_rename,
    "transaction-last": _transaction_first,
    "wal-synchronous-full": _no_full,
    "wal-own-blocks": _shared_blocks,
    "wal-restart": _log_goes_on,
    "removal-transaction-first": _files_first,
}
"""By name; ``names-fsync`` is both of ``snapshots-dir-fsync`` and ``blob-dir-fsync``."""

NEEDLESS: Final = {
    "wal-restart": "only a second power cut, of the start after the first, can miss it",
    "snapshot-rename-after-sync": "a tree without a record is removed by the next start",
    "blob-fsync": "the barrier covers it; pulls that have none are left to the simulation",
    "layout-fsync": "the barrier of the first pull covers the directories, too",
    "blob-rename-noreplace": "guards against other writers, not against power cuts",
}
"""Steps that no power cut of these rigs can miss while all others are taken, and why."""
