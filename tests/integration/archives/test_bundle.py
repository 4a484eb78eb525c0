"""Bundles, started by real runtimes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from orlop.errors import (
    FailedPrecondition,
    ImageInvalid,
    LimitExceeded,
    NotFound,
    OrlopError,
    PermissionDenied,
)
from orlop.images.bundle import make_bundle, remove_bundle
from orlop.linux.rootfiles import SystemRootFiles
from orlop.model.limits import DEFAULTS
from orlop.testing.images import build_image
from orlop.testing.layers import directory, fifo, file, symlink
from tests.integration.archives.conftest import Bench, make_layout, run
from tests.integration.pull.rig import unmount_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.testing.images import Json
    from orlop.testing.layers import Entry

pytestmark = pytest.mark.root

RELEASE: Final = b"NAME=small\n"
USERS: Final = b"root:x:0:0::/:/bin/sh\nann:x:1000:100::/var/ann:/bin/sh\nbob:x:1001:1001::/:\n"
GROUPS: Final = b"users:x:100:\nstaff:x:50:ann,bob\naudio:x:29:ann\nwheel:x:10:\n"
ETC: Final = (directory("etc"), file("etc/passwd", USERS), file("etc/group", GROUPS))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "bundle"
    unmount_all(tmp_path)


async def made(
    bench: Bench,
    place: Path,
    etc: Sequence[Entry] = ETC,
    *,
    release: Sequence[Entry] = (file("etc/os-release", RELEASE),),
    read_only: bool = False,
    **config: Json,
) -> None:
    """A bundle of a small image, which is imported for it."""
    busybox = Path("/bin/busybox").read_bytes()
    names = ("sh", "cat", "id", "pwd", "sleep")
    tree = [
        directory("bin"),
        file("bin/busybox", busybox, mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in names),
    ]
    image = build_image([tree, [*etc, *release]], config={"config": config})
    number = len(list(bench.directory.glob("layout*")))
    layout = make_layout(bench.directory / f"layout{number}", image, "small:v1")
    await bench.take(layout)
    await make_bundle(
        bench.store.service, SystemRootFiles(), "small:v1", str(place), read_only=read_only
    )


def document(place: Path) -> Mapping[str, object]:
    found = json.loads((place / "config.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("ann", ("1000", "100", "100 29 50")),
        ("1001:10", ("1001", "10", "10")),
        ("", ("0", "0", "0")),
    ],
)
async def test_runtimes_run_it(
    bench: Bench, place: Path, runtime: str, user: str, expected: tuple[str, str, str]
) -> None:
    command: list[Json] = ["sh", "-c", "cat /etc/os-release; id -u; id -g; id -G; pwd; echo $MINE"]
    await made(
        *(bench, place),
        User=user,
        Entrypoint=command,
        Cmd=[],
        WorkingDir="/srv/new/../work",
        Env=["MINE=yes"],
    )
    uid, gid, groups = expected
    out = (await started(runtime, place)).splitlines()
    assert out[:3] == ["NAME=small", uid, gid]
    assert sorted(out[3].split()) == sorted(groups.split())
    assert out[4:] == ["/srv/work", "yes"]
    await remove_bundle(bench.store.service, SystemRootFiles(), str(place))
    assert not place.exists()
    assert (await bench.store.traces()).mounts == ()


async def started(runtime: str, place: Path) -> str:
    """What the container of a bundle prints."""
    name = f"orlop-test-{os.getpid()}"
    state = str(place.parent / "state")
    words = [runtime, "--root", state, "run", "--bundle", str(place), name]
    if runtime == "crun":
        # It refuses hosts that have both hierarchies of cgroups: here it sees one.
        words[1:1] = ["--cgroup-manager", "disabled"]
        one = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", one, "sh", *words]
    return await run(*words)


async def test_what_is_written_stays(bench: Bench, place: Path) -> None:
    await made(bench, place, Entrypoint=["sh", "-c", "echo mine > /kept; cat /kept"], Cmd=[])
    assert await started("runc", place) == "mine\n"
    assert (place / "layer" / "fs" / "kept").read_text() == "mine\n"
    assert (place / "rootfs" / "kept").read_text() == "mine\n"


async def test_read_only(bench: Bench, place: Path) -> None:
    script = "echo mine > /kept || echo refused"
    await made(bench, place, read_only=True, Entrypoint=["sh", "-c", script], Cmd=[])
    assert await started("runc", place) == "refused\n"


async def test_labels_become_annotations(bench: Bench, place: Path) -> None:
    await made(
        *(bench, place),
        Labels={"tier": "front", "org.opencontainers.image.os": "mine"},
        StopSignal="SIGQUIT",
        ExposedPorts={"80/tcp": {}},
    )
    annotations = document(place)["annotations"]
    assert isinstance(annotations, dict)
    assert annotations["tier"] == "front"
    assert annotations["org.opencontainers.image.os"] == "mine"
    assert annotations["org.opencontainers.image.stopSignal"] == "SIGQUIT"
    assert annotations["org.opencontainers.image.exposedPorts"] == "80/tcp"


HOSTILE: Final[Mapping[str, tuple[Sequence[Entry], type[OrlopError]]]] = {
    "a link to outside": (
        [directory("etc"), symlink("etc/passwd", "../../../../../../../../OUTSIDE")],
        ImageInvalid,
    ),
    "an absolute link": ([directory("etc"), symlink("etc/passwd", "OUTSIDE")], ImageInvalid),
    "a directory that is a link": ([symlink("etc", "OUTSIDE/..")], ImageInvalid),
    "a link to itself": ([directory("etc"), symlink("etc/passwd", "passwd")], ImageInvalid),
    "a link into proc": (
        [directory("etc"), symlink("etc/passwd", "/proc/self/cwd/x")],
        ImageInvalid,
    ),
    "a fifo": ([directory("etc"), fifo("etc/passwd")], ImageInvalid),
    "a directory": ([directory("etc"), directory("etc/passwd")], ImageInvalid),
    "huge": (
        [directory("etc"), file("etc/passwd", b"x" * (DEFAULTS.accounts_bytes + 1))],
        LimitExceeded,
    ),
    "without the user": ([directory("etc"), file("etc/passwd", b"root:x:0:0::/:\n")], ImageInvalid),
    "numbers that are none": (
        [directory("etc"), file("etc/passwd", b"eve:x:99999999999:0::/:\neve:x:-1:0::/:\neve:\n")],
        ImageInvalid,
    ),
    "no files at all": ([directory("etc")], ImageInvalid),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_accounts(bench: Bench, place: Path, what: str) -> None:
    outside = bench.directory / "outside"
    outside.write_bytes(b"eve:x:0:0::/:\n")
    (bench.directory / "passwd").write_bytes(b"eve:x:0:0::/:\n")
    entries, kind = HOSTILE[what]
    place_of = os.fsencode(outside)
    etc = [replace(entry, link=entry.link.replace(b"OUTSIDE", place_of)) for entry in entries]
    before = (await bench.store.traces()).mounts
    files = () if what == "a directory that is a link" else (file("etc/os-release", RELEASE),)
    with pytest.raises(kind):
        await made(bench, place, etc, release=files, User="eve")
    assert not place.exists()
    assert (await bench.store.traces()).mounts == before


async def test_a_working_directory_stays_inside(bench: Bench, place: Path) -> None:
    outside = bench.directory / "outside"
    outside.mkdir()
    etc = (*ETC, symlink("escape", f"{'../' * 12}{str(outside)[1:]}"))
    with pytest.raises(ImageInvalid):
        await made(bench, place, etc, WorkingDir="/escape/deep")
    assert list(outside.iterdir()) == []
    assert not place.exists()


async def test_directories_that_are_taken(bench: Bench, place: Path) -> None:
    files = SystemRootFiles()
    await made(bench, place)
    with pytest.raises(FailedPrecondition, match="not empty"):
        await make_bundle(bench.store.service, files, "small:v1", str(place))
    assert (place / "config.json").exists()
    (place / "mine").touch()
    await remove_bundle(bench.store.service, files, str(place))
    assert os.listdir(place) == ["mine"]
    with pytest.raises(NotFound):
        await remove_bundle(bench.store.service, files, str(place))
    with pytest.raises(FailedPrecondition, match="not empty"):
        await make_bundle(bench.store.service, files, "small:v1", str(place))
    with pytest.raises(NotFound):
        await make_bundle(bench.store.service, files, "absent", str(bench.directory / "other"))
    assert not (bench.directory / "other").exists()


async def test_a_directory_of_others(bench: Bench, place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(PermissionDenied):
        await made(bench, place)
    assert os.listdir(place) == []


async def test_a_bundle_whose_mount_is_gone(bench: Bench, place: Path) -> None:
    await made(bench, place)
    unmount_all(bench.directory)
    await remove_bundle(bench.store.service, SystemRootFiles(), str(place))
    assert not place.exists()
