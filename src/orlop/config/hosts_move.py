"""The deprecated tables of ``registry`` leave a migrated document for ``hosts.toml`` files.

Pure: it says what to write and what is left of the document.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.config.decode import section
from orlop.config.draft import Draft
from orlop.config.keys import IMAGES, Key
from orlop.config.migrate import Migrated
from orlop.config.schema import RegistryConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REGISTRY: Key = (*IMAGES, "registry")


@dataclass(frozen=True, slots=True)
class Moved:
    """What ``move_to_hosts`` made.

    Attributes:
        migrated: the document without the tables whose content the files have.
        files: texts by relative path.
        private: of these, the paths of those that hold a secret.
        left: tables that stay in the document for their credentials.
    """

    migrated: Migrated
    files: Mapping[str, str]
    private: frozenset[str] = frozenset()
    left: tuple[str, ...] = ()


def move_to_hosts(
    migrated: Migrated,
    directory: str,
    export: Callable[[RegistryConfig], Mapping[str, str]],
) -> Moved:
    """Move ``registry.mirrors`` out of a document; tables with credentials stay.

    Args:
        migrated: a document of today's version; stays as it is.
        directory: where the files will be; ``registry.config_path`` names it first.
        export: makes the files of the tables.

    Raises:
        InvalidArgument: a table cannot be read.
    """
    draft = Draft(copy.deepcopy(migrated.document), dict(migrated.origins), list(migrated.changes))
    registry = section(RegistryConfig, draft.table(REGISTRY) or {}, key=REGISTRY)
    files = dict(export(registry))
    secrets = set(_credentials(registry)).union(*registry.headers.values())
    private = frozenset(
        name for name, text in files.items() if any(secret in text for secret in secrets)
    )
    # Files that many read are no place for credentials; the tables go on working.
    gone = ["mirrors"] if any(_credentials(registry)) else ["mirrors", "configs", "auths"]
    table = draft.table(REGISTRY)
    if table is None or not files:
        return Moved(migrated, {})
    for name in gone:
        if table.pop(name, None):
            key = (*REGISTRY, "config_path")
            draft.report("moved", (*REGISTRY, name), key, reason=f"to files below {directory}")
    others = registry.config_path
    table["config_path"] = f"{directory}:{others}" if others else directory
    return Moved(
        Migrated(draft.document, migrated.version, tuple(draft.changes), draft.origins),
        files,
        private,
        tuple(name for name in ("configs", "auths") if table.get(name)),
    )


def _credentials(registry: RegistryConfig) -> Iterator[str]:
    settings = [entry.auth for entry in registry.configs.values()]
    for auth in (*settings, *registry.auths.values()):
        yield from filter(None, (auth.username, auth.password, auth.auth, auth.identitytoken))
