"""The schema of the database, and how an older one becomes it.

::

    blob            (namespace, digest) → size, labels, times
    snapshot        (namespace, snapshotter, key) → directory, kind, parent, labels, usage, times
                    └ parent → a snapshot of the same namespace and snapshotter, or NULL
    image           (namespace, id, snapshotter) → manifest, platform, chain_id, user, sizes
    image_name      (namespace, name, image_id) → target descriptor, labels, times
                    └ all rows of one name have the same target
    image_touched   (namespace, image_id) → revision of the last change to it or its names
    lease           (namespace, id) → labels, times
    lease_resource  (namespace, lease, kind, id)
                    └ lease → lease, deleted with it
    revision        (namespace) → how many transactions have changed it
    damage          (kind, snapshotter, id) → when a file was found to be damaged
                    └ id is a blob's digest or a tree's directory
    total           one row: bytes and inodes of all blobs and snapshots, each file once

Namespaces are no table: one exists while something is in it. Digests and ids are
text (``sha256:…``), times nanoseconds since the Unix epoch, labels a JSON object
of strings. Triggers keep ``total`` and ``image_touched`` in the transactions that
change something, so that usage is a look-up and exact, and a reader can tell which
images it must read again. A blob's file is shared by the namespaces that have
a row for its digest, a tree by those that have a row for its directory.

The schema's version is SQLite's ``user_version``. A version is never changed once
released: append a script to ``MIGRATIONS``, and a test for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition

if TYPE_CHECKING:
    import apsw

_VERSION_1: Final = """
CREATE TABLE blob (
    namespace TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_digest ON blob (digest);

CREATE TABLE snapshot (
    namespace TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    key TEXT NOT NULL,
    directory INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
    parent TEXT,
    labels TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    inodes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, snapshotter, key),
    FOREIGN KEY (namespace, snapshotter, parent)
        REFERENCES snapshot (namespace, snapshotter, key) DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_parent ON snapshot (namespace, snapshotter, parent);
CREATE INDEX snapshot_directory ON snapshot (snapshotter, directory);

CREATE TABLE image (
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    manifest TEXT NOT NULL,
    platform TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    user TEXT NOT NULL,
    content_bytes INTEGER NOT NULL,
    unpacked_bytes INTEGER NOT NULL,
    synced INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, id, snapshotter)
) STRICT, WITHOUT ROWID;

CREATE TABLE image_name (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_name_image ON image_name (namespace, image_id, name);

CREATE TABLE lease (
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease_resource (
    namespace TEXT NOT NULL,
    lease TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (namespace, lease, kind, id),
    FOREIGN KEY (namespace, lease) REFERENCES lease (namespace, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE revision (
    namespace TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE image_touched (
    namespace TEXT NOT NULL,
    image_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (namespace, image_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_touched_revision ON image_touched (namespace, revision);

CREATE TABLE total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL,
    inodes INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (1, 0, 0);

CREATE TRIGGER image_added AFTER INSERT ON image
BEGIN
    INSERT INTO image_touched
        SELECT namespace, NEW.id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_removed AFTER DELETE ON image
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_changed AFTER UPDATE ON image
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
    INSERT INTO image_touched
        SELECT namespace, NEW.id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_name_added AFTER INSERT ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, NEW.image_id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_name_removed AFTER DELETE ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.image_id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_name_changed AFTER UPDATE ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.image_id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
    INSERT INTO image_touched
        SELECT namespace, NEW.image_id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;

CREATE TRIGGER blob_added AFTER INSERT ON blob
WHEN (SELECT count(*) FROM blob WHERE digest = NEW.digest) = 1
BEGIN
    UPDATE total SET bytes = bytes + NEW.size, inodes = inodes + 1;
END;
CREATE TRIGGER blob_removed AFTER DELETE ON blob
WHEN NOT EXISTS (SELECT 1 FROM blob WHERE digest = OLD.digest)
BEGIN
    UPDATE total SET bytes = bytes - OLD.size, inodes = inodes - 1;
END;
CREATE TRIGGER snapshot_added AFTER INSERT ON snapshot
WHEN (SELECT count(*) FROM snapshot
      WHERE snapshotter = NEW.snapshotter AND directory = NEW.directory) = 1
BEGIN
    UPDATE total SET bytes = bytes + NEW.bytes, inodes = inodes + NEW.inodes;
END;
CREATE TRIGGER snapshot_removed AFTER DELETE ON snapshot
WHEN NOT EXISTS (SELECT 1 FROM snapshot
                 WHERE snapshotter = OLD.snapshotter AND directory = OLD.directory)
BEGIN
    UPDATE total SET bytes = bytes - OLD.bytes, inodes = inodes - OLD.inodes;
END;
"""

_VERSION_2: Final = """
-- A name may belong to several images: those of one index for several platforms.
CREATE TABLE image_name_new (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, image_id)
) STRICT, WITHOUT ROWID;
INSERT INTO image_name_new SELECT * FROM image_name;
DROP TABLE image_name;
ALTER TABLE image_name_new RENAME TO image_name;
CREATE INDEX image_name_image ON image_name (namespace, image_id, name);
CREATE TRIGGER image_name_added AFTER INSERT ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, NEW.image_id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_name_removed AFTER DELETE ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.image_id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER image_name_changed AFTER UPDATE ON image_name
BEGIN
    INSERT INTO image_touched
        SELECT namespace, OLD.image_id, number FROM revision WHERE namespace = OLD.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
    INSERT INTO image_touched
        SELECT namespace, NEW.image_id, number FROM revision WHERE namespace = NEW.namespace
        ON CONFLICT DO UPDATE SET revision = excluded.revision;
END;
"""

_VERSION_3: Final = """
-- Files that are known to be damaged. A mark goes with the last record of the file.
CREATE TABLE damage (
    kind TEXT NOT NULL CHECK (kind IN ('blob', 'tree')),
    snapshotter TEXT NOT NULL,
    id TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    PRIMARY KEY (kind, snapshotter, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER damaged_blob_removed AFTER DELETE ON blob
WHEN NOT EXISTS (SELECT 1 FROM blob WHERE digest = OLD.digest)
BEGIN
    DELETE FROM damage WHERE kind = 'blob' AND id = OLD.digest;
END;
CREATE TRIGGER damaged_tree_removed AFTER DELETE ON snapshot
WHEN NOT EXISTS (SELECT 1 FROM snapshot
                 WHERE snapshotter = OLD.snapshotter AND directory = OLD.directory)
BEGIN
    DELETE FROM damage
    WHERE kind = 'tree' AND snapshotter = OLD.snapshotter AND id = CAST(OLD.directory AS TEXT);
END;
"""

MIGRATIONS: Final[tuple[str, ...]] = (_VERSION_1, _VERSION_2, _VERSION_3)
"""Scripts in order: the first makes version 1 of an empty database, and so on."""

VERSION: Final = len(MIGRATIONS)


def migrate(connection: apsw.Connection) -> int:
    """Bring the database to ``VERSION``, each step in a transaction of its own.

    Returns:
        The version that was found; 0 for a new database.

    Raises:
        FailedPrecondition: a newer orlop has written it.
        apsw.Error: as SQLite says.
    """
    found = int(connection.pragma("user_version"))
    if found > VERSION:
        raise FailedPrecondition(
            f"the metadata has version {found}, this orlop knows {VERSION} at most",
            hint="use the version of orlop that wrote it, or a newer one",
        )
    for version in range(found, VERSION):
        with connection:
            connection.execute(MIGRATIONS[version])
            connection.pragma("user_version", version + 1)
    return found
