"""Platforms: spelling, and which image runs on which machine."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidArgument
from orlop.model.platform import Platform, from_machine, rank


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("Linux/AMD64", "linux/amd64"),
        ("i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("linux/386/sse2", "linux/386"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v8.2", "linux/arm64/v8.2"),
        ("linux/arm64/9", "linux/arm64/v9"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("riscv64", "linux/riscv64"),
        ("windows/amd64", "windows/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("other/machine", "other/machine"),
    ],
)
def test_parse_normalises(text: str, normalised: str) -> None:
    platform = Platform.parse(text)
    assert str(platform) == normalised
    assert platform.normalised() == platform
    assert Platform.parse(normalised) == platform


@pytest.mark.parametrize(
    "text",
    ["", "/", "linux/", "/amd64", "linux//v8", "a/b/c/d", "linux/am d64", "linux/\u00e9", "x" * 99],
)
def test_parse_refuses_other_forms(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid platform"):
        Platform.parse(text)


def test_parse_refuses_unknown_single_words() -> None:
    with pytest.raises(InvalidArgument, match="neither an operating system nor an architecture"):
        Platform.parse("toaster")


def test_a_system_alone_takes_its_processor_from_the_host() -> None:
    assert Platform.parse("linux", Platform("linux", "arm64")) == Platform("linux", "arm64")
    assert Platform.parse("macos", Platform("linux", "amd64", "v3")) == Platform(
        "darwin", "amd64", "v3"
    )
    with pytest.raises(InvalidArgument, match="'linux' names no architecture"):
        Platform.parse("linux")


def test_the_host_changes_nothing_else() -> None:
    assert str(Platform.parse("arm64", Platform("linux", "amd64"))) == "linux/arm64"


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("i686", "linux/386"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("armv5tel", "linux/arm/v5"),
        ("armv8l", "linux/arm/v8"),
        ("ppc64le", "linux/ppc64le"),
        ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"),
        ("loongarch64", "linux/loong64"),
    ],
)
def test_from_machine(machine: str, platform: str) -> None:
    assert str(from_machine(machine)) == platform


def test_from_machine_refuses_unknown_machines() -> None:
    with pytest.raises(InvalidArgument, match="unknown machine 'vax'"):
        from_machine("vax")


@pytest.mark.parametrize(
    ("wanted", "best_first"),
    [
        ("linux/amd64", ["amd64", "386"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"]),
        ("linux/386", ["386"]),
        ("linux/arm/v7", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/arm64", ["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64/v8.2", ["arm64/v8.2", "arm64/v8.1", "arm64", "arm/v8"]),
        ("linux/arm64/v9", ["arm64/v9", "arm64/v8.5", "arm64/v8.4", "arm64", "arm/v7"]),
        ("linux/arm64/v9.1", ["arm64/v9.1", "arm64/v9", "arm64/v8.6", "arm64"]),
        ("linux/s390x", ["s390x"]),
    ],
)
def test_rank_orders_what_runs(wanted: str, best_first: list[str]) -> None:
    ranks = [rank(Platform.parse(wanted), Platform.parse(f"linux/{o}")) for o in best_first]
    assert ranks[0] == 0
    known = [r for r in ranks if r is not None]
    assert len(known) == len(ranks)
    assert known == sorted(set(known))


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", "windows/amd64"),
        ("linux/amd64", "linux/arm64"),
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/amd64/v2", "linux/amd64/v3"),
        ("linux/386", "linux/amd64"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm64"),
        ("linux/arm64", "linux/arm64/v8.1"),
        ("linux/arm64/v9", "linux/arm64/v8.6"),
        ("linux/amd64", "unknown/unknown"),
        ("unknown/unknown", "unknown/unknown"),
        ("linux/unknown", "linux/unknown"),
        ("linux/amd64/strange", "linux/amd64/v2"),
    ],
)
def test_rank_refuses_what_does_not_run(wanted: str, offered: str) -> None:
    assert rank(Platform.parse(wanted), Platform.parse(offered)) is None


def test_rank_normalises_both() -> None:
    assert rank(Platform("Linux", "x86_64", "v1"), Platform("linux", "amd64")) == 0
    assert rank(Platform("linux", "arm64"), Platform("linux", "arm64", "v8")) == 0


def test_rank_wants_every_feature() -> None:
    plain = Platform("linux", "amd64")
    special = Platform("linux", "amd64", os_features=("erofs",))
    assert rank(plain, special) is None
    assert rank(special, special) == 0
    assert rank(special, plain) == 0


def test_rank_ignores_the_version_of_the_system() -> None:
    assert rank(Platform("linux", "amd64"), Platform("linux", "amd64", os_version="6.1")) == 0


@pytest.mark.parametrize("variant", ["", "v", "v99999999999999999999", "\u00b2", "v\u0663", "9.9"])
@pytest.mark.parametrize("architecture", ["amd64", "arm", "arm64"])
def test_strange_variants_match_themselves_only(architecture: str, variant: str) -> None:
    strange = Platform("linux", architecture, variant)
    assert rank(strange, strange) == 0
    assert rank(strange, Platform("linux", "s390x")) is None
