"""One pull, measured: a fresh disk, cold caches, a warm registry, one service.

Decides nothing about order or repetition; `bench.pull` does.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cri import pull_image, serves
from bench.peer import Layout, allow_plain_http
from bench.process import Daemon, MemorySampler, running
from bench.transfers import transfers
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from bench.image import Image
    from bench.peer import Peer
    from bench.registry import Registry
    from bench.transfers import Transfers

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one pull.

    Attributes:
        peer: Name of the service.
        seconds: From the call to its answer.
        flush_seconds: How long the file system needed afterwards to be on disk.
        answered: What the disk had transferred for the pull when the answer came.
        settled: The same when everything had its place, also what the journal kept.
        memory: Peak of the service's processes in bytes, shared pages once.
        cpu_seconds: Processor time of the client and of the daemon's whole life.
        entries: Files, directories and the like in all snapshots.
        load: The machine's load average of one minute when the run began.
    """

    peer: str
    seconds: float
    flush_seconds: float
    answered: Transfers
    settled: Transfers
    memory: int
    cpu_seconds: float
    entries: int
    load: float


def measure(
    peer: Peer,
    image: Image,
    *,
    tag: str,
    registry: Registry,
    via: str,
    scratch: Path,
    file: Path | None = None,
) -> Sample:
    """Pulls an image once with a service that has nothing yet.

    Args:
        peer: The service or program.
        image: The image; the registry has it.
        tag: Which of its compressions.
        registry: Where from.
        via: ``cri``, the same client for every service, or ``cli``, its own; who has
            no daemon has its own alone.
        scratch: An existing directory for the disk's file.
        file: The disk's file, of ``disk_size``, if there is one already.

    Raises:
        RuntimeError: The service failed, or answered without having unpacked.
    """
    load = os.getloadavg()[0]
    reference = registry.reference(image, tag)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as state,
        loop_ext4(disk_size(image, tag), scratch, file=file) as disk,
    ):
        layout = Layout(root=disk / "root", state=Path(state))
        layout.root.mkdir()
        allow_plain_http(layout, registry.host)
        layout.configuration.write_text(peer.configure(layout))
        drop_caches()
        serve = partial(_serve, peer, layout) if peer.daemon is not None else _no_daemon
        with serve() as daemon:
            registry.warm(image, tag)
            with MemorySampler() as memory:
                if daemon.pid:
                    memory.add(daemon.pid)
                used = children_cpu_seconds()
                before = transfers(disk)
                started = time.perf_counter()
                if via == "cri" and peer.daemon is not None:
                    pull_image(layout.socket, reference)
                else:
                    _run_client(peer.pull(layout, reference), memory)
                pulled = time.perf_counter()
                answered = transfers(disk) - before
                client = children_cpu_seconds() - used
            subprocess.run(["sync", "--file-system", str(disk)], check=True)
            flushed = time.perf_counter()
            empty_journal(disk)
            settled = transfers(disk) - before
            entries = count_entries(layout.root.glob(peer.trees))
    if entries == 0:
        message = f"{peer.name} answered, but has no files of {reference}"
        raise RuntimeError(message)
    return Sample(
        peer=peer.name,
        seconds=pulled - started,
        flush_seconds=flushed - pulled,
        answered=answered,
        settled=settled,
        memory=memory.peak,
        cpu_seconds=daemon.cpu_seconds + client,
        entries=entries,
        load=load,
    )


def drop_caches() -> None:
    """Writes all dirty pages of the machine and forgets all clean ones."""
    os.sync()
    _DROP_CACHES.write_text("3")


def empty_journal(disk: Path) -> None:
    """Has the file system write everything to where it belongs, as at an unmount."""
    for step in ("--freeze", "--unfreeze"):
        subprocess.run(["fsfreeze", step, str(disk)], check=True)


def count_entries(trees: Iterable[Path]) -> int:
    """Counts what is in the trees of the layers, whiteouts apart."""
    count = 0
    for tree in trees:
        for directory, names, files in os.walk(tree):
            count += len(names)
            count += sum(not _is_whiteout(os.path.join(directory, name)) for name in files)
    return count


def children_cpu_seconds() -> float:
    """Processor time of all children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _serve(peer: Peer, layout: Layout) -> AbstractContextManager[Daemon]:
    assert peer.daemon is not None
    return running(
        peer.daemon(layout),
        ready=lambda: serves(layout.socket),
        log=layout.state / "log",
        environment=peer.environment,
    )


def _no_daemon() -> AbstractContextManager[Daemon]:
    return nullcontext(Daemon(pid=0))


def _is_whiteout(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def disk_size(image: Image, tag: str) -> int:
    """Returns twice the need, at least 1 GiB: a nearly full ext4 is slow."""
    need = image.size + sum(blob.size for blob in image.blobs(tag))
    return max(2 * need, 1 << 30)


def _run_client(command: list[str], memory: MemorySampler) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    memory.add(process.pid)
    _, errors = process.communicate()
    if process.returncode != 0:
        message = f"{command!r} ended with {process.returncode}: {errors.decode()[-2000:]}"
        raise RuntimeError(message)
