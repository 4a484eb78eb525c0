"""A daemon of its own process, a registry of another maker, and the program between them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from demo.surroundings import PROGRAM, Daemon
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.system.rig import LIMIT, Program, offer, small_image, staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.testing.distribution import DistributionRegistry
    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root


def test_the_life_of_an_image(
    registry: DistributionRegistry, daemon: Daemon, orlop: Program, home: Path
) -> None:
    image = small_image("life")
    reference = offer(registry, image, "team/app", "v1")
    pulled = orlop.run("pull", reference)
    assert (pulled.code, pulled.out) == (0, f"{image.id}\n")
    assert f"pulled {reference}: " in pulled.err
    assert orlop.run("pull", reference).out == pulled.out
    assert reference in orlop.output("images")

    (listed,) = cast("list[dict[str, object]]", orlop.run("images", "-o", "json").json())
    assert listed["id"] == str(image.id)
    assert listed["names"] == sorted(
        [reference, f"{registry.address}/team/app@{image.digest}", str(image.id)]
    )
    detail = cast(
        "dict[str, dict[str, object]]", orlop.run("inspect", reference, "-o", "json").json()
    )
    assert detail["config"]["architecture"] == "amd64"
    (usage,) = cast("list[dict[str, int]]", orlop.run("fs", "-o", "json").json())
    assert usage["bytes"] == cast("int", listed["content_bytes"]) + cast(
        "int", listed["unpacked_bytes"]
    )
    assert "whole" in orlop.output("check", reference)

    target = home / "mnt"
    target.mkdir()
    assert orlop.output("mount", reference, str(target)) == f"{target}\n"
    assert sorted(os.listdir(target)) == ["bin", "etc", "usr"]
    assert sorted(os.listdir(target / "etc")) == ["os-release", "word"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()
    orlop.output("unmount", str(target))
    assert os.listdir(target) == []
    orlop.output("mount", reference, str(target), "--rw")
    (target / "new").touch()
    orlop.output("unmount", str(target))

    assert orlop.output("gc") == "removed 0 images, 0 blobs, 0 snapshots: 0 B\n"
    assert orlop.output("rm", reference) == f"removed {reference}\n"
    assert orlop.run("images", "-o", "json").json() == []
    assert list(daemon.root.glob("*/blobs/sha256/*")) == []
    assert list(daemon.root.glob("*/snapshots/*")) == []
    assert daemon.stop() == 0


def test_exit_codes(registry: DistributionRegistry, daemon: Daemon, orlop: Program) -> None:
    image = small_image("codes")
    reference = offer(registry, image, "codes", "1")
    orlop.output("pull", reference)
    assert orlop.run("pull").code == 2
    assert orlop.run("pull", "Not A Reference").code == 2
    assert orlop.run("pull", f"{registry.address}/codes:none").code == 3
    for command in ("inspect", "rm", "check"):
        assert orlop.run(command, "nothing").code == 3, command
    assert orlop.run("pull", "127.0.0.1:1/nobody/listens:1").code == 75
    blob = (
        daemon.root / f"io.containerd.content.v1.content/blobs/sha256/{image.layers[0].digest.hex}"
    )
    blob.chmod(0o600)
    blob.write_bytes(bytes(len(image.layers[0].blob)))
    damaged = orlop.run("check", reference)
    assert (damaged.code, "damaged" in damaged.out) == (4, True)
    daemon.stop()
    late = orlop.run("images")
    assert late.code == 75
    assert late.err.startswith("orlop: no daemon answers at ")


@pytest.mark.row("L12")
def test_one_daemon_a_root(daemon: Daemon, home: Path) -> None:
    second = Program().run(
        *("daemon", "--root", str(daemon.root), "--state", str(home / "state2")),
        *("--address", f"unix://{home}/second.sock"),
    )
    assert (second.code, second.out) == (1, "")
    assert str(daemon.root) in second.err
    embedded = Program(("--root", str(daemon.root))).run("images")
    assert embedded.code == 1
    assert str(daemon.root) in embedded.err


@pytest.mark.row("L15")
def test_sigterm_lets_a_pull_end(daemon: Daemon, orlop: Program) -> None:
    with FakeRegistry() as fake:
        reference = _fill(fake, image := small_image("drain"))
        fake.fail(Fault(rate=100_000), path=f"/blobs/{image.layers[1].digest}")
        with _pulling(orlop, reference) as pull:
            _wait_for(lambda: _asked(fake, image))
            os.kill(daemon.pid, signal.SIGTERM)
            out, err = pull.communicate(timeout=LIMIT)
    assert (pull.returncode, out) == (0, f"{image.id}\n"), err
    assert daemon.wait() == 0


@pytest.mark.row("L06")
def test_a_killed_daemon_comes_back(
    registry: DistributionRegistry, daemon: Daemon, orlop: Program
) -> None:
    here = offer(registry, small_image("here"), "here", "1")
    orlop.output("pull", here)
    before = orlop.output("images", "-o", "json")
    with FakeRegistry() as fake:
        reference = _fill(fake, image := small_image("half"))
        fake.fail(Fault(stall_at=100_000), path=f"/blobs/{image.layers[1].digest}")
        with _pulling(orlop, reference) as pull:
            _wait_for(lambda: _asked(fake, image) and bool(staged(daemon.root)))
            daemon.kill()
            assert pull.wait(LIMIT) == 75
        with Daemon(daemon.root.parent) as again:
            assert staged(again.root) == []
            assert orlop.output("images", "-o", "json") == before
            assert "damaged" not in orlop.output("check")
            assert orlop.output("pull", reference) == f"{image.id}\n"
            assert again.stop() == 0


def test_no_daemon_at_all(registry: DistributionRegistry, home: Path) -> None:
    reference = offer(registry, small_image("embedded"), "embedded", "1")
    alone = Program(("--root", str(home / "store")))
    alone.output("pull", reference)
    target = home / "mnt"
    target.mkdir()
    alone.output("mount", reference, str(target))
    assert (target / "etc" / "word").read_text() == "embedded"
    alone.output("unmount", str(target))
    alone.output("rm", reference)
    assert alone.run("images", "-o", "json").json() == []


def _fill(registry: FakeRegistry, image: BuiltImage) -> str:
    for blob in image.blobs.values():
        registry.add_blob(blob)
    registry.add_manifest("slow", "1", image.manifest, image.media_type)
    return f"{registry.address}/slow:1"


def _asked(registry: FakeRegistry, image: BuiltImage) -> bool:
    """True when the middle layer was asked for."""
    return any(str(image.layers[1].digest) in request.path for request in registry.requests)


@contextmanager
def _pulling(orlop: Program, reference: str) -> Iterator[subprocess.Popen[str]]:
    """A pull that goes on meanwhile."""
    with subprocess.Popen(
        [str(PROGRAM), "pull", reference, *orlop.options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
