"""orlop: a container image service for one Linux node.

As a library::

    async with orlop.open("/var/lib/orlop") as service:
        image = await service.pull("docker.io/library/busybox")
        async with image.mount() as path:
            print(sorted(os.listdir(path)))

Names are loaded when they are used: every worker process imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.app import library as open  # noqa: A004 (the public name is orlop.open)
    from orlop.images.facade import Library, PulledImage
    from orlop.ports.registry import Credentials
    from orlop.ports.service import PullOptions

__version__ = "0.1.0"

__all__ = ["Credentials", "Library", "PullOptions", "PulledImage", "__version__", "open"]

_HOMES = {
    "open": ("orlop.app", "library"),
    "Library": ("orlop.images.facade", "Library"),
    "PulledImage": ("orlop.images.facade", "PulledImage"),
    "Credentials": ("orlop.ports.registry", "Credentials"),
    "PullOptions": ("orlop.ports.service", "PullOptions"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
