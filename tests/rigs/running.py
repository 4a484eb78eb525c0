"""``orlop daemon`` in a process of its own, with a configuration that a test writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 20.0


@dataclass(frozen=True)
class Result:
    """What a command left: exit code and both outputs."""

    code: int
    out: str
    err: str


def orlop(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    """Run a command."""
    done = subprocess.run(
        [sys.executable, "-m", "orlop", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env={**os.environ, **(environment or {})},
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Running:
    """A daemon whose directories, socket and document are below ``home``.

    ``home`` has a short path, since sockets have room for 107 bytes. Entering
    waits until the daemon is ready, leaving ends it.
    """

    def __init__(self, home: Path, document: str = "", **environment: str) -> None:
        self.config = home / "config.toml"
        self.address = f"unix://{home}/s.sock"
        self.log = home / "log"
        self._home = home
        self._environment = environment
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.write(document)

    def write(self, document: str) -> None:
        """Write the configuration."""
        self.config.write_text(f"version = 4\n{document}")

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orlop", *self.arguments()],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        self.wait_for("orlop: ready on")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def arguments(self) -> list[str]:
        """Of the program."""
        home = self._home
        return [
            *("daemon", "--config", str(self.config), "--address", self.address),
            *("--root", f"{home}/root", "--state", f"{home}/state"),
        ]

    def run(self, *arguments: str) -> Result:
        """Run a command as a client of it."""
        return orlop(*arguments, "--address", self.address, environment=self._environment)

    def hang_up(self) -> None:
        """Send SIGHUP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """End it as a service manager would; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(LIMIT)

    def wait_for(self, text: str) -> str:
        """What it has logged since the last time, up to the line with ``text``."""
        assert self._process is not None
        deadline = time.monotonic() + LIMIT
        while True:
            ended = self._process.poll() is not None
            new = self.log.read_text()[self._read :]
            if text in new:
                found = new[: new.index("\n", new.index(text)) + 1]
                self._read += len(found)
                return found
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"the daemon did not say {text!r}: {new}")
            time.sleep(0.02)
