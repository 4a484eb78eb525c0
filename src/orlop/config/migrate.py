"""Older documents, brought to today's version, with a report.

Pure: documents go in and come out as plain dictionaries; the input is never
changed. Each version is lifted to the next: plugins get the names of that version,
the sections lift what is theirs (``orlop.config.sections``), and the rest is the
runtime's. Nothing gets lost on the way:

* each key moves for itself, whatever else the document holds;
* where the old and the new key both exist, the new one wins and the report
  calls the old one a conflict;
* a key that has no meaning any more is dropped and the report says why.

Values are not judged here: an ill-typed one moves as it is, and the reader
refuses it under the line where it was written.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.config.draft import CURRENT_VERSION, Change, Draft, Step, Table
from orlop.config.keys import PLUGINS, Key, Origins
from orlop.config.moves import lift_grpc, lift_images, lift_metrics, lift_runtime
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX = "io.containerd."

# Version 1 named plugins by their id alone.
_SHORT_NAMES = {
    "cri": "grpc.v1.cri",
    "cgroups": "monitor.v1.cgroups",
    "linux": "runtime.v1.linux",
    "scheduler": "gc.v1.scheduler",
    "bolt": "metadata.v1.bolt",
    "task": "runtime.v2.task",
    "opt": "internal.v1.opt",
    "restart": "internal.v1.restart",
    "tracing": "internal.v1.tracing",
    "otlp": "tracing.processor.v1.otlp",
    "aufs": "snapshotter.v1.aufs",
    "btrfs": "snapshotter.v1.btrfs",
    "devmapper": "snapshotter.v1.devmapper",
    "native": "snapshotter.v1.native",
    "overlayfs": "snapshotter.v1.overlayfs",
    "zfs": "snapshotter.v1.zfs",
}

BUILTIN_STEPS: tuple[Step, ...] = (lift_images, lift_grpc, lift_metrics)
"""Steps of the built-in sections."""


# Tables whose entries are replaced as a whole by those of a later document.
_REPLACED: tuple[Key, ...] = (("stream_processors",), ("proxy_plugins",))


@dataclass(frozen=True, slots=True)
class Migrated:
    """A document of some version, and how it came about.

    Attributes:
        document: the document.
        version: its version.
        changes: what was done to it.
        origins: where its keys were written.
    """

    document: Table
    version: int
    changes: tuple[Change, ...] = ()
    origins: Origins = field(default_factory=dict)


def migrate(document: Mapping[str, object], steps: Sequence[Step] = BUILTIN_STEPS) -> Migrated:
    """Bring a document of any version to ``CURRENT_VERSION``.

    Args:
        document: what the TOML parser made of it; stays as it is.
        steps: those of the sections, see ``orlop.config.sections.steps``.

    Raises:
        InvalidArgument: the version is newer than ours, or no version at all.
        ConfigInvalid: something that must be a table is none.
    """
    return lift(Migrated(dict(document), version_of(document)), CURRENT_VERSION, steps)


def lift(written: Migrated, target: int, steps: Sequence[Step] = BUILTIN_STEPS) -> Migrated:
    """Bring a document to a newer version, and remember where its keys were written.

    Args:
        written: the document; stays as it is.
        target: the version to reach; one that it has already is fine.
        steps: those of the sections.

    Raises:
        ConfigInvalid: something that must be a table is none; the message begins
            with the file and the line.
    """
    draft = Draft(copy.deepcopy(written.document), dict(written.origins), list(written.changes))
    for version in range(written.version, target):
        if version == 1:
            _name_plugins(draft)
        for step in steps:
            step(version, draft)
        lift_runtime(version, draft)
        draft.document["version"] = version + 1
    if written.version >= target:
        draft.document["version"] = written.version
    return Migrated(
        draft.document, max(target, written.version), tuple(draft.changes), draft.origins
    )


def laid_over(below: Migrated, above: Migrated) -> Migrated:
    """Two documents of the same version as one.

    Tables merge, except that an entry of ``stream_processors`` or ``proxy_plugins``
    is replaced as a whole; arrays at the top of the document gain what is new; of
    everything else the value above counts. As in containerd.

    Args:
        below: the document that was read earlier; stays as it is.
        above: the one that was read later; ditto.
    """
    document = copy.deepcopy(below.document)
    _lay_over(document, copy.deepcopy(above.document), ())
    origins = {**below.origins, **above.origins}
    return Migrated(document, below.version, below.changes + above.changes, origins)


def version_of(document: Mapping[str, object]) -> int:
    """The version that a document says it has; 1 if it says nothing, as in containerd.

    Raises:
        InvalidArgument: it is not one that we know.
    """
    version = document.get("version", 0)
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidArgument(
            "version: expected a whole number",
            hint=f"the newest version is {CURRENT_VERSION}",
        )
    if not 0 <= version <= CURRENT_VERSION:
        raise InvalidArgument(
            f"version: expected a number from 1 to {CURRENT_VERSION}",
            hint="the document may be for a newer program",
        )
    return version or 1


def _name_plugins(draft: Draft) -> None:
    """Version 2 gave plugins their full names."""
    for name in list(draft.table(PLUGINS) or ()):
        if "." not in name:
            draft.move((*PLUGINS, name), (*PLUGINS, _full_name(name)))
    for listing in ("disabled_plugins", "required_plugins"):
        names = draft.document.get(listing)
        if isinstance(names, list):
            full = [
                _full_name(name) if isinstance(name, str) and "." not in name else name
                for name in names
            ]
            if full != names:
                draft.document[listing] = full
                draft.report("renamed", (listing,), (listing,), reason="plugins have full names")


def _full_name(name: str) -> str:
    if name in _SHORT_NAMES:
        return _PREFIX + _SHORT_NAMES[name]
    kind = "service" if name.endswith("-service") else "grpc"
    return f"{_PREFIX}{kind}.v1.{name}"


def _lay_over(below: Table, above: Table, at: Key) -> None:
    for name, value in above.items():
        old = below.get(name)
        if isinstance(value, dict) and isinstance(old, dict) and at not in _REPLACED:
            _lay_over(old, value, (*at, name))
        elif isinstance(value, list) and isinstance(old, list) and not at:
            below[name] = old + [item for item in value if item not in old]
        else:
            below[name] = value
