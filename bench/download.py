"""How fast one core fetches one blob: receiving, hashing and writing.

    python -m bench.download [--megabytes N] [--runs N]

A registry of this machine serves one large blob; this process keeps to one core, and
the registry has the others. Besides the whole, each part of the work is done alone.
The rate is that of processor time, which other programs disturb least; the time on the
clock is shown beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from orlop.linux.clock import SystemClock
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER
from orlop.model.reference import Reference
from orlop.pull.download import Download
from orlop.pull.slots import Slots
from orlop.pull.traffic import SharedTraffic
from orlop.registry.client import RegistryClient
from orlop.store.blobs import LocalBlobStore
from orlop.testing.distribution import DistributionRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

_PIECE = 1 << 20
_REPOSITORY = "bench/blob"


@dataclass(slots=True)
class Run:
    """One run of one part.

    Attributes:
        megabytes: What was worked on, in units of 1,000,000 bytes.
        seconds: On the clock.
        cpu_seconds: Of this process.
    """

    megabytes: float
    seconds: float = 0
    cpu_seconds: float = 0

    @property
    def rate(self) -> float:
        """Megabytes a second of processor time."""
        return self.megabytes / self.cpu_seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the work, each alone, and the whole.

    Attributes:
        client: Connections to the registry.
        reference: Names the repository.
        blob: What is fetched.
        directory: Where it is written.
    """

    client: RegistryClient
    reference: Reference
    blob: Descriptor
    directory: Path

    async def receive(self) -> Run:
        """Reads the body and forgets it."""
        remote = self.client.remote(self.reference, credentials=None, traffic=SharedTraffic())
        with self._timed() as run:
            async with remote.blob(self.blob) as stream:
                while await stream.read():
                    pass
        return run

    async def hash(self) -> Run:
        """Hashes as many bytes of memory."""
        hasher, piece = hashlib.sha256(), bytes(_PIECE)
        with self._timed() as run:
            for _ in range(self.blob.size // _PIECE):
                hasher.update(piece)
        return run

    async def write(self) -> Run:
        """Writes as many bytes of memory into the page cache."""
        piece = bytes(_PIECE)
        with tempfile.TemporaryFile(dir=self.directory) as file, self._timed() as run:
            for at in range(self.blob.size // _PIECE):
                os.pwrite(file.fileno(), piece, at * _PIECE)
        return run

    async def download(self) -> Run:
        """Fetches, hashes, writes and verifies, as a pull does; in a store that is open."""
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as root,
            LocalBlobStore(root, clock=SystemClock()) as store,
        ):
            download = Download(self.blob, store=store, traffic=SharedTraffic(), slots=Slots())
            remote = self.client.remote(self.reference, credentials=None, traffic=download.traffic)
            with download.offered(remote), self._timed() as run:
                await download.run()
            download.give_up_bytes()
            await download.release()
        return run

    @contextmanager
    def _timed(self) -> Iterator[Run]:
        """What is done inside, without what prepares it and clears away after it."""
        run = Run(self.blob.size / 1e6)
        started, used = time.monotonic(), time.process_time()
        yield run
        run.seconds, run.cpu_seconds = time.monotonic() - started, time.process_time() - used


async def measure(reference: str, blob: Descriptor, directory: Path, runs: int) -> dict[str, Run]:
    """The median run, by rate, of each part; the parts take turns."""
    client = RegistryClient(clock=SystemClock())
    parts = Parts(client, Reference.parse(reference), blob, directory)
    works: dict[str, Callable[[], Awaitable[Run]]] = {
        "receive alone": parts.receive,
        "hash alone": parts.hash,
        "write alone": parts.write,
        "download": parts.download,
    }
    found: dict[str, list[Run]] = {name: [] for name in works}
    try:
        for _ in range(runs):
            for name, work in works.items():
                found[name].append(await work())
    finally:
        await client.close()
    return {name: _median(many) for name, many in found.items()}


def _median(many: Sequence[Run]) -> Run:
    return sorted(many, key=lambda run: run.rate)[(len(many) - 1) // 2]


def show(results: dict[str, Run], console: Console) -> None:
    """Prints the table."""
    table = Table("Work on one core", "MB/s of processor time", "MB/s on the clock")
    for name, run in results.items():
        table.add_row(name, f"{run.rate:.0f}", f"{run.megabytes / run.seconds:.0f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.download", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        directory = Path(name)
        source = directory / "blob"
        with source.open("wb") as file:
            for _ in range(max(1, options.megabytes * 1_000_000 // _PIECE)):
                file.write(os.urandom(_PIECE))
        with DistributionRegistry(directory / "registry") as registry:
            digest = registry.put_blob(_REPOSITORY, source)
            blob = Descriptor(OCI_LAYER, Digest.parse(str(digest)), source.stat().st_size)
            os.sched_setaffinity(0, {min(cores)})
            try:
                reference = f"{registry.address}/{_REPOSITORY}:none"
                results = asyncio.run(measure(reference, blob, directory, options.runs))
            finally:
                os.sched_setaffinity(0, cores)
    show(results, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
