"""Garbage collection: what nothing refers to any more is removed.

``refs`` reads references out of labels, ``mark`` decides what is garbage (both
pure), ``collect`` removes it. ``schedule`` decides when (pure), ``scheduler`` sees
to it.
"""
