"""A plugin of orlop that keeps a journal of pulls, one JSON object a line.

It has everything that a plugin can have: a configuration that is checked and
explained as orlop's own is, a migration step, a fact that ``orlop plugins`` shows,
and a key that can change while the daemon runs. It is configured in::

    [plugins."io.orlop.observer.v1.journal"]
    path = "/var/log/orlop/pulls.jsonl"
"""

# No "from __future__ import annotations": the types of the configuration are read at run time.
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

import msgspec

from orlop.config import values
from orlop.config.annotate import key
from orlop.model.digest import Digest
from orlop.plugins.registration import Commit, Context, Draft, Registration
from orlop.ports.observe import PullEnded

TABLE = ("plugins", "io.orlop.observer.v1.journal")


class JournalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the plugin's table; every key has a default."""

    path: Annotated[
        str,
        key(
            'File to append to; "" is one in the plugin\'s own directory.',
            values.absolute_path_or_none,
        ),
    ] = ""
    failures_only: Annotated[bool, key("Leave out pulls that succeed.")] = False


class Journal:
    """An ``orlop.ports.observe.Observer``; told on the event loop, so it is quick."""

    def __init__(self, descriptor: int, config: JournalConfig) -> None:
        self._descriptor = descriptor
        self._config = config

    def prepare(self, new: object) -> Commit:
        """Judge a new configuration; what is returned puts it in force."""

        def commit() -> None:
            self._config = cast("JournalConfig", new)

        return commit

    def pull_started(self, reference: str) -> None:
        """Nothing: a pull is noted when it ends."""

    def pull_ended(self, event: PullEnded) -> None:
        """Note a pull."""
        if self._config.failures_only and not event.code:
            return
        line = {
            "time": round(time.time(), 3),
            "reference": event.reference,
            "failed": event.code or None,
            "seconds": round(event.seconds, 3),
            "downloaded": event.bytes_downloaded,
        }
        # A full disk is no reason to disturb a pull.
        with contextlib.suppress(OSError):
            os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:
        """Nothing: see ``pull_ended``."""

    def attribute_dropped(self, kind: str, count: int) -> None:
        """Nothing: see ``pull_ended``."""


@asynccontextmanager
async def _journal(context: Context) -> AsyncIterator[Journal]:
    """The plugin's life: what is yielded is told of every pull until the block ends."""
    config = cast("JournalConfig", context.config)
    path = config.path or os.path.join(context.root, "pulls.jsonl")
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        journal = Journal(descriptor, config)
        context.export("path", path)
        context.on_reload(journal.prepare, keys=("failures_only",))
        yield journal
    finally:
        os.close(descriptor)


def migrate(version: int, draft: Draft) -> None:
    """Lift the table from one version of the document to the next; pure.

    Documents of version 2 and older called ``path`` ``file``.
    """
    if version == 2:
        draft.move((*TABLE, "file"), (*TABLE, "path"))


JOURNAL = Registration(
    "io.orlop.observer.v1", "journal", _journal, config=JournalConfig, migrate=migrate
)
