"""One blob on its way: over many connections, for many pulls, with wrong bytes."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    AuthFailed,
    DigestMismatch,
    NotFound,
    RegistryProtocol,
    RegistryUnavailable,
    SizeMismatch,
    StoreFull,
    Unavailable,
)
from orlop.pull.download import Download, Restarted, ingest_ref
from orlop.pull.slots import Pool, Slots
from orlop.pull.traffic import Meter, SharedTraffic
from orlop.pull.watchdog import Watchdog
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryIngest, MemoryStore
from tests.unit.pull.rig import QUICK, Connection, ScriptedRemote, blob, until

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = os.urandom(3_000_000)
LAYER = blob(DATA)
BROKEN = RegistryUnavailable("connection reset")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore(ManualClock()) as found:
        yield found


def make(store: MemoryStore, slots: Slots | None = None) -> Download:
    slots = slots or Slots()
    return Download(LAYER, store=store, traffic=SharedTraffic(), slots=slots, terms=QUICK)


async def run(store: MemoryStore, *script: Connection) -> tuple[Download, ScriptedRemote]:
    """A download from beginning to end, released whatever happens."""
    download = make(store)
    remote = ScriptedRemote(DATA, list(script), download.traffic)
    with download.offered(remote):
        try:
            await download.run()
        except BaseException:
            await download.release()
            raise
    return download, remote


def kept(store: MemoryStore) -> dict[str, int]:
    return {status.ref: status.offset for status in store.status()}


async def test_from_the_start(store: MemoryStore) -> None:
    download, remote = await run(store)
    assert remote.offsets == [0]
    assert (download.available, download.fetched, download.waiting) == (len(DATA), len(DATA), False)
    ingest = download.pending.take()
    assert isinstance(ingest, MemoryIngest)
    assert ingest.content() == DATA
    store.publish([ingest])
    download.pending.published()
    await download.release()
    assert store.read(LAYER.digest, len(DATA)) == DATA


async def test_bytes_that_nobody_publishes_are_kept(store: MemoryStore) -> None:
    download, _ = await run(store)
    await download.release()
    assert kept(store) == {ingest_ref(LAYER): len(DATA)}
    again, remote = await run(store)
    assert remote.offsets == []
    assert (again.fetched, again.available) == (0, len(DATA))
    await again.release()


async def test_broken_connections(store: MemoryStore) -> None:
    download, remote = await run(
        store,
        Connection(DATA[:1_000_000], failure=BROKEN),
        Connection(refusal=BROKEN),
        Connection(DATA[1_000_000:1_000_001], failure=BROKEN),
    )
    assert remote.offsets == [0, 1_000_000, 1_000_000, 1_000_001]
    assert download.fetched == len(DATA)
    await download.release()


async def test_only_so_many_tries_that_bring_nothing(store: MemoryStore) -> None:
    nothing = [Connection(refusal=BROKEN) for _ in range(7)]
    piece = Connection(DATA[:500], failure=BROKEN)
    with pytest.raises(RegistryUnavailable):
        await run(store, *nothing, piece, *nothing, Connection(refusal=BROKEN))
    assert kept(store) == {ingest_ref(LAYER): 500}
    # Seven are not enough to give up, however often.
    download, _ = await run(store, *nothing, Connection(DATA[500:600], failure=BROKEN), *nothing)
    await download.release()


async def test_a_registry_that_ignores_the_range(store: MemoryStore) -> None:
    download, remote = await run(
        store,
        Connection(DATA[:100_000], failure=BROKEN),
        Connection(DATA, start=0),
    )
    assert remote.offsets == [0, 100_000]
    assert download.generation == 0
    assert download.fetched == len(DATA) + 100_000
    await download.release()


async def test_a_registry_that_denies_the_range(store: MemoryStore) -> None:
    download, remote = await run(
        store,
        Connection(DATA[:100_000], failure=BROKEN),
        Connection(refusal=RegistryProtocol("416")),
    )
    assert remote.offsets == [0, 100_000, 0]
    assert download.generation == 0  # what is here is skipped, and followers go on
    assert download.fetched == len(DATA) + 100_000
    await download.release()


async def test_an_answer_that_is_none_is_not_asked_for_twice(store: MemoryStore) -> None:
    download = make(store)
    remote = ScriptedRemote(DATA, [Connection(refusal=RegistryProtocol("not HTTP"))] * 2)
    with download.offered(remote), pytest.raises(RegistryProtocol):
        await download.run()
    await download.release()
    assert remote.offsets == [0]


async def test_a_registry_that_always_breaks_and_cannot_continue(store: MemoryStore) -> None:
    """Each round brings the same bytes: that is no progress, and it ends."""
    rounds = [
        Connection(DATA[:100_000], failure=BROKEN),
        Connection(refusal=RegistryProtocol("416")),
    ] * 10
    with pytest.raises((RegistryUnavailable, RegistryProtocol)):
        await run(store, *rounds)


async def test_wrong_bytes(store: MemoryStore) -> None:
    wrong = bytes(len(DATA))
    with pytest.raises(DigestMismatch):
        await run(store, Connection(wrong))
    assert kept(store) == {}


async def test_wrong_bytes_of_another_time_get_one_clean_try(store: MemoryStore) -> None:
    with store.ingest(ingest_ref(LAYER)) as ingest:
        ingest.write(bytes(1000))
    download, remote = await run(store)
    assert remote.offsets == [1000, 0]
    assert download.generation == 1
    await download.release()


async def test_one_clean_try_and_no_more(store: MemoryStore) -> None:
    with store.ingest(ingest_ref(LAYER)) as ingest:
        ingest.write(bytes(1000))
    download = make(store)
    remote = ScriptedRemote(DATA, [Connection(), Connection(bytes(len(DATA)))])
    with download.offered(remote), pytest.raises(DigestMismatch):
        await download.run()
    await download.release()
    assert remote.offsets == [1000, 0]
    assert kept(store) == {}


async def test_bytes_that_change_between_two_connections(store: MemoryStore) -> None:
    download, remote = await run(store, Connection(bytes(1_000_000), failure=BROKEN))
    assert remote.offsets == [0, 1_000_000, 0]
    await download.release()


async def test_too_much_from_another_time(store: MemoryStore) -> None:
    with store.ingest(ingest_ref(LAYER)) as ingest:
        ingest.write(DATA + b"more")
    download, remote = await run(store)
    assert remote.offsets == [0]
    await download.release()


@pytest.mark.parametrize("error", [SizeMismatch("longer"), StoreFull("full"), AuthFailed("no")])
async def test_errors_that_another_try_does_not_mend(store: MemoryStore, error: Exception) -> None:
    with pytest.raises(type(error)):
        await run(store, Connection(DATA[:1000], failure=error))
    assert kept(store) == {ingest_ref(LAYER): 1000}


async def test_a_cancel_keeps_the_bytes(store: MemoryStore) -> None:
    gate = asyncio.Event()
    download = make(store)
    script = [Connection(DATA[:70_000], failure=BROKEN), Connection(gate=gate)]
    with download.offered(ScriptedRemote(DATA, script)):
        task = asyncio.create_task(download.run())
        await until(lambda: download.available == 70_000)
        task.cancel()
        await asyncio.wait({task})
    await download.release()
    assert kept(store) == {ingest_ref(LAYER): 70_000}


class SlowIngest(MemoryIngest):
    """Writes when it may."""

    permission = threading.Semaphore(0)
    writing = 0
    overlapped = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        SlowIngest.overlapped |= SlowIngest.writing > 0
        SlowIngest.writing += 1
        self.permission.acquire(timeout=0.02)
        super().write(data)
        SlowIngest.writing -= 1


class SlowStore(MemoryStore):
    """A disk that is behind the network."""

    def ingest(self, ref: str, *, total: int = 0) -> MemoryIngest:
        found = super().ingest(ref, total=total)
        found.__class__ = SlowIngest
        return found


async def test_a_cancel_while_the_disk_is_behind() -> None:
    """The thread that writes has ended when the cancellation is through; nothing is mixed up."""
    for moment in range(8):
        with SlowStore(ManualClock()) as store:
            download = make(store)
            with download.offered(ScriptedRemote(DATA, piece=1 << 20)):
                task = asyncio.create_task(download.run())
                await asyncio.sleep(0.004 * moment)
                task.cancel()
                await asyncio.wait({task})
                assert SlowIngest.writing == 0
            await download.release()
            with store.ingest(ingest_ref(LAYER)) as ingest:
                assert ingest.content() == DATA[: ingest.offset]
    assert not SlowIngest.overlapped


async def test_a_disk_that_is_behind_is_no_stall() -> None:
    clock = ManualClock()
    meter = Meter(Watchdog(10), clock)
    with SlowStore(clock) as store:
        download = make(store)
        remote = ScriptedRemote(DATA, traffic=download.traffic, piece=1 << 20)
        with download.offered(remote), download.traffic.attached(meter):
            task = asyncio.create_task(download.run())
            await until(lambda: SlowIngest.writing and not meter.hosts)
            clock.advance(1000)
            assert not meter.look()
            await task
        await download.release()


async def test_a_full_disk_gets_its_bytes_back(store: MemoryStore) -> None:
    download, _ = await run(store)
    download.give_up_bytes()
    await download.release()
    assert kept(store) == {}


async def test_slots(store: MemoryStore) -> None:
    slots = Slots(Pool(1))
    download = make(store, slots)
    with download.offered(ScriptedRemote(DATA)):
        async with slots.taken():
            task = asyncio.create_task(download.run())
            await asyncio.sleep(0.005)
            assert (download.waiting, kept(store)) == (True, {})
        await task
    assert (download.waiting, download.available) == (False, len(DATA))
    await download.release()


async def test_what_one_pull_may_not_have_another_one_may(store: MemoryStore) -> None:
    download = make(store)
    refused = ScriptedRemote(DATA, [Connection(refusal=NotFound("no such blob"))] * 9)
    allowed = ScriptedRemote(DATA)
    with download.offered(refused), download.offered(allowed):
        await download.run()
    assert (refused.offsets, allowed.offsets) == ([0], [0])
    await download.release()


async def test_a_registry_that_is_gone_is_asked_in_turn(store: MemoryStore) -> None:
    download = make(store)
    gone = ScriptedRemote(DATA, [Connection(DATA[:5000], failure=BROKEN)])
    other = ScriptedRemote(DATA)
    with download.offered(gone), download.offered(other):
        await download.run()
    assert (gone.offsets, other.offsets) == ([0], [5000])
    await download.release()


async def test_who_has_left_is_not_asked(store: MemoryStore) -> None:
    download = make(store)
    gate = asyncio.Event()
    first = ScriptedRemote(DATA, [Connection(DATA[:5000], failure=BROKEN, gate=gate)])
    second = ScriptedRemote(DATA)
    with ExitStack() as early, download.offered(second):
        early.enter_context(download.offered(first))
        download._remotes.reverse()
        task = asyncio.create_task(download.run())
        await until(lambda: first.offsets)
        early.close()
        gate.set()
        await task
    assert (first.offsets, second.offsets) == ([0], [5000])
    await download.release()


async def test_the_refusal_is_told_when_everybody_was_refused(store: MemoryStore) -> None:
    download = make(store)
    remotes = [ScriptedRemote(DATA, [Connection(refusal=AuthFailed(f"no {at}"))]) for at in "ab"]
    with download.offered(remotes[0]), download.offered(remotes[1]), pytest.raises(AuthFailed):
        await download.run()
    await download.release()
    assert [remote.offsets for remote in remotes] == [[0], [0]]


# Following.


async def follow(download: Download) -> bytes:
    """What a worker would read."""
    async with download.source() as source:
        done = 0
        found = b""
        async for available in source.follow():
            found += os.pread(source.fileno(), available - done, done)
            done = available
        return found


async def test_followers_see_it_grow(store: MemoryStore) -> None:
    download = make(store)
    followers = [asyncio.create_task(follow(download)) for _ in range(3)]
    await asyncio.sleep(0)
    with download.offered(ScriptedRemote(DATA, [Connection(DATA[:9], failure=BROKEN)])):
        await download.run()
    assert await asyncio.gather(*followers) == [DATA] * 3
    assert await follow(download) == DATA
    await download.release()


async def test_followers_start_again_with_the_download(store: MemoryStore) -> None:
    with store.ingest(ingest_ref(LAYER)) as ingest:
        ingest.write(bytes(1000))
    download = make(store)
    follower = asyncio.create_task(follow(download))
    with download.offered(ScriptedRemote(DATA)):
        await download.run()
    with pytest.raises(Restarted):
        await follower
    assert await follow(download) == DATA
    await download.release()


async def test_followers_of_a_failed_download(store: MemoryStore) -> None:
    download = make(store)
    follower = asyncio.create_task(follow(download))
    script = [Connection(DATA[:1000], failure=AuthFailed("no"))]
    with download.offered(ScriptedRemote(DATA, script)), pytest.raises(AuthFailed):
        await download.run()
    with pytest.raises(Unavailable):
        await follower
    with pytest.raises(Unavailable):
        await follow(download)
    await download.release()


async def test_an_ingest_that_cannot_be_opened(store: MemoryStore) -> None:
    with store.ingest(ingest_ref(LAYER)):
        download = make(store)
        follower = asyncio.create_task(follow(download))
        with pytest.raises(Unavailable, match="open already"):
            await download.run()
        with pytest.raises(Unavailable):
            await follower
        await download.release()


async def test_a_source_outlives_publishing(store: MemoryStore) -> None:
    download, _ = await run(store)
    async with download.source() as before:
        ingest = download.pending.take()
        assert ingest is not None
        late = asyncio.create_task(follow(download))  # waits: it is on its way out
        await asyncio.sleep(0.005)
        assert not late.done()
        store.publish([ingest])
        download.pending.published()
        assert os.pread(before.fileno(), 10, 0) == DATA[:10]
    assert await late == DATA
    assert await follow(download) == DATA
    await download.release()


async def test_a_source_after_a_publication_that_failed(store: MemoryStore) -> None:
    download, _ = await run(store)
    ingest = download.pending.take()
    assert ingest is not None
    late = asyncio.create_task(follow(download))
    await asyncio.sleep(0)
    ingest.close()
    download.pending.lost()
    with pytest.raises(Unavailable, match="another pull"):
        await late
    with pytest.raises(Unavailable, match="another pull"):
        download.pending.take()
    await download.release()
    assert kept(store) == {ingest_ref(LAYER): len(DATA)}
