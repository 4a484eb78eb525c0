"""Landlock: a process gives up every path but those below one directory.

A second line. It knows nothing of owners, modes and attributes, so it never stands
alone; and kernels before 5.13, or with another start line, do not have it.

Sources: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2),
landlock_restrict_self(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from orlop.linux.mountcalls import system_call

# The same numbers on every architecture but alpha.
_SYS_CREATE_RULESET: Final = 444
_SYS_ADD_RULE: Final = 445
_SYS_RESTRICT_SELF: Final = 446

_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH: Final = 1

_EXECUTE: Final = 1 << 0
_RIGHTS_BY_ABI: Final = (0, 1 << 13, 1 << 14, 1 << 15, 1 << 15, 1 << 16)
"""The first right that an ABI does not know: 13 in ABI 1, then REFER, TRUNCATE, IOCTL_DEV."""
_NETWORK: Final = 3  # bind and connect over TCP, from ABI 4 on
_SCOPES: Final = 3  # abstract sockets and signals, from ABI 6 on


def abi() -> int:
    """Which version the kernel has; 0 for none."""
    try:
        return system_call("ask for Landlock", _SYS_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(directory: int) -> None:
    """Allow this thread, and those that it starts, nothing but files below ``directory``.

    Nothing there can be executed; TCP, signals to others and abstract sockets are
    refused as far as the kernel knows how. Needs ``isolation.no_new_privileges``.

    Args:
        directory: a descriptor of it.

    Raises:
        OSError: the kernel has no Landlock, or refused.
    """
    version = abi()
    handled = _RIGHTS_BY_ABI[min(version, len(_RIGHTS_BY_ABI) - 1)] - 1
    attributes = struct.pack("=QQQ", handled, _NETWORK, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = system_call(
        "make a Landlock ruleset", _SYS_CREATE_RULESET, attributes[:size], size, 0
    )
    try:
        # struct landlock_path_beneath_attr is packed.
        beneath = ctypes.create_string_buffer(
            struct.pack("=Qi", handled & ~_EXECUTE, directory), 12
        )
        system_call(
            "allow a directory",
            _SYS_ADD_RULE,
            ruleset,
            _PATH_BENEATH,
            ctypes.addressof(beneath),
            0,
        )
        system_call("restrict a process by Landlock", _SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
