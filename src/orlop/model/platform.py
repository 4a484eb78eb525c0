"""Platforms: which machines an image is for, and which image suits a machine best.

Names are those of Go (GOOS, GOARCH), as image-index.md of the OCI image
specification wants them. Which machine this is, the caller finds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PART: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_MAX_PARTS: Final = 3
_UNKNOWN: Final = "unknown"

_SYSTEMS: Final = frozenset(
    {"android", "darwin", "dragonfly", "freebsd", "illumos", "linux", "macos", "netbsd"}
    | {"openbsd", "plan9", "solaris", "windows"}
)

_ARCHITECTURES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "x86_64": ("amd64", ""),
        "x86-64": ("amd64", ""),
        "i386": ("386", ""),
        "i486": ("386", ""),
        "i586": ("386", ""),
        "i686": ("386", ""),
        "aarch64": ("arm64", ""),
        "armhf": ("arm", "v7"),
        "armel": ("arm", "v6"),
    }
)
"""Other names of architectures, with the variant that they imply."""

_MACHINES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "armv5tel": ("arm", "v5"),
        "armv5tejl": ("arm", "v5"),
        "armv6l": ("arm", "v6"),
        "armv7l": ("arm", "v7"),
        "armv8l": ("arm", "v8"),
        "loongarch64": ("loong64", ""),
        "mips": ("mips", ""),
        "mips64": ("mips64", ""),
        "ppc64": ("ppc64", ""),
        "ppc64le": ("ppc64le", ""),
        "riscv64": ("riscv64", ""),
        "s390x": ("s390x", ""),
    }
)
"""What uname(2) says where it differs from Go's name, or is the same and known."""

_KNOWN: Final = frozenset(
    {
        *_ARCHITECTURES,
        *(architecture for architecture, _ in _ARCHITECTURES.values()),
        *(architecture for architecture, _ in _MACHINES.values()),
        "mips64le",
        "mipsle",
        "wasm",
    }
)

_ARM64_VERSION: Final = re.compile(r"v([89])(?:\.([0-9]))?")
_ARM64_9_INCLUDES_8: Final = 5  # Armv9.N has everything of Armv8.(N+5)


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system on a kind of processor.

    Attributes:
        os: GOOS, such as ``linux``.
        architecture: GOARCH, such as ``arm64``.
        variant: level of the processor, such as ``v7``; "" for the lowest of most.
        os_version: version of the system; only Windows images need it.
        os_features: what the system must be able to do.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, host: Platform | None = None) -> Platform:
        """Read ``os/architecture[/variant]``, ``architecture`` or ``os``; normalised.

        Args:
            text: as users write it.
            host: supplies the architecture when only a system is named.

        Raises:
            InvalidArgument: the text is no platform, or only a system and no host is given.
        """
        parts = text.split("/")
        if len(parts) > _MAX_PARTS or any(_PART.fullmatch(part) is None for part in parts):
            raise InvalidArgument(
                f"invalid platform {quote(text)}",
                hint="write os/architecture[/variant], such as linux/arm64",
            )
        if len(parts) > 1:
            system, architecture, *variant = parts
            return cls(system, architecture, "".join(variant)).normalised()
        name = parts[0].lower()
        if name in _KNOWN:
            return cls("linux", name).normalised()
        if name not in _SYSTEMS:
            raise InvalidArgument(
                f"platform {quote(text)} is neither an operating system nor an architecture"
            )
        if host is None:
            raise InvalidArgument(f"platform {quote(text)} names no architecture")
        return replace(host, os=name).normalised()

    def normalised(self) -> Platform:
        """Return the same platform in the one spelling that comparisons use."""
        system = self.os.lower()
        architecture, variant = _normalise_processor(
            self.architecture.lower(), self.variant.lower()
        )
        return replace(
            self,
            os="darwin" if system == "macos" else system,
            architecture=architecture,
            variant=variant,
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _normalise_processor(architecture: str, variant: str) -> tuple[str, str]:
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = implied or variant
    match architecture:
        case "386":
            return architecture, ""
        case "amd64":
            return architecture, "" if variant == "v1" else variant
        case "arm64":
            return architecture, _normalise_arm64(variant)
        case "arm":
            variant = variant or "v7"
            return architecture, f"v{variant}" if variant.isdecimal() else variant
        case _:
            return architecture, variant


def _normalise_arm64(variant: str) -> str:
    if variant[:1].isdecimal():
        variant = f"v{variant}"
    variant = variant.removesuffix(".0")
    return "" if variant == "v8" else variant


def from_machine(machine: str) -> Platform:
    """Return the Linux platform of a machine name, as uname(2) reports it.

    Raises:
        InvalidArgument: nobody builds images for such a machine.
    """
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    if architecture not in _KNOWN:
        raise InvalidArgument(f"unknown machine {quote(machine)}")
    return Platform("linux", architecture, variant).normalised()


def rank(wanted: Platform, offered: Platform) -> int | None:
    """Tell how well an offered platform suits the wanted one.

    Processors run code of lower levels, and most 64-bit ones also 32-bit code, so an
    image for those is accepted behind the exact one.

    Returns:
        None if it does not run there; 0 for the same; otherwise smaller is better.
    """
    wanted, offered = wanted.normalised(), offered.normalised()
    if offered.os != wanted.os or _UNKNOWN in (offered.os, offered.architecture):
        return None
    if not set(offered.os_features) <= set(wanted.os_features):
        return None
    processor = (offered.architecture, offered.variant)
    for position, runnable in enumerate(_runnable(wanted.architecture, wanted.variant)):
        if processor == runnable:
            return position
    return None


def _runnable(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    """Yield the normalised processors whose code runs on this one, itself first."""
    yield architecture, variant
    match architecture:
        case "amd64":
            for level in range(_level(variant) - 1, 0, -1):
                yield _normalise_processor("amd64", f"v{level}")
            yield "386", ""
        case "arm":
            for level in range(_level(variant) - 1, 4, -1):
                yield "arm", f"v{level}"
        case "arm64":
            yield from _runnable_on_arm64(variant)


def _runnable_on_arm64(variant: str) -> Iterator[tuple[str, str]]:
    version = _ARM64_VERSION.fullmatch(variant or "v8")
    if version is not None:
        major, minor = int(version[1]), int(version[2] or 0)
        if major == 9:
            for lower in range(minor - 1, -1, -1):
                yield "arm64", _normalise_arm64(f"v{major}.{lower}")
            minor += _ARM64_9_INCLUDES_8 + 1
        for lower in range(minor - 1, -1, -1):
            yield "arm64", _normalise_arm64(f"v8.{lower}")
    yield from (("arm", f"v{level}") for level in range(8, 4, -1))


def _level(variant: str) -> int:
    """Return the number of ``vN``; 0 when it is none."""
    digit = variant.removeprefix("v")
    return int(digit) if len(digit) == 1 and digit.isdecimal() else 0
