"""The console script as users run it, and images in a real registry to run it on."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from demo.surroundings import PROGRAM
from orlop.testing.images import BuiltImage, build_image
from orlop.testing.layers import directory, file, symlink, whiteout

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.testing.distribution import DistributionRegistry

LIMIT: Final = 60.0


@dataclass(frozen=True)
class Result:
    """What a command left: exit code and both outputs."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """The console script, with options that every command gets, such as ``--address``."""

    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> Result:
        done = subprocess.run(
            [str(PROGRAM), *arguments, *self.options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
            env={**os.environ, **self.environment},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def output(self, *arguments: str) -> str:
        """Standard output of a command that must do well."""
        result = self.run(*arguments)
        assert result.code == 0, result.err
        return result.out


def small_image(word: str = "") -> BuiltImage:
    """Three layers with a whiteout; images of different words share the lowest one."""
    return build_image(
        [
            [directory("etc"), file("etc/os-release", b"ID=test\n"), file("etc/gone", b"!")],
            [whiteout("etc/gone"), directory("usr/bin"), file("usr/bin/run", os.urandom(200_000))],
            [file("etc/word", word.encode()), symlink("bin", "usr/bin")],
        ],
        config={"config": {"User": "1000:1000", "WorkingDir": "/srv"}},
    )


def offer(registry: DistributionRegistry, image: BuiltImage, name: str, tag: str) -> str:
    """Put an image into a registry; returns its reference."""
    for blob in image.blobs.values():
        registry.put_blob(name, blob)
    registry.put_manifest(name, tag, image.manifest, image.media_type)
    return f"{registry.address}/{name}:{tag}"


def staged(root: Path) -> list[Path]:
    """Trees in the making, and trees on their way out."""
    return [*root.glob("*snapshotter*/staging/*"), *root.glob("*snapshotter*/trash/*")]
