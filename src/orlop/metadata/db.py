"""The database: two connections, a thread for each, and SQLite's errors in our words.

Writes run one after another on the writer's thread, each in a transaction that
is durable (WAL, ``synchronous=FULL``) when the call returns, unless the database was
opened not to sync. Reads run on
another thread and see the last committed state, so that a list need not wait
for a barrier of the disk. Nothing here knows a table.
"""

from __future__ import annotations

import asyncio
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

import apsw

from orlop.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    OrlopError,
    PermissionDenied,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)
from orlop.linux import files, root
from orlop.metadata.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_PRAGMAS: Final[tuple[tuple[str, str | int, str | int], ...]] = (
    # name, value to set, value that must be read back
    ("journal_mode", "WAL", "wal"),
    ("foreign_keys", "ON", 1),
    ("cell_size_check", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("mmap_size", 0, 0),
    ("cache_size", -16384, -16384),
)
"""What each connection is told. A setting that does not hold is refused, because
durability rests on the first one and on ``_SYNC``."""

_OPEN: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_PARAMETERS: Final = "psow=0"
"""A disk that loses its power may garble the block that it is writing. SQLite is told so,
and writes no block again that holds a committed transaction's end (sqlite.org/psow.html)."""

_SYNC: Final = ("synchronous", "FULL", 2)
_NO_SYNC: Final = ("synchronous", "OFF", 0)

_LOG_BYTES: Final = 8 << 20
"""Space kept for the write-ahead log: SQLite checkpoints at about 4 MiB, and a removal
of some thousand rows must fit in beside that."""

_VERSION_BYTES: Final = 48
"""Length of the header of the log's index, which every commit changes; the index begins
with two copies of it (sqlite.org/walformat.html)."""

_BUSY_MILLISECONDS: Final = 5000
"""Patience with somebody else's lock: only a backup tool could hold one, and briefly."""

_ERRORS: Final[tuple[tuple[tuple[type[apsw.Error], ...], type[OrlopError], str], ...]] = (
    ((apsw.FullError,), StoreFull, "free space or inodes, or run `orlop gc`"),
    ((apsw.CorruptError, apsw.NotADBError), StoreCorrupt, "restore or remove the database"),
    ((apsw.BusyError, apsw.LockedError, apsw.NoMemError), Unavailable, ""),
    ((apsw.IOError, apsw.ReadOnlyError), StoreIO, "look for disk errors in dmesg"),
    ((apsw.PermissionsError,), PermissionDenied, ""),
    ((apsw.CantOpenError,), Unavailable, ""),
    ((apsw.TooBigError,), InvalidArgument, ""),
)


_BARRIERS: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})
"""Failures after which nobody knows what the disk has, whatever their errno."""


def as_store_error(error: apsw.Error, code: int = 0) -> OrlopError:
    """The orlop error that says what an error of SQLite means.

    Args:
        error: what SQLite says; it calls each failure of the system an I/O error, or that
            a file cannot be opened.
        code: the errno that it met; 0 if it met none.
    """
    message = f"{error}: metadata database"
    extended = getattr(error, "extendedresult", 0)
    by_system = isinstance(error, (apsw.IOError, apsw.CantOpenError))
    if by_system and code and extended not in _BARRIERS:
        meant = files.as_store_error(OSError(code, os.strerror(code)), message)
        # Anything else is of a call in between.
        if isinstance(meant, (StoreFull, StoreIO, Unavailable, PermissionDenied)):
            return meant
    if extended == apsw.SQLITE_IOERR_SHMSIZE:
        # SQLite calls it an I/O error when there is no space for the WAL's index.
        return StoreFull(message, hint="free space or inodes, or run `orlop gc`")
    if extended == apsw.SQLITE_READONLY_DIRECTORY:
        # EACCES for a journal or a log that is to be made.
        return PermissionDenied(message, hint="let the daemon's user write beside the database")
    for kinds, kind, hint in _ERRORS:
        if isinstance(error, kinds):
            return kind(message, hint=hint)
    return Internal(message)


@contextmanager
def _translated(connection: apsw.Connection | None = None) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        code = connection.system_errno if connection is not None else 0
        raise as_store_error(error, code) from error
    except (UnicodeEncodeError, OverflowError) as error:
        # Text with lone surrogates, or an integer beyond 64 bits, cannot be bound.
        raise InvalidArgument(f"{error}: metadata database") from error


class Database:
    """Two connections to one file; made by ``open``, ended by ``close``.

    Functions passed to ``write`` and ``read`` get a connection on its own thread.
    They must not keep it, and must not end the transaction they run in.
    """

    __slots__ = (
        "_closed",
        "_failure",
        "_index",
        "_path",
        "_read",
        "_reader",
        "_sync",
        "_write",
        "_writer",
    )

    def __init__(self, path: str, *, sync: bool = True) -> None:
        self._path = path
        self._sync = sync
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="metadata-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="metadata-reader")
        self._write: apsw.Connection | None = None
        self._read: apsw.Connection | None = None
        self._index = -1
        self._failure: StoreIO | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: str, *, sync: bool = True) -> Database:
        """Open the database, or make it, and bring its schema up to date.

        Its directory is made, with mode 0700, if it is not there. After an
        unclean end SQLite's own consistency check runs first.

        Args:
            path: of its file.
            sync: False does not wait for the disk: a power failure may undo what was
                done, or damage the database.

        Raises:
            StoreCorrupt: it is no database, or damaged.
            FailedPrecondition: a newer orlop wrote it.
            StoreFull, StoreIO, PermissionDenied, Unavailable: as they say.
        """
        database = cls(path, sync=sync)
        try:
            await asyncio.shield(database._run(database._writer, database._connect))
        except BaseException:
            await database.close()
            raise
        return database

    async def write(self, change: Callable[[apsw.Connection], T]) -> T:
        """Run ``change`` in a transaction; durable when this returns.

        A caller that is cancelled meanwhile does not learn whether the
        transaction was committed; it is either done or not begun.

        Raises:
            StoreIO: the disk failed, now or before: only a restart helps.
            StoreFull: no space; nothing has changed.
            OrlopError: whatever ``change`` raises; nothing has changed.
        """
        return await self._run(self._writer, lambda: self._transact(change))

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """Run ``query`` on one consistent state of the database."""
        return await self._run(self._reader, lambda: self._query(query))

    def version(self) -> bytes:
        """What names the committed state: another one after each commit, whoever makes it.

        It takes no lock and does not wait, so that it may be called on the event loop. It
        is empty when the state cannot be told: in the middle of a commit, or when closed.
        """
        if self._index < 0:
            return b""
        headers = os.pread(self._index, 2 * _VERSION_BYTES, 0)
        first, second = headers[:_VERSION_BYTES], headers[_VERSION_BYTES:]
        return first if first == second else b""

    async def close(self) -> None:
        """Finish what is queued, checkpoint, and close; a second call does nothing."""
        self._closed = True
        await asyncio.shield(asyncio.to_thread(self._close))

    # --- on the threads -------------------------------------------------------------------

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            future = asyncio.get_running_loop().run_in_executor(executor, work)
        except RuntimeError as error:
            if self._closed:
                raise FailedPrecondition("the metadata database is closed") from error
            # What cannot be had is a thread, once for each executor.
            raise Unavailable(f"{error}: metadata database") from error
        return await future

    def _connect(self) -> None:
        directory = os.path.dirname(os.path.abspath(self._path))
        os.close(root.open_root(directory))
        with _translated(), files.translated(f"open {self._path}"):
            new = not os.path.exists(self._path)
            unclean = _size(f"{self._path}-wal") > 0
            self._write = _connection(self._path, f"{self._path}: writer", sync=self._sync)
            with _translated(self._write):
                if unclean:
                    _check(self._write, self._path)
                    _restart_log(self._write)
                migrate(self._write)
            _reserve(f"{self._path}-wal")
            if new:
                files.fsync_dir(directory)
            self._read = _connection(self._path, f"{self._path}: reader", sync=self._sync)
            self._read.pragma("query_only", True)
            self._index = os.open(f"{self._path}-shm", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def _transact(self, change: Callable[[apsw.Connection], T]) -> T:
        if self._failure is not None:
            raise StoreIO(f"the disk failed before: {self._failure}", hint=self._failure.hint)
        assert self._write is not None
        try:
            with _translated(self._write):
                self._write.execute("BEGIN IMMEDIATE")
                try:
                    result = change(self._write)
                    self._write.execute("COMMIT")
                except BaseException:
                    if self._write.in_transaction:
                        self._write.execute("ROLLBACK")
                    raise
                return result
        except StoreIO as error:
            self._failure = error
            raise

    def _query(self, query: Callable[[apsw.Connection], T]) -> T:
        assert self._read is not None
        with _translated(self._read):
            self._read.execute("BEGIN")
            try:
                return query(self._read)
            finally:
                if self._read.in_transaction:
                    self._read.execute("ROLLBACK")

    def _close(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()
        # The last one to close checkpoints, which needs the right to write.
        with _translated():
            for connection in (self._read, self._write):
                if connection is not None:
                    connection.close()
        self._read = self._write = None
        # Not before: closing it drops SQLite's locks on this file.
        index, self._index = self._index, -1
        if index >= 0:
            os.close(index)


def _reserve(path: str) -> None:
    """Keep space for the log, so that things can be removed when the disk is full.

    The log's length does not change; SQLite writes into the reserved blocks. (Its
    locks are on other files, so that closing this descriptor drops none.)
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = files.FALLOC_FL_KEEP_SIZE
        files.fallocate(fd, offset=0, length=_LOG_BYTES, mode=mode)
    except OSError as error:
        # Without the reserve everything works while there is space.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def _restart_log(connection: apsw.Connection) -> None:
    """Bring into the database what the log has; the next transaction begins the log anew.

    SQLite fills a transaction's last block with a copy of its end, so as not to write that
    block again. The rest of that copy follows the barrier, and may be lost with the power:
    what was appended would then be in one block with a transaction that was acknowledged.
    """
    # Without space for that, what is to be removed must still be removable.
    with suppress(StoreFull), _translated(connection):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _opened(path: str) -> apsw.Connection:
    """A connection that can write.

    SQLite does not say why it cannot open a file, and is content with reading one that it
    cannot write: whoever tries the same learns the cause. (The locks that closing drops
    are nobody's any more.)
    """
    connection = None
    with suppress(apsw.CantOpenError):
        connection = apsw.Connection(f"file:{quote(path)}?{_PARAMETERS}", flags=_OPEN)
    if connection is not None and not connection.readonly("main"):
        return connection
    if connection is not None:
        connection.close()
    with files.translated(f"open {path}"):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    raise Unavailable(f"it could not be opened a moment ago: {path}")


def _connection(path: str, name: str, *, sync: bool) -> apsw.Connection:
    connection = _opened(path)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        for pragma, value, expected in (*_PRAGMAS, _SYNC if sync else _NO_SYNC):
            with _translated(connection):
                connection.pragma(pragma, value)
                found = connection.pragma(pragma)
            if found != expected:
                raise FailedPrecondition(
                    f"SQLite has {pragma}={found} instead of {expected} ({name})",
                    hint="put the root directory on a local file system",
                )
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: apsw.Connection, path: str) -> None:
    row = connection.execute("PRAGMA quick_check(1)").fetchone()
    if row is None or row[0] != "ok":
        problem = "no answer" if row is None else row[0]
        raise StoreCorrupt(f"{problem}: {path}", hint="restore or remove the database")
