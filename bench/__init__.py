"""Measurements: the test images, the peers and the machine's own limit.

Programs, one a module, run from the repository as ``python -m bench.NAME``.
Nothing under ``src/`` imports from here.
"""
