"""The blob store: files named by the digest of what is in them.

``layout`` says where things are, ``ingest`` writes what is not a blob yet,
``blobs`` turns ingests into blobs and reads them, ``health`` remembers that the
disk failed. Who may see a blob, and why it is kept, is not known here.
"""
