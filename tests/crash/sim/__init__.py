"""Power cuts of a simulated file system: many states, from a seed alone.

The real code of the store, the database, the snapshots and the pull works on files that are
in memory (``disk``), reached through the calls of ``os`` and ``ctypes`` that it makes
(``calls``) and through a VFS for SQLite (``database``). After each of its calls the power is
cut: ``models`` says what may be left, the real code opens that, and ``examine`` judges what
it lists. ``python -m tests.crash.sim`` is the way in; ``docs/durability.md`` says what it
is for.
"""
