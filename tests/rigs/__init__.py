"""Equipment for tests and measurements: real disks, trees, servers.

Nothing here replaces a part of orlop; what a rig starts or mounts, it ends.
"""
