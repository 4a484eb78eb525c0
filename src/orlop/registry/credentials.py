"""Finds the credentials that a host may see.

The pull's own go to the registry of the reference and to nobody else, unless the
operator says so for a host. Others come from the configuration, from a docker
configuration file or from a helper program. Nothing is written anywhere, and no
message names a secret.

Source: Docker's documentation of ``config.json`` ("auths", "credHelpers",
"credsStore") and of credential helpers.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from orlop.errors import AuthFailed, HostsInvalid, InvalidArgument
from orlop.ports.registry import Credentials
from orlop.registry import helper
from orlop.registry.configure import decoded
from orlop.registry.hosts import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.config.hosts import CredentialSource
    from orlop.registry.hosts import Endpoint

_T = TypeVar("_T")

MAX_FILE: Final = 1 << 20
"""Bytes of a docker configuration file; real ones have some kilobytes."""

_HUB: Final = "docker.io"
_HUB_SERVER: Final = "https://index.docker.io/v1/"
"""Under this name Docker keeps what is for its hub, in files and in helpers."""
_REFRESHING: Final = "<token>"  # a helper's way to say that the secret is a refresh token
_API_PATHS: Final = frozenset({"", "v1", "v2"})
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CredentialFinder:
    """Finds credentials on behalf of one pull.

    Args:
        own: the pull's, if they are for the registry of its reference.
        registry: canonical name of that registry.
        configured: of the main document, by canonical host.
    """

    def __init__(
        self, own: Credentials | None, *, registry: str, configured: Mapping[str, Credentials]
    ) -> None:
        self._own = own
        self._registry = registry
        self._configured = configured

    async def find(self, endpoint: Endpoint) -> Credentials | None:
        """What ``endpoint`` may see; None for nothing.

        Raises:
            HostsInvalid: the named file or program is not there, or the file is malformed.
            AuthFailed: the program fails.
        """
        source = endpoint.credentials
        if source.kind == "none":
            return None
        if source.kind == "upstream":
            return self._of_registry()
        if source.kind == "default":
            return self._of_registry() if endpoint.upstream else self._configured.get(endpoint.name)
        if endpoint.upstream and self._own is not None:
            return self._own  # who asks with credentials is to be judged by them
        return await from_source(source, endpoint.name)

    def told(self, endpoint: Endpoint) -> str:
        """Where ``find`` looks, in words; asks no file and no program."""
        source = endpoint.credentials
        if source.kind == "none":
            return "none"
        if source.kind in ("file", "helper"):
            words = f"{source.kind} {source.name}"
            return f"the pull's own, else {words}" if endpoint.upstream else words
        if source.kind == "upstream" or endpoint.upstream:
            known = self._registry in self._configured
            return "the pull's own" + (f", else configured for {self._registry}" if known else "")
        return f"configured for {endpoint.name}" if endpoint.name in self._configured else "none"

    def _of_registry(self) -> Credentials | None:
        return self._own or self._configured.get(self._registry)


async def from_source(source: CredentialSource, name: str) -> Credentials | None:
    """What a file or a helper has for the host ``name``.

    Raises:
        HostsInvalid, AuthFailed: as ``CredentialFinder.find``.
    """
    if source.kind == "helper":
        return await from_helper(source.name, name)
    data = await asyncio.to_thread(_content, source.name)
    entry = lookup(data, name, path=source.name)
    return await from_helper(entry, name) if isinstance(entry, str) else entry


async def from_helper(program: str, name: str) -> Credentials | None:
    """What ``docker-credential-PROGRAM`` has for the host ``name``.

    Raises:
        HostsInvalid: there is no such program.
        AuthFailed: it fails, or its answer is none.
    """
    output = await helper.get(program, _HUB_SERVER if name == _HUB else name)
    if output is None:
        return None
    try:
        answer = msgspec.json.decode(output, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Without its cause, which may quote the answer.
        raise AuthFailed(f"credential helper {program}: the answer is no credentials") from None
    if answer.Username == _REFRESHING:
        return Credentials(identity_token=answer.Secret)
    return Credentials(username=answer.Username, password=answer.Secret)


def lookup(data: bytes, name: str, *, path: str) -> Credentials | str | None:
    """What a docker configuration file says about the host ``name``. Pure.

    Returns:
        Credentials, the name of a helper to ask, or None when it says nothing.

    Raises:
        HostsInvalid: it is malformed; the message names ``path`` and no secret.
    """
    try:
        document = msgspec.json.decode(data, type=_DockerConfig)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
        raise HostsInvalid(f"{path}: not a docker configuration file{cause}") from None
    program = _for_host(document.credHelpers, name) or document.credsStore
    if program:
        if not _HELPER.fullmatch(program):
            raise HostsInvalid(f"{path}: not the name of a credential helper")
        return program
    entry = _for_host(document.auths, name)
    return None if entry is None else entry.credentials(f"{path}: credentials of {name}")


class _Auth(msgspec.Struct, rename={"registry_token": "registrytoken"}):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registry_token: str = ""

    def credentials(self, what: str) -> Credentials | None:
        username, password = self.username, self.password
        if self.auth:
            try:
                username, password = decoded(self.auth, what)
            except InvalidArgument as error:
                raise HostsInvalid(error.message) from None
        if not (username or self.identitytoken or self.registry_token):
            return None  # what Docker writes when a store holds the secret
        return Credentials(
            username=username,
            password=password,
            identity_token=self.identitytoken,
            registry_token=self.registry_token,
        )


class _DockerConfig(msgspec.Struct):
    auths: dict[str, _Auth] = {}
    credHelpers: dict[str, str] = {}  # noqa: N815 - Docker's words
    credsStore: str = ""  # noqa: N815 - Docker's words


class _Answer(msgspec.Struct):
    Username: str
    Secret: str


def _for_host(entries: Mapping[str, _T], name: str) -> _T | None:
    """The entry for a host; its name is the host, or a URL such as ``https://HOST/v1/``."""
    for key, entry in entries.items():
        host, _, path = (key.partition("://")[2] or key).partition("/")
        if path.rstrip("/") in _API_PATHS and canonical(host.lower()) == name:
            return entry
    return None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise HostsInvalid(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise HostsInvalid(f"{path}: a docker configuration file has {MAX_FILE} bytes at most")
    return data
