"""Somebody who is not root: the program, a daemon, workers, and what is on the disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.testing.images import build_image
from orlop.testing.layers import (
    CHAR_DEVICE,
    DIRECTORY,
    Entry,
    directory,
    file,
    hard_link,
    opaque,
    symlink,
    whiteout,
)
from tests.rigs.tree import Node, tree
from tests.rigs.user import FIRST, ID, User, ordinary_user
from tests.system.rig import LIMIT, Program, offer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.surroundings import Daemon
    from orlop.testing.distribution import DistributionRegistry

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")

IMAGE = build_image(
    [
        [
            directory("."),
            directory("var"),
            directory("etc"),
            Entry(b"var/www", DIRECTORY, 0o2775, 33, 33),
            file("etc/gone", b"!"),
            Entry(b"etc/shadow", mode=0o640, gid=42, data=b"x"),
            directory("old"),
            file("old/file", b"hidden"),
        ],
        [
            whiteout("etc/gone"),
            opaque("old"),
            Entry(b"old/new", uid=1000, gid=1000, data=b"new"),
            directory("bin"),
            file("bin/su", b"program", mode=0o4755),
            Entry(b"bin/ping", data=b"program", xattrs={"security.capability": CAPABILITY}),
            hard_link("bin/ping6", "bin/ping"),
        ],
        [Entry(b"var/www/page", uid=33, gid=33, data=b"page"), symlink("sbin", "bin")],
    ]
)


@pytest.fixture
def user() -> Iterator[User]:
    with ordinary_user(ids=True) as user:
        yield user


@pytest.fixture
def poor_user() -> Iterator[User]:
    """Somebody who has no ids but their own."""
    with ordinary_user(ids=False) as user:
        yield user


@contextlib.contextmanager
def served(user: User, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The user's own daemon, in the user's own places."""
    with subprocess.Popen(
        user.orlop("daemon", *options), env=user.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith("orlop: ready on "):
                    break
            else:
                raise AssertionError("".join(said))
            assert "isolated" not in "".join(said)
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


def test_the_life_of_an_image(registry: DistributionRegistry, user: User) -> None:
    reference = offer(registry, IMAGE, "team/user", "v1")
    store = str(user.home / "store")
    done = user.run(*user.orlop("pull", reference, "--root", store))
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    assert "isolated" not in done.stderr  # every fence is there
    assert reference in user.output("images", "--root", store)
    assert "whole" in user.output("check", reference, "--root", store)
    owners = {os.lstat(path).st_uid for path in (user.home / "store").rglob("*")}
    assert {ID, FIRST + 32, FIRST + 999} <= owners
    assert 0 not in owners
    # What others own is the user's to remove.
    assert "removed" in user.output("rm", reference, "--root", store)
    user.output("gc", "--root", store)
    assert {os.lstat(path).st_uid for path in (user.home / "store").rglob("*")} == {ID}


def test_a_daemon_mounts_what_root_would_mount(
    registry: DistributionRegistry, user: User, daemon: Daemon, orlop: Program, home: Path
) -> None:
    reference = offer(registry, IMAGE, "team/mounted", "v1")
    target, own = home / "mnt", user.home / "mnt"
    target.mkdir()
    own.mkdir(mode=0o755)
    os.chown(own, ID, ID)
    orlop.output("pull", reference)
    orlop.output("mount", reference, str(target))
    config = user.place / "config.toml"
    config.write_text(
        'version = 4\n[plugins."io.containerd.cri.v1.images"]\nisolation = "required"\n'
    )
    with served(user, "--config", str(config)) as process:
        assert user.output("pull", reference) == f"{IMAGE.id}\n"
        assert user.output("mount", reference, str(own)) == f"{own}\n"
        seen = f"/proc/{process.pid}/root{own}"
        assert {path: _outside(node) for path, node in tree(target).items()} == {
            path: _plain(node) for path, node in tree(seen).items()
        }
        inside = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(process.pid)]
        listed = user.run(*user.command(*inside, "cat", f"{own}/old/new"))
        assert listed.stdout == "new", listed.stderr
        assert os.listdir(own) == []
        assert "whole" in user.output("check", reference)
        user.output("unmount", str(own))
        user.output("rm", reference)
    assert process.returncode == 0
    assert (user.home / ".local/share/orlop/lock").exists()
    assert list((user.home / "run/orlop").glob("*.sock")) == []
    orlop.output("unmount", str(target))


def test_an_owner_that_there_is_not(registry: DistributionRegistry, poor_user: User) -> None:
    reference = offer(registry, IMAGE, "team/poor", "v1")
    store = str(poor_user.home / "store")
    done = poor_user.run(*poor_user.orlop("pull", reference, "--root", store))
    assert done.returncode != 0
    assert (
        "belongs to 33:33" in done.stderr
        or "belongs to 0:42" in done.stderr
        or ("belongs to 1000:1000" in done.stderr)
    )
    assert "/etc/subuid" in done.stderr
    assert "NAME" in poor_user.output("images", "--root", store)


def test_without_ids_root_owns_all(registry: DistributionRegistry, poor_user: User) -> None:
    reference = offer(registry, IMAGE, "team/squashed", "v1")
    config = poor_user.place / "config.toml"
    config.write_text(
        'version = 4\n[plugins."io.containerd.cri.v1.images"]\nignore_chown_errors = true\n'
    )
    with served(poor_user, "--config", str(config)):
        assert poor_user.output("pull", reference) == f"{IMAGE.id}\n"
        assert "whole" in poor_user.output("check", reference)
        owners = {os.lstat(path).st_uid for path in poor_user.home.rglob("*")}
        assert owners == {ID}


def test_devices_are_left_out(registry: DistributionRegistry, user: User) -> None:
    null = Entry(b"dev/null", CHAR_DEVICE, mode=0o666, major=1, minor=3)
    image = build_image([[directory("dev"), null, file("dev/after", b"x")]])
    reference = offer(registry, image, "team/device", "v1")
    store = user.home / "store"
    user.output("pull", reference, "--root", str(store))
    assert "whole" in user.output("check", reference, "--root", str(store))
    assert [path.name for path in store.glob("*overlayfs/snapshots/*/fs/dev/*")] == ["after"]


def test_a_mount_that_nobody_would_see(user: User) -> None:
    done = user.run(*user.orlop("mount", "x", str(user.home), "--root", str(user.home / "store")))
    assert done.returncode != 0
    assert "would end with it" in done.stderr
    assert "orlop daemon" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program(user: User, number: signal.Signals) -> None:
    with served(user) as process:
        process.send_signal(number)
        assert process.wait(LIMIT) == 0
        assert process.stderr is not None
        assert "msg=stopped" in process.stderr.read()


def test_nothing_outlives_the_process_that_was_started(user: User) -> None:
    with served(user) as process:
        process.kill()
        process.wait()
        deadline = time.monotonic() + LIMIT
        while _processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _processes() == []


def test_the_exit_status_comes_back(user: User) -> None:
    store = str(user.home / "store")
    assert user.run(*user.orlop("inspect", "nothing", "--root", store)).returncode == (
        Program(("--root", str(user.place / "other"))).run("inspect", "nothing").code
    )


def test_a_kernel_that_permits_no_namespace(user: User) -> None:
    # The kernel refuses a process of several threads what it refuses everybody elsewhere.
    words = (
        "import threading\n"
        "from orlop.linux.userns import become_root\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "try:\n    become_root()\n"
        "except Exception as error:\n    print(type(error).__name__, error, error.hint)\n"
    )
    done = user.run(*user.command(sys.executable, "-c", words))
    assert done.stdout.startswith("PermissionDenied a user namespace is needed without root")
    assert "user.max_user_namespaces" in done.stdout


def _processes() -> list[str]:
    """Processes of the user, and of the ids that the user has."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid in (ID, *range(FIRST, FIRST + 10)):
                found.append(name)
    return found


def _outside(node: Node) -> Node:
    """What root has made, as the user's files look from outside of the namespace."""
    return replace(_plain(node), uid=_mapped(node.uid), gid=_mapped(node.gid))


def _mapped(number: int) -> int:
    return FIRST + number - 1 if number else ID


def _plain(node: Node) -> Node:
    """Without the namespace that the kernel notes in a file capability."""
    found = {
        name: value[4:20] if name == "security.capability" else value
        for name, value in node.xattrs.items()
        if not name.startswith("user.overlay.")
    }
    return replace(node, xattrs=found)
