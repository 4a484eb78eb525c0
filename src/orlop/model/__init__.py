"""What images are: names, digests, documents, archives, and the rules between them.

Everything here is pure: text or bytes in, values or errors out. No module of
this room opens a file, asks a registry, reads a clock or keeps state.
"""
