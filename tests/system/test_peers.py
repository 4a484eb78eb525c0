"""The log says who has connected, whatever library has accepted the connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from demo.surroundings import Daemon
from tests.rigs.user import ID, ordinary_user
from tests.system.rig import Program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

CONFIG = f'version = 4\n[plugins."io.containerd.server.v1.grpc"]\ngid = {ID}\n'


def test_each_connection_is_logged_with_its_user(home: Path) -> None:
    home.chmod(0o711)
    with Daemon(home, config=CONFIG) as daemon, ordinary_user(ids=False) as user:
        Program(("--address", daemon.address)).output("images")
        user.output("images", "--address", daemon.address)
        log = (home / "daemon.log").read_text()
    found = re.findall(r"msg=connected pid=(\d+) uid=(\d+) gid=(\d+) program=\S+", log)
    assert [(uid, gid) for _, uid, gid in found] == [("0", "0"), (str(ID), str(ID))]
    assert len({pid for pid, _, _ in found}) == 2
