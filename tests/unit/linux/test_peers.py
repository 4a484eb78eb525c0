"""Who is connected, by the descriptors of this process."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from orlop.linux.peers import Peer, Peers

if TYPE_CHECKING:
    from pathlib import Path


def test_each_connection_is_told_once(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    me = Peer(os.getpid(), os.geteuid(), os.getegid(), _comm())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        os.rename(path, f"{path}-moved")
        peers = Peers(path)
        assert peers.new() == []
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{path}-moved")
            accepted, _ = listening.accept()
            with accepted:
                assert peers.new() == [me]
                assert peers.new() == []
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{path}-moved")
            accepted, _ = listening.accept()
            with accepted:
                assert peers.new() == [me]


def test_other_sockets_are_nobody_s(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_INET) as other:
        other.bind(("127.0.0.1", 0))
        assert Peers(str(tmp_path / "s")).new() == []


def test_among_hundreds_of_descriptors(tmp_path: Path) -> None:
    """More than one reading of the directory tells; the oldest and the newest are found."""
    path = str(tmp_path / "s")
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(path)
        listening.listen()
        peers = Peers(path)

        def connect() -> None:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            stack.enter_context(listening.accept()[0])

        connect()
        for _ in range(1500):
            stack.callback(os.close, os.open("/", os.O_PATH))
        connect()
        assert len(peers.new()) == 2
        connect()
        assert len(peers.new()) == 1


def _comm() -> str:
    with open("/proc/self/comm", encoding="utf-8") as file:
        return file.read().strip()
