"""The database: durability, damage, full disks, versions, cancellation."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from orlop.errors import (
    FailedPrecondition,
    OrlopError,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)
from orlop.metadata.db import Database
from orlop.metadata.migrations import MIGRATIONS, VERSION, migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.testing.file_events import FileEvents


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db" / "meta.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(str(path))
    yield database
    await database.close()


def insert(connection: apsw.Connection, digest: str = "d", padding: str = "") -> None:
    connection.execute("INSERT INTO blob VALUES ('n', ?, 1, ?, 0, 0)", (digest, padding))


def count(connection: apsw.Connection) -> int:
    return len(connection.execute("SELECT digest FROM blob").fetchall())


def pragmas(connection: apsw.Connection) -> list[object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "cell_size_check")
    return [connection.pragma(name) for name in names]


# --- transactions -----------------------------------------------------------------------------


async def test_settings_hold_on_both_connections(database: Database) -> None:
    assert await database.read(pragmas) == ["wal", 2, 1, 0, 1]
    assert await database.write(pragmas) == ["wal", 2, 1, 0, 1]
    with pytest.raises(StoreIO, match="readonly"):
        await database.read(insert)


async def test_a_transaction_writes_nothing_of_those_before_it_again(
    database: Database, path: Path, tmp_path: Path
) -> None:
    block = 4096
    await database.write(insert)
    log = path.with_name("meta.db-wal").read_bytes()
    copy = tmp_path / "meta.db"
    copy.write_bytes(path.read_bytes())
    # The next transaction writes this block; a disk that loses its power may garble it.
    kept = len(log) // block * block
    copy.with_name("meta.db-wal").write_bytes(log[:kept] + b"\xff" * block)
    assert count(apsw.Connection(str(copy))) == 1


@pytest.mark.row("L07")
async def test_after_a_power_failure_neither_does_the_next_run(
    database: Database, path: Path, tmp_path: Path
) -> None:
    block = 4096
    await database.write(insert)
    log = path.with_name("meta.db-wal").read_bytes()
    again = tmp_path / "again" / "meta.db"
    put_file(again, path.read_bytes())
    # What fills the log up to a new block follows the barrier, and is lost.
    again.with_name("meta.db-wal").write_bytes(log[: len(log) // block * block])
    copy = tmp_path / "meta.db"
    second = await Database.open(str(again))
    try:
        before = again.with_name("meta.db-wal").read_bytes()
        copy.write_bytes(again.read_bytes())
        await second.write(partial(insert, digest="e"))
        after = again.with_name("meta.db-wal").read_bytes()
    finally:
        await second.close()
    # The power fails again while the first block is written that the log gets now.
    at = next(at for at in range(0, len(after), block) if before[at:][:block] != after[at:][:block])
    copy.with_name("meta.db-wal").write_bytes(after[:at] + b"\xff" * block + before[at + block :])
    assert count(apsw.Connection(str(copy))) == 1


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def fail(connection: apsw.Connection) -> None:
        insert(connection)
        raise StoreCorrupt("changed my mind")

    with pytest.raises(StoreCorrupt, match="my mind"):
        await database.write(fail)
    assert await database.read(count) == 0
    await database.write(insert)
    assert await database.read(count) == 1


async def test_reads_do_not_wait_for_a_write(database: Database) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()

    def slow(connection: apsw.Connection) -> None:
        insert(connection)
        loop.call_soon_threadsafe(begun.set)
        os.read(reader, 1)

    try:
        write = asyncio.create_task(database.write(slow))
        await begun.wait()
        assert await database.read(count) == 0
        os.write(writer, b"x")
        await write
        assert await database.read(count) == 1
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_cancelled_write_is_done_or_not_begun(database: Database) -> None:
    tasks = [asyncio.create_task(database.write(partial(insert, digest=str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    before = await database.write(count)
    assert before < 20
    await database.write(insert)
    assert await database.read(count) == before + 1


async def test_a_closed_database_says_so(path: Path) -> None:
    database = await Database.open(str(path))
    await database.write(insert)
    await database.close()
    await database.close()
    for use in (database.read, database.write):
        with pytest.raises(FailedPrecondition, match="closed"):
            await use(count)
    assert sorted(os.listdir(path.parent)) == ["meta.db"]  # checkpointed


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Stacks of this size do not fit into what may still be mapped."""
    mapped = int(re.findall(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    size = threading.stack_size(512 << 20)
    resource.setrlimit(resource.RLIMIT_AS, ((mapped << 10) + (256 << 20), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        threading.stack_size(size)


async def test_a_thread_that_cannot_be_started_is_no_closed_database(path: Path) -> None:
    await asyncio.to_thread(int)  # one that can be used for closing
    with no_more_threads(), pytest.raises(Unavailable, match="start new thread"):
        await Database.open(str(path))
    await (await Database.open(str(path))).close()


async def test_directory_is_private_and_what_was_written_stays(path: Path) -> None:
    for number in range(3):
        database = await Database.open(str(path))
        await database.write(partial(insert, digest=str(number)))
        assert await database.read(count) == number + 1
        await database.close()
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.row("L07")
async def test_a_new_database_has_a_durable_name(path: Path, file_events: FileEvents) -> None:
    synced: list[str] = []

    def watcher(operation: str, subject: object) -> None:
        if operation == "fsync":
            synced.append(os.readlink(f"/proc/self/fd/{subject}"))

    with file_events.watched(watcher):
        await (await Database.open(str(path))).close()
    assert synced == [str(path.parent.parent), str(path.parent)]
    with file_events.recorded() as operations:
        await (await Database.open(str(path))).close()
    assert "fsync" not in operations


# --- kill -9 ----------------------------------------------------------------------------------

WRITER = """
import asyncio, os, sys
from orlop.metadata.db import Database
async def main():
    database = await Database.open(sys.argv[1])
    for number in range(1000000):
        await database.write(lambda db: db.execute(
            "INSERT INTO blob VALUES ('n', ?, 1, '{}', 0, 0)", (str(number),)).fetchall())
        os.write(1, b".")
asyncio.run(main())
"""


def acknowledged_before_a_kill(path: Path) -> int:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        acknowledged = len(writer.stdout.read(50))
        writer.send_signal(signal.SIGKILL)
        return acknowledged + len(writer.stdout.read())


@pytest.mark.row("L06")
async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    acknowledged = acknowledged_before_a_kill(path)
    database = await Database.open(str(path))
    try:
        assert acknowledged <= await database.read(count) <= acknowledged + 1
    finally:
        await database.close()


# --- damage, versions -------------------------------------------------------------------------


async def opening_fails(path: Path, kind: type[OrlopError], match: str) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(kind, match=match):
        await Database.open(str(path))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not [thread for thread in threading.enumerate() if "metadata" in thread.name]


def put_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(data)


def damage_second_half(path: Path) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        half = file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * (size - half))


async def test_no_database(path: Path) -> None:
    put_file(path, b"#!/bin/sh\n" * 1000)
    await opening_fails(path, StoreCorrupt, "not a database")


@pytest.mark.row("L08")
async def test_a_damaged_page_is_an_error_not_a_wrong_answer(path: Path) -> None:
    database = await Database.open(str(path))
    for number in range(200):
        await database.write(partial(insert, digest=str(number), padding="x" * 1000))
    await database.close()
    damage_second_half(path)
    database = await Database.open(str(path))
    try:
        with pytest.raises(StoreCorrupt, match="malformed"):
            await database.read(
                lambda db: db.execute("SELECT sum(length(labels)) FROM blob").fetchall()
            )
    finally:
        await database.close()


@pytest.mark.row("L08")
async def test_damage_is_found_when_opening_after_an_unclean_end(path: Path) -> None:
    database = await Database.open(str(path))
    for number in range(200):
        await database.write(partial(insert, digest=str(number), padding="x" * 1000))
    await database.close()
    damage_second_half(path)
    (path.parent / "meta.db-wal").write_bytes(b"not a log")
    await opening_fails(path, StoreCorrupt, r"meta\.db")


@pytest.mark.row("L08")
async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    put_file(path, b"")
    database = await Database.open(str(path))
    assert await database.read(count) == 0
    await database.close()


@pytest.mark.row("L08")
async def test_a_newer_schema_is_refused(path: Path) -> None:
    await (await Database.open(str(path))).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", VERSION + 1)
    connection.close()
    await opening_fails(path, FailedPrecondition, f"version {VERSION + 1}")


def test_each_migration_leads_to_the_next_version() -> None:
    for start in range(VERSION):
        connection = apsw.Connection("")
        for script in MIGRATIONS[:start]:
            connection.execute(script)
        connection.pragma("user_version", start)
        assert migrate(connection) == start
        assert connection.pragma("user_version") == VERSION
        assert migrate(connection) == VERSION
        assert connection.pragma("integrity_check") == "ok"
        connection.close()


async def test_names_of_version_1_are_kept(path: Path) -> None:
    """Version 2 lets a name belong to several images."""
    path.parent.mkdir(mode=0o700)
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[0])
    connection.pragma("user_version", 1)
    row = ("k8s.io", "app:1", "index", "sha256:1", 3, "sha256:a", '{"k":"v"}', 5, 6)
    connection.execute("INSERT INTO image_name VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    database = await Database.open(str(path))

    def names(connection: apsw.Connection) -> list[tuple[object, ...]]:
        return connection.execute("SELECT * FROM image_name").fetchall()

    def touched(connection: apsw.Connection) -> list[tuple[object, ...]]:
        connection.execute("INSERT INTO revision VALUES ('k8s.io', 7)")
        connection.execute(
            "INSERT INTO image_name SELECT namespace, name, media_type, digest, size, 'sha256:b',"
            " labels, created_at, updated_at FROM image_name"
        )
        return connection.execute("SELECT image_id, revision FROM image_touched").fetchall()

    assert await database.read(names) == [row]
    assert await database.write(touched) == [("sha256:b", 7)]
    await database.close()


# --- full and failing disks -------------------------------------------------------------------


async def test_a_full_database_can_be_lived_with(database: Database) -> None:
    def limit(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", connection.pragma("page_count"))

    def unlimit(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", 1 << 30)

    await database.write(limit)
    with pytest.raises(StoreFull, match="full"):
        await database.write(lambda db: insert(db, "big", "x" * 100_000))
    assert await database.read(count) == 0
    await database.write(unlimit)
    await database.write(lambda db: insert(db, "big", "x" * 100_000))


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "mode=0700,size=16m"]
    subprocess.run(["mount", *options, "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.row("L03")
@pytest.mark.root
async def test_a_full_disk_can_be_lived_with(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    with small_disk(mount):
        database = await Database.open(str(mount / "meta.db"))
        await database.write(insert)
        filler = mount / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(17 << 20))
        with pytest.raises(StoreFull):
            await database.write(lambda db: insert(db, "big", "x" * 12_000_000))
        assert await database.read(count) == 1
        await database.write(lambda db: db.execute("DELETE FROM blob").fetchall())
        assert await database.read(count) == 0  # removing works when nothing else does
        filler.unlink()
        await database.write(lambda db: insert(db, "big", "x" * 100_000))
        await database.close()


@pytest.mark.row("L03")
@pytest.mark.root
async def test_a_full_disk_can_be_opened_again(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    with small_disk(mount):
        path = mount / "meta.db"
        acknowledged = acknowledged_before_a_kill(path)
        with pytest.raises(OSError, match="No space"):
            (mount / "filler").write_bytes(bytes(17 << 20))
        database = await Database.open(str(path))
        assert acknowledged <= await database.read(count) <= acknowledged + 1
        await database.write(lambda db: db.execute("DELETE FROM blob").fetchall())
        assert await database.read(count) == 0
        await database.close()


@pytest.mark.row("L05")
async def test_nothing_is_written_after_the_disk_failed(database: Database) -> None:
    def fail(connection: apsw.Connection) -> None:
        insert(connection)
        raise apsw.IOError("disk I/O error")

    with pytest.raises(StoreIO, match="disk I/O error"):
        await database.write(fail)
    with pytest.raises(StoreIO, match="failed before"):
        await database.write(insert)
    assert await database.read(count) == 0


async def test_a_database_that_cannot_be_opened_says_why(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.mkdir()
    with pytest.raises(StoreCorrupt, match="Is a directory"):
        await Database.open(str(path))
