"""Mirrors, as a daemon with documents of containerd's uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from demo.surroundings import Daemon
from orlop.testing.distribution import DistributionRegistry
from tests.system.rig import Program, offer, small_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

CANARY: Final = "hunter2-canary"

CONTAINERD_1: Final = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."registry.example"]
endpoint = ["http://127.0.0.1:1", "MIRROR"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry.example".auth]
username = "node"
password = "{CANARY}"
[plugins."io.containerd.grpc.v1.cri".registry.headers]
x-node = ["{CANARY}"]
"""

CONTAINERD_2: Final = """
version = 3
[plugins."io.containerd.cri.v1.images".registry]
config_path = "/nowhere:CERTS"
"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    with DistributionRegistry(tmp_path_factory.mktemp("mirror"), access_log=True) as running:
        offer(running, small_image("mirrored"), "team/app", "v1")
        yield running


def test_a_document_of_containerd_1(mirror: DistributionRegistry, home: Path) -> None:
    with Daemon(home, config=CONTAINERD_1.replace("MIRROR", mirror.url)) as daemon:
        orlop = Program(("--address", daemon.address))
        pulled = orlop.run("pull", "registry.example/team/app:v1")
        assert pulled.code == 0, pulled.err
        assert "registry.example/team/app:v1" in orlop.output("images")
        missing = orlop.run("pull", "registry.example/team/none:v1")
        assert missing.code == 75  # the registry itself cannot be reached
        assert CANARY not in pulled.err + missing.err
    asked = "/v2/team/app/manifests/v1?ns=registry.example 200"
    assert any(line.endswith(asked) for line in mirror.accesses())
    log = (home / "daemon.log").read_text()
    assert "registry.mirrors: deprecated" in log
    assert CANARY not in log


def test_files_of_hosts(mirror: DistributionRegistry, home: Path) -> None:
    name = "build.corp.example/team/app:v1"
    hosts = home / "certs.d" / "*.corp.example" / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    with Daemon(home, config=CONTAINERD_2.replace("CERTS", str(home / "certs.d"))) as daemon:
        orlop = Program(("--address", daemon.address))
        hosts.write_text(f'server = "{mirror.url}"\nheader.x = "{CANARY}\\n"\n')
        broken = orlop.run("pull", name)
        assert (broken.code, broken.out) == (2, "")
        assert broken.err.startswith(f"orlop: {hosts}:2: header: X: not the value of an HTTP")
        hosts.write_text("blocked = true\n")
        blocked = orlop.run("pull", name)
        assert (blocked.code, blocked.out) == (5, "")
        assert f"build.corp.example/team/app: blocked at {hosts}:1" in blocked.err
        hosts.write_text(f'server = "{mirror.url}"\nsevrer = 1\nheader.x = "{CANARY}"\n')
        pulled = orlop.run("pull", name)
        assert pulled.code == 0, pulled.err
        explained = Program().run("hosts", "explain", name, "--config", str(home / "config.toml"))
        assert explained.code == 0
        assert f"{mirror.url}/v2" in explained.out
        assert CANARY not in broken.err + pulled.err + explained.out + explained.err
    log = (home / "daemon.log").read_text()
    assert f"{hosts}:2: sevrer: unknown key, ignored; did you mean server?" in log
    assert CANARY not in log
