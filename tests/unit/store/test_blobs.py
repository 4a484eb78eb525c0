"""The blob store on disk: order of durable steps, damage, full and failing disks."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    FailedPrecondition,
    OrlopError,
    PermissionDenied,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)
from orlop.model.digest import Digest
from orlop.store import layout
from orlop.store.blobs import LocalBlobStore
from orlop.testing.content_suite import ContentSuite, put
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.ingest import LocalIngest
    from orlop.testing.file_events import FileEvents


DATA = b"0123456789" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "content"


@pytest.fixture
def store(root: Path) -> Iterator[LocalBlobStore]:
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        yield store


class TestLocalBlobStore(ContentSuite):
    @pytest.fixture
    def store(self, root: Path) -> Iterator[LocalBlobStore]:
        with LocalBlobStore(str(root), clock=ManualClock()) as store:
            yield store


def blob_path(root: Path, digest: Digest) -> Path:
    return root / "blobs" / digest.algorithm / digest.hex


def verified(store: LocalBlobStore, ref: str, data: bytes = DATA) -> LocalIngest:
    ingest = store.ingest(ref)
    ingest.write(data)
    ingest.verify(Digest.of(data), len(data))
    return ingest


# --- opening ----------------------------------------------------------------------------------


def test_opening_makes_private_directories(store: LocalBlobStore, root: Path) -> None:
    for name in (".", "blobs", "blobs/sha256", "blobs/sha512", "ingest"):
        status = (root / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o700, name
        assert status.st_uid == os.geteuid()
    assert store.path == str(root)


def test_opening_makes_all_names_durable_deepest_first(root: Path, file_events: FileEvents) -> None:
    synced: list[str] = []

    def watcher(operation: str, subject: object) -> None:
        if operation == "fsync":
            assert isinstance(subject, int)
            synced.append(os.readlink(f"/proc/self/fd/{subject}"))

    with file_events.watched(watcher), LocalBlobStore(str(root), clock=ManualClock()):
        pass
    expected = ["", "/content/ingest", "/content/blobs/sha512", "/content/blobs/sha256"]
    expected += ["/content/blobs", "/content"]
    assert synced == [str(root.parent) + path for path in expected]


def test_blobs_and_ingests_outlive_the_process(root: Path) -> None:
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        put(store, DATA)
        with store.ingest("partial", total=500) as ingest:
            ingest.write(b"abc")
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        assert store.read(DIGEST, len(DATA)) == DATA
        (partial,) = store.status()
        assert (partial.ref, partial.offset, partial.total) == ("partial", 3, 500)
        with store.ingest("partial") as ingest:
            assert ingest.offset == 3


@pytest.mark.row("L01")
@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "ingest"])
def test_a_planted_link_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.mkdir(mode=0o700)
    (root / name).parent.mkdir(exist_ok=True, mode=0o700)
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreCorrupt, match="content"):
        LocalBlobStore(str(root), clock=ManualClock())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_closed_store_says_so(root: Path) -> None:
    store = LocalBlobStore(str(root), clock=ManualClock())
    store.close()
    store.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        store.stat(DIGEST)


@pytest.mark.row("L04")
def test_opening_and_closing_leaks_no_descriptor(root: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        put(store, DATA)
        store.verify(DIGEST)
        with store.ingest("x") as ingest:
            ingest.abort()
        with suppress(OrlopError):
            store.ingest("")
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.row("L11")
def test_remains_of_ingests_are_tidied(root: Path) -> None:
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        store.ingest("whole").close()
        store.ingest("no data").close()
        store.ingest("no ref").close()
    for directory in (root / "ingest").iterdir():
        if (directory / "ref").read_text() == "no data":
            (directory / "data").unlink()
        elif (directory / "ref").read_text() == "no ref":
            (directory / "ref").write_text("")
    (root / "ingest" / "empty").mkdir()
    (root / "ingest" / "file").write_text("not ours")
    (root / "ingest" / "foreign").mkdir()
    (root / "ingest" / "foreign" / "keep").write_text("somebody's")
    with LocalBlobStore(str(root), clock=ManualClock()) as store:
        assert [one.ref for one in store.status()] == ["whole"]
    kept = sorted(path.name for path in (root / "ingest").iterdir())
    assert len(kept) == 2
    assert "foreign" in kept


# --- publishing -------------------------------------------------------------------------------


@pytest.mark.row("L07")
def test_data_then_name_then_directory(store: LocalBlobStore, file_events: FileEvents) -> None:
    ingest = verified(store, "layer")
    with file_events.recorded() as operations:
        store.publish([ingest])
    assert operations[:3] == ["fsync", "rename", "fsync"]
    assert set(operations[3:]) == {"unlink", "rmdir"}


def test_one_barrier_for_all_directories_of_many_blobs(
    store: LocalBlobStore, file_events: FileEvents
) -> None:
    ingests = [verified(store, f"layer-{n}", bytes([n])) for n in range(5)]
    with file_events.recorded() as operations:
        store.sync()
        store.publish(ingests, synced=True)
    assert operations[:7] == ["syncfs", *["rename"] * 5, "fsync"]
    assert operations.count("fsync") == 1


def test_a_blob_is_read_only_before_the_barrier(
    store: LocalBlobStore, root: Path, file_events: FileEvents
) -> None:
    with file_events.recorded() as operations:
        verified(store, "layer").close()
        store.sync()
    assert operations.index("chmod") < operations.index("syncfs")
    with store.ingest("layer") as ingest:
        ingest.verify(DIGEST, len(DATA))
        store.publish([ingest])
    assert stat.S_IMODE(blob_path(root, DIGEST).stat().st_mode) == 0o400


def test_an_existing_good_blob_stays(store: LocalBlobStore, root: Path) -> None:
    put(store, DATA)
    inode = blob_path(root, DIGEST).stat().st_ino
    put(store, DATA)
    assert blob_path(root, DIGEST).stat().st_ino == inode


@pytest.mark.row("L09")
@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA + b"x", b"x" * len(DATA)])
def test_an_existing_damaged_blob_is_replaced(
    store: LocalBlobStore, root: Path, damaged: bytes
) -> None:
    blob_path(root, DIGEST).write_bytes(damaged)
    put(store, DATA)
    assert store.read(DIGEST, len(DATA)) == DATA


def test_ingests_of_another_store_are_refused(store: LocalBlobStore) -> None:
    with MemoryStore(ManualClock()) as other, other.ingest("layer") as ingest:
        ingest.verify(Digest.of(b""), 0)
        with pytest.raises(FailedPrecondition, match="another store"):
            store.publish([ingest])


def test_the_same_ingest_twice_is_one_blob(store: LocalBlobStore) -> None:
    ingest = verified(store, "layer")
    store.publish([ingest, ingest])
    store.verify(DIGEST)


def test_a_long_ingest_is_written_back_early(
    store: LocalBlobStore, file_events: FileEvents
) -> None:
    with store.ingest("long") as ingest:
        with file_events.recorded() as operations:
            for _ in range(20):
                ingest.write(bytes(1 << 20))
        assert operations == [*["write"] * 8, "sync_file_range"] * 2 + ["write"] * 4
        ingest.verify(Digest.of(bytes(20 << 20)), 20 << 20)


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.row("L09")
@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA + b"x", b"x" + DATA[1:]])
def test_damage_is_found_on_reading(store: LocalBlobStore, root: Path, damaged: bytes) -> None:
    put(store, DATA)
    blob_path(root, DIGEST).chmod(0o600)
    blob_path(root, DIGEST).write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match=DIGEST.hex):
        store.read(DIGEST, len(DATA) + 10)
    with pytest.raises(StoreCorrupt, match=DIGEST.hex):
        store.verify(DIGEST)


def test_things_that_are_no_blobs_are_not_listed(store: LocalBlobStore, root: Path) -> None:
    put(store, DATA)
    blobs = root / "blobs" / "sha256"
    (blobs / "README").write_text("x")
    (blobs / ("0" * 64)).symlink_to("/etc/passwd")
    (blobs / ("1" * 64)).mkdir()
    assert [blob.digest for blob in store.walk()] == [DIGEST]
    assert store.stat(Digest("sha256", "0" * 64)) is None
    for name in ("0" * 64, "1" * 64):
        with pytest.raises(StoreCorrupt, match=name):
            store.read(Digest("sha256", name), 10_000)


def test_an_altered_ingest_is_found_out(store: LocalBlobStore, root: Path) -> None:
    with store.ingest("layer") as ingest:
        ingest.write(DATA)
    (data,) = (root / "ingest").glob("*/data")
    data.write_bytes(bytes(len(DATA)))  # what a power failure may leave
    with store.ingest("layer") as ingest:
        assert ingest.offset == len(DATA)
        with pytest.raises(OrlopError, match="instead of"):
            ingest.verify(DIGEST, len(DATA))
        ingest.truncate()
        ingest.write(DATA)
        ingest.verify(DIGEST, len(DATA))


# --- failing disks ----------------------------------------------------------------------------


@pytest.mark.row("L05")
@pytest.mark.parametrize("occurrence", [0, 1, 2])
def test_a_failed_barrier_stops_the_store(
    store: LocalBlobStore, file_events: FileEvents, occurrence: int
) -> None:
    """Data of the first, data of the second, the directory: never a second try."""
    ingests = [verified(store, "one", b"one"), verified(store, "two", b"two")]
    with (
        file_events.failing("fsync", errno.EIO, after=occurrence),
        pytest.raises(StoreIO, match="Input/output error"),
    ):
        store.publish(ingests)
    with file_events.recorded() as operations:
        with pytest.raises(StoreIO, match="failed before"):
            store.publish([])
        with pytest.raises(StoreIO, match="failed before"):
            store.ingest("three")
        with pytest.raises(StoreIO, match="failed before"):
            store.delete(DIGEST)
        with pytest.raises(StoreIO, match="failed before"):
            store.sync()
    assert operations == []
    assert not store.status()  # what was not durable is not hashed again from the page cache


@pytest.mark.row("L05")
def test_reading_goes_on_after_the_disk_failed(
    store: LocalBlobStore, file_events: FileEvents
) -> None:
    put(store, DATA)
    with file_events.failing("syncfs", errno.EIO), pytest.raises(StoreIO):
        store.sync()
    assert store.read(DIGEST, len(DATA)) == DATA
    assert [blob.digest for blob in store.walk()] == [DIGEST]


@pytest.mark.row("L05")
def test_a_write_error_stops_the_store(store: LocalBlobStore, file_events: FileEvents) -> None:
    with store.ingest("layer") as ingest:
        with file_events.failing("write", errno.EIO), pytest.raises(StoreIO, match="layer"):
            ingest.write(DATA)
        with pytest.raises(StoreIO, match="failed before"):
            ingest.write(DATA)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EMFILE, Unavailable),
        (errno.EACCES, PermissionDenied),
    ],
)
@pytest.mark.parametrize("operation", ["mkdir", "open", "write", "truncate", "chmod", "rename"])
def test_any_other_error_can_be_lived_with(
    store: LocalBlobStore,
    file_events: FileEvents,
    operation: str,
    code: int,
    kind: type[OrlopError],
) -> None:
    """Typed, nothing half-visible, no descriptor lost, and the same works afterwards."""
    before = len(os.listdir("/proc/self/fd"))
    with file_events.failing(operation, code), pytest.raises(kind):
        put(store, DATA)
    assert len(os.listdir("/proc/self/fd")) == before
    assert store.stat(DIGEST) is None
    put(store, DATA)
    store.verify(DIGEST)
    assert not store.status()


def test_what_was_named_before_the_disk_was_full_stays(
    store: LocalBlobStore, file_events: FileEvents
) -> None:
    ingests = [verified(store, "one", b"one"), verified(store, "two", b"two")]
    with file_events.failing("rename", errno.ENOSPC, after=1), pytest.raises(StoreFull):
        store.publish(ingests)
    store.verify(Digest.of(b"one"))
    (left,) = store.status()
    assert (left.ref, left.offset) == ("two", 3)
    with store.ingest("two") as ingest:
        ingest.verify(Digest.of(b"two"), 3)
        store.publish([ingest])
    store.verify(Digest.of(b"two"))


@contextmanager
def mounted_tmpfs(path: Path, options: str) -> Iterator[None]:
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.row("L03")
@pytest.mark.root
def test_a_disk_that_is_really_full(root: Path) -> None:
    with (
        mounted_tmpfs(root, "size=256k"),
        LocalBlobStore(str(root), clock=ManualClock()) as store,
    ):
        put(store, DATA)
        with store.ingest("big") as ingest:
            with pytest.raises(StoreFull, match="big"):
                ingest.write(bytes(1 << 20))
            fitted = ingest.offset
            assert 0 < fitted < 256 << 10
        (big,) = store.status()
        assert big.offset == fitted
        store.verify(DIGEST)
        store.delete(DIGEST)  # deleting works when nothing else does
        store.abort("big")
        put(store, DATA)


def open_many(store: LocalBlobStore, count: int) -> None:
    for number in range(count):
        store.ingest(str(number)).close()


@pytest.mark.row("L03")
@pytest.mark.root
def test_a_disk_without_inodes(root: Path) -> None:
    with (
        mounted_tmpfs(root, "nr_inodes=12"),
        LocalBlobStore(str(root), clock=ManualClock()) as store,
    ):
        with pytest.raises(StoreFull):
            open_many(store, 10)
        for one in store.status():
            store.abort(one.ref)
        put(store, DATA)


# --- kill -9 ----------------------------------------------------------------------------------


def run_and_die(root: Path, at: int, file_events: FileEvents) -> bool:
    """Open a store and publish two blobs in a child; kill it before operation ``at``.

    Returns:
        True when the child was killed, False when there were fewer operations.
    """
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen = 0

    def watcher(operation: str, subject: object) -> None:
        nonlocal seen
        seen += 1
        if seen > at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with (
            file_events.watched(watcher),
            LocalBlobStore(str(root), clock=ManualClock()) as store,
        ):
            store.publish([verified(store, "one", b"one"), verified(store, "two", b"two")])
            with store.ingest("three") as ingest:
                ingest.write(b"three")
                ingest.truncate()
                ingest.abort()
            store.delete(Digest.of(b"one"))
    finally:
        os._exit(0)


@pytest.mark.row("L06")
def test_killed_before_every_operation(tmp_path: Path, file_events: FileEvents) -> None:
    """Whatever is there afterwards is whole, and the same work succeeds."""
    at = 0
    while run_and_die(root := tmp_path / str(at), at, file_events):
        with LocalBlobStore(str(root), clock=ManualClock()) as store:
            for blob in store.walk():
                store.verify(blob.digest)
            for one in store.status():
                with store.ingest(one.ref) as ingest:
                    assert ingest.offset == one.offset
            for data in (b"one", b"two"):
                put(store, data)
            for one in store.status():
                store.abort(one.ref)
            assert {blob.digest for blob in store.walk()} == {
                Digest.of(b"one"),
                Digest.of(b"two"),
            }
        assert not list((root / "ingest").iterdir())
        at += 1
    assert at > 40


def test_an_ingest_that_may_not_be_made_says_so(
    store: LocalBlobStore, file_events: FileEvents
) -> None:
    def refuse(operation: str, subject: object) -> None:
        if (operation, subject) == ("open", layout.DATA):
            raise PermissionError(errno.EPERM, "refused")

    with file_events.watched(refuse), pytest.raises(PermissionDenied, match="open ingest"):
        store.ingest("layer")


def test_what_lies_beside_blobs_has_no_digest(store: LocalBlobStore, root: Path) -> None:
    put(store, DATA)
    (root / "blobs" / "sha512" / DIGEST.hex).touch()
    assert store.digests() == {str(DIGEST)}
