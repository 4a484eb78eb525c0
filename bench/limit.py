"""The least time that this machine can need for a pull of an image.

    python -m bench.limit [--image IMAGE] [--tag TAG]

Some work cannot be avoided: decompress, hash what came, hash what came out,
write both. Each is done alone, without network, archive or file names; the sum,
divided by the number of cores, is the limit. Data lies in memory before each
step, and every layer is written to a fresh file system.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from isal import isal_zlib

from bench.image import CACHE, RECIPES, blob_path, obtain
from bench.layer import LAYER_TYPES, read_chunks
from bench.measure import disk_size, drop_caches
from tests.rigs.disk import loop_ext4

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.image import Image

_CHUNK = 1 << 18
_GZIP_WINDOW = 16 + 15  # zlib's way to say: gzip header, window of 32 KiB


@dataclass(frozen=True, slots=True)
class Limit:
    """The work of a pull, each part alone.

    Attributes:
        decompress: Seconds to decompress all layers.
        hash_compressed: Seconds of SHA-256 over the compressed layers.
        hash_uncompressed: Seconds of SHA-256 over the archives.
        write: Seconds to write both to one file a layer each, into the page cache.
        fsync: Seconds until these files are on disk.
        cores: Processors that this process may use.
    """

    decompress: float
    hash_compressed: float
    hash_uncompressed: float
    write: float
    fsync: float
    cores: int

    @property
    def without_sync(self) -> float:
        """The limit in seconds of a pull that leaves its data in the page cache."""
        work = self.decompress + self.hash_compressed + self.hash_uncompressed + self.write
        return work / self.cores

    @property
    def with_sync(self) -> float:
        """The limit in seconds of a pull that survives a power failure."""
        return self.without_sync + self.fsync / self.cores


def find_limit(image: Image, tag: str, *, scratch: Path = CACHE) -> Limit:
    """Measures the limit of an image once, layer by layer.

    Args:
        image: A built image.
        tag: Which of its compressions.
        scratch: An existing directory for the disk's file.
    """
    decompress = hash_compressed = hash_uncompressed = write = fsync = 0.0
    drop_caches()
    with loop_ext4(disk_size(image, tag), scratch) as disk:
        for number, layer in enumerate(image.layers):
            packed = list(read_chunks(blob_path(layer.blobs[tag]), _CHUNK))
            decompress += _time_decompress(packed, tag)
            unpacked = list(_decompress(packed, tag))
            hash_compressed += _time_hash(packed, layer.blobs[tag].digest)
            hash_uncompressed += _time_hash(unpacked, layer.diff_id)
            for name, chunks in (("blob", packed), ("archive", unpacked)):
                seconds, barrier = _time_write(disk / f"{name}-{number}", chunks)
                write += seconds
                fsync += barrier
    return Limit(
        decompress=decompress,
        hash_compressed=hash_compressed,
        hash_uncompressed=hash_uncompressed,
        write=write,
        fsync=fsync,
        cores=len(os.sched_getaffinity(0)),
    )


def least(limits: Sequence[Limit]) -> Limit:
    """Returns the least of every part: what else the machine did is no part of the limit."""
    parts = (field.name for field in fields(Limit))
    return Limit(**{part: min(getattr(limit, part) for limit in limits) for part in parts})


def render(limit: Limit) -> str:
    """Returns the limit for people."""
    parts = {
        "decompress": limit.decompress,
        "sha256 of the compressed": limit.hash_compressed,
        "sha256 of the uncompressed": limit.hash_uncompressed,
        "write both": limit.write,
        "fsync": limit.fsync,
        f"limit on {limit.cores} cores without sync": limit.without_sync,
        f"limit on {limit.cores} cores with sync": limit.with_sync,
    }
    return "\n".join(f"{name:34} {seconds:6.2f} s" for name, seconds in parts.items())


def _decompress(chunks: Iterable[bytes], tag: str) -> Iterator[bytes]:
    """Yields the decompressed data; zstd's frames and gzip's members may follow each other."""
    decompressor = _new_decompressor(tag)
    for chunk in chunks:
        rest = chunk
        while rest:
            if decompressor.eof:
                decompressor = _new_decompressor(tag)
            yield decompressor.decompress(rest)
            rest = decompressor.unused_data if decompressor.eof else b""


def _new_decompressor(tag: str) -> isal_zlib.Decompress | zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor() if tag == "zstd" else isal_zlib.decompressobj(_GZIP_WINDOW)


def _time_decompress(chunks: Sequence[bytes], tag: str) -> float:
    """Times it with the output thrown away: first touches of memory are not its work."""
    started = time.perf_counter()
    for _ in _decompress(chunks, tag):
        pass
    return time.perf_counter() - started


def _time_hash(chunks: Sequence[bytes], expected: str) -> float:
    started = time.perf_counter()
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    seconds = time.perf_counter() - started
    if expected != f"sha256:{hasher.hexdigest()}":
        message = f"the cache is damaged: {expected} is sha256:{hasher.hexdigest()}; remove {CACHE}"
        raise SystemExit(message)
    return seconds


def _time_write(path: Path, chunks: Sequence[bytes]) -> tuple[float, float]:
    """Returns the seconds to write a file, and those of the fsync after it."""
    started = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks:
            os.write(descriptor, chunk)
        written = time.perf_counter()
        os.fsync(descriptor)
        return written - started, time.perf_counter() - written
    finally:
        os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.limit", description="Find the limit of a pull.")
    parser.add_argument("--image", choices=[*RECIPES, "tiny"], default="debian")
    parser.add_argument("--tag", choices=list(LAYER_TYPES), default="gzip")
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the least counts")
    parser.add_argument("--json", type=Path, help="write the parts to this file")
    arguments = parser.parse_args()
    image = obtain(arguments.image)
    limit = least([find_limit(image, arguments.tag) for _ in range(arguments.repeat)])
    print(render(limit))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(limit), indent=1) + "\n")


if __name__ == "__main__":
    main()
