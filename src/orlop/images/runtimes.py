"""Runtime handlers: what they pull for, and which images are theirs; pure.

One name can belong to several images: of other platforms, when it names an index,
and unpacked in other snapshotters. A handler sees those that suit it. The handler
"" is the default one; it also sees what suits nobody, such as images that were
pulled for another platform by hand.

Source: KEP-4216 (image pull per runtime class), cri-api's ``ImageSpec.runtime_handler``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidArgument
from orlop.model.platform import Platform, rank
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from orlop.images.settings import ServiceSettings, Unpack
    from orlop.ports.metadata import Image, ImageRecord

DEFAULT: Final = ""
"""The handler of whoever names none."""

_LAST: Final = 1 << 10
"""Rank of an image that does not tell its platform: behind all that do."""


@dataclass(frozen=True, slots=True)
class RuntimeTarget:
    """What a handler's images are for."""

    platform: Platform
    snapshotter: str


class Runtimes:
    """The handlers of the configuration.

    Args:
        default: of the handler "".
        handlers: of the others, by name.
        unpack: what is pulled for a platform that the caller names, the first that suits.
        strict: platforms that suit none of these are refused.
    """

    def __init__(
        self,
        default: RuntimeTarget,
        handlers: Mapping[str, RuntimeTarget],
        unpack: Sequence[RuntimeTarget] = (),
        *,
        strict: bool = False,
    ) -> None:
        self._targets = {DEFAULT: default, **handlers}
        self._unpack = unpack
        self._strict = strict
        self._handlers: dict[tuple[str, str], str] = {}

    @classmethod
    def configured(cls, settings: ServiceSettings, loaded: Collection[str]) -> Self:
        """The handlers that the settings name.

        Args:
            settings: of the image service.
            loaded: names of the snapshotters that are there.

        Raises:
            InvalidArgument: a platform makes no sense, or a snapshotter that is not
                optional is not loaded.
        """
        unpack = [
            RuntimeTarget(
                Platform.parse(entry.platform) if entry.platform else settings.platform,
                entry.snapshotter or settings.snapshotter,
            )
            for entry in settings.unpack
            if _is_usable(entry, loaded)
        ]

        def target(platform: str, snapshotter: str) -> RuntimeTarget:
            wanted = Platform.parse(platform) if platform else settings.platform
            suitable = (one.snapshotter for one in unpack if _suits(one.platform, wanted))
            return RuntimeTarget(wanted, snapshotter or next(suitable, "") or settings.snapshotter)

        return cls(
            target("", ""),
            {
                handler: target(runtime.platform, runtime.snapshotter)
                for handler, runtime in settings.runtimes.items()
            },
            unpack,
            strict=settings.check_platforms,
        )

    def wanted(self, handler: str, *, platform: str = "", snapshotter: str = "") -> RuntimeTarget:
        """What a pull is for: what the caller says, else what its handler says, else the rest.

        Raises:
            InvalidArgument: no such handler, or the platform makes no sense or is refused.
        """
        found = self.target(handler)
        if platform:
            found = RuntimeTarget(Platform.parse(platform), found.snapshotter)
        suitable = [one for one in self._unpack if _suits(one.platform, found.platform)]
        if platform and suitable and handler == DEFAULT:
            found = RuntimeTarget(found.platform, suitable[0].snapshotter)
        default = self._targets[DEFAULT].platform
        if self._strict and not (suitable if self._unpack else _suits(default, found.platform)):
            raise InvalidArgument(
                f"platform {found.platform} is not supported here",
                hint="name it in an entry of unpack_config, or turn check_platform_supported off",
            )
        return RuntimeTarget(found.platform, snapshotter) if snapshotter else found

    def target(self, handler: str) -> RuntimeTarget:
        """What a handler pulls for.

        Raises:
            InvalidArgument: the configuration does not name it. A pull for the default
                instead would succeed, and the pod that needs it would not start.
        """
        found = self._targets.get(handler)
        if found is None:
            raise InvalidArgument(
                f"unknown runtime handler {quote(handler)}",
                hint="name it under runtime_platforms in the configuration",
            )
        return found

    def handler(self, image: Image) -> str:
        """The handler that an image suits best; the default one when it suits none."""
        key = (image.record.platform, image.record.snapshotter)
        found = self._handlers.get(key)
        if found is None:
            ranks = {
                name: at
                for name, target in self._targets.items()
                if (at := _rank(target, image.record)) is not None
            }
            found = min(ranks, key=lambda name: (ranks[name], name), default=DEFAULT)
            self._handlers[key] = found
        return found

    def choose(self, images: Sequence[Image], handler: str) -> Image | None:
        """Which of several images of one name a handler means; None when none is for it.

        Raises:
            InvalidArgument: the configuration does not name the handler.
        """
        target = self.target(handler)
        ranks = [_rank(target, image.record) for image in images]
        suitable = [at for at, found in enumerate(ranks) if found is not None]
        if suitable:
            return images[min(suitable, key=lambda at: (ranks[at], at))]
        if handler == DEFAULT:
            return next((image for image in images if self.handler(image) == DEFAULT), None)
        return None

    def prefer(self, images: Sequence[Image]) -> Image | None:
        """The default handler's among several images, else the first."""
        return self.choose(images, DEFAULT) or next(iter(images), None)


def _suits(wanted: Platform, offered: Platform) -> bool:
    return rank(wanted, offered) is not None


def _is_usable(entry: Unpack, loaded: Collection[str]) -> bool:
    if not entry.snapshotter or entry.snapshotter in loaded:
        return True
    if entry.optional:
        return False
    raise InvalidArgument(
        f"unpack_config names the snapshotter {quote(entry.snapshotter)}, which is not loaded",
        hint=f"loaded are: {', '.join(sorted(loaded))}; or make the entry optional",
    )


def _rank(target: RuntimeTarget, record: ImageRecord) -> int | None:
    """How well an image suits; smaller is better, None not at all."""
    if record.snapshotter != target.snapshotter:
        return None
    platform = _platform(record.platform)
    return _LAST if platform is None else rank(target.platform, platform)


@lru_cache(maxsize=64)
def _platform(text: str) -> Platform | None:
    """An image's platform; None when the image does not tell it."""
    try:
        platform = Platform.parse(text)
    except InvalidArgument:
        return None
    return None if "unknown" in (platform.os, platform.architecture) else platform
