"""Somebody who is not root, and programs as that user runs them.

The user is in no file of this machine: each program gets a mount namespace with its own
``/etc/passwd``, ``/etc/subuid`` and ``/etc/subgid``, in which the interpreter can be
reached wherever it lies.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ID: Final = 64_321
FIRST: Final = 700_000
COUNT: Final = 65_536

_LIMIT: Final = 60.0
_ENTER: Final = f"""
set -e
for name in passwd subuid subgid; do
  mount --bind "$1/etc/$name" "/etc/$name"
done
if [ -n "$2" ]; then
  mkdir -p "$1/kept"
  mount --rbind "$3" "$1/kept"
  mount -t tmpfs -o mode=0755 none "$2"
  mkdir -p "$3"
  mount --rbind "$1/kept" "$3"
fi
cd "$1/home"
shift 3
exec setpriv --reuid={ID} --regid={ID} --clear-groups -- "$@"
"""


@dataclass(frozen=True)
class User:
    """The user, and where everything of theirs is.

    Attributes:
        place: the home directory and what it takes to be that user.
    """

    place: Path

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }

    def command(self, *words: str) -> list[str]:
        """The words that start a program as this user."""
        base = sys.base_prefix
        enter = ["sh", "-c", _ENTER, "sh", str(self.place), _closed(base), base, *words]
        return ["unshare", "--mount", "--propagation", "private", *enter]

    def orlop(self, *arguments: str) -> list[str]:
        return self.command(sys.executable, "-m", "orlop", *arguments)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )

    def output(self, *arguments: str) -> str:
        """Standard output of an ``orlop`` command that must do well."""
        done = self.run(*self.orlop(*arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def ordinary_user(*, ids: bool) -> Iterator[User]:
    """A user; with ``ids`` one to whom the machine grants a range of them."""
    place = Path(tempfile.mkdtemp(prefix="orlop-user-"))
    try:
        place.chmod(0o755)
        (place / "etc").mkdir()
        for name in ("home", "home/run"):
            (place / name).mkdir(mode=0o700)
            os.chown(place / name, ID, ID)
        line = f"somebody:x:{ID}:{ID}::{place}/home:/bin/sh\n"
        (place / "etc/passwd").write_text(Path("/etc/passwd").read_text() + line)
        for name in ("subuid", "subgid"):
            (place / "etc" / name).write_text(f"somebody:{FIRST}:{COUNT}\n" if ids else "")
            Path("/etc", name).touch()
        yield User(place)
    finally:
        shutil.rmtree(place)


def _closed(path: str) -> str:
    """The topmost directory on the way to ``path`` that others may not enter; "" for none."""
    for directory in reversed(Path(path).parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return str(directory)
    return ""
