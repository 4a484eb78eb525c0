"""The pull: from a reference to an image that is complete, unpacked and durable.

``plan`` decides what is missing (pure), ``watchdog`` decides whether a pull has
stalled (pure, told the time), ``pipeline`` runs and watches pulls, ``steps`` is
one of them. They share downloads and unpacked layers (``flights``) with all
that run at the same time, and ``publish`` makes each image visible in one step.
"""
