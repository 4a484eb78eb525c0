"""A worker that was taken over: what it tries, and what stops it.

Each attack is stopped by two fences at least, and each of these is enough: all the others
of the attack are switched off, one after another. With none of them the attack works,
or this would prove nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

import pytest

from orlop.errors import Internal
from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.ports.unpack import UnpackJob
from orlop.unpack.jail import EVERY, Fence
from orlop.unpack.pool import WorkerPool
from tests.hostile import attacker
from tests.hostile.attacker import STOPPED, WORKED, Attack
from tests.rigs.tree import differences, tree
from tests.unit.unpack.workers import BLOB, LAYER, Blob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

ROOT, CAPABILITIES, CALLS = Fence.ROOT, Fence.CAPABILITIES, Fence.CALLS
LANDLOCK, NETWORK, PROCESSES = Fence.LANDLOCK, Fence.NETWORK, Fence.PROCESSES

ATTACKS: Final[dict[str, Fence]] = {
    "read_outside": ROOT | LANDLOCK,
    "write_outside": ROOT | LANDLOCK,
    "climb_out": ROOT | LANDLOCK,
    "rename_outside": ROOT | LANDLOCK,
    "link_in": ROOT | LANDLOCK,
    "through_proc": ROOT | LANDLOCK,
    "write_proc": ROOT | LANDLOCK,
    "read_environment": ROOT | CAPABILITIES | LANDLOCK,
    "by_handle": CAPABILITIES | CALLS,
    "mount": CAPABILITIES | LANDLOCK | CALLS,
    "remount": CAPABILITIES | LANDLOCK | CALLS,
    "new_user_namespace": LANDLOCK | CALLS,
    "join_namespace": PROCESSES | CAPABILITIES | LANDLOCK | CALLS,
    "change_root": CAPABILITIES | CALLS,
    "kill_parent": PROCESSES | LANDLOCK | CALLS,
    "signal_daemon": PROCESSES | LANDLOCK | CALLS,
    "trace_parent": PROCESSES | CAPABILITIES | LANDLOCK | CALLS,
    "read_parents_memory": PROCESSES | CAPABILITIES | LANDLOCK | CALLS,
    "outlive": PROCESSES | CALLS,
    "execute": ROOT | LANDLOCK | CALLS,
    "connect": NETWORK | LANDLOCK | CALLS,
    "connect_abstract": NETWORK | LANDLOCK | CALLS,
    "connect_by_path": ROOT | CALLS,
    "raw_socket": CAPABILITIES | CALLS,
    "set_user": CAPABILITIES | CALLS,
    "set_host_name": CAPABILITIES | CALLS,
    "read_kernel_log": CAPABILITIES | CALLS,
    "stop_swapping": CAPABILITIES | CALLS,
    "account": CAPABILITIES | CALLS,
    "hurry": CAPABILITIES | CALLS,
    "lazy_import": Fence.PATHS | Fence.FINDERS,
}
"""Which fences stop an attack, each alone."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """What lies outside: a secret, and sockets to connect to; its name is a port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        outside = tmp_path / str(tcp.getsockname()[1])
        outside.mkdir()
        (outside / "secret").write_text("secret")
        abstract.bind(f"\0orlop-{outside.name}")
        abstract.listen()
        named.bind(os.fspath(outside / "socket"))
        named.listen()
        yield outside


async def attacked(name: str, place: Path, fences: Fence) -> bool:
    """Whether an attack worked although ``fences`` were up."""
    program = (sys.executable, attacker.__file__, name, os.fspath(place))
    work = place.parent / f"{fences:x}"
    work.mkdir()
    root = work / "root"
    root.mkdir()
    blob = Blob(work / "blob")
    target = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        async with WorkerPool(fences=fences, program=program) as pool:
            job = UnpackJob(blob, target, Compression.GZIP, "overlay", Digest.of(LAYER), len(BLOB))
            with pytest.raises(Internal) as caught:
                await pool.unpack(job)
    finally:
        os.close(target)
        blob.close()
    said = caught.value.message
    assert said.startswith((WORKED, STOPPED, "unpack worker died without a word")), said
    if name == "outlive":
        await asyncio.sleep(0.7)  # the child would have been there after 0.5 s
        return (root / "survivor").exists()
    return said == WORKED


def test_every_attack_is_here() -> None:
    methods = {name for name in vars(Attack) if not name.startswith("_")}
    assert methods == set(ATTACKS)
    assert len(ATTACKS) >= 25
    assert all(fences.bit_count() >= 2 for fences in ATTACKS.values())


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack(name: str, place: Path) -> None:
    before = tree(place)
    assert not await attacked(name, place, EVERY)
    for fence in ATTACKS[name]:
        assert not await attacked(name, place, EVERY & ~ATTACKS[name] | fence), fence.name
    assert differences(before, tree(place)) == []
    assert await attacked(name, place, EVERY & ~ATTACKS[name]), "it is no attack"
