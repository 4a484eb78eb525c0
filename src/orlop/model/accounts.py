"""Users and groups of an image: who ``config.User`` is, by the image's own files. Pure.

The files are foreign input. A line that is malformed names nobody; it is as good as
absent, for runtimes and C libraries pass over it, too.

Sources: passwd(5), group(5); OCI image specification, config.md, ``User``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import ImageInvalid
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS_FILE: Final = "etc/passwd"
GROUPS_FILE: Final = "etc/group"

_MAX_ID: Final = (1 << 31) - 1  # as in orlop.model.image
_MAX_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a process runs as; ``groups`` are the supplementary ones, sorted."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def identify(user: str, *, passwd: bytes, group: bytes) -> Identity:
    """Find out who ``user[:group]`` is; names or numbers, "" is root.

    A number need not be in the files. Of a user that is, the group of the first file and
    the memberships of the second count, unless a group is named: then it is the only one.

    Args:
        user: as the image config says.
        passwd: contents of the image's ``/etc/passwd``; b"" if it has none.
        group: contents of its ``/etc/group``.

    Raises:
        ImageInvalid: a name is not in its file.
    """
    name, colon, group_name = user.partition(":")
    number = _number(name) if name else 0
    known = next(
        (
            one
            for one in _users(passwd)
            if (one.name == name if number is None else one.uid == number)
        ),
        None,
    )
    if number is None:
        if known is None:
            raise ImageInvalid(f"user {quote(name)} of the image is not in its /{USERS_FILE}")
        number = known.uid
    gid = known.gid if known is not None else 0
    if colon and group_name:
        return Identity(number, _gid(group_name, group))
    if known is None:
        return Identity(number, gid)
    memberships = {one.gid for one in _groups(group) if known.name in one.members}
    return Identity(number, gid, tuple(sorted(memberships - {gid})))


def _gid(name: str, group: bytes) -> int:
    number = _number(name)
    if number is not None:
        return number
    for one in _groups(group):
        if one.name == name:
            return one.gid
    raise ImageInvalid(f"group {quote(name)} of the image is not in its /{GROUPS_FILE}")


def _users(passwd: bytes) -> Iterator[_User]:
    for fields in _lines(passwd, 4):
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None:
            yield _User(fields[0], uid, gid)


def _groups(group: bytes) -> Iterator[_Group]:
    for fields in _lines(group, 3):
        gid = _number(fields[2])
        if gid is not None:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], gid, tuple(members))


def _lines(content: bytes, least: int) -> Iterator[list[str]]:
    """The fields of each line that has at least so many, and a name."""
    for line in content.decode(errors="surrogateescape").split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0]:
            yield fields


def _number(text: str) -> int | None:
    """A user or group id; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    number = int(text)
    return number if number <= _MAX_ID else None
