"""Reads the configuration: documents in, one frozen ``Config`` out.

This is the room's front door. It finds the documents, lets older ones be
migrated, reads the image service's part and leaves the runtime's alone. It says
where each value came from, and it raises on any value that cannot be meant:
a daemon that starts has a configuration that holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

import msgspec

from orlop.config.decode import Decoder, Problem
from orlop.config.draft import CURRENT_VERSION, Table
from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, PLUGINS, RUNTIME, Key, show
from orlop.config.migrate import IMAGE_KEYS_OF_CRI, adopt_transfer
from orlop.config.schema import Config, ImageConfig
from orlop.config.sections import BUILTIN_SECTIONS, Section
from orlop.config.sources import Source, Where, merge, parse, read_all
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.config.draft import Step

DEFAULT_PATH = "/etc/orlop/config.toml"

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
    }
)

# Fields of ``Config`` that are not keys at the top of a document.
_SECTIONS = frozenset({"grpc", "images", "metrics", "sections", "plugins"})

_KNOWN_PLUGINS = frozenset({IMAGES[1], RUNTIME[1]})

# containerd's own places, in documents that were written for it. Two services
# on one of them would destroy each other's data.
_CONTAINERDS: tuple[tuple[Key, str], ...] = (
    (("root",), "/var/lib/containerd"),
    (("state",), "/run/containerd"),
    ((*GRPC, "address"), "/run/containerd/containerd.sock"),
)


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
        PermissionDenied: a document may not be read.
        InvalidArgument: a document is no TOML, or a value in it cannot be
            meant; the message begins with the file and the line.
    """
    if path is not None:
        return _load(read_all(path, _steps(sections)), sections)
    if not os.path.lexists(default_path):
        return _load([], sections)
    return _load(read_all(default_path, _steps(sections)), sections)


def loads(
    text: str | bytes, *, name: str = "configuration", sections: Sequence[Section] = ()
) -> Loaded:
    """Read a configuration from memory; ``imports`` are not followed.

    Args:
        text: the document.
        name: what messages call it.
        sections: as for ``load``.

    Raises:
        InvalidArgument: as ``load``.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return _load([parse(data, path=name, steps=_steps(sections))], sections)


def _steps(sections: Sequence[Section]) -> tuple[Step, ...]:
    return tuple(section.migrate for section in sections if section.migrate is not None)


def _load(sources: list[Source], more: Sequence[Section]) -> Loaded:
    sections = (*BUILTIN_SECTIONS, *more)
    reading = _Reading(sources)
    warnings = list(reading.version_warnings())
    merged = merge(source.migrated.document for source in sources)
    warnings += _leave_containerds_places(merged, reading)
    try:
        adopted = adopt_transfer(merged)
    except InvalidArgument as error:
        raise InvalidArgument(f"{sources[-1].path}: {error.message}", hint=error.hint) from error
    reading.adopted = {change.new: change.old for change in adopted.changes}
    decoder = Decoder()
    config = _decode(decoder, adopted.document, sections)
    decoder.problems.extend(_contradictions(config.images))
    if decoder.problems:
        raise reading.refusal(decoder.problems)
    for unknown in decoder.unknown:
        where = reading.where(unknown.key)
        warnings.append(f"{where}: {replace(unknown, key=where.key)}")
    warnings += (f"{reading.where(key)}: {text}" for key, text in _advice(config))
    provenance = {
        key: reading.where(key)
        for key in _leaves(adopted.document)
        if key[:1] != PLUGINS or key[:2] in {section.key for section in sections}
    }
    return Loaded(config, tuple(warnings), provenance, adopted.document)


@dataclass(slots=True)
class _Reading:
    """Answers where a key of the merged document was written."""

    sources: list[Source]
    adopted: dict[Key, Key] = field(default_factory=dict)

    def where(self, key: Key) -> Where:
        key = self.adopted.get(key, key)
        for source in reversed(self.sources):
            if source.sets(key):
                return source.where(key)
        return self.sources[-1].where(key) if self.sources else Where("", 0, key)

    def refusal(self, problems: list[Problem]) -> InvalidArgument:
        """One error for all problems: the first with its hint, the others after it."""
        texts = []
        for problem in problems:
            where = self.where(problem.key)
            texts.append(f"{where}: {show(where.key)}: {problem.cause}")
        return InvalidArgument("; ".join(texts), hint=problems[0].hint)

    def version_warnings(self) -> Iterator[str]:
        """What migration means to the operator."""
        for source in self.sources:
            version = source.migrated.version
            if version < CURRENT_VERSION:
                silent = "" if ("version",) in source.lines else " (it does not say)"
                yield f"{source.path}: version {version}{silent} is read as {CURRENT_VERSION}"
            for change in source.migrated.changes:
                images = change.new[:2] == IMAGES or change.old[:3] == (*CRI, "registry")
                if images and change.kind in ("dropped", "conflict"):
                    yield f"{source.where(change.old)}: {change}"


def _decode(
    decoder: Decoder, document: Mapping[str, object], sections: Sequence[Section]
) -> Config:
    top = decoder.struct(Config, document, key=(), ignored=_NOT_OURS | _SECTIONS)
    plugins = document.get("plugins", {})
    if not isinstance(plugins, dict):
        decoder.problems.append(Problem(PLUGINS, "expected a table"))
        return top
    read = {
        section.name: decoder.struct(section.schema, _read_of(section, plugins), key=section.key)
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


def _read_of(section: Section, plugins: Table) -> object:
    """The table of a section; of one that another program reads too, our keys alone."""
    table = plugins.get(section.name, {})
    if not section.shared or not isinstance(table, dict):
        return table
    return {name: table[name] for name in section.schema.__struct_fields__ if name in table}


def _leave_containerds_places(document: Table, reading: _Reading) -> Iterator[str]:
    """Remove containerd's own root, state and socket, so that our defaults hold."""
    for key, place in _CONTAINERDS:
        table: object = document
        for name in key[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        value = table.get(key[-1]) if isinstance(table, dict) else None
        if isinstance(value, str) and value.removeprefix("unix://").rstrip("/") == place:
            where = reading.where(key)
            yield f"{where}: {show(where.key)}: {place} is containerd's, orlop's default holds"
            cast("Table", table).pop(key[-1])


def _contradictions(images: ImageConfig) -> Iterator[Problem]:
    """Values that are good alone and impossible together."""
    if images.registry.mirrors and images.registry.config_path:
        yield Problem(
            (*IMAGES, "registry", "mirrors"),
            "it cannot be set together with registry.config_path",
            "move the mirrors to hosts.toml files",
        )
    if images.min_pull_rate and not images.image_pull_progress_timeout.nanoseconds:
        yield Problem(
            (*IMAGES, "min_pull_rate"),
            "the average is taken over image_pull_progress_timeout, which is 0s",
        )


def _advice(config: Config) -> Iterator[tuple[Key, str]]:
    """What is allowed but will surprise somebody."""
    registry = config.images.registry
    for name, use in (
        ("mirrors", "hosts.toml files in registry.config_path"),
        ("configs", "credentials that clients send"),
        ("auths", "credentials that clients send"),
    ):
        if getattr(registry, name):
            key = (*IMAGES, "registry", name)
            yield key, f"{show(key)}: deprecated; use {use}"
    if config.images.use_local_image_pull:
        key = (*IMAGES, "use_local_image_pull")
        yield key, f"{show(key)}: without effect; there is one way to pull"
    leftover = config.plugins.get(CRI[1])
    for name in leftover if isinstance(leftover, dict) else ():
        if name in IMAGE_KEYS_OF_CRI:
            key = (*CRI, name)
            yield key, f"{show(key)}: ignored; since version 3 it belongs into {show(IMAGES)}"
    for name in config.plugins:
        if name not in _KNOWN_PLUGINS and get_close_matches(name, [IMAGES[1]], 1, 0.93):
            yield (*PLUGINS, name), f"{show((*PLUGINS, name))}: did you mean {show(IMAGES)}?"


def _leaves(table: Mapping[str, object], above: Key = ()) -> Iterator[Key]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name)
