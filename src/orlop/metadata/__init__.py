"""Metadata: which images, blobs, snapshots and leases exist, in one SQLite database.

``store`` is the way in. ``db`` owns the connections and threads, ``migrations``
the schema, ``rows`` turns rows into records; the other modules hold the
statements of one kind of record each. Files of blobs and snapshots are not
touched from here.
"""
