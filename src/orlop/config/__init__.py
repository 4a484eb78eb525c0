"""Configuration: TOML documents in containerd's format become frozen values.

``schema`` says what can be configured, ``migrate`` (pure) brings older documents
to today's version, ``load`` reads files. Nothing here opens a store or a socket,
and nothing reads the environment.
"""
