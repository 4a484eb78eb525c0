"""Layer bytes become files, in worker processes.

``frames`` is what daemon and worker say to each other, ``decompress`` and
``apply`` do the work inside the worker, ``worker`` is its main program and the
fork-server's, ``pool`` is the daemon's side. Everything but ``pool`` runs in a
process that holds three descriptors and imports nothing heavy.
"""
