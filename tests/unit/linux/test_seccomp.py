"""The filter of system calls, run by an interpreter of the few instructions that it has."""

from __future__ import annotations

import errno
import struct

import pytest

from orlop.linux import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000 | errno.EPERM
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = sorted(ARCHITECTURES)

EXECUTABLE = 4


def verdict(machine: str, number: int, *, architecture: int | None = None, third: int = 0) -> int:
    """What the filter says to a call (struct seccomp_data of seccomp(2))."""
    data = struct.pack(
        "<IIQ6Q", number, architecture or ARCHITECTURES[machine], 0, 0, 0, third, 0, 0, 0
    )
    steps = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    at = accumulator = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        holds = {
            0x15: accumulator == value,
            0x35: accumulator >= value,
            0x45: bool(accumulator & value),
        }[code]
        at += yes if holds else no


def named(groups: frozenset[str]) -> set[str]:
    return {name for group in groups for name in group.split()}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_has_its_verdict(machine: str) -> None:
    numbers = seccomp.numbers(machine)
    by_number = {number: name for name, number in numbers.items()}
    assert len(by_number) == len(numbers)
    allowed, killed = named(seccomp.ALLOWED), named(seccomp.KILLED)
    for number in range(600):
        name = by_number.get(number, "")
        expected = ALLOW if name in allowed else KILL if name in killed else REFUSE
        assert verdict(machine, number) == expected, name or number


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_both_allowed_and_killed_and_all_have_numbers(machine: str) -> None:
    allowed, killed = named(seccomp.ALLOWED), named(seccomp.KILLED)
    assert not allowed & killed
    # aarch64 never had these; their younger relatives are in the list, too.
    never = {"poll"} if machine == "aarch64" else set()
    assert allowed | killed == set(seccomp.numbers(machine)) | never


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_memory_may_not_be_executed(machine: str, call: str) -> None:
    number = seccomp.numbers(machine)[call]
    for protection in range(8):
        expected = REFUSE if protection & EXECUTABLE else ALLOW
        assert verdict(machine, number, third=protection) == expected


def test_calls_of_another_abi_kill() -> None:
    read = seccomp.numbers("x86_64")["read"]
    i386 = 0x40000003
    assert verdict("x86_64", read, architecture=i386) == KILL
    x32 = 0x40000000
    assert verdict("x86_64", read | x32) == KILL


def test_an_unknown_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="no system call filter for vax") as caught:
        seccomp.program("vax")
    assert caught.value.errno == errno.ENOSYS
