"""Linux: system calls as small typed functions; no policy and no knowledge of images.

Imported by the unpack workers, so only light modules of the standard library
and the error tree may be imported here.
"""
