"""The error tree: every error that orlop raises on purpose.

::

    OrlopError
    ├── InvalidArgument        a caller passed something that cannot be meant
    │   ├── InvalidReference       the text is no image reference or digest
    │   ├── ConfigInvalid          a document of the configuration cannot be meant
    │   └── HostsInvalid           what is configured about a registry's hosts cannot be used
    ├── NotFound               the named thing is not here
    ├── AlreadyExists          the named thing is here already
    ├── FailedPrecondition     the thing is in a state that forbids the request
    │   ├── StoreLocked            another daemon owns the root
    │   └── SnapshotInUse          a snapshot has children or is mounted
    ├── Unimplemented
    │   └── UnsupportedMediaType   schema 1, artifacts, encrypted layers, …
    ├── PermissionDenied       refused by policy
    │   ├── AuthPolicy             sending credentials there is not allowed
    │   ├── RegistryBlocked        the operator lets nobody pull from there
    │   └── SignatureRejected      a verifier said no
    ├── ImageInvalid           the image's own documents or layers are wrong
    │   ├── ManifestInvalid
    │   │   ├── ManifestAmbiguous
    │   │   └── NoMatchingPlatform
    │   └── ArchiveInvalid
    │       └── ArchiveEscape
    ├── LimitExceeded          a cap of ``orlop.model.limits`` was reached
    ├── DataLoss               bytes are not what their name says
    │   ├── DigestMismatch
    │   ├── SizeMismatch
    │   └── StoreCorrupt
    ├── RegistryError          the other side of the network
    │   ├── RegistryUnavailable
    │   ├── RegistryProtocol
    │   ├── RegistryRejected        an error status that says no for good
    │   └── TLSFailed
    ├── AuthFailed             the registry does not accept the credentials
    ├── Stalled                no progress for too long
    ├── Cancelled              the caller gave up
    ├── Unavailable            busy now; try again
    ├── StoreFull              no space or no inodes left
    ├── StoreIO                the disk failed; the daemon must stop
    └── Internal               a defect of orlop

A message names the thing, then the cause; ``hint`` says what to do, and is
shown by the command line only. No message ever holds a secret.

This module imports nothing of ours: every room may raise from here.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Code(enum.Enum):
    """What a caller can do about an error; the borders map it once each."""

    INVALID_ARGUMENT = "invalid argument"
    NOT_FOUND = "not found"
    ALREADY_EXISTS = "already exists"
    FAILED_PRECONDITION = "failed precondition"
    UNIMPLEMENTED = "not implemented"
    PERMISSION_DENIED = "permission denied"
    UNAUTHENTICATED = "unauthorized"
    RESOURCE_EXHAUSTED = "resource exhausted"
    DATA_LOSS = "data loss"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline exceeded"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class OrlopError(Exception):
    """Base of every error that orlop raises on purpose.

    Args:
        message: names the thing and the cause; one line, no secrets.
        hint: what the user can do about it, if anything; one line.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reference: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Internal(OrlopError):
    """A defect of orlop itself."""


class InvalidArgument(OrlopError):
    """A caller passed something that cannot be meant."""

    code = Code.INVALID_ARGUMENT
    reference = "invalid-argument"


class InvalidReference(InvalidArgument):
    """The text is no image reference, digest or image id."""

    reference = "invalid-reference"


class HostsInvalid(InvalidArgument):
    """A file that says how to reach a registry is malformed, unreadable or missing."""

    reference = "hosts-invalid"


class ConfigInvalid(InvalidArgument):
    """A document of the configuration, or a value in it, cannot be used."""

    reference = "config-invalid"


class NotFound(OrlopError):
    """The named image, blob, snapshot, lease or registry object is not here."""

    code = Code.NOT_FOUND
    reference = "not-found"


class AlreadyExists(OrlopError):
    """The named thing is here already."""

    code = Code.ALREADY_EXISTS
    reference = "already-exists"


class FailedPrecondition(OrlopError):
    """The thing is in a state that forbids the request."""

    code = Code.FAILED_PRECONDITION
    reference = "failed-precondition"


class StoreLocked(FailedPrecondition):
    """Another daemon or embedded service owns the root directory."""

    reference = "store-locked"


class SnapshotInUse(FailedPrecondition):
    """The snapshot has children, or is mounted."""

    reference = "snapshot-in-use"


class Unimplemented(OrlopError):
    """The request is well formed, but nobody here serves it."""

    code = Code.UNIMPLEMENTED
    reference = "unimplemented"


class UnsupportedMediaType(Unimplemented):
    """A document or layer of a kind that is not an image orlop can run."""

    reference = "unsupported-media-type"


class PermissionDenied(OrlopError):
    """Refused by policy or by the operating system."""

    code = Code.PERMISSION_DENIED
    reference = "permission-denied"


class AuthPolicy(PermissionDenied):
    """Following the registry's wish would send a secret to the wrong place."""

    reference = "auth-policy"


class RegistryBlocked(PermissionDenied):
    """The operator lets nobody pull from this registry or repository."""

    reference = "registry-blocked"


class SignatureRejected(PermissionDenied):
    """An image verifier refused the image, or could not be asked."""

    reference = "signature-rejected"


class ImageInvalid(OrlopError):
    """The image's own documents or layers are wrong."""

    code = Code.INVALID_ARGUMENT
    reference = "image-invalid"


class ManifestInvalid(ImageInvalid):
    """A manifest, index or image config breaks its specification."""

    reference = "manifest-invalid"


class ManifestAmbiguous(ManifestInvalid):
    """A document could be read as two different kinds."""

    reference = "manifest-ambiguous"


class NoMatchingPlatform(ManifestInvalid):
    """An index has no manifest for the wanted platform."""

    code = Code.NOT_FOUND
    reference = "no-matching-platform"


class ArchiveInvalid(ImageInvalid):
    """A layer is no well-formed archive."""

    reference = "archive-invalid"


class ArchiveEscape(ArchiveInvalid):
    """A layer names a path outside its root."""

    reference = "archive-escape"


class LimitExceeded(OrlopError):
    """A cap of ``orlop.model.limits`` was reached.

    Args:
        limit: the field of ``Limits`` that says no.
    """

    code = Code.RESOURCE_EXHAUSTED
    reference = "limit-exceeded"

    def __init__(self, message: str, *, limit: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class DataLoss(OrlopError):
    """Bytes are not what their name says."""

    code = Code.DATA_LOSS
    reference = "data-loss"


class DigestMismatch(DataLoss):
    """The digest of some bytes differs from the one that was asked for."""

    reference = "digest-mismatch"


class SizeMismatch(DataLoss):
    """There are fewer or more bytes than the descriptor says."""

    reference = "size-mismatch"


class StoreCorrupt(DataLoss):
    """Something in the local store is damaged, or is not ours."""

    reference = "store-corrupt"


class RegistryError(OrlopError):
    """The registry, or the way to it, failed."""

    code = Code.UNAVAILABLE
    reference = "registry"


class RegistryUnavailable(RegistryError):
    """No registry answered: name resolution, connection, time-out or 5xx."""

    reference = "registry-unavailable"


class RegistryProtocol(RegistryError):
    """A registry answered what HTTP or the distribution specification forbids."""

    reference = "registry-protocol"


class RegistryRejected(RegistryError):
    """A registry answered with a status that repeating will not change.

    Args:
        status: the HTTP status.
    """

    code = Code.FAILED_PRECONDITION
    reference = "registry-rejected"

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class TLSFailed(RegistryError):
    """The registry's certificate or TLS session is not acceptable."""

    reference = "tls-failed"


class AuthFailed(OrlopError):
    """The registry does not accept the credentials, or wants some."""

    code = Code.UNAUTHENTICATED
    reference = "auth-failed"


class Stalled(OrlopError):
    """No byte arrived for longer than allowed."""

    code = Code.DEADLINE_EXCEEDED
    reference = "stalled"


class Cancelled(OrlopError):
    """The caller gave up before the work was done."""

    code = Code.CANCELLED
    reference = "cancelled"


class Unavailable(OrlopError):
    """Busy, starting or stopping; the same request may work later."""

    code = Code.UNAVAILABLE
    reference = "unavailable"


class StoreFull(OrlopError):
    """The file system has no space or no inodes left."""

    code = Code.RESOURCE_EXHAUSTED
    reference = "store-full"


class StoreIO(OrlopError):
    """The disk failed under us; nothing may be written until a restart."""

    reference = "store-io"


def rebuild(
    reference: str,
    message: str,
    *,
    hint: str = "",
    code: str = "",
    limit: str = "",
    status: int = 0,
) -> OrlopError:
    """The error that another process reported, by its ``reference``.

    Args:
        reference: ``OrlopError.reference`` of its class.
        message: its message, unchanged.
        hint: its hint, unchanged.
        code: name of its code; a class that is not known here, from a newer
            process, becomes the widest one of this code, and ``Internal`` without.
        limit: of a ``LimitExceeded``.
        status: of a ``RegistryRejected``.
    """
    # A room's own refinement of a class has that class's reference, and comes after it.
    kinds = {kind.reference: kind for kind in reversed(_descendants(OrlopError))}
    widest = {kind.code.name: kind for kind in reversed(OrlopError.__subclasses__())}
    kind = kinds.get(reference) or widest.get(code, Internal)
    if issubclass(kind, LimitExceeded):
        return kind(message, limit=limit, hint=hint)
    if issubclass(kind, RegistryRejected):
        return kind(message, status=status, hint=hint)
    return kind(message, hint=hint)


def _descendants(kind: type[OrlopError]) -> list[type[OrlopError]]:
    """All classes below ``kind``, parents before children."""
    found = []
    for child in kind.__subclasses__():
        found.append(child)
        found.extend(_descendants(child))
    return found
