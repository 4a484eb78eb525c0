"""Whole pulls from registries that misbehave by a schedule: each ends well, or says why not.

    python -m tests.schedules [--count N] [--seed N]

A schedule is made from its seed, and so is its image: what has failed can be played
again with ``--seed``. Odd seeds pull over TLS, and every other pair of seeds has answers
that are wrong besides those that do not arrive. A schedule is survived when

- the pull ends within ``SOON``: with the image, or with an error that a registry can cause;
- no byte that was in the store is asked for again;
- nothing is left of a pull that failed but parts of its layers;
- the registry, once it behaves, is pulled from without an error;
- the tree that is mounted has the image's files, byte for byte.

It prints what became of the pulls, and fails when one was not survived. It needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.config.durations import Duration
from orlop.config.schema import RegistryConfig
from orlop.errors import (
    AuthFailed,
    AuthPolicy,
    DataLoss,
    LimitExceeded,
    ManifestInvalid,
    NotFound,
    OrlopError,
    RegistryError,
    RegistryUnavailable,
    Stalled,
    StoreCorrupt,
)
from orlop.model.mediatype import Compression
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import NO_FAULT, Rule
from orlop.testing.images import BuiltImage, build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.scenarios import random_schedule
from tests.integration.pull.rig import Store, offer, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.testing.faults import RecordedRequest
    from orlop.testing.scenarios import Scenario

SOON: Final = 60.0
"""Seconds in which every pull must have ended; most take less than one."""
SILENCE: Final = "4s"
"""Time without a byte after which a pull is cancelled here; a busy machine needs some."""
MEMORY: Final = 256 << 20
"""Bytes by which a batch may make this process grow, its registries included."""
BATCH: Final = 20
"""Schedules that are played at the same time, against one service."""

_COMPRESSIONS: Final = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
_REFUSALS: Final = (
    RegistryError,
    AuthFailed,
    AuthPolicy,
    NotFound,
    DataLoss,
    ManifestInvalid,
    LimitExceeded,
    Stalled,
)
"""What a registry that lies can cause."""
_HONEST: Final = (RegistryUnavailable,)
"""What a registry can cause that only fails to answer."""


@dataclass
class Play:
    """One schedule, and what became of it.

    Attributes:
        ended: "pulled", or the class of the error.
        seconds: that the pull took.
        fetched: bytes of layers that the registry sent.
        wrong: what must not be; empty when it was survived.
    """

    seed: int
    ended: str = ""
    message: str = ""
    seconds: float = 0.0
    fetched: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def lies(self) -> bool:
        """Whether answers are wrong, too."""
        return self.seed % 4 >= 2

    def files(self) -> dict[str, bytes]:
        """One for each layer; the first fills more than one buffer of the client."""
        chance = random.Random(self.seed)
        sizes = (chance.randrange(1_500_000, 4_000_000), chance.randrange(1, 200_000))
        return {f"file{at}": chance.randbytes(size) for at, size in enumerate(sizes)}

    def image(self) -> BuiltImage:
        """The image whose tree has these files."""
        chance = random.Random(f"layers of {self.seed}")
        return build_image(
            [
                build_layer([file(name, data)], chance.choice(_COMPRESSIONS))
                for name, data in self.files().items()
            ]
        )

    def scenario(self, image: BuiltImage) -> Scenario:
        sizes = [len(layer.blob) for layer in image.layers]
        return random_schedule(self.seed, sizes=sizes, lies=self.lies)


@dataclass
class Watch:
    """Compares what is asked for with what is on the disk (a rule that never applies)."""

    play: Play
    store: Path
    layers: frozenset[str]

    def __call__(self, request: RecordedRequest) -> bool:
        digest = request.path.rpartition("/")[2]
        if request.method != "GET" or digest not in self.layers:
            return False
        found = re.match(r"bytes=(\d+)-", request.range)
        start = int(found[1]) if found else 0
        held = self._held(digest)
        # Who cannot continue where it stopped is asked for everything, once it has said so.
        if start != held and not (self.play.lies and start == 0):
            self.play.wrong.append(f"asked for byte {start} of {digest} with {held} on the disk")
        return False

    def _held(self, digest: str) -> int:
        for path in self.store.glob("io.containerd.content.v1.content/ingest/*"):
            try:
                if (path / "ref").read_text() == f"layer-{digest}":
                    return (path / "data").stat().st_size
            except FileNotFoundError:
                continue  # it is another pull's, and has gone
        return 0


async def survive(seeds: Sequence[int], directory: Path) -> list[Play]:
    """Play schedules at the same time, against one service in an empty ``directory``."""
    authority = Authority.make(directory / "authority")
    context = authority.server("server", "IP:127.0.0.1")
    plays = [Play(seed) for seed in seeds]
    async with AsyncExitStack() as stack:
        registries = [
            stack.enter_context(FakeRegistry(auth="bearer", tls=context if seed % 2 else None))
            for seed in seeds
        ]
        images = [play.image() for play in plays]
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now: proc(5)
        certificate = str(authority.certificate)
        secure = [one.address for one in registries if one.url.startswith("https:")]
        known = RegistryConfig(ca_files=dict.fromkeys(secure, certificate))
        store = await stack.enter_async_context(
            running(
                directory / "root",
                registry=known,
                image_pull_progress_timeout=Duration.parse(SILENCE),
            )
        )
        references = []
        for play, registry, image in zip(plays, registries, images, strict=True):
            references.append(offer(registry, f"team/app{play.seed}", "v1", image))
            layers = frozenset(str(layer.digest) for layer in image.layers)
            registry.add_rule(Rule(Watch(play, store.root, layers), NO_FAULT))
            registry.play(play.scenario(image))
        table = list(zip(plays, registries, images, references, strict=True))
        await asyncio.gather(*(_pull(store, play, reference) for play, _, _, reference in table))
        await _left(store, [(play, image) for play, _, image, _ in table])
        for play, registry, image, reference in table:
            play.fetched = sum(
                end - start
                for layer in image.layers
                for start, end in registry.fetched(str(layer.digest))
            )
            registry.clear_rules()
            await _whole(store, play, image, reference, directory)
        grown = _memory("VmHWM") - before
        if grown > MEMORY:
            plays[0].wrong.append(f"{grown / 1e6:.0f} MB of memory for the batch")
    return plays


async def _pull(store: Store, play: Play, reference: str) -> None:
    begin = time.monotonic()
    try:
        async with asyncio.timeout(SOON):
            await store.service.pull(reference)
        play.ended = "pulled"
    except TimeoutError:
        play.ended = "hung"
        play.wrong.append(f"no end after {SOON:g} s")
    except OrlopError as error:
        play.ended, play.message = type(error).__name__, error.message
        fair = _REFUSALS if play.lies else _HONEST
        if not isinstance(error, fair) or isinstance(error, StoreCorrupt):
            play.wrong.append(f"{play.ended}: {error.message}")
        if not error.message.isprintable() or len(error.message) > 1000:
            play.wrong.append(f"no message to show: {error.message!r}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        play.ended = type(error).__name__
        play.wrong.append(f"not an error of ours: {error!r}")
    play.seconds = time.monotonic() - begin


async def _left(store: Store, played: Sequence[tuple[Play, BuiltImage]]) -> None:
    """See that those that were pulled are there, and parts of layers of the others."""
    traces = await store.traces()
    blobs: set[str] = set()
    partial: set[str] = set()
    for play, image in played:
        if play.ended == "pulled":
            blobs |= {digest.hex for digest in (*image.blobs, image.digest)}
        else:
            partial |= {f"layer-{layer.digest}" for layer in image.layers}
    found = {Path(name).name for name in traces.files if "/blobs/" in name}
    ingests = {name for name, _ in traces.ingests}
    trees = [name for name in traces.files if "/blobs/" not in name]
    pulled = sum(play.ended == "pulled" for play, _ in played)
    left = {
        "blobs": found ^ blobs,
        "records": {row for row in traces.rows if row.startswith("blob ")}
        ^ {f"blob sha256:{one}" for one in blobs},
        "ingests": ingests - partial,
        "trees": set() if len(trees) == 2 * pulled else set(trees),
        "mounts": traces.mounts,
        "descriptors": traces.descriptors,
        "workers": traces.workers,
    }
    wrong = [f"left: {what} {sorted(map(str, some))}" for what, some in left.items() if some]
    played[0][0].wrong.extend(wrong)


async def _whole(
    store: Store, play: Play, image: BuiltImage, reference: str, directory: Path
) -> None:
    """Pull from a registry that behaves, look at everything, and remove it again."""
    try:
        await store.service.pull(reference)
        for report in await store.service.check(reference):
            play.wrong.extend(f"damaged: {problem}" for problem in report.problems)
        target = directory / "mounted"
        target.mkdir(exist_ok=True)
        await store.service.mount(reference, str(target))
        try:
            found = {path.name: path.read_bytes() for path in target.iterdir()}
        finally:
            await store.service.unmount(str(target))
        if found != play.files():
            play.wrong.append("the tree is not the image's")
        await store.service.remove(reference)
    except OrlopError as error:
        play.wrong.append(f"afterwards: {type(error).__name__}: {error.message}")


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def batches(first: int, count: int) -> Iterator[range]:
    """Seeds from ``first`` on, as many at a time as are played together."""
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def report(plays: Iterable[Play]) -> str:
    """What became of the pulls, in some lines."""
    plays = list(plays)
    lines = []
    for lies, what in ((False, "honest"), (True, "lying")):
        of = [play for play in plays if play.lies == lies]
        if not of:
            continue
        ends = Counter(play.ended for play in of).most_common()
        seconds = sorted(play.seconds for play in of)
        lines.append(
            f"{len(of)} {what} schedules: {', '.join(f'{n} {end}' for end, n in ends)};"
            f" median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s"
        )
    lines += [f"seed {play.seed}: {wrong}" for play in plays for wrong in play.wrong]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.schedules", description="Pull through faults.")
    parser.add_argument("--count", type=int, default=500, help="schedules")
    parser.add_argument("--seed", type=int, default=0, help="the first one's")
    arguments = parser.parse_args()
    plays: list[Play] = []
    for seeds in batches(arguments.seed, arguments.count):
        with tempfile.TemporaryDirectory(prefix="orlop-schedules-") as directory:
            plays += asyncio.run(survive(seeds, Path(directory)))
        if sys.stderr.isatty():
            print(f"{len(plays)} of {arguments.count}", end="\r", file=sys.stderr)
    print(report(plays))
    return 1 if any(play.wrong for play in plays) else 0


if __name__ == "__main__":
    sys.exit(main())
