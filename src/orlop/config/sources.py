"""Documents on disk: found, read, parsed and brought to today's version.

A document may import others. Each is migrated for itself, so that a drop-in may
be older than the document that imports it, and is then laid over what was read
before. Nothing here knows what the values mean.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.config.document import MAX_BYTES, tables
from orlop.config.keys import Key, line_of, locate
from orlop.config.migrate import Migrated, migrate, version_of
from orlop.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orlop.config.draft import Step, Table

_MAX_DOCUMENTS = 256


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a key.

    Attributes:
        path: the document; "" for none.
        line: from 1; 0 when it is not known.
        key: the key as its author wrote it, before any migration.
    """

    path: str
    line: int
    key: Key

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Source:
    """One document.

    Attributes:
        path: where it was read.
        migrated: its content in today's version.
        lines: where its keys stand.
    """

    path: str
    migrated: Migrated
    lines: Mapping[Key, int]

    def where(self, key: Key) -> Where:
        """Where the author wrote what is ``key`` in today's version."""
        written = self.migrated.written_as(key)
        return Where(self.path, line_of(written, self.lines), written)

    def sets(self, key: Key) -> bool:
        """Whether the document says anything about ``key``."""
        value: object = self.migrated.document
        for name in key:
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return True


def read_all(path: str, steps: Sequence[Step] = ()) -> list[Source]:
    """Read a document and all that it imports; each is to be laid over those before it.

    Args:
        path: the first document.
        steps: of the migration, those of third parties' sections.

    Raises:
        NotFound: there is no such file, or an imported one is missing.
        PermissionDenied: one may not be read.
        InvalidArgument: one is no TOML, too long, too deep or too new.
    """
    sources: dict[str, Source] = {}
    pending = [os.path.abspath(path)]
    while pending:
        current = pending.pop(0)
        if current in sources:
            continue
        if len(sources) == _MAX_DOCUMENTS:
            raise InvalidArgument(f"{path}: it imports more than {_MAX_DOCUMENTS} documents")
        source = parse(read(current), path=current, steps=steps)
        sources[current] = source
        first = next(iter(sources.values()))
        if source.migrated.version > first.migrated.version:
            raise InvalidArgument(
                f"{current}: version {source.migrated.version} is newer than that of {first.path}",
                hint="an imported document may not be newer than the one that imports it",
            )
        pending += _imported(current, source.migrated.document.get("imports"))
    return list(sources.values())


def read(path: str) -> bytes:
    """The bytes of a document.

    Raises:
        NotFound: there is no such file.
        PermissionDenied: it may not be read.
        InvalidArgument: it is longer than a document can be, or no file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except PermissionError as error:
        raise PermissionDenied(f"{path}: it may not be read") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InvalidArgument(f"{path}: it is no file") from error
    except ValueError as error:
        raise InvalidArgument(f"not a path: {quote(path)}") from error
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{path}: a configuration has {MAX_BYTES} bytes at most")
    return data


def parse(data: bytes, *, path: str, steps: Sequence[Step] = ()) -> Source:
    """Make a source of the bytes of a document.

    Args:
        data: UTF-8 text.
        path: what messages call it.
        steps: of the migration, those of third parties' sections.

    Raises:
        InvalidArgument: it is no TOML, too deep, or of a version that we do not know.
    """
    text, document = tables(data, path=path)
    lines = locate(text)
    try:
        version_of(document)
        migrated = migrate(document, steps)
    except InvalidArgument as error:
        line = lines.get(("version",), 0) if error.message.startswith("version") else 0
        place = f"{path}:{line}" if line else path
        raise InvalidArgument(f"{place}: {error.message}", hint=error.hint) from error
    return Source(path, migrated, lines)


def merge(documents: Iterable[Mapping[str, object]]) -> Table:
    """Lay documents over each other: tables merge, arrays gain what is new, the last value wins."""
    merged: Table = {}
    for document in documents:
        _lay_over(merged, document)
    return merged


def _lay_over(below: Table, above: Mapping[str, object]) -> None:
    for name, value in above.items():
        old = below.get(name)
        if isinstance(value, dict):
            table: Table = old if isinstance(old, dict) else {}
            _lay_over(table, value)
            below[name] = table
        elif isinstance(value, list) and isinstance(old, list):
            below[name] = old + [item for item in value if item not in old]
        else:
            below[name] = value


def _imported(path: str, imports: object) -> list[str]:
    """Paths of imported documents; an ill-typed list is left for the schema to refuse."""
    found: list[str] = []
    for pattern in imports if isinstance(imports, list) else ():
        if isinstance(pattern, str) and "\0" not in pattern:
            full = os.path.normpath(os.path.join(os.path.dirname(path), pattern))
            found += sorted(glob.glob(full)) if glob.has_magic(full) else [full]
    return found
