"""Image references: ``domain/path[:tag][@digest]``, exact inside, lenient at the door.

Two ways in. ``from_user`` reads what people type and fills in what they left out,
the way Docker has always done it. ``Reference.parse`` takes the canonical form
only; ``str`` gives it back. Whether such an image exists is not asked here.

Grammar and defaults: the reference package of the distribution project
(regexp.go, normalize.go) and OCI distribution specification, "Pulling manifests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from orlop.errors import InvalidReference
from orlop.model.digest import Digest
from orlop.model.quote import quote

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
NAME_LENGTH: Final = 255
"""Characters of ``domain/path``; clients and registries agree on no more."""

_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
_MAX_PORT: Final = 65535

# Each pattern is linear: no two neighbouring repetitions can match the same character.
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)(?:\.[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)*|\[[A-Fa-f0-9:]+\]"
)
_PORT: Final = re.compile(r"[0-9]{1,5}")
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name of an image in a registry; always valid and always canonical.

    Attributes:
        domain: host of the registry, with ``:port`` if it has one.
        path: repository; ``library/`` is written out.
        tag: None if there is none.
        digest: None if there is none; wins over the tag.

    Raises:
        InvalidReference: a part breaks the grammar or is not in canonical form.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        _check(str(self), self.domain, self.path, self.tag)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read the canonical form, and nothing else.

        Raises:
            InvalidReference: ``text`` is not what ``str`` of a reference gives.
        """
        domain, slash, rest = text.partition("/")
        if not slash or not _is_domain(domain):
            _refuse(
                text,
                "it does not start with a registry",
                hint="write domain/path[:tag][@digest], such as docker.io/library/busybox:latest",
            )
        return cls(domain, *_split(text, rest))

    @property
    def name(self) -> str:
        """The repository with its registry, ``domain/path``."""
        return f"{self.domain}/{self.path}"

    @property
    def object(self) -> str:
        """What to ask the registry for: the digest, else the tag, else ``latest``."""
        return str(self.digest) if self.digest else self.tag or DEFAULT_TAG

    @property
    def familiar(self) -> str:
        """The shortest form that ``from_user`` reads as this repository, with tag and digest."""
        return _shorten(self.domain, self.path) + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """Return the same repository and digest with this tag."""
        return replace(self, tag=tag)

    def with_digest(self, digest: Digest) -> Reference:
        """Return the same repository and tag with this digest."""
        return replace(self, digest=digest)

    def without_tag_if_digest(self) -> Reference:
        """Drop the tag when there is a digest, for it says nothing then."""
        return self if self.digest is None else replace(self, tag=None)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"


def from_user(text: str) -> Reference:
    """Read a reference as users write it, and normalise it.

    The registry defaults to ``docker.io``, a single name there is below ``library/``,
    and the tag defaults to ``latest``. A tag beside a digest is dropped.

    Raises:
        InvalidReference: the text cannot be meant.
    """
    if _IDENTIFIER.fullmatch(text):
        _refuse(
            text,
            "64 hex digits are an image id, not a name",
            hint=f"for a repository of that name write {_OFFICIAL}NAME",
        )
    if not text:
        raise InvalidReference("invalid reference: it is empty")
    if "://" in text:
        _refuse(text, "it is a URL", hint="leave out the scheme")
    domain, rest = _split_domain(text)
    path, tag, digest = _split(text, rest)
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    _check(text, domain, path, tag)
    return Reference(domain, path, tag, digest).without_tag_if_digest()


def _split_domain(text: str) -> tuple[str, str]:
    """Split off the registry; the first component is one if it looks like a host."""
    first, slash, rest = text.partition("/")
    if not slash or not _is_domain(first):
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if first == _LEGACY_DOMAIN else first), rest


def _is_domain(component: str) -> bool:
    return (
        component == "localhost"
        or "." in component
        or ":" in component
        or component != component.lower()
    )


def _split_port(domain: str) -> tuple[str, str | None]:
    """Split ``host[:port]``; the colons of an address in brackets are the host's."""
    start = domain.rfind("]") + 1
    colon = domain.find(":", start)
    return (domain, None) if colon < 0 else (domain[:colon], domain[colon + 1 :])


def _split(text: str, rest: str) -> tuple[str, str | None, Digest | None]:
    """Split ``path[:tag][@digest]``; only the digest is checked."""
    name, at, digest_text = rest.partition("@")
    path, colon, tag = name.partition(":")
    try:
        digest = Digest.parse(digest_text) if at else None
    except InvalidReference as error:
        raise InvalidReference(
            f"invalid reference {_shown(text)}: {error.message}", hint=error.hint
        ) from error
    return path, tag if colon else None, digest


def _shorten(domain: str, path: str) -> str:
    """Leave out what ``from_user`` fills in, unless the rest would be read as something else."""
    if domain != DEFAULT_DOMAIN:
        return f"{domain}/{path}"
    bare = path.removeprefix(_OFFICIAL)
    if path != bare and "/" not in bare and _IDENTIFIER.fullmatch(bare) is None:
        return bare
    return f"{domain}/{path}" if _is_domain(path.partition("/")[0]) else path


def _check(text: str, domain: str, path: str, tag: str | None) -> None:
    """Refuse parts that break the grammar or are not canonical; ``text`` is for the message."""
    if len(domain) + 1 + len(path) > NAME_LENGTH:
        _refuse(text, f"the name is longer than {NAME_LENGTH} characters")
    _check_domain(text, domain)
    _check_path(text, domain, path)
    if tag is not None and _TAG.fullmatch(tag) is None:
        _refuse(
            text,
            f"bad tag {quote(tag)}",
            hint="a tag has 1 to 128 letters, digits, '_', '.', '-', and no '.' or '-' first",
        )


def _check_domain(text: str, domain: str) -> None:
    if "@" in domain:
        _refuse(text, "a registry has no user name", hint="pass credentials separately")
    host, port = _split_port(domain)
    if _HOST.fullmatch(host) is None:
        _refuse(text, f"bad registry {quote(domain)}")
    if port is not None and (_PORT.fullmatch(port) is None or not 0 < int(port) <= _MAX_PORT):
        _refuse(text, f"bad port {quote(port)} of registry {quote(host)}")
    if not _is_domain(domain):
        _refuse(
            text,
            f"{quote(domain)} cannot be told from a repository",
            hint="a registry has a '.', a ':' or an upper-case letter, or is localhost",
        )
    if domain == _LEGACY_DOMAIN:
        _refuse(text, f"registry {_LEGACY_DOMAIN} is called {DEFAULT_DOMAIN}")


def _check_path(text: str, domain: str, path: str) -> None:
    if path != path.lower():
        _refuse(
            text,
            f"repository {quote(path)} must be lower case",
            hint=f"try {quote(_shorten(domain, path.lower()))}",
        )
    for component in path.split("/"):
        if _COMPONENT.fullmatch(component) is None:
            _refuse(
                text,
                f"bad repository component {quote(component)}",
                hint="use lower-case letters and digits, joined by '.', '_', '__' or '-'",
            )
    if domain == DEFAULT_DOMAIN and "/" not in path:
        _refuse(text, f"repository {quote(path)} is called {_OFFICIAL}{path} there")


def _refuse(text: str, cause: str, hint: str = "") -> NoReturn:
    raise InvalidReference(f"invalid reference {_shown(text)}: {cause}", hint=hint)


def _shown(text: str) -> str:
    """Quote a reference, but hide what could be a password before the registry."""
    end = len(text) if "://" in text else max(text.rfind("/"), 0)
    at = text.rfind("@", 0, end)
    return quote(text) if at < 0 else quote(f"***{text[at:]}")
