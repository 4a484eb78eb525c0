"""The ``registry`` table of the configuration becomes this room's settings.

Pure: reads no file and no variable.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from orlop.config import values
from orlop.config.hosts import header_fields
from orlop.config.hosts_legacy import mirror_rules
from orlop.config.hosts_lookup import split_path
from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials
from orlop.registry.hosts import canonical
from orlop.registry.settings import HostSettings, RegistrySettings

if TYPE_CHECKING:
    from orlop.config.schema import RegistryAuth, RegistryConfig


def registry_settings(registry: RegistryConfig) -> RegistrySettings:
    """What the registry client is told.

    Raises:
        InvalidArgument: a value cannot be meant; the message names its key and no secret.
    """
    ca_files = {host.lower(): path for host, path in registry.ca_files.items()}
    plain = {host.lower() for host in registry.insecure_registries}
    try:
        headers = header_fields(registry.headers.items())
    except InvalidArgument as error:
        raise InvalidArgument(f"registry.headers: {error.message}", hint=error.hint) from error
    return RegistrySettings(
        hosts={
            host: HostSettings(
                plain_http=True if host in plain else None, ca_file=ca_files.get(host, "")
            )
            for host in {*plain, *ca_files}
        },
        # containerd has default directories only where there are no mirrors.
        directories=() if registry.mirrors else split_path(registry.config_path),
        rules=mirror_rules(registry),
        headers=headers,
        auths=_auths(registry),
    )


def _auths(registry: RegistryConfig) -> dict[str, Credentials]:
    """Configured credentials by canonical host; ``configs`` win over ``auths``."""
    names = [values.auth_host(name) for name in registry.auths]
    names += [name for name in registry.configs if name != "*"]
    found = {}
    for name in names:
        auth = registry.auth_for(name)
        if auth is not None:
            credentials = _credentials(auth, f"credentials of the registry {name}")
            if credentials is not None:
                found[canonical(name.lower())] = credentials
    return found


def _credentials(auth: RegistryAuth, what: str) -> Credentials | None:
    username, password = auth.username, auth.password
    if not username and auth.auth:
        username, password = decoded(auth.auth, what)
    if not username and not auth.identitytoken:
        return None
    return Credentials(username=username, password=password, identity_token=auth.identitytoken)


def decoded(text: str, what: str) -> tuple[str, str]:
    """User name and password of ``auth``, the Base64 of both with a colon between them.

    Raises:
        InvalidArgument: it is something else; ``what`` begins the message.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f'{what}: auth is not Base64 of "username:password"') from error
    username, colon, password = raw.partition(":")
    if not username or not colon:
        raise InvalidArgument(f'{what}: auth is not Base64 of "username:password"')
    return username, password.strip("\0")
