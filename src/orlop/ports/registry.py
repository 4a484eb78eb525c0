"""Registry: where images come from.

``Registry`` lives as long as the service and owns the connections. For each
pull it makes a ``Remote``: one repository, one set of credentials, one traffic
counter. The hosts to ask, authentication, redirects and the transport's retries
are hidden behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from orlop.model.descriptor import Descriptor
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client handed in for one pull. Kept in memory only, never shown.

    Attributes:
        server_address: registry they are for; "" means the reference's own.
        identity_token: OAuth2 refresh token.
        registry_token: bearer token, sent as it is.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference means right now.

    Attributes:
        descriptor: media type, digest, size of the index or manifest.
        raw: the verified document when the registry had to send it anyway.
    """

    descriptor: Descriptor
    raw: bytes | None = None


class Traffic(Protocol):
    """Counts what is in flight; the progress watchdog reads it.

    A request is in flight from its sending until the last byte of its body
    has been read, whatever happens to the bytes afterwards. It is paused while
    nobody reads on: once its head is there until its body is read for the first
    time, and between two reads. A paused request is resumed before it finishes.
    """

    def request_started(self, host: str) -> None:
        """A request to ``host`` was sent."""

    def request_finished(self, host: str) -> None:
        """The last byte of its body was read, or it failed."""

    def request_paused(self, host: str) -> None:
        """Nobody waits for more of its answer: what comes next is our turn, not the host's."""

    def request_resumed(self, host: str) -> None:
        """More of its body is waited for."""

    def received(self, count: int) -> None:
        """``count`` bytes of some body arrived."""


class BlobStream(Protocol):
    """The body of one blob, as it arrives."""

    @property
    def start(self) -> int:
        """Offset in the blob of the first byte that ``read`` returns.

        It is the offset that was asked for, or 0 when the registry ignored the range.
        """

    @property
    def end(self) -> int:
        """Offset in the blob after the last byte that ``read`` returns.

        It is the end that was asked for, or the blob's when the registry ignored the range.
        """

    @property
    def waiting(self) -> int:
        """How many bytes ``read`` returns without waiting for the registry."""

    async def read(self) -> bytes:
        """The next bytes (at least 1, at most a few MiB); ``b""`` at the end.

        Raises:
            RegistryUnavailable: the connection broke or ended early.
            SizeMismatch: the body is longer than the descriptor says.
        """


class Remote(Protocol):
    """One repository, for one pull."""

    async def resolve(self) -> Resolved:
        """Ask what the reference points at (the digest wins over the tag).

        Raises:
            NotFound: the registry has no such repository, tag or digest.
            AuthFailed, AuthPolicy, RegistryError: see ``orlop.errors``.
        """

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        """Fetch a manifest, index or config and check it against its descriptor.

        Whether it is fetched as a manifest or as a blob follows from its media type.

        Raises:
            LimitExceeded: the descriptor says more than ``limit`` bytes; nothing is fetched.
            DigestMismatch, SizeMismatch: it is not what was asked for.
            NotFound, AuthFailed, AuthPolicy, RegistryError: as ``resolve``.
        """

    async def prove(self, descriptor: Descriptor) -> None:
        """Make sure that the caller may have a layer, without fetching it.

        Raises:
            NotFound, AuthFailed, AuthPolicy, RegistryError: as ``resolve``.
        """

    def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AbstractAsyncContextManager[BlobStream]:
        """Open ``length`` bytes of a layer from ``offset`` (less than its size); 0 is all the rest.

        Asked once, of one host after the other: whoever wants more of a broken
        body, or of a host that is failing, asks again.

        The request ends when its last byte has been read; leaving the ``with``
        earlier closes the connection. Raises on entering as ``resolve`` does.
        """


class Registry(Protocol):
    """All registries, reached through one set of connections."""

    def remote(
        self, reference: Reference, *, credentials: Credentials | None, traffic: Traffic
    ) -> Remote:
        """A view of one repository; costs nothing until it is used."""

    async def close(self) -> None:
        """Close every connection."""
