"""Statements about leases. Each function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, NotFound
from orlop.metadata import rows

if TYPE_CHECKING:
    from collections.abc import Collection

    import apsw

    from orlop.ports.metadata import Lease, Resource


def create(
    connection: apsw.Connection,
    namespace: str,
    lease: Lease,
    resources: Collection[Resource] = (),
    *,
    now: int,
) -> Lease:
    """Insert it and its list; returns it with its time of creation.

    Raises:
        AlreadyExists: the id is taken.
    """
    if _exists(connection, namespace, lease.id):
        raise AlreadyExists(f"lease {lease.id}: the id is taken")
    lease = replace(lease, created_at=lease.created_at or now)
    connection.execute(
        "INSERT INTO lease (namespace, id, labels, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
        (
            namespace,
            lease.id,
            rows.labels_text(lease.labels),
            lease.created_at,
            lease.expires_at,
        ),
    )
    for resource in resources:
        add_resource(connection, namespace, lease.id, resource)
    return lease


def delete(connection: apsw.Connection, namespace: str, id_: str) -> None:
    """Remove a lease and its list. Raises NotFound."""
    _require(connection, namespace, id_)
    connection.execute("DELETE FROM lease WHERE namespace = ? AND id = ?", (namespace, id_))


def leases(connection: apsw.Connection, namespace: str) -> list[Lease]:
    """All of a namespace's leases, by id, the expired ones too."""
    found = connection.execute(
        rows.LEASE + " ORDER BY id",
        (namespace,),
    )
    return [rows.lease(row) for row in found]


def leased(connection: apsw.Connection, namespace: str) -> list[tuple[Lease, tuple[Resource, ...]]]:
    """All of a namespace's leases, by id, with what they keep."""
    found: dict[str, list[Resource]] = {}
    for id_, resource in every_resource(connection, namespace):
        found.setdefault(id_, []).append(resource)
    return [(lease, tuple(found.get(lease.id, ()))) for lease in leases(connection, namespace)]


def add_resource(
    connection: apsw.Connection, namespace: str, lease: str, resource: Resource
) -> None:
    """Put something on a lease's list; nothing happens if it is there. Raises NotFound."""
    _require(connection, namespace, lease)
    connection.execute(
        "INSERT OR IGNORE INTO lease_resource (namespace, lease, kind, id) VALUES (?, ?, ?, ?)",
        (namespace, lease, resource.kind, resource.id),
    )


def resources(connection: apsw.Connection, namespace: str, lease: str) -> list[Resource]:
    """What a lease keeps, by kind and id. Raises NotFound."""
    _require(connection, namespace, lease)
    return [resource for id_, resource in every_resource(connection, namespace) if id_ == lease]


def every_resource(connection: apsw.Connection, namespace: str) -> list[tuple[str, Resource]]:
    """What all leases keep, as pairs of lease id and resource."""
    found = connection.execute(
        "SELECT lease, kind, id FROM lease_resource WHERE namespace = ? ORDER BY lease, kind, id",
        (namespace,),
    )
    return [(str(lease), rows.resource(str(kind), str(id_))) for lease, kind, id_ in found]


def _exists(connection: apsw.Connection, namespace: str, id_: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM lease WHERE namespace = ? AND id = ?", (namespace, id_)
    )
    return found.fetchone() is not None


def _require(connection: apsw.Connection, namespace: str, id_: str) -> None:
    if not _exists(connection, namespace, id_):
        raise NotFound(f"lease {id_}: there is none")
