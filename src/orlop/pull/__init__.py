"""The pull: from a reference to an image that is complete, unpacked and durable.

``plan`` decides what is missing (pure), ``watchdog`` decides whether a pull has
stalled (pure, told the time), ``pipeline`` does the work: it shares downloads
and unpacked layers between pulls that run at the same time, and publishes each
image in one step.
"""
