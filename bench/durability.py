"""What it costs that a pull survives a power failure.

    python -m bench.durability [--image IMAGE]... [--pairs N] [--own] [--json FILE]

Each image is pulled without the sync at the end and with it, in turns (A B A B), each
time on a fresh file system with cold caches. Requests and bytes are the disk's own
counts: those up to the answer, and those until all is on the disk and the journal is
empty. The second pair is what comparisons are about: without the sync the kernel
writes the same later. ``BENCH_CONTAINERD=PATH`` has a containerd take part that can
sync (2.0 and later); Debian 12's cannot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.containerd import CONTAINERD, CONTAINERD_SYNC
from bench.image import CACHE, RECIPES, obtain
from bench.layer import LAYER_TYPES
from bench.measure import disk_size, measure
from bench.orlop import ORLOP, ORLOP_NOSYNC
from bench.pull import describe_image, describe_machine, ratio
from bench.registry import serving
from tests.rigs.disk import written_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.image import Image
    from bench.measure import Sample
    from bench.peer import Peer
    from bench.registry import Registry

_IMAGES: Final = ("java", "toolchains")
_HEADS: Final = (
    "Program",
    "Sync",
    "Time",
    "min-max",
    "Cost",
    "Until on disk",
    "Writes",
    "MB written",
    "Writes until on disk",
    "MB until on disk",
    "Reads",
    "MB read",
)


@dataclass(frozen=True, slots=True)
class Service:
    """One that is measured in both ways, if it has both.

    Attributes:
        name: What the table calls it.
        unsynced: It, without the sync.
        synced: It, with the sync; None if it has none.
    """

    name: str
    unsynced: Peer
    synced: Peer | None = None

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Both ways."""
        return (self.unsynced,) if self.synced is None else (self.unsynced, self.synced)


def services(*, own: bool) -> tuple[Service, ...]:
    """Returns who takes part; with ``own`` orlop alone."""
    ours = Service("orlop", ORLOP_NOSYNC, ORLOP)
    can_sync = "BENCH_CONTAINERD" in os.environ
    other = Service("containerd", CONTAINERD, CONTAINERD_SYNC if can_sync else None)
    return (ours,) if own else (ours, other)


def cost(samples: Sequence[Sample], service: Service) -> float:
    """Returns the share that the sync adds to a pull: the median of the pairs."""
    assert service.synced is not None
    return ratio(samples, service.synced.name, service.unsynced.name) - 1


def render(samples: Sequence[Sample], taking_part: Sequence[Service]) -> str:
    """Returns the table of one image, in Markdown; medians."""
    lines = [f"| {' | '.join(_HEADS)} |", "|---|---" + "|--:" * (len(_HEADS) - 2) + "|"]
    for service in taking_part:
        for peer in service.peers:
            own = [sample for sample in samples if sample.peer == peer.name]
            adds = "" if peer is service.unsynced else f"{cost(samples, service):+.1%}"
            lines.append(f"| {' | '.join(_cells(service, peer, own, adds))} |")
    return "\n".join(lines)


def _cells(service: Service, peer: Peer, own: Sequence[Sample], adds: str) -> Iterator[str]:
    times = [sample.seconds for sample in own]
    yield service.name
    yield "yes" if peer is service.synced else "no"
    yield f"{statistics.median(times):.2f} s"
    yield f"{min(times):.2f}-{max(times):.2f} s"
    yield adds
    yield f"{_median(own, lambda one: one.seconds + one.flush_seconds):.2f} s"
    yield f"{_median(own, lambda one: one.answered.writes):.0f}"
    yield f"{_median(own, lambda one: one.answered.written_bytes) / 1e6:.0f}"
    yield f"{_median(own, lambda one: one.settled.writes):.0f}"
    yield f"{_median(own, lambda one: one.settled.written_bytes) / 1e6:.0f}"
    yield f"{_median(own, lambda one: one.settled.reads):.0f}"
    yield f"{_median(own, lambda one: one.settled.read_bytes) / 1e6:.1f}"


def pull_all(
    image: Image, registry: Registry, taking_part: Sequence[Service], *, tag: str, pairs: int
) -> list[Sample]:
    """Pulls ``pairs`` times in every way, in turns, on a disk that has all its blocks."""
    samples = []
    with written_file(disk_size(image, tag), CACHE) as file:
        for _ in range(pairs):
            for peer in (peer for service in taking_part for peer in service.peers):
                sample = measure(
                    peer,
                    image,
                    tag=tag,
                    registry=registry,
                    via="cri",
                    scratch=CACHE,
                    file=file,
                )
                samples.append(sample)
                print(f"{peer.name}: {sample.seconds:.2f} s", file=sys.stderr, flush=True)
    return samples


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(sample) for sample in samples)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.durability", description="What the sync costs.")
    parser.add_argument("--image", choices=[*RECIPES, "tiny"], action="append")
    parser.add_argument("--tag", choices=list(LAYER_TYPES), default="gzip")
    parser.add_argument("--pairs", type=int, default=5, help="pulls of each kind")
    parser.add_argument("--own", action="store_true", help="measure orlop alone")
    parser.add_argument(
        "--json", type=Path, default=CACHE / "durability.json", help="where all samples go"
    )
    return parser.parse_args()


def main() -> None:
    arguments = _parse_arguments()
    taking_part = services(own=arguments.own)
    document: dict[str, object] = {
        **describe_machine(),
        **{service.name: service.unsynced.read_version() for service in taking_part},
    }
    print("\n".join(f"{name}: {fact}" for name, fact in document.items()))
    with serving() as registry:
        for name in arguments.image or _IMAGES:
            image = obtain(name)
            registry.push(image)
            samples = pull_all(
                image, registry, taking_part, tag=arguments.tag, pairs=arguments.pairs
            )
            title = describe_image(image, arguments.tag)
            print(f"\n{title}\n\n{render(samples, taking_part)}", flush=True)
            document[name] = {"image": title, "samples": [asdict(sample) for sample in samples]}
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
