"""Plugins: what there is, what needs what, in which order it starts.

``registration`` is the data that describes a plugin, ``graph`` (pure) orders
them, ``discover`` finds those of third parties, ``start`` brings them up and
down. An implementation never imports this room, except for the record that
describes it.
"""
