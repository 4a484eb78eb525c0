"""Snapshots: directory trees layered on one another, and the rules they obey.

``tree`` holds the rules (pure), ``service`` applies them to records,
``directories`` keeps the numbered trees on disk, ``overlay`` and ``native`` say
how a tree is made and mounted. Mounts are recipes here: this room mounts
nothing that others can see.
"""
