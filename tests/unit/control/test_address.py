"""Addresses of the daemon's socket."""

from __future__ import annotations

import pytest

from orlop.control.address import socket_path
from orlop.errors import InvalidArgument


@pytest.mark.parametrize("address", ["unix:///run/orlop.sock", "unix:/run/orlop.sock"])
def test_a_path_comes_out(address: str) -> None:
    assert socket_path(address) == "/run/orlop.sock"


@pytest.mark.parametrize(
    "address",
    ["", "/run/orlop.sock", "unix:", "unix://", "unix:run/x", "tcp://127.0.0.1:1", "unix:///a\0b"],
)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="is not unix:///PATH"):
        socket_path(address)


def test_the_kernel_limits_the_length() -> None:
    longest = "/" + "x" * 106
    assert socket_path(f"unix://{longest}") == longest
    with pytest.raises(InvalidArgument, match="longer than 107 bytes"):
        socket_path(f"unix://{longest}x")
    with pytest.raises(InvalidArgument, match="longer than 107 bytes"):
        socket_path("unix:///" + "ä" * 60)
