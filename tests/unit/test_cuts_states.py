"""States of a disk: which there are, and that each is made of the right bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.cuts.disks import KINDS
from tests.crash.cuts.log import Epoch, Write
from tests.crash.cuts.replay import Disk, Recording
from tests.crash.cuts.states import State, changes, chosen, systematic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.cuts.states import Kind

SECTOR = 512
A, B, C = Write(0, b"a" * 4096), Write(4096, b"b" * 8192), Write(0, b"c" * 512)
EPOCH = Epoch((A, B, C), ())


def made(cut: int, kind: Kind, choice: int = 0) -> list[Write]:
    return changes(EPOCH, State(0, cut, kind, choice), sector=SECTOR)


def test_flushes_and_prefixes_keep_the_order() -> None:
    assert made(3, "flush") == [A, B, C]
    assert made(0, "prefix") == []
    assert made(2, "prefix") == [A, B]


def test_one_write_is_dropped_or_kept_alone() -> None:
    assert made(3, "drop", 1) == [A, C]
    assert made(3, "keep", 1) == [B]


def test_a_torn_write_is_there_in_part() -> None:
    assert made(2, "torn", 512) == [A, Write(4096, b"b" * 512)]


def test_the_sector_of_a_tear_may_hold_garbage() -> None:
    first, second, garbage = made(2, "garbled", 4096)
    assert (first, second) == (A, Write(4096, b"b" * 4096))
    assert garbage.offset == 8192
    assert len(garbage.data) == SECTOR
    assert garbage.data != b"b" * SECTOR


def test_a_random_part_is_the_same_every_time_and_in_order() -> None:
    pieces = [A, Write(4096, b"b" * 4096), Write(8192, b"b" * 4096), C]
    seen = set()
    for seed in range(50):
        part = made(3, "some", seed)
        assert part == made(3, "some", seed)
        assert part == [piece for piece in pieces if piece in part]
        seen.add(tuple(part))
    assert len(seen) > 10


def test_all_systematic_states_of_an_epoch() -> None:
    found = list(systematic([EPOCH], SECTOR))
    kinds = [state.kind for state in found]
    assert len(set(found)) == len(found)
    assert (kinds.count("flush"), kinds.count("prefix")) == (1, 3)
    assert (kinds.count("drop"), kinds.count("keep")) == (3, 3)
    torn = {(state.cut, state.choice) for state in found if state.kind == "torn"}
    assert torn == {(1, 512), (1, 2048), (1, 3584), (2, 512), (2, 4096), (2, 7680)}
    assert torn == {(state.cut, state.choice) for state in found if state.kind == "garbled"}


def test_a_disk_of_large_sectors_tears_fewer_writes() -> None:
    torn = {state.choice for state in systematic([EPOCH], 4096) if state.kind == "torn"}
    assert torn == {4096}


@pytest.mark.parametrize("count", [5, 100])
def test_so_many_are_chosen_in_the_order_of_epochs(count: int) -> None:
    epochs = [EPOCH, Epoch((), ()), EPOCH]
    found = chosen(epochs, count, seed=3, sector=SECTOR)
    assert found == chosen(epochs, count, seed=3, sector=SECTOR)
    assert found != chosen(epochs, count, seed=4, sector=SECTOR)
    assert found == sorted(found)
    assert len(found) == count


def test_nothing_is_chosen_at_random_where_nothing_was_written() -> None:
    assert chosen([Epoch((), ())], 9, seed=1, sector=SECTOR) == [State(0, 0, "flush")]


def test_a_disk_becomes_each_state_whatever_was_written_on_it(tmp_path: Path) -> None:
    base = tmp_path / "base"
    empty = bytearray(1 << 20)
    empty[4096:8192] = b"x" * 4096
    base.write_bytes(empty)
    far = Epoch((Write(512 << 10, b"f" * 8192), Write(4096, bytes(4096))), ())
    epochs = [EPOCH, far, EPOCH]
    recording = Recording(KINDS["ext4"], base, epochs)
    digests: dict[int, bytes] = {}
    with Disk(recording, tmp_path) as disk:
        for state in chosen(epochs, 200, seed=1, sector=SECTOR):
            wanted = bytearray(empty)
            before = [write for epoch in epochs[: state.epoch] for write in epoch.writes]
            for write in [*before, *changes(epochs[state.epoch], state, sector=SECTOR)]:
                wanted[write.offset : write.end] = write.data
            digest = disk.become(state)
            assert disk.scratch.read_bytes() == wanted
            assert digests.setdefault(digest, bytes(wanted)) == wanted
            with disk.scratch.open("r+b") as used_up:
                used_up.seek(900 << 10)
                used_up.write(b"recovery was here")
    assert len(set(digests.values())) == len(digests)
