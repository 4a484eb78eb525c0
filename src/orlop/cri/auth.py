"""Credentials out of CRI's AuthConfig, in every form that clients fill in.

Pure. Never logs and never shows what it reads.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials

if TYPE_CHECKING:
    from orlop._proto import runtime_v1_pb2 as pb


def credentials(auth: pb.AuthConfig) -> Credentials | None:
    """What a client handed in for a pull; None when the message says nothing.

    A user name wins over ``auth``, which is then not looked at. Tokens are
    taken along: which of several secrets is used depends on the registry.

    Raises:
        InvalidArgument: ``auth`` is needed and cannot be decoded. Whether that
            matters is known only when the registry asks for credentials;
            ``without_basic`` gives what is left.
    """
    username, password = auth.username, auth.password
    if not username and auth.auth:
        username, password = decode_basic(auth.auth)
    return _credentials(auth, username, password)


def without_basic(auth: pb.AuthConfig) -> Credentials | None:
    """The tokens alone, for an ``auth`` that cannot be decoded."""
    return _credentials(auth, "", "")


def decode_basic(text: str) -> tuple[str, str]:
    """User name and password from base64 of ``user:password``, as Docker's config.json has it.

    Both base64 alphabets are read, with or without ``=``; NUL bytes around the
    password are padding.

    Raises:
        InvalidArgument: it is not base64, not UTF-8 or has no colon.
    """
    compact = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8; the cause would quote the secret
        raise InvalidArgument("the auth field of the credentials is not base64 text") from None
    username, colon, password = decoded.partition(":")
    if not colon:
        raise InvalidArgument("the auth field of the credentials has no colon")
    return username, password.strip("\0")


def _credentials(auth: pb.AuthConfig, username: str, password: str) -> Credentials | None:
    if not (username or password or auth.identity_token or auth.registry_token):
        return None
    return Credentials(
        username=username,
        password=password,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
        server_address=auth.server_address,
    )
