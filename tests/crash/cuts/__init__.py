"""Power cuts of a real file system, in two ways.

``blockdevice`` records what a file system writes to its disk and when it asks the disk
to keep it; ``states`` makes of a record every disk that a power cut could have left, and
``replay`` mounts them and opens the store. ``clones`` cuts the power of a machine whose
disk keeps the order: the disk's file is cloned while pulls go on. Both can leave out a
step of the protocol (``steps``), to show that they would notice.

    python -m tests.crash.cuts --rig block --fs ext4 --states 1000 --seed 1
"""
