"""A process that works on a store and is killed at a chosen change of the disk.

``python -m tests.crash.victim ROOT WORK REFERENCE KILL_AT``: does WORK (``pull`` or
``remove``) in the store ROOT and ends itself by SIGKILL just before the change number
KILL_AT (from 1; 0 is never). Prints ``acknowledged`` once the work has returned, and the
number of changes at the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from orlop.app import embedded


def _kill_before(change: int) -> list[int]:
    """Count changes of the disk, in all threads; the number is in the list."""
    count = [0]

    def hook(event: str, _: tuple[object, ...]) -> None:
        if event == "orlop.files":
            count[0] += 1
            if count[0] == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


async def _work(root: str, work: str, reference: str) -> None:
    async with embedded(root=root) as service:
        if work == "pull":
            await service.pull(reference)
        else:
            await service.remove(reference)
        print("acknowledged", flush=True)


def main() -> None:
    """See the module."""
    root, work, reference, change = sys.argv[1:]
    count = _kill_before(int(change))
    asyncio.run(_work(root, work, reference))
    print(count[0], flush=True)


if __name__ == "__main__":
    main()
