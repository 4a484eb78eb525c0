"""Reads the configuration: documents in, one frozen ``Config`` out.

This is the room's front door. It finds the documents, makes one of them, brings it
to today's version, reads the sections and leaves the runtime's part alone. It says
where each value came from, and it raises on any value that cannot be meant: a
daemon that starts has a configuration that holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from orlop.config.advice import advice, contradictions, leave_containerds_places
from orlop.config.decode import Decoder, Problem
from orlop.config.draft import CURRENT_VERSION, Draft
from orlop.config.keys import (
    CRI,
    GRPC,
    IMAGES,
    METRICS,
    PLUGINS,
    Key,
    Origins,
    Where,
    leaves,
    origin_of,
    show,
)
from orlop.config.migrate import Migrated, laid_over, lift
from orlop.config.moves import adopt
from orlop.config.schema import Config
from orlop.config.sections import BUILTIN_SECTIONS, Section, steps
from orlop.config.sources import Source, parse, read_all
from orlop.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PATH = "/etc/orlop/config.toml"

# As many as people will read at once.
_MAX_PROBLEMS = 8

# Keys at the top of containerd's documents that mean nothing to an image service.
_NOT_OURS = frozenset(
    {
        "temp",
        "plugin_dir",
        "oom_score",
        "debug",
        "cgroup",
        "proxy_plugins",
        "timeouts",
        "grpc",
        "ttrpc",
        "metrics",
        "plugins",
    }
)

# Fields of ``Config`` that are not keys at the top of a document.
_SECTIONS = frozenset({"grpc", "images", "metrics", "sections"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and how it came about.

    Attributes:
        config: what holds.
        warnings: what the operator should know, one line each.
        provenance: where each key that some document sets was written, by its
            key in today's version; all other keys have their defaults.
        document: all documents laid over each other, in today's version, the
            runtime's part included. It may hold secrets.
    """

    config: Config
    warnings: tuple[str, ...] = ()
    provenance: Mapping[Key, Where] = field(default_factory=dict)
    document: Mapping[str, object] = field(default_factory=dict, repr=False)


def load(
    path: str | None = None,
    *,
    default_path: str = DEFAULT_PATH,
    sections: Sequence[Section] = (),
) -> Loaded:
    """Read the configuration.

    Args:
        path: a document that must exist; None for the one at ``default_path``
            if there is one, else for the defaults.
        default_path: where a document is looked for that nobody named.
        sections: those of third parties' plugins, beside the built-in ones.

    Raises:
        NotFound: ``path``, or a document that it imports, does not exist.
        ConfigInvalid: a document may not be read, is no TOML, or a value in it
            cannot be meant; the message begins with the file and the line.
    """
    if path is not None:
        return _load(read_all(path), sections)
    return _load(read_all(default_path) if os.path.lexists(default_path) else [], sections)


def loads(
    text: str | bytes, *, name: str = "configuration", sections: Sequence[Section] = ()
) -> Loaded:
    """Read a configuration from memory; ``imports`` are not followed.

    Args:
        text: the document.
        name: what messages call it.
        sections: as for ``load``.

    Raises:
        ConfigInvalid: as ``load``.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return _load([parse(data, path=name)], sections)


def combined(sources: Sequence[Source], sections: Sequence[Section] = ()) -> Migrated:
    """One document of today's version from several, each laid over those before it.

    They are laid over each other as their authors wrote them: of two versions the
    older document is brought to the newer one's first, and the whole is brought to
    today's version at last.

    Args:
        sources: what ``read_all`` gave.
        sections: those of third parties' plugins.

    Raises:
        ConfigInvalid: something that must be a table is none.
    """
    lifting = steps(sections)
    whole = Migrated({}, 1)
    for number, source in enumerate(sources):
        if number == 0:
            whole = source.written
        else:
            target = max(whole.version, source.written.version)
            above = lift(source.written, target, lifting)
            whole = laid_over(lift(whole, target, lifting), above)
    return lift(whole, CURRENT_VERSION, lifting)


def _load(sources: list[Source], more: Sequence[Section]) -> Loaded:
    if not sources:
        return Loaded(Config())
    sections = (*BUILTIN_SECTIONS, *more)
    whole = combined(sources, more)
    warnings = [*_version_warnings(sources), *_change_warnings(whole, sections)]
    draft = Draft(whole.document, dict(whole.origins))
    warnings += leave_containerds_places(draft)
    adopt(draft)
    decoder = Decoder()
    config = _decode(decoder, draft.document, sections)
    decoder.problems.extend(contradictions(config.images))
    if decoder.problems:
        raise _refusal(decoder.problems, draft.origins)
    for unknown in decoder.unknown:
        where = origin_of(unknown.key, draft.origins)
        warnings.append(f"{where}: {replace(unknown, key=where.key)}")
    for key, text in advice(config, draft.document, sections):
        where = origin_of(key, draft.origins)
        warnings.append(f"{where}: {show(where.key)}: {text}")
    found = ((key, origin_of(key, draft.origins)) for key, _ in leaves(draft.document))
    provenance = {key: where for key, where in found if where.path}
    return Loaded(config, tuple(warnings), provenance, draft.document)


def _version_warnings(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        version = source.written.version
        if version < CURRENT_VERSION:
            silent = "" if source.says_version else " (it does not say)"
            yield f"{source.path}: version {version}{silent} is read as {CURRENT_VERSION}"


def _change_warnings(whole: Migrated, sections: Sequence[Section]) -> Iterator[str]:
    """What migration lost of what we would have read."""
    ours = {section.key for section in sections}
    for change in whole.changes:
        if change.loses and (change.new[:2] in ours or change.old[:3] == (*CRI, "registry")):
            yield f"{change.where}: {change}"


def _refusal(problems: list[Problem], origins: Origins) -> ConfigInvalid:
    """One error for all problems: the first with its hint, some others after it."""
    texts = []
    for problem in problems[:_MAX_PROBLEMS]:
        where = origin_of(problem.key, origins)
        texts.append(f"{where}: {show(where.key)}: {problem.cause}")
    if len(problems) > _MAX_PROBLEMS:
        texts.append(f"and {len(problems) - _MAX_PROBLEMS} more")
    return ConfigInvalid("; ".join(texts), hint=problems[0].hint)


def _decode(
    decoder: Decoder, document: Mapping[str, object], sections: Sequence[Section]
) -> Config:
    top = decoder.struct(Config, document, key=(), ignored=_NOT_OURS, hidden=_SECTIONS)
    plugins = document.get("plugins", {})
    if not isinstance(plugins, dict):
        decoder.problems.append(Problem(PLUGINS, "expected a table"))
        return top
    read = {
        section.name: decoder.struct(
            section.schema, plugins[section.name], key=section.key, ignored=section.others
        )
        for section in sections
        if section.name in plugins
    }
    return msgspec.structs.replace(
        top,
        grpc=read.pop(GRPC[1], top.grpc),
        images=read.pop(IMAGES[1], top.images),
        metrics=read.pop(METRICS[1], top.metrics),
        sections=read,
        plugins=plugins,
    )
