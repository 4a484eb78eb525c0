"""Ingests: partial blobs, one directory each, that outlive errors and restarts.

Writes and hashes; never gives a blob its name (``orlop.store.blobs`` does).
What was written is not durable before it is published: after a power failure
an ingest may hold other bytes than were written, which ``verify`` finds out,
because opening it again hashes what is really there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import DigestMismatch, FailedPrecondition, SizeMismatch, StoreIO
from orlop.linux import files
from orlop.ports.content import IngestStatus
from orlop.store import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.store.health import Health

_WRITE_BACK_BYTES: Final = 8 << 20
"""Ask for write-back this often: large enough for whole extents, small enough that
little is left to write when the barrier comes."""

_READ_BYTES: Final = 1 << 20
_TEXT_BYTES: Final = 8192  # a reference of 1024 characters has at most 4096 bytes
_ALGORITHM: Final = "sha256"
_BLOB_MODE: Final = 0o400


class LocalIngest:
    """Implements ``orlop.ports.content.Ingest``; made by ``LocalBlobStore.ingest`` only.

    Args:
        ref: its reference.
        parent: descriptor of the directory ``ingest``; stays the store's.
        total: expected length, 0 if unknown.
        clock: for ``startedat`` and ``updatedat``.
        health: the store's.
        released: called once, when the ingest is closed.
    """

    __slots__ = (
        "_clock",
        "_directory",
        "_fd",
        "_hasher",
        "_health",
        "_offset",
        "_parent",
        "_ref",
        "_released",
        "_verified",
        "_written_back",
    )

    def __init__(
        self,
        ref: str,
        parent: int,
        *,
        total: int,
        clock: Clock,
        health: Health,
        released: Callable[[], None],
    ) -> None:
        self._ref = ref
        self._parent = parent
        self._clock = clock
        self._health = health
        self._released = released
        self._hasher = hashlib.new(_ALGORITHM)
        self._offset = 0
        self._written_back = 0
        self._verified: Digest | None = None
        self._directory = self._fd = -1
        try:
            with health.changing(f"open ingest {ref}"):
                self._open(total)
        except BaseException:
            self._close_files()
            raise

    @property
    def ref(self) -> str:
        """The reference it was opened under."""
        return self._ref

    @property
    def offset(self) -> int:
        """How many bytes are in it."""
        return self._offset

    @property
    def verified(self) -> Digest | None:
        """The digest that ``verify`` confirmed, and no byte has changed since."""
        return self._verified

    @property
    def directory(self) -> int:
        """Descriptor of its directory, for the store; stays the ingest's."""
        return self._directory

    def fileno(self) -> int:
        """Descriptor of the data, open for reading and writing; stays the ingest's.

        Raises:
            FailedPrecondition: it is closed.
        """
        if self._fd < 0:
            raise FailedPrecondition(f"ingest {self._ref} is closed")
        return self._fd

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hash and append ``data``; raises as the port says."""
        fd = self.fileno()
        self._verified = None
        rest = memoryview(data).cast("B")
        with self._health.changing(f"write ingest {self._ref}"):
            while rest:
                count = files.write_at(fd, rest, offset=self._offset)
                if count == 0:
                    raise StoreIO(f"the disk took no bytes: write ingest {self._ref}")
                self._hasher.update(rest[:count])
                self._offset += count
                rest = rest[count:]
            pending = self._offset - self._written_back
            if pending >= _WRITE_BACK_BYTES:
                files.sync_file_range(fd, offset=self._written_back, length=pending)
                self._written_back = self._offset

    def truncate(self) -> None:
        """Forget everything written so far."""
        fd = self.fileno()
        self._verified = None
        with self._health.changing(f"truncate ingest {self._ref}"):
            files.truncate(fd, 0)
        self._hasher = hashlib.new(_ALGORITHM)
        self._offset = self._written_back = 0

    def verify(self, digest: Digest, size: int) -> None:
        """Compare size and digest; raises as the port says.

        The file becomes read-only here, so that the barrier that follows covers it.
        A digest of another algorithm than sha256 costs one reading of the file.
        """
        fd = self.fileno()
        if self._offset != size:
            raise SizeMismatch(
                f"{self._offset} bytes instead of {size}: {digest} (ingest {self._ref})"
            )
        if digest.algorithm == _ALGORITHM:
            found = self._hasher.hexdigest()
        else:
            hasher = digest.hasher()
            with files.translated(f"read ingest {self._ref}"):
                for chunk in read_chunks(fd):
                    hasher.update(chunk)
            found = hasher.hexdigest()
        if found != digest.hex:
            raise DigestMismatch(
                f"the bytes hash to {digest.algorithm}:{found} instead of {digest}"
                f" (ingest {self._ref})"
            )
        with self._health.changing(f"protect ingest {self._ref}"):
            files.change_mode(fd, _BLOB_MODE)
        self._verified = digest

    def abort(self) -> None:
        """Close it and delete what was written."""
        self.fileno()
        try:
            with self._health.changing(f"delete ingest {self._ref}"):
                self.remove()
        finally:
            self._close_files()

    def remove(self) -> None:
        """Delete its files and its directory, whatever is left of them. Raises OSError."""
        for name in layout.INGEST_FILES:
            with suppress(FileNotFoundError):
                files.remove_file(self._directory, name)
        with suppress(FileNotFoundError):
            files.remove_directory(self._parent, layout.ingest_name(self._ref))

    def close(self) -> None:
        """Close it and keep the bytes; a second call does nothing."""
        if self._fd < 0:
            return
        try:
            # For display only: a full or broken disk must not make closing fail.
            with suppress(OSError):
                _write_text(
                    self._directory, layout.UPDATED_AT, layout.format_time(self._clock.now())
                )
        finally:
            self._close_files()

    def drop(self) -> None:
        """Close it when its data has become a blob: nothing of it is kept."""
        if self._fd < 0:
            return
        try:
            # A rest without data is removed when the store is opened next.
            with suppress(OSError):
                self.remove()
        finally:
            self._close_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, total: int) -> None:
        name = layout.ingest_name(self._ref)
        new = files.make_directory(self._parent, name)
        self._directory = files.open_directory(self._parent, name)
        known = not new and read_text(self._directory, layout.REF) == self._ref
        if not known:
            _write_text(self._directory, layout.REF, self._ref)
            _write_text(self._directory, layout.STARTED_AT, layout.format_time(self._clock.now()))
        if total:
            _write_text(self._directory, layout.TOTAL, str(total))
        self._fd = _open_data(self._directory, keep=known)
        if known:
            for chunk in read_chunks(self._fd):
                self._hasher.update(chunk)
                self._offset += len(chunk)

    def _close_files(self) -> None:
        descriptors = (self._fd, self._directory)
        self._fd = self._directory = -1
        for fd in descriptors:
            if fd >= 0:
                os.close(fd)
        self._released()


def read_chunks(fd: int) -> Iterator[memoryview]:
    """All bytes of a file from its start; each chunk is valid until the next is asked for."""
    buffer = bytearray(_READ_BYTES)
    view = memoryview(buffer)
    offset = 0
    while count := os.preadv(fd, [buffer], offset):
        yield view[:count]
        offset += count


def read_text(directory: int, name: str) -> str:
    """A small text file; "" when it is not there or is no text."""
    try:
        fd = files.open_file(directory, name, flags=os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        return os.pread(fd, _TEXT_BYTES, 0).decode()
    except UnicodeDecodeError:
        return ""
    finally:
        os.close(fd)


def _write_text(directory: int, name: str, text: str) -> None:
    fd = files.open_file(directory, name, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        files.write_at(fd, text.encode(), offset=0)
    finally:
        os.close(fd)


def _open_data(directory: int, *, keep: bool) -> int:
    flags = os.O_RDWR | os.O_CREAT | (0 if keep else os.O_TRUNC)
    try:
        return files.open_file(directory, layout.DATA, flags=flags)
    except PermissionError as refused:
        # It was verified, thus made read-only, and not published. Root never comes here.
        try:
            files.change_mode_at(directory, layout.DATA, mode=0o600)
        except FileNotFoundError:
            raise refused from None
        return files.open_file(directory, layout.DATA, flags=flags)


def read_status(parent: int, name: str) -> IngestStatus | None:
    """What is known about the ingest in the directory ``name``.

    None when it is not one: without ``data``, or without the reference that its
    name is made from. Raises OSError.
    """
    try:
        directory = files.open_directory(parent, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        ref = read_text(directory, layout.REF)
        if not layout.is_ingest_of(name, ref):
            return None
        try:
            data = os.stat(layout.DATA, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(data.st_mode):
            return None
        closed = layout.parse_time(read_text(directory, layout.UPDATED_AT))
        return IngestStatus(
            ref=ref,
            offset=data.st_size,
            total=layout.parse_total(read_text(directory, layout.TOTAL)),
            started_at=layout.parse_time(read_text(directory, layout.STARTED_AT)),
            updated_at=max(closed, data.st_mtime_ns),
        )
    finally:
        os.close(directory)
