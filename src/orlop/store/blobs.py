"""Blobs on the local file system: publishing, reading, listing, deleting.

The order of ``publish`` is what makes a blob's name mean something: data durable,
then the name, then the name durable. A name therefore never denotes bytes that a
power failure can take away, and a caller may record it in the database once
``publish`` has returned. Never knows who refers to a blob.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import (
    FailedPrecondition,
    LimitExceeded,
    NotFound,
    StoreCorrupt,
    StoreIO,
    Unavailable,
)
from orlop.linux import files, root
from orlop.linux.diskread import DiskReader
from orlop.model.digest import is_hex
from orlop.ports.content import BlobStat
from orlop.store import layout
from orlop.store.health import Health
from orlop.store.ingest import LocalIngest, read_chunks, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.ports.content import Ingest, IngestStatus

_DATA: Final = os.fsencode(layout.DATA)


class LocalBlobStore:
    """Implements ``orlop.ports.content.BlobStore`` in one directory.

    The directory must be this process's alone (``orlop.linux.root.lock_root``
    on a directory above it). Close it after its ingests; ``with`` does.

    Args:
        path: of the directory; made, with mode 0700, if it is not there.
        clock: for the times of ingests.

    Raises:
        StoreCorrupt: the directory, or one in it, is not ours alone.
        PermissionDenied, StoreFull, StoreIO: it cannot be made.
    """

    def __init__(self, path: str, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._health = Health()
        self._mutex = threading.Lock()
        self._open: set[str] = set()
        self._directories: dict[str, int] = {}
        self._root = root.open_root(path)
        try:
            self._make_directories()
            self._tidy()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The directory it lives in."""
        return self._path

    def close(self) -> None:
        """Give the descriptors back; a second call does nothing."""
        descriptors = [*self._directories.values(), self._root]
        self._directories.clear()
        self._root = -1
        for fd in descriptors:
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- reading --------------------------------------------------------------------------

    def stat(self, digest: Digest) -> BlobStat | None:
        """What is stored under ``digest``; None if nothing, or no regular file, is."""
        with files.translated(f"look for blob {digest}"):
            return _stat(self._blobs(digest.algorithm), digest)

    def open(self, digest: Digest) -> int:
        """A read-only descriptor, owned by the caller. Raises NotFound."""
        try:
            with files.translated(f"open blob {digest}"):
                return files.open_file(self._blobs(digest.algorithm), digest.hex, flags=os.O_RDONLY)
        except NotFound as error:
            raise NotFound(f"blob {digest}: not in the store") from error

    def read(self, digest: Digest, limit: int) -> bytes:
        """The whole blob, verified; raises as the port says."""
        with self._opened(digest) as fd:
            size = os.fstat(fd).st_size
            if size > limit:
                raise LimitExceeded(
                    f"blob {digest} has {size} bytes; at most {limit} may be read at once",
                    limit="manifest_bytes",
                )
            data = b"".join(bytes(chunk) for chunk in read_chunks(fd))
        hasher = digest.hasher()
        hasher.update(data)
        _check(digest, hasher.hexdigest())
        return data

    def verify(self, digest: Digest, spend: Callable[[int], None] | None = None) -> None:
        """Hash the blob as the disk has it. Raises NotFound, StoreCorrupt."""
        hasher = digest.hasher()
        with self._opened(digest) as fd:
            end = 0
            for offset, chunk in DiskReader().chunks(fd):
                if spend is not None:
                    spend(len(chunk))
                if offset > end:
                    break  # a hole: no blob of ours has one
                hasher.update(chunk)
                end = offset + len(chunk)
        _check(digest, hasher.hexdigest())

    def walk(self) -> Iterator[BlobStat]:
        """Every blob, in no order; one that disappears meanwhile is left out."""
        for algorithm in layout.ALGORITHMS:
            with files.translated(f"list blobs in {self._path}"):
                directory = self._blobs(algorithm)
                names = os.listdir(directory)
            for name in names:
                digest = layout.blob_digest(algorithm, name)
                found = None if digest is None else self.stat(digest)
                if found is not None:
                    yield found

    def digests(self) -> set[str]:
        """The digest of every blob, as text; looks at no blob."""
        found: set[str] = set()
        for algorithm in layout.ALGORITHMS:
            with files.translated(f"list blobs in {self._path}"):
                names = os.listdir(self._blobs(algorithm))
            found.update(f"{algorithm}:{name}" for name in names if is_hex(algorithm, name))
        return found

    # --- writing --------------------------------------------------------------------------

    def ingest(self, ref: str, *, total: int = 0) -> LocalIngest:
        """Open, or continue, the ingest ``ref``; raises as the port says."""
        name = layout.ingest_name(ref)
        self._claim(name, ref)
        return LocalIngest(
            ref,
            self._directory(layout.INGEST),
            total=total,
            clock=self._clock,
            health=self._health,
            released=lambda: self._release(name),
        )

    def status(self) -> list[IngestStatus]:
        """All ingests, open or not, by reference."""
        with files.translated(f"list ingests in {self._path}"):
            parent = self._directory(layout.INGEST)
            found = [read_status(parent, name) for name in os.listdir(parent)]
        return sorted((one for one in found if one is not None), key=lambda one: one.ref)

    def abort(self, ref: str) -> None:
        """Delete a closed ingest. Raises NotFound, Unavailable."""
        name = layout.ingest_name(ref)
        self._claim(name, ref)
        try:
            with self._health.changing(f"delete ingest {ref}"):
                parent = self._directory(layout.INGEST)
                if read_status(parent, name) is None:
                    raise NotFound(f"ingest {ref}: there is none")
                _remove_ingest(parent, name)
        finally:
            self._release(name)

    def publish(self, ingests: Sequence[Ingest], *, synced: bool = False) -> None:
        """Turn verified ingests into blobs; durable when this returns.

        When the file system is full, the ingests that did not become blobs keep
        their bytes. When a barrier fails they are deleted: what the page cache
        shows of them is not what the disk has.

        Raises:
            FailedPrecondition: one is not verified, or is another store's.
            StoreFull, StoreIO: see the port.
        """
        pairs = [_verified(ingest) for ingest in dict.fromkeys(ingests)]
        moved: list[LocalIngest] = []
        try:
            with self._health.changing("publish blobs"):
                if not synced:
                    for ingest, digest in pairs:
                        files.fsync(ingest.fileno(), what=f"blob {digest}")
                for ingest, digest in pairs:
                    self._name(ingest, digest)
                    moved.append(ingest)
                for algorithm in sorted({digest.algorithm for _, digest in pairs}):
                    directory = self._blobs(algorithm)
                    files.fsync(directory, what=f"{self._path}/{layout.BLOBS}/{algorithm}")
        finally:
            for ingest, _ in pairs:
                if ingest in moved or self._health.failed:
                    ingest.drop()
                else:
                    ingest.close()

    def sync(self) -> None:
        """One barrier for everything written to the store's file system so far.

        Uses a descriptor that is as old as the store, so that no failed
        write-back since its opening can go unreported. After it,
        ``publish(..., synced=True)`` is right for whatever was verified before.

        Raises:
            StoreIO: some write-back failed; nobody knows which.
        """
        with self._health.changing("sync the file system"):
            files.syncfs(self._root, what=f"the file system of {self._path}")

    def delete(self, digest: Digest) -> None:
        """Remove the file. Raises NotFound."""
        try:
            with self._health.changing(f"delete blob {digest}"):
                files.remove_file(self._blobs(digest.algorithm), digest.hex)
        except NotFound as error:
            raise NotFound(f"blob {digest}: not in the store") from error

    # --- inside ---------------------------------------------------------------------------

    def _make_directories(self) -> None:
        """Make what is missing, and make all names durable, deepest first."""
        with self._health.changing(f"prepare the blob store {self._path}"):
            for path in layout.directories():
                above, _, name = path.rpartition("/")
                parent = self._directories[above] if above else self._root
                files.make_directory(parent, name)
                self._directories[path] = files.open_directory(parent, name)
            for path in reversed(layout.directories()):
                files.fsync(self._directories[path], what=f"{self._path}/{path}")
            files.fsync(self._root, what=self._path)

    def _tidy(self) -> None:
        """Remove directories that were ingests once: data gone, or never begun."""
        with self._health.changing(f"tidy ingests in {self._path}"):
            parent = self._directory(layout.INGEST)
            for name in os.listdir(parent):
                if read_status(parent, name) is None:
                    _remove_ingest(parent, name)

    def _directory(self, path: str) -> int:
        try:
            return self._directories[path]
        except KeyError:
            raise FailedPrecondition(f"the blob store {self._path} is closed") from None

    def _blobs(self, algorithm: str) -> int:
        return self._directory(f"{layout.BLOBS}/{algorithm}")

    def _claim(self, name: str, ref: str) -> None:
        with self._mutex:
            if name in self._open:
                raise Unavailable(f"ingest {ref} is open already")
            self._open.add(name)

    def _release(self, name: str) -> None:
        with self._mutex:
            self._open.discard(name)

    @contextmanager
    def _opened(self, digest: Digest) -> Iterator[int]:
        fd = self.open(digest)
        try:
            with files.translated(f"read blob {digest}"):
                yield fd
        finally:
            os.close(fd)

    def _name(self, ingest: LocalIngest, digest: Digest) -> None:
        """Give the data its final name, unless a good blob has it."""
        new = os.fsencode(digest.hex)
        blobs = self._blobs(digest.algorithm)
        try:
            files.renameat2(ingest.directory, _DATA, blobs, new, files.RENAME_NOREPLACE)
        except FileExistsError:
            if not self._is_good(digest, ingest.offset):
                files.renameat2(ingest.directory, _DATA, blobs, new)

    def _is_good(self, digest: Digest, size: int) -> bool:
        """True when the file that has the name already is what the name says.

        Rare (the pull writes what has no record only), so hashing it is cheap,
        and a damaged file must not stay because it has the right name.
        """
        found = self.stat(digest)
        if found is None or found.size != size:
            return False
        try:
            self.verify(digest)
        except (StoreCorrupt, NotFound, StoreIO):
            return False  # unreadable sectors as well: the new file takes its place
        return True


def _verified(ingest: Ingest) -> tuple[LocalIngest, Digest]:
    if not isinstance(ingest, LocalIngest):
        raise FailedPrecondition(f"ingest {ingest.ref} belongs to another store")
    ingest.fileno()
    if ingest.verified is None:
        raise FailedPrecondition(f"ingest {ingest.ref} is not verified")
    return ingest, ingest.verified


def _stat(directory: int, digest: Digest) -> BlobStat | None:
    try:
        status = os.stat(digest.hex, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return BlobStat(
        digest=digest,
        size=status.st_size,
        disk_bytes=status.st_blocks * 512,
        created_at=status.st_mtime_ns,
    )


def _check(digest: Digest, found: str) -> None:
    if found != digest.hex:
        raise StoreCorrupt(
            f"the bytes hash to {digest.algorithm}:{found}: blob {digest}",
            hint="run `orlop check --repair`",
        )


def _remove_ingest(parent: int, name: str) -> None:
    """Delete an ingest's directory by name; it stays if foreign files are in it."""
    try:
        directory = files.open_directory(parent, name)
    except NotADirectoryError:
        files.remove_file(parent, name)
        return
    try:
        for member in layout.INGEST_FILES:
            with suppress(FileNotFoundError):
                files.remove_file(directory, member)
    finally:
        os.close(directory)
    try:
        files.remove_directory(parent, name)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
