"""Which programs a layer goes through before it is unpacked; pure.

A stream processor is a program of the operator's that turns layers of one media
type into another, such as one that decrypts them. A layer goes from one to the
next for as long as there is one that accepts it; what comes out last must be a
layer that can be unpacked. Its diffID is checked as always, so that no program
can change what an image contains.

Source: containerd, docs/stream_processors.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, UnsupportedMediaType
from orlop.model.mediatype import is_encrypted, layer_compression
from orlop.model.quote import quote

if TYPE_CHECKING:
    from orlop.model.mediatype import Compression


@dataclass(frozen=True, slots=True)
class StreamProcessor:
    """One program, as it was configured.

    Attributes:
        id: what the operator calls it.
        accepts: media types that it reads.
        returns: media type that it writes.
        path: of the program; a name without a slash is looked for.
        args: its arguments.
        env: its environment, as NAME=VALUE, beside what every program gets.
    """

    id: str
    accepts: tuple[str, ...]
    returns: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A program, and the media type of what it is going to read."""

    processor: StreamProcessor
    media_type: str


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a layer: through programs, in order, and how its end is compressed."""

    steps: tuple[Step, ...]
    compression: Compression


@dataclass(frozen=True, slots=True)
class Processing:
    """All that is configured about it.

    Attributes:
        processors: of several that accept a media type, the first one gets it.
        decrypt: False when encrypted layers are refused, whoever accepts them.
    """

    processors: tuple[StreamProcessor, ...] = ()
    decrypt: bool = True

    def route(self, media_type: str) -> Route:
        """Find the way of a layer with this media type.

        Raises:
            UnsupportedMediaType: there is none.
            FailedPrecondition: the programs lead in a circle.
        """
        steps: list[Step] = []
        at = media_type
        while processor := self._accepting(at):
            if at in (step.media_type for step in steps):
                raise FailedPrecondition(
                    f"stream processors lead in a circle from media type {quote(at)}",
                    hint="see [stream_processors] in the configuration",
                )
            steps.append(Step(processor, at))
            at = processor.returns
        return Route(tuple(steps), layer_compression(at))

    def _accepting(self, media_type: str) -> StreamProcessor | None:
        if is_encrypted(media_type) and not self.decrypt:
            raise UnsupportedMediaType(
                f"layer is encrypted (media type {quote(media_type)}),"
                ' and image_decryption.key_model = "" allows no keys',
                hint='set image_decryption.key_model = "node" and name a stream processor',
            )
        return next((one for one in self.processors if media_type in one.accepts), None)


NOTHING: Final = Processing()
"""When nothing is configured: a layer is what its media type says."""
