"""Wire formats: .proto files, and the Python code that ``make proto`` generates from them.

``runtime_v1`` is the Kubernetes CRI, ``health_v1`` the gRPC health protocol,
``orlop_v1`` our own. Only ``orlop.cri`` and ``orlop.control`` import this room;
nothing in it is written by hand except the .proto files.
"""
