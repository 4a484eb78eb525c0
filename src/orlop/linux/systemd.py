"""Telling the service manager how a service is; sd_notify(3)."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send a state, such as ``READY=1``, to the manager that started this process, if one did.

    Raises:
        OSError: it does not listen.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode(), address)
