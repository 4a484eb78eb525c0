"""Whatever strangers send, as bytes that a fuzzer chooses: ``python -m fuzz TARGET``.

``fuzz.targets`` says what must hold for any bytes, ``fuzz.seeds`` where a search begins,
``fuzz.corpus`` keeps what it has found, and ``fuzz.__main__`` runs it with atheris.
"""
