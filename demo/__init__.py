"""The demonstration: one image through its whole life, on this machine, in a minute.

    make demo                                  # an image made from files of this machine
    make demo REF=docker.io/library/debian:12  # an image of somebody else's registry

Everything happens in a temporary directory, with a registry and a daemon of its
own; nothing of it is left at the end, also when a step fails. Needs root, since
images are mounted.
"""

import os

# gRPC's own log would stand between the lines of the story when a server stops.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
