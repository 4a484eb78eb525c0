"""Promises: what the rooms of orlop ask of each other.

Each module holds the Protocols of one trade and the frozen records that pass
through them. The docstring at the top of each tells the life of the things it
names: who makes them, who ends them, what must fail. Nothing here does I/O.

Times are whole nanoseconds since the Unix epoch unless a name says otherwise.
"""
