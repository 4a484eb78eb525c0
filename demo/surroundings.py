"""What the demonstration needs around it: a directory, a registry, a daemon.

Each is a context manager that leaves nothing behind.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from orlop.testing import distribution
from orlop.testing.distribution import DistributionRegistry
from orlop.testing.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.testing.images import BuiltImage

PROGRAM: Final = Path(sys.executable).with_name("orlop")
"""The console script of this environment."""

REPOSITORY: Final = "demo/machine"
TAG: Final = "latest"

_START_SECONDS: Final = 20.0
_END_SECONDS: Final = 40.0


@contextmanager
def directory() -> Iterator[Path]:
    """A private directory; whatever is still mounted below it is unmounted at the end."""
    path = Path(tempfile.mkdtemp(prefix="orlop-demo-"))
    try:
        yield path
    finally:
        for target in _mounted_below(path):
            subprocess.run(["umount", "--lazy", target], check=False)
        shutil.rmtree(path)


@contextmanager
def registry(image: BuiltImage, storage: Path) -> Iterator[tuple[str, str]]:
    """A registry on the loopback interface that has the image.

    Yields:
        What kind of registry it is, and the reference of the image.
    """
    if shutil.which(distribution.PROGRAM) is None:
        with FakeRegistry() as fake:
            for blob in image.blobs.values():
                fake.add_blob(blob)
            fake.add_manifest(REPOSITORY, TAG, image.manifest, image.media_type)
            yield "a registry in this process", f"{fake.address}/{REPOSITORY}:{TAG}"
        return
    with DistributionRegistry(storage) as served:
        for blob in image.blobs.values():
            served.put_blob(REPOSITORY, blob)
        served.put_manifest(REPOSITORY, TAG, image.manifest, image.media_type)
        yield distribution.PROGRAM, f"{served.address}/{REPOSITORY}:{TAG}"


class Daemon:
    """``orlop daemon`` with directories and a socket of its own; use it in a ``with``.

    Args:
        home: gets everything that belongs to it.
        config: its configuration.

    Raises (on entering):
        RuntimeError: it does not serve; the end of its log is in the message.
    """

    def __init__(self, home: Path, *, config: str = "version = 4\n") -> None:
        self.root = home / "root"
        self.address = f"unix://{home}/orlop.sock"
        self._home = home
        self._config = config
        self._log = home / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self._home / "config.toml"
        config.write_text(self._config)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(str(PROGRAM), "daemon", "--config", str(config)),
                    *("--root", str(self.root), "--state", str(self._home / "state")),
                    *("--address", self.address),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "the daemon is not running"
        return self._process.pid

    def kill(self) -> None:
        """End it as a power failure would: it notices nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> int:
        """End it as a service manager would; returns its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and kill it when that takes too long; returns its exit code."""
        process, self._process = self._process, None
        assert process is not None, "the daemon is not running"
        try:
            return process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if "orlop: ready on" in self._log.read_text(errors="replace"):
                return
            time.sleep(0.02)
        log = self._log.read_text(errors="replace").strip()
        raise RuntimeError(f"the daemon does not serve: {log[-2000:]}")


def _mounted_below(path: Path) -> list[str]:
    """Mount points below a directory, the innermost first (proc(5), mountinfo)."""
    fields = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found = [field[4] for field in fields if field[4].startswith(f"{path}/")]
    return found[::-1]
