#!/usr/bin/env python3
"""Writes the lock files: exact versions, and the hashes of their wheels for every platform.

    tools/lock.py              # keep the versions that are locked, add and drop packages
    tools/lock.py --upgrade    # take the newest versions that fit

``requirements.lock`` holds what orlop needs to run, ``requirements-dev.lock`` what the
checks and tests need beside that. pip does the resolving, with its own configuration;
the files name packages, versions and hashes, and no place to get them from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
RUNTIME: Final = ROOT / "requirements.lock"
DEVELOPMENT: Final = ROOT / "requirements-dev.lock"
WANTED: Final = ROOT / "tools" / "requirements-dev.in"

HEADS: Final = {
    RUNTIME: "# What orlop needs to run, and setuptools to install it.",
    DEVELOPMENT: "# What the checks and tests need beside requirements.lock.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine that wheels are locked for: Linux with glibc."""

    python: str
    machine: str

    def options(self) -> list[str]:
        """How pip is told to choose wheels for it."""
        platforms = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
        return [
            *(f"--platform={platform}_{self.machine}" for platform in platforms),
            f"--python-version={self.python}",
            "--implementation=cp",
        ]

    def wants(self, requirement: Requirement) -> bool:
        """False when the requirement's marker leaves this Python out."""
        environment = {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": self.machine,
        }
        return requirement.marker is None or requirement.marker.evaluate(environment)


TARGETS: Final = tuple(
    Target(python, machine)
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
)


def requirements() -> tuple[list[Requirement], list[Requirement]]:
    """The direct requirements: to run, and to check and test."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = [*document["project"]["dependencies"], *document["build-system"]["requires"]]
    lines = (line.partition("#")[0].strip() for line in WANTED.read_text().splitlines())
    return list(map(Requirement, runtime)), [Requirement(line) for line in lines if line]


def locked(paths: Iterable[Path]) -> list[str]:
    """The pins of lock files that exist."""
    return [
        line.partition(" ")[0].rstrip(";")
        for path in paths
        if path.exists()
        for line in path.read_text().splitlines()
        if "==" in line and not line.startswith(("#", " "))
    ]


def resolve(wanted: Iterable[Requirement], constraints: Sequence[str]) -> dict[str, str]:
    """Version by name of everything that the requirements need on this machine's Python."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        report = pip(["--constraint", file.name, *map(str, wanted)])
    return {name: version for name, version, _ in report}


def hashes(pins: Mapping[str, Requirement], target: Target) -> dict[str, str]:
    """The SHA-256 of each pinned package's wheel for a target, by name."""
    wanted = [pin for pin in pins.values() if target.wants(pin)]
    with tempfile.TemporaryDirectory() as directory:
        options = [*target.options(), "--no-deps", f"--target={directory}"]
        report = pip([*options, *(f"{pin.name}{pin.specifier}" for pin in wanted)])
    return {name: digest for name, _, digest in report}


def pip(arguments: Sequence[str]) -> list[tuple[str, str, str]]:
    """Name, version and SHA-256 of each wheel that pip would install; nothing is installed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input"),
                *("--dry-run", "--ignore-installed", "--only-binary=:all:"),
                *("--report", file.name, *arguments),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        report = json.load(file)
    return [
        (
            canonicalize_name(item["metadata"]["name"]),
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in report["install"]
    ]


def pinned(versions: Mapping[str, str], direct: Iterable[Requirement]) -> dict[str, Requirement]:
    """Requirements for exactly these versions; a direct requirement's marker is kept."""
    markers: dict[str, str] = {
        canonicalize_name(one.name): f" ; {one.marker}" for one in direct if one.marker
    }
    return {
        name: Requirement(f"{name}=={version}{markers.get(name, '')}")
        for name, version in sorted(versions.items())
    }


def text(head: str, pins: Mapping[str, Requirement], found: Mapping[str, set[str]]) -> str:
    """A lock file."""
    lines = [head, "# Written by `make lock`; do not edit."]
    for name, pin in pins.items():
        marker = f" ; {pin.marker}" if pin.marker else ""
        lines.append(f"{name}{pin.specifier}{marker} \\")
        lines += [f"    --hash=sha256:{digest} \\" for digest in sorted(found[name])]
        lines[-1] = lines[-1].removesuffix(" \\")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Resolve, gather the hashes of all targets, write both files."""
    parser = argparse.ArgumentParser(description="Write the lock files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--like", type=Path, help="a file of pins to keep to, such as pip freeze's")
    arguments = parser.parse_args()
    kept = [arguments.like] if arguments.like else [RUNTIME, DEVELOPMENT]
    constraints = [] if arguments.upgrade else locked(kept)
    runtime, development = requirements()
    needed = resolve(runtime, constraints)
    everything = resolve([*runtime, *development], constraints or pin_lines(needed))
    pins = pinned(everything, [*runtime, *development])
    found: dict[str, set[str]] = {name: set() for name in pins}
    for target in TARGETS:
        print(f"Python {target.python} on {target.machine}", flush=True)
        for name, digest in hashes(pins, target).items():
            found[name].add(digest)
    for path, wanted in ((RUNTIME, True), (DEVELOPMENT, False)):
        chosen = {name: pin for name, pin in pins.items() if (name in needed) is wanted}
        path.write_text(text(HEADS[path], chosen, found))


def pin_lines(versions: Mapping[str, str]) -> list[str]:
    """Versions as constraints."""
    return [f"{name}=={version}" for name, version in versions.items()]


if __name__ == "__main__":
    main()
