"""``orlop.ports.registry.Remote`` over HTTP: what to ask a registry, and what its answers mean.

One repository, for one pull. Stores nothing and starts no task: what is open
belongs to the caller's ``with``. Sources: OCI distribution specification,
"Pulling manifests", "Pulling blobs", "Error codes".
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from orlop.errors import (
    AuthFailed,
    AuthPolicy,
    DigestMismatch,
    HostsInvalid,
    InvalidReference,
    LimitExceeded,
    ManifestInvalid,
    NotFound,
    OrlopError,
    RegistryError,
    RegistryProtocol,
    RegistryUnavailable,
    SizeMismatch,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import (
    ACCEPT,
    INDEX_TYPES,
    MANIFEST_TYPES,
    UNSPECIFIC_TYPES,
    essence,
)
from orlop.ports.registry import Resolved
from orlop.registry.auth import Authorizer
from orlop.registry.blob import HTTPBlobStream, Range, received_range, refuse_encoding
from orlop.registry.exchange import Question
from orlop.registry.failure import Silent
from orlop.registry.refusal import detail, refusal, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from orlop.config.hosts import Capability
    from orlop.model.reference import Reference
    from orlop.ports.registry import Traffic
    from orlop.registry.credentials import CredentialFinder
    from orlop.registry.exchange import Exchange
    from orlop.registry.hosts import Endpoint, Plan
    from orlop.registry.response import Response
    from orlop.registry.tokens import TokenCache

T = TypeVar("T")

_NEXT_HOST: Final = (
    RegistryError,
    NotFound,
    AuthFailed,
    AuthPolicy,
    SizeMismatch,
    DigestMismatch,
    ManifestInvalid,  # a login page in front of it
)
"""Errors of one host that another one need not have."""

_AUTH_ROUNDS: Final = 2
"""Challenges that are answered for one request; a third 401 is a no."""

_DOCUMENT_ATTEMPTS: Final = 3
"""Times that a document is fetched when its body breaks off; layers are resumed instead."""


class HTTPRemote:
    """Implements ``orlop.ports.registry.Remote``; made by ``RegistryClient.remote``."""

    def __init__(
        self,
        reference: Reference,
        plan: Callable[[], Awaitable[Plan]],
        *,
        credentials: CredentialFinder,
        exchange: Exchange,
        tokens: TokenCache,
        traffic: Traffic,
    ) -> None:
        self._reference = reference
        self._make_plan = plan
        self._credentials = credentials
        self._exchange = exchange
        self._tokens = tokens
        self._traffic = traffic
        self._plan: Plan | None = None
        self._authorizers: dict[Endpoint, Authorizer] = {}
        # Layers start together: files are read, and helpers run, once for all of them.
        self._preparing = asyncio.Lock()

    async def resolve(self) -> Resolved:
        """See ``orlop.ports.registry.Remote.resolve``."""
        # What a digest means needs no trust.
        capability: Capability = "pull" if self._reference.digest else "resolve"
        return await self._walk(capability, self._resolve_at, subject=str(self._reference))

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        """See ``orlop.ports.registry.Remote.document``."""
        manifest = descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES
        if descriptor.size > limit:
            raise LimitExceeded(
                f"{self._subject(descriptor)}: {descriptor.size} bytes exceed the limit"
                f" of {limit} for a document",
                limit="manifest_bytes" if manifest else "config_bytes",
            )

        async def fetch(host: Endpoint) -> bytes:
            return await self._document_at(host, descriptor, manifest=manifest)

        return await self._walk("pull", fetch, subject=self._subject(descriptor))

    @contextlib.asynccontextmanager
    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[HTTPBlobStream]:
        """See ``orlop.ports.registry.Remote.blob``."""
        size = descriptor.size
        wanted = Range(offset, offset + length if length else size, size)

        async def open_at(host: Endpoint) -> tuple[Response, Range]:
            return await self._blob_at(host, descriptor, wanted)

        subject = self._subject(descriptor)
        response, found = await self._walk("pull", open_at, subject=subject, exists=True)
        async with response:
            yield HTTPBlobStream(
                response, subject=self._subject(descriptor), start=found.start, end=found.end
            )

    async def prove(self, descriptor: Descriptor) -> None:
        """See ``orlop.ports.registry.Remote.prove``."""
        subject = self._subject(descriptor)

        async def ask(host: Endpoint) -> None:
            url = host.url(self._reference.path, "blobs", str(descriptor.digest))
            async with await self._open(host, "HEAD", url, {}) as head:
                if head.status == 200:
                    return
            # Some registries know no HEAD of blobs; and only GET brings their own words.
            async with await self._open(host, "GET", url, {}) as response:
                if response.status != 200:
                    raise await self._refusal(host, response, subject)

        await self._walk("pull", ask, subject=subject)

    async def _walk(
        self,
        capability: Capability,
        ask: Callable[[Endpoint], Awaitable[T]],
        *,
        subject: str,
        exists: bool = False,
    ) -> T:
        """The first able host's good answer; else the last one's error, with all causes.

        The last one is that of the plan, whichever order they are asked in: what the
        registry itself says counts more than what a mirror does. Of something that
        ``exists`` somewhere it cannot say that it does not: who did not answer may have it.
        """
        plan = await self._planned()
        able = plan.able(capability)
        if not able:
            raise HostsInvalid(
                f"{subject}: no host may be asked to {capability} at {plan.where}",
                hint="give a host the capability, or do without fallback = false",
            )
        failed: dict[Endpoint, OrlopError] = {}
        for host in self._exchange.in_order(able):
            try:
                return await ask(host)
            except _NEXT_HOST as error:
                failed[host] = error
        tried = [(host.origin.address, failed[host].message) for host in able]
        decisive = failed[able[-1]]
        down = (one for one in failed.values() if isinstance(one, RegistryUnavailable))
        if exists and isinstance(decisive, NotFound):
            decisive = next(down, decisive)
        if len(tried) > 1:
            decisive.message = told(tried, subject)
        raise decisive

    async def _planned(self) -> Plan:
        async with self._preparing:
            if self._plan is None:
                self._plan = await self._make_plan()
            return self._plan

    async def _authorizer(self, host: Endpoint) -> Authorizer:
        async with self._preparing:
            made = self._authorizers.get(host)
            if made is None:
                made = Authorizer(
                    host,
                    repository=self._reference.path,
                    credentials=await self._credentials.find(host),
                    exchange=self._exchange,
                    tokens=self._tokens,
                    traffic=self._traffic,
                )
                self._authorizers[host] = made
            return made

    async def _resolve_at(self, host: Endpoint) -> Resolved:
        reference = self._reference
        url = host.url(reference.path, "manifests", reference.object)
        head = await self._open(host, "HEAD", url, {"Accept": ACCEPT})
        async with head:
            if head.status == 200:
                described = self._described(head)
                if described is not None:
                    return Resolved(described)
            elif head.status >= 500 or head.status in (401, 408, 429):
                raise await self._refusal(host, head, str(reference))
        # Some registries know no HEAD, or leave fields out; and only GET brings their own words.
        response = await self._open(host, "GET", url, {"Accept": ACCEPT})
        async with response:
            if response.status != 200:
                raise await self._refusal(host, response, str(reference))
            refuse_encoding(response, f"{reference}: registry {response.host}")
            limit = self._exchange.limits.manifest_bytes
            raw = await response.read_all(limit, name="manifest_bytes", within=None)
        return Resolved(self._describe(raw, response), raw)

    def _described(self, head: Response) -> Descriptor | None:
        """What the head of an answer tells about the document; None if that is not enough.

        Raises:
            DigestMismatch: a digest was asked for, and the registry names another.
        """
        wanted = self._reference.digest
        said = _digest(head)
        if wanted and said and said.algorithm == wanted.algorithm and said != wanted:
            raise DigestMismatch(
                f"{self._reference}: registry {head.host} answers with digest {said}"
            )
        digest, length = wanted or said, head.length
        media_type = essence(head.header("Content-Type"))
        if digest is None or not length or media_type not in INDEX_TYPES | MANIFEST_TYPES:
            return None
        return Descriptor(media_type, digest, length)

    def _describe(self, raw: bytes, response: Response) -> Descriptor:
        """The descriptor of a document that is here.

        Raises:
            DigestMismatch: it is not what was asked for, or not what the registry says.
            ManifestInvalid: it is a web page or the like.
        """
        reference, said = self._reference, _digest(response)
        for expected in filter(None, (reference.digest, said)):
            found = Digest.of(raw, expected.algorithm)
            if found != expected:
                raise DigestMismatch(
                    f"{reference}: registry {response.host} sends {found} instead of {expected}"
                )
        media_type = essence(response.header("Content-Type"))
        if media_type in UNSPECIFIC_TYPES:
            media_type = _own_media_type(raw) or media_type
        if media_type.startswith("text/") and media_type not in UNSPECIFIC_TYPES:
            raise ManifestInvalid(
                f"{reference}: registry {response.host} answers with a {media_type} page,"
                " not with a manifest",
                hint="is there a login page or a proxy between this node and the registry?",
            )
        return Descriptor(media_type, reference.digest or Digest.of(raw), len(raw))

    async def _document_at(
        self, host: Endpoint, descriptor: Descriptor, *, manifest: bool
    ) -> bytes:
        subject = self._subject(descriptor)
        kind: Literal["manifests", "blobs"] = "manifests" if manifest else "blobs"
        url = host.url(self._reference.path, kind, str(descriptor.digest))
        headers = {"Accept": f"{descriptor.media_type}, {ACCEPT}"} if manifest else {}
        for more in reversed(range(_DOCUMENT_ATTEMPTS)):
            response = await self._open(host, "GET", url, headers)
            async with response:
                if response.status != 200:
                    raise await self._refusal(host, response, subject)
                everything = Range(0, descriptor.size, descriptor.size)
                received_range(response, subject=subject, wanted=everything)
                stream = HTTPBlobStream(response, subject=subject, start=0, end=descriptor.size)
                try:
                    body = b"".join([data async for data in _pieces(stream)])
                except RegistryUnavailable as error:
                    if not more or isinstance(error, Silent):
                        raise
                    continue
            break
        found = Digest.of(body, descriptor.digest.algorithm)
        if found != descriptor.digest:
            raise DigestMismatch(f"{subject}: registry {response.host} sends {found}")
        return body

    async def _blob_at(
        self, host: Endpoint, descriptor: Descriptor, wanted: Range
    ) -> tuple[Response, Range]:
        subject = self._subject(descriptor)
        url = host.url(self._reference.path, "blobs", str(descriptor.digest))
        headers = {} if wanted.is_all else {"Range": wanted.header}
        response = await self._open(host, "GET", url, headers, attempts=1)
        try:
            if response.status == 416:
                raise RegistryProtocol(
                    f"{subject}: registry {response.host} has no byte"
                    f" {wanted.start} of {wanted.size}"
                )
            if response.status not in (200, 206):
                raise await self._refusal(host, response, subject)
            found = received_range(response, subject=subject, wanted=wanted)
        except BaseException:
            response.close()
            raise
        return response, found

    async def _open(
        self,
        host: Endpoint,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        attempts: int = 0,
    ) -> Response:
        """The answer after all challenges that can be answered; the caller closes it.

        Raises:
            HostsInvalid: a file or program that this host needs cannot be used.
        """
        try:
            return await self._ask(host, method, url, headers, attempts)
        except HostsInvalid as error:
            if host.where and not error.message.startswith(host.where):
                error.message = f"{host.where}: {error.message}"
            raise

    async def _ask(
        self, host: Endpoint, method: str, url: str, headers: Mapping[str, str], attempts: int
    ) -> Response:
        plan = await self._planned()
        # Only the last host is worth patience: instead of the others there is another one.
        last = host in (*plan.able("pull")[-1:], *plan.able("resolve")[-1:])
        able = plan.able("resolve")
        others = [one for one in plan.able("pull") if one in able and one != host]
        authorizer = await self._authorizer(host)
        for more in reversed(range(_AUTH_ROUNDS + 1)):
            sent = await authorizer.header()
            private = dict(host.headers)
            if sent is not None:
                private["Authorization"] = sent
            question = Question(
                method,
                url,
                host.tls,
                headers=headers,
                private=private,
                attempts=attempts if last else 1,
                waits=last,
                silence=self._exchange.silence(others),
                connect_timeout=host.connect_timeout,
            )
            response = await self._exchange.ask(question, self._traffic)
            # Whoever we were redirected to has no business with the credentials.
            if response.status != 401 or response.origin != host.origin or not more:
                break
            try:
                again = authorizer.challenged(response.headers("WWW-Authenticate"), sent=sent)
            except BaseException:
                response.close()
                raise
            if not again:
                break
            await response.discard()
        return response

    async def _refusal(self, host: Endpoint, response: Response, subject: str) -> OrlopError:
        """The error that an answer without the wanted thing means; reads its body."""
        authorizer = await self._authorizer(host)
        try:
            body = await response.read_all(
                self._exchange.limits.error_bytes,
                name="error_bytes",
                within=self._exchange.settings.header_timeout,
            )
        except OrlopError:
            body = b""  # the status says enough
        secrets = [*authorizer.secrets]
        for _, value in host.headers:  # operators put tokens there
            secrets += [value, *value.split()]
        words = detail(body, response.header("Content-Type"), secrets=secrets)
        return refusal(
            response.status,
            subject=subject,
            host=response.host,
            words=words,
            anonymous=authorizer.anonymous,
        )

    def _subject(self, descriptor: Descriptor) -> str:
        return f"{self._reference.name}@{descriptor.digest}"


class _OwnType(msgspec.Struct, rename="camel"):
    media_type: str = ""


def _own_media_type(raw: bytes) -> str:
    """The ``mediaType`` of a document whose server does not know what it is; "" if none."""
    try:
        return msgspec.json.decode(raw, type=_OwnType).media_type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _digest(response: Response) -> Digest | None:
    """Docker-Content-Digest, if there is one that makes sense."""
    try:
        return Digest.parse(response.header("Docker-Content-Digest"))
    except InvalidReference:
        return None


async def _pieces(stream: HTTPBlobStream) -> AsyncIterator[bytes]:
    while data := await stream.read():
        yield data
