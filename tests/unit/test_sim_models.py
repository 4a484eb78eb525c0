"""The simulated disk, what power cuts leave of it, and verdicts that disks share."""

from __future__ import annotations

import random
import stat
from typing import TYPE_CHECKING

import pytest

from tests.crash.sim.disk import BLOCK, ROOT, Disk, new
from tests.crash.sim.models import GARBAGE, MODELS, Choice, Ext4, Weak, Xfs
from tests.crash.sim.run import Cut
from tests.crash.sim.verdicts import Verdicts

if TYPE_CHECKING:
    from tests.crash.sim.disk import Cell, Value
    from tests.crash.sim.models import Model

FILE = stat.S_IFREG | 0o600
DIRECTORY = stat.S_IFDIR | 0o700


def fed(model: type[Model], disk: Disk) -> Model:
    found = model(new())
    for call in disk.calls:
        found.feed(call)
    return found


def left(model: Model, *kept: int, garbled: int = -1) -> Disk:
    """The disk that a choice leaves."""
    choice = Choice(model.possible([at in kept for at in range(len(model.pending))]), garbled)
    with model.durable.changed(model.cells(choice)):
        return Disk(dict(model.durable.cells), first=1000)


def written(data: bytes = b"data") -> tuple[Disk, int]:
    """A disk with one new file, ``f``: its changes are the name, the data, the length."""
    disk = Disk(new())
    inode = disk.make(ROOT, "f", FILE)
    disk.write(inode, 0, data)
    return disk, inode


# --- the disk -----------------------------------------------------------------------------


def test_a_file_is_what_was_written() -> None:
    disk, inode = written()
    disk.write(inode, BLOCK - 1, b"xyz")
    assert disk.read(inode, 0, 1 << 20) == b"data" + bytes(BLOCK - 5) + b"xyz"
    disk.truncate(inode, 2)
    disk.truncate(inode, 6)
    assert disk.read(inode, 0, 100) == b"da" + bytes(4)


def test_names_come_and_go() -> None:
    disk, inode = written()
    below = disk.make(ROOT, "d", DIRECTORY)
    disk.rename((ROOT, "f"), (below, "g"))
    assert (disk.names(ROOT), disk.lookup(below, "g")) == (["d"], inode)
    with pytest.raises(OSError, match="not empty"):
        disk.remove(ROOT, "d")
    disk.remove(below, "g")
    disk.remove(ROOT, "d")
    assert disk.names(ROOT) == []


def test_only_what_was_given_has_been_asked_for() -> None:
    given, inode = written()
    disk = left(fed(Weak, given), 0, 1, 2)
    disk.write(disk.lookup(ROOT, "f"), 0, bytes(BLOCK))
    disk.read(inode, 0, BLOCK)
    disk.lookup(ROOT, "none")
    disk.names(disk.make(ROOT, "mine", DIRECTORY))
    assert set(disk.asked) == {("entry", ROOT, "f"), ("entry", ROOT, "none"), ("size", inode, 0)}


# --- the models ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS.values())
def test_a_barrier_for_everything_leaves_nothing_to_lose(model: type[Model]) -> None:
    disk, inode = written()
    disk.sync()
    found = fed(model, disk)
    assert found.pending == []
    assert left(found).read(inode, 0, 10) == b"data"


@pytest.mark.parametrize(("model", "names"), [(Weak, []), (Ext4, ["f"]), (Xfs, ["f"])])
def test_the_barrier_of_a_file_covers_its_name_only_by_a_journal(
    model: type[Model], names: list[str]
) -> None:
    disk, inode = written()
    disk.sync(inode)
    found = left(fed(model, disk))
    assert found.names(ROOT) == names
    assert found.read(inode, 0, 10) == b"data"


@pytest.mark.parametrize("model", MODELS.values())
def test_the_barrier_of_a_directory_covers_no_data(model: type[Model]) -> None:
    disk, inode = written()
    disk.sync(ROOT)
    found = left(fed(model, disk))
    assert found.lookup(ROOT, "f") == inode
    assert found.read(inode, 0, 10) in (b"", bytes(4))


def test_a_barrier_of_xfs_ends_with_what_it_is_for() -> None:
    disk, inode = written()
    disk.make(ROOT, "later", FILE)
    disk.sync(inode)
    assert left(fed(Xfs, disk)).names(ROOT) == ["f"]
    assert left(fed(Ext4, disk)).names(ROOT) == ["f", "later"]


def test_a_length_without_data() -> None:
    disk, inode = written()
    assert left(fed(Weak, disk), 0, 2).read(inode, 0, 10) == bytes(4)
    assert left(fed(Xfs, disk), 0, 2).read(inode, 0, 10) == bytes(4)
    assert left(fed(Ext4, disk), 0, 2).size(inode) == 0


def test_a_journal_is_in_order() -> None:
    disk = Disk(new())
    for name in "abc":
        disk.make(ROOT, name, FILE)
    assert left(fed(Weak, disk), 0, 2).names(ROOT) == ["a", "c"]
    assert left(fed(Ext4, disk), 0, 2).names(ROOT) == ["a"]
    assert left(fed(Xfs, disk), 0, 2).names(ROOT) == ["a"]


@pytest.mark.parametrize("model", MODELS.values())
def test_a_rename_is_all_or_nothing(model: type[Model]) -> None:
    disk, inode = written()
    disk.make(ROOT, "d", DIRECTORY)
    disk.sync()
    disk.rename((ROOT, "f"), (disk.lookup(ROOT, "d"), "g"))
    before, after = left(fed(model, disk)), left(fed(model, disk), 0)
    assert before.names(ROOT) == ["d", "f"]
    assert before.names(before.lookup(ROOT, "d")) == []
    assert after.names(ROOT) == ["d"]
    assert after.lookup(after.lookup(ROOT, "d"), "g") == inode


def test_a_name_does_not_overtake_itself() -> None:
    disk = Disk(new())
    for name in ("a", "b", "c"):
        disk.make(ROOT, name, DIRECTORY)
    disk.sync()
    tree = disk.make(disk.lookup(ROOT, "a"), "1", DIRECTORY)
    disk.rename((disk.lookup(ROOT, "a"), "1"), (disk.lookup(ROOT, "b"), "1"))
    disk.rename((disk.lookup(ROOT, "b"), "1"), (disk.lookup(ROOT, "c"), "1"))
    found = fed(Weak, disk)
    assert found.possible([True, False, True]) == (0,)
    disk.sync(disk.lookup(ROOT, "c"))
    after = left(fed(Weak, disk))
    assert after.lookup(after.lookup(ROOT, "c"), "1") == tree
    assert after.names(after.lookup(ROOT, "a")) == []


def test_one_block_may_hold_garbage() -> None:
    disk, inode = written(bytes(BLOCK) + b"x")
    found = left(fed(Weak, disk), 0, 1, 2, 3, garbled=1)
    assert found.read(inode, 0, 2 * BLOCK) == GARBAGE + b"x"


def test_few_changes_are_left_in_every_way() -> None:
    disk, _ = written()
    disk.sync(ROOT)
    found = {choice.kept for choice in fed(Weak, disk).states(random.Random(1), 16)}
    assert found == {(), (0,), (1,), (0, 1)}
    assert {choice.kept for choice in fed(Ext4, disk).states(random.Random(1), 16)} == {(), (0, 1)}


def test_the_same_seed_chooses_the_same() -> None:
    disk, inode = written(bytes(9 * BLOCK))
    disk.change(inode, disk.attributes(inode))
    model = fed(Weak, disk)
    one, two, other = (model.states(random.Random(seed), 50) for seed in (1, 1, 2))
    assert one == two != other
    assert len(set(one)) == 50


def test_a_choice_is_laid_over_for_a_while() -> None:
    model = fed(Weak, written()[0])
    before, digest = dict(model.durable.cells), model.durable.digest
    with model.durable.changed(model.cells(Choice((0, 1, 2)))):
        assert model.durable.digest != digest
    after = {cell: value for cell, value in model.durable.cells.items() if value is not None}
    assert (after, model.durable.digest) == (before, digest)


def test_a_state_can_be_written_down() -> None:
    for cut in (Cut("weak", 12, Choice((0, 3), 3)), Cut("xfs", 1, Choice(()))):
        assert Cut.parse(str(cut)) == cut
    with pytest.raises(ValueError, match="no such model"):
        Cut.parse("btrfs:1::-1")


# --- verdicts -----------------------------------------------------------------------------


def answers(*pairs: tuple[int, Value]) -> dict[Cell, Value]:
    return {("size", inode, 0): value for inode, value in pairs}


def test_disks_that_are_the_same_to_who_opens_them_share_a_verdict() -> None:
    verdicts: Verdicts[str] = Verdicts()
    assert verdicts.find({}) is None
    verdicts.add(answers((1, 10), (2, 20)), "one")
    verdicts.add(answers((1, 10), (2, 21), (3, 30)), "two")
    verdicts.add(answers((1, 11)), "three")
    verdicts.add(answers((1, 10), (2, 21), (3, None)), "four")
    assert verdicts.find(answers((1, 10), (2, 20), (9, 9))) == "one"
    assert verdicts.find(answers((1, 10), (2, 21), (3, 30))) == "two"
    assert verdicts.find(answers((1, 11), (2, 20))) == "three"
    assert verdicts.find(answers((1, 10), (2, 21))) == "four"
    assert verdicts.find(answers((1, 10), (2, 22))) is None
    assert verdicts.find(answers((1, 12))) is None


def test_an_opening_that_is_no_function_of_what_it_reads_is_noticed() -> None:
    verdicts: Verdicts[str] = Verdicts()
    verdicts.add(answers((1, 10), (2, 20)), "one")
    with pytest.raises(AssertionError, match="was asked for, not"):
        verdicts.add(answers((1, 10), (3, 20)), "two")
    with pytest.raises(AssertionError, match="the same disk twice"):
        verdicts.add(answers((1, 10), (2, 20)), "two")
