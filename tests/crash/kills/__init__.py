"""SIGKILL at every change that a store's file system sees, and again while that is mended.

``changes.c`` is preloaded into the daemon, its fork-server and its workers: it counts
their changes and stops one of them (``library``). ``work`` says what is done meanwhile,
``victim`` does it in a process of its own that costs a fork and no start of an
interpreter, ``sweep`` chooses the points, kills, and asks ``tests.crash.invariants``.

    python -m tests.crash.kills --points 2000 --seed 1
"""
