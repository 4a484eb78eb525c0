"""``orlop daemon`` with everything logged that anybody logs; ``CONFIG ROOT STATE ADDRESS``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from orlop import daemon
from orlop.app import App, opened, with_directories
from orlop.config.load import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def main(config: str, root: str, state: str, address: str) -> int:
    """Serve until SIGTERM, as the program does."""
    loaded = load(config).config
    loaded = structs.replace(loaded, grpc=structs.replace(loaded.grpc, address=address))
    settings = with_directories(loaded, root=root, state=state)

    @contextlib.asynccontextmanager
    async def open_served() -> AsyncIterator[App]:
        for name in ("asyncio", "aiohttp", "aiohttp.client", "grpc"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        async with opened(settings, daemon=True) as app:
            yield app

    return daemon.run(open_served, log_level="debug")


@contextlib.contextmanager
def running(home: Path, config: str) -> Iterator[int]:
    """Such a daemon at ``home/sock`` with its store in ``home/root``; yields its process id."""
    (home / "config.toml").write_text(config)
    arguments = [home / "config.toml", home / "root", home / "state", f"unix://{home}/sock"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, arguments)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
            cwd=Path(__file__).parents[2],
        )
    try:
        deadline = time.monotonic() + 30
        while "orlop: ready" not in (home / "log").read_text():
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
