"""Few descriptors a turn, in turns."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from contextlib import ExitStack
from itertools import pairwise

from orlop.linux.polling import FairSelector


def ready_sockets(stack: ExitStack, selector: selectors.BaseSelector, count: int) -> list[int]:
    """Sockets that always have a byte to read."""
    found = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        theirs.send(b"x")
        selector.register(ours, selectors.EVENT_READ)
        found.append(ours.fileno())
    return found


def test_nobody_waits_for_long() -> None:
    with ExitStack() as stack, FairSelector(3) as selector:
        sockets = ready_sockets(stack, selector, 7)
        turns = [[key.fd for key, _ in selector.select(0)] for _ in range(30)]
        assert all(len(turn) == 3 for turn in turns)
        for fd in sockets:
            at = [number for number, turn in enumerate(turns) if fd in turn]
            assert max(later - now for now, later in pairwise(at)) <= 3


def test_who_was_quiet_comes_first() -> None:
    with ExitStack() as stack, FairSelector(1) as selector:
        ready_sockets(stack, selector, 5)
        for _ in range(5):
            selector.select(0)
        (late,) = ready_sockets(stack, selector, 1)
        assert [key.fd for key, _ in selector.select(0)] == [late]


def test_few_are_all_there() -> None:
    with ExitStack() as stack, FairSelector(4) as selector:
        sockets = ready_sockets(stack, selector, 4)
        assert sorted(key.fd for key, _ in selector.select(0)) == sorted(sockets)


def test_nothing_is_ready() -> None:
    with FairSelector(2) as selector:
        assert selector.select(0.001) == []


def test_those_that_come_first_are_alone() -> None:
    with ExitStack() as stack, FairSelector(2) as selector:
        others = ready_sockets(stack, selector, 3)
        with selector.first():
            (first,) = ready_sockets(stack, selector, 1)
        assert [key.fd for key, _ in selector.select(0)] == [first]
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(60)]
        assert set(others) <= set().union(*turns), "the others have their turn too"
        selector.unregister(first)
        assert len(selector.select(0)) == 2
        (usual,) = ready_sockets(stack, selector, 1)  # may have the same number
        turns = [{key.fd for key, _ in selector.select(0)} for _ in range(4)]
        assert {usual} not in turns


def test_an_event_loop_runs_on_it() -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(FairSelector(1))) as runner:

        async def read_from_many() -> int:
            loop = asyncio.get_running_loop()
            with ExitStack() as stack:
                pairs = [socket.socketpair() for _ in range(5)]
                for pair in pairs:
                    for end in pair:
                        stack.enter_context(end)
                        end.setblocking(False)
                reads = [asyncio.create_task(loop.sock_recv(ours, 1)) for ours, _ in pairs]
                thread = loop.run_in_executor(None, os.getpid)
                for _, theirs in pairs:
                    await loop.sock_sendall(theirs, b"x")
                assert await thread == os.getpid()
                return len(b"".join(await asyncio.gather(*reads)))

        assert runner.run(read_from_many()) == 5
