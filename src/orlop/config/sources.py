"""Documents on disk: found, read and parsed, each with the places of its keys.

A document may import others. Nothing here knows what the values mean; how the
documents become one is the business of ``orlop.config.migrate``.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from dataclasses import dataclass

from orlop.config.document import MAX_BYTES, tables
from orlop.config.keys import Where
from orlop.config.migrate import Migrated, version_of
from orlop.errors import ConfigInvalid, InvalidArgument, NotFound
from orlop.model.quote import quote

_MAX_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class Source:
    """One document.

    Attributes:
        path: where it was read.
        text: what stands there.
        written: its content, in the version that it was written in.
        says_version: whether it names its version.
        imports: paths of the documents that it imports.
    """

    path: str
    text: str
    written: Migrated
    says_version: bool
    imports: tuple[str, ...] = ()


def read_all(path: str) -> list[Source]:
    """Read a document and all that it imports, in the order in which they are to be laid over.

    Those that a document imports come after all documents of its own level, as in
    containerd; one that several import comes once.

    Raises:
        NotFound: there is no such file, or an imported one is missing.
        ConfigInvalid: one may not be read, is no TOML, too long, too deep or too
            new, or imports itself.
    """
    if "\0" in path:
        raise ConfigInvalid(f"not a path: {quote(path)}")
    sources: dict[str, Source] = {}
    pending = [os.path.abspath(path)]
    while pending:
        current = pending.pop(0)
        identity = os.path.realpath(current)
        if identity in sources:
            continue
        if len(sources) == _MAX_DOCUMENTS:
            raise ConfigInvalid(f"{path}: it imports more than {_MAX_DOCUMENTS} documents")
        source = parse(read(current), path=current)
        _make_absolute(source)
        sources[identity] = source
        pending += source.imports
    _refuse_circles(sources)
    return list(sources.values())


def _make_absolute(source: Source) -> None:
    """Let imports mean the same wherever the document will be, as in a dump."""
    imports = source.written.document.get("imports")
    if isinstance(imports, list):
        source.written.document["imports"] = [
            _beside(source.path, name) if isinstance(name, str) and name else name
            for name in imports
        ]


def _refuse_circles(sources: dict[str, Source]) -> None:
    """Raise if documents import each other; the message names the chain."""
    done: set[str] = set()
    # Documents that import each other, the first one first, each with what it still imports.
    chain: list[tuple[str, list[str]]] = []
    for start, source in sources.items():
        chain.append((start, list(source.imports)))
        while chain:
            current, rest = chain[-1]
            if not rest or current in done:
                done.add(current)
                chain.pop()
                continue
            following = os.path.realpath(rest.pop(0))
            above = [identity for identity, _ in chain]
            if following in above:
                names = [
                    sources[name].path for name in [*above[above.index(following) :], following]
                ]
                where = sources[current].written.origins.get(("imports",), "")
                raise ConfigInvalid(
                    f"{where}: imports: the documents import each other: {' -> '.join(names)}",
                    hint="take the last import of this chain away",
                )
            chain.append((following, list(sources[following].imports)))


def read(path: str) -> bytes:
    """The bytes of a document.

    Raises:
        NotFound: there is no such file.
        ConfigInvalid: it may not be read, is longer than a document can be, or is no
            ordinary file.
    """
    try:
        # Without O_NONBLOCK a FIFO would keep us waiting for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigInvalid(f"{path}: it is no ordinary file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except ValueError as error:
        raise ConfigInvalid(f"not a path: {quote(path)}") from error
    except OSError as error:
        ordinary = error.errno not in (errno.ENXIO, errno.EISDIR, errno.ENOTDIR)
        cause = f"it cannot be read: {error.strerror}" if ordinary else "it is no ordinary file"
        raise ConfigInvalid(f"{path}: {cause}") from error
    if len(data) > MAX_BYTES:
        raise ConfigInvalid(f"{path}: a configuration has {MAX_BYTES} bytes at most")
    return data


def parse(data: bytes, *, path: str) -> Source:
    """Make a source of the bytes of a document.

    Args:
        data: UTF-8 text.
        path: what messages call it; imports are relative to its directory.

    Raises:
        ConfigInvalid: it is no TOML, too deep, or of a version that we do not know.
    """
    text, document, lines = tables(data, path=path)
    try:
        version = version_of(document)
    except InvalidArgument as error:
        line = lines.get(("version",), 0)
        raise ConfigInvalid(f"{path}:{line}: {error.message}", hint=error.hint) from error
    origins = {key: Where(path, line, key) for key, line in lines.items()}
    return Source(
        path,
        text,
        Migrated(document, version, origins=origins),
        "version" in document,
        tuple(_imported(path, document.get("imports"))),
    )


def _imported(path: str, imports: object) -> list[str]:
    """Paths of imported documents; an ill-typed list is left for the schema to refuse.

    A pattern that matches the importing document itself does not mean it.
    """
    found: list[str] = []
    for pattern in imports if isinstance(imports, list) else ():
        if isinstance(pattern, str) and pattern and "\0" not in pattern:
            full = _beside(path, pattern)
            # containerd takes other special characters for themselves.
            if "*" in full:
                names = glob.glob(full, include_hidden=True)
                found += sorted(name for name in names if name != path)
            else:
                found.append(full)
    return found


def _beside(path: str, name: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), name))
