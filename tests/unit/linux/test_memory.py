"""What a process keeps after many threads have used much memory for a moment."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys, threading
from orlop.linux.memory import limit_arenas
if int(sys.argv[1]):
    assert limit_arenas(2)
start = threading.Barrier(8)
def use():
    start.wait()
    kept = [bytes(100_000) for _ in range(100)]
    start.wait()
threads = [threading.Thread(target=use) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
import ctypes
libc = ctypes.CDLL(None)
libc.malloc_stats()
"""


def _arenas(limit: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(limit)], capture_output=True, text=True, check=True
    )
    return sum(line.startswith("Arena ") for line in done.stderr.splitlines())


def test_threads_share_few_arenas() -> None:
    assert _arenas(limit=2) <= 2


def test_without_the_limit_there_are_more() -> None:
    if _arenas(limit=0) <= 2:
        pytest.fail("the C library limits arenas by itself: limit_arenas has become useless")


def test_trimming_gives_free_pages_back() -> None:
    program = (
        "from orlop.linux.memory import trim\n"
        "def rss():\n"
        "    with open('/proc/self/statm') as f: return int(f.read().split()[1])\n"
        "kept = [bytes(4000) for _ in range(10_000)]\n"
        "last = kept[-1]\n"  # the heap cannot shrink from its end
        "del kept\n"
        "before = rss()\n"
        "assert trim()\n"
        "assert rss() < before - 2000\n"  # pages
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_circles_are_looked_for_seldom_and_not_among_what_was_there() -> None:
    program = (
        "import gc\n"
        "from orlop.linux.memory import keep_for_good, look_seldom_for_circles\n"
        "looks = []\n"
        "gc.callbacks.append(lambda phase, _: looks.append(phase))\n"
        "look_seldom_for_circles()\n"
        "kept = [[] for _ in range(15_000)]\n"
        "assert not looks\n"
        "keep_for_good()\n"
        "assert gc.get_freeze_count() > len(kept)\n"
        "assert len(gc.get_objects()) < len(kept)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
