"""One client that lists images again and again, and says how long each answer took.

    python -m bench.watch ADDRESS [--between SECONDS]

A line for each call, with its seconds, until its standard input is closed. It is a process
of its own, and takes a processor before others do where it may: what it measures is how
long the daemon takes, not how long a client waits for its own turn on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import Iterator

_NICENESS = -15


class Watcher:
    """The program, at work; its owner ends it with ``stop``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def stop(self) -> list[float]:
        """End it; returns the seconds of each call.

        Raises:
            RuntimeError: it failed; its words are on our standard error.
        """
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the watching client failed")
        return [float(line) for line in output.split()]


@contextmanager
def watching(address: str) -> Iterator[Watcher]:
    """Watch the daemon at ``address``, from its first answer until ``stop`` or the block's end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.watch", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Linux shares processors between sessions first (sched(7))
    )
    try:
        assert process.stdout is not None, "it is a pipe"
        process.stdout.readline()  # the first call has connected
        yield Watcher(process)
    finally:
        process.kill()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.watch", description="List images, and watch.")
    parser.add_argument("address")
    parser.add_argument("--between", type=float, default=0.02, help="seconds between two calls")
    arguments = parser.parse_args()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    with grpc.insecure_channel(arguments.address) as channel:
        images = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        while True:
            begin = time.monotonic()
            images.ListImages(pb.ListImagesRequest())
            print(time.monotonic() - begin, flush=True)
            if select.select([sys.stdin], [], [], arguments.between)[0]:
                return 0


if __name__ == "__main__":
    sys.exit(main())
