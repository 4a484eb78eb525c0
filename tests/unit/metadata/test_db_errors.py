"""What SQLite says, in our terms."""

from __future__ import annotations

import errno

import apsw
import pytest

from orlop.errors import (
    Internal,
    OrlopError,
    PermissionDenied,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)
from orlop.metadata.db import as_store_error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError("x"), StoreFull),
        (apsw.CorruptError("x"), StoreCorrupt),
        (apsw.NotADBError("x"), StoreCorrupt),
        (apsw.BusyError("x"), Unavailable),
        (apsw.IOError("x"), StoreIO),
        (apsw.ReadOnlyError("x"), StoreIO),
        (apsw.CantOpenError("x"), Unavailable),
        (apsw.ConstraintError("x"), Internal),
    ],
)
def test_translation(error: apsw.Error, kind: type[OrlopError]) -> None:
    assert type(as_store_error(error)) is kind


def test_no_space_for_the_index_of_the_log_is_a_full_disk() -> None:
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE  # type: ignore[attr-defined]  # set by SQLite
    assert type(as_store_error(error)) is StoreFull


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EIO, StoreIO),
        (errno.EDQUOT, StoreFull),
        (errno.ENOMEM, Unavailable),
        (errno.EMFILE, Unavailable),
        (errno.EACCES, PermissionDenied),
        (errno.EBADF, StoreIO),
        (errno.ENOENT, StoreIO),
    ],
)
def test_what_sqlite_calls_an_io_error_is_what_the_system_says(
    code: int, kind: type[OrlopError]
) -> None:
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_WRITE  # type: ignore[attr-defined]  # set by SQLite
    assert type(as_store_error(error, code)) is kind


def test_a_directory_in_which_sqlite_may_not_make_its_log_is_not_a_failed_disk() -> None:
    error = apsw.ReadOnlyError("attempt to write a readonly database")
    error.extendedresult = apsw.SQLITE_READONLY_DIRECTORY  # type: ignore[attr-defined]  # by SQLite
    assert type(as_store_error(error)) is PermissionDenied


def test_a_failed_barrier_of_sqlite_is_a_failed_disk_whatever_the_system_says() -> None:
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # set by SQLite
    assert type(as_store_error(error, errno.ENOSPC)) is StoreIO
