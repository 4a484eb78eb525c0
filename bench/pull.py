"""Compares services: the same image, the same machine, in turns.

    python -m bench.pull                          # orlop against containerd
    python -m bench.pull --only containerd
    python -m bench.pull --all                    # every peer, also those without a daemon
    python -m bench.pull --tiny                   # a smoke test, in seconds

Every pull is on a fresh file system with cold caches and a warm registry. The
services take turns (A B A B), so that a slow minute of the machine hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chart import draw
from bench.containerd import CONTAINERD, CONTAINERD_GO
from bench.image import CACHE, RECIPES, obtain
from bench.layer import LAYER_TYPES
from bench.measure import measure
from bench.orlop import ORLOP, ORLOP_NOSYNC
from bench.programs import PODMAN, SKOPEO_UMOCI
from bench.registry import serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.image import Image
    from bench.measure import Sample
    from bench.peer import Peer

_ALL = (CONTAINERD, CONTAINERD_GO, PODMAN, SKOPEO_UMOCI, ORLOP, ORLOP_NOSYNC)
PEERS = {peer.name: peer for peer in _ALL}


def render(samples: Sequence[Sample]) -> str:
    """Returns the table: one line a service in order of appearance, the first is the measure."""
    peers = list(dict.fromkeys(sample.peer for sample in samples))
    heads = ("median s", "min-max", "on disk s", "faster", "peak MB", "CPU s", "entries")
    widths = (9, 13, 9, 6, 8, 6, 8)
    titles = (f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    lines = [" ".join((" " * 14, *titles))]
    for peer in peers:
        own = [sample for sample in samples if sample.peer == peer]
        times = [sample.seconds for sample in own]
        spread = f"{min(times):.2f}-{max(times):.2f}"
        on_disk = statistics.median(sample.seconds + sample.flush_seconds for sample in own)
        lines.append(
            f"{peer:14} {statistics.median(times):9.2f} {spread:>13} {on_disk:9.2f} "
            f"{ratio(samples, peers[0], peer):6.2f} "
            f"{statistics.median(sample.memory for sample in own) / 1e6:8.0f} "
            f"{statistics.median(sample.cpu_seconds for sample in own):6.1f} "
            f"{own[-1].entries:8}"
        )
    return "\n".join(lines)


def ratio(samples: Sequence[Sample], measure_of: str, peer: str) -> float:
    """Returns how many times faster than ``measure_of`` a service is.

    It is the median of the ratios within each round, as neighbours in time met
    the same machine.
    """
    pairs = zip(
        (sample.seconds for sample in samples if sample.peer == measure_of),
        (sample.seconds for sample in samples if sample.peer == peer),
        strict=True,
    )
    return statistics.median(slow / fast for slow, fast in pairs)


def describe_machine() -> dict[str, str]:
    """Returns what a reader must know to compare the numbers with others."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def describe_image(image: Image, tag: str) -> str:
    compressed = sum(blob.size for blob in image.blobs(tag))
    return (
        f"{image.name}:{tag}, {len(image.layers)} layers, {image.entries} entries, "
        f"{image.size / 1e6:.0f} MB, compressed {compressed / 1e6:.0f} MB"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.pull", description="Compare pulls.")
    parser.add_argument("--image", choices=[*RECIPES, "tiny"], default="debian")
    parser.add_argument(
        "--tiny", dest="image", action="store_const", const="tiny", help="same as --image tiny"
    )
    parser.add_argument("--tag", choices=list(LAYER_TYPES), default="gzip")
    parser.add_argument("--via", choices=["cri", "cli"], default="cri")
    parser.add_argument(
        "--only",
        choices=list(PEERS),
        action="append",
        help="measure this service; repeat for several (default: containerd and orlop)",
    )
    parser.add_argument("--all", action="store_true", help="measure every service and program")
    parser.add_argument("--pairs", type=int, default=3, help="pulls of each service")
    parser.add_argument(
        "--json", type=Path, help="write all samples to this file (default: in .cache/bench)"
    )
    parser.add_argument("--chart", type=Path, help="draw the medians as an SVG file")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    names = list(PEERS) if arguments.all else arguments.only or ["containerd", "orlop"]
    peers: list[Peer] = [PEERS[name] for name in names]
    facts = {
        **describe_machine(),
        **{peer.name: peer.read_version() for peer in peers},
    }
    image = obtain(arguments.image)
    samples: list[Sample] = []
    with serving() as registry:
        registry.push(image)
        for _ in range(arguments.pairs):
            for peer in peers:
                sample = measure(
                    peer,
                    image,
                    tag=arguments.tag,
                    registry=registry,
                    via=arguments.via,
                    scratch=CACHE,
                )
                samples.append(sample)
                print(f"{peer.name}: {sample.seconds:.2f} s", file=sys.stderr, flush=True)
    facts["image"] = describe_image(image, arguments.tag)
    facts["via"] = arguments.via
    for name, fact in facts.items():
        print(f"{name}: {fact}")
    print(render(samples))
    document = {**facts, "samples": [asdict(sample) for sample in samples]}
    path = arguments.json or CACHE / f"pull-{arguments.image}-{arguments.tag}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.chart:
        arguments.chart.write_text(draw(document), encoding="utf-8")


if __name__ == "__main__":
    main()
