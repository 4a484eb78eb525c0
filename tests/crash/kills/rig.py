"""A place for stores, and what every run on one of them needs.

One process: it forks victims, judges what they leave, and is single-threaded whenever it
forks. The stores are on a tmpfs of its own, in a mount namespace of its own: SIGKILL
takes nothing from the page cache, so that no disk is needed, and all of it vanishes with
the process.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.linux.isolation import leave_namespaces
from tests.crash.invariants import Expectation, captured, violations
from tests.crash.kills import work as works
from tests.crash.kills.preloaded import Change, Control, Kind, Role
from tests.crash.kills.victim import Victim, adopt_orphans, fork

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.crash.kills.work import Work

_CLONE_NEWNS: Final = 0x20000


@dataclass
class Rig:
    """Made by ``rig``.

    Attributes:
        home: where stores are; nothing else is there.
        log: standard error of the last victim, on another file system.
        address: of the registry.
        control: says where changes are disturbed.
        expected: the images of an undisturbed store, by their repositories.
    """

    home: Path
    log: Path
    address: str
    control: Control
    expected: dict[str, Expectation] = field(default_factory=dict)
    _templates: set[str] = field(default_factory=set)

    def name(self, repository: str) -> str:
        """The image's name."""
        return works.name(self.address, repository)

    def store(self, work: Work) -> Path:
        """A new store, as ``work`` begins with it; the last one is gone."""
        root, template = self.home / "store", self.home / f"with-{work.name}"
        if work.name not in self._templates:
            asyncio.run(work.prepare(template, self.address))
            template.mkdir(exist_ok=True)
            self._templates.add(work.name)
        if root.exists():
            shutil.rmtree(root)
        subprocess.run(["cp", "-a", str(template), str(root)], check=True)
        return root

    def fork(self, root: Path, work: Work, *, again: bool = False) -> Victim:
        """A victim that does ``work``; the control is armed."""
        return fork(
            self.control,
            root,
            self.log,
            lambda store: work.run(store, self.address),
            again=again,
        )

    def rehearse(self, work: Work, kind: Kind) -> list[Change]:
        """All changes that ``work`` makes, or needs that it has, when nobody disturbs it."""
        root = self.store(work)
        self.control.arm(kind=kind, log=True)
        victim = self.fork(root, work)
        if victim.wait() != "ended" or victim.end() or victim.words()[-1:] != ["closed"]:
            raise AssertionError(f"{work.name}: {victim.said}: {self.log.read_text()}")
        changes = self.control.changes()
        if found := self.judge(root, work, done=True, pull=True):
            raise AssertionError(f"{work.name}, undisturbed: {found}")
        return changes

    def rehearsed(self, record: Path, kind: Kind = Kind.CHANGE) -> dict[str, list[Change]]:
        """The changes or needs of all works, from ``record``, which the first to ask makes.

        Threads take turns in other ways each time; all who share the trials, and whoever
        continues them, must have the same list.
        """
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if text := file.read():
                return {
                    name: [Change(Role(role), call, path) for role, call, path in changes]
                    for name, changes in json.loads(text).items()
                }
            found = {work.name: self.rehearse(work, kind) for work in works.WORKS}
            json.dump({name: list(map(astuple, made)) for name, made in found.items()}, file)
            return found

    def judge(self, root: Path, work: Work, *, done: bool, pull: bool) -> list[str]:
        """What is wrong with the store that a victim left.

        Args:
            root: of the store.
            work: what the victim did.
            done: it said so.
            pull: pull every image when all else has been looked at.
        """
        there = (*work.has, *(work.adds if done else ()))
        expected = {self.name(one): self.expected[one] for one in self.expected}
        return asyncio.run(
            violations(
                root,
                acknowledged={self.name(one): self.expected[one] for one in there},
                removed=[self.name(one) for one in work.removes] if done else [],
                possible=expected,
                pulls=expected if pull else {},
            )
        )


@contextmanager
def rig() -> Iterator[Rig]:
    """Everything; call it in a process that has the library loaded, once."""
    signal.signal(signal.SIGTERM, _end)
    adopt_orphans()
    leave_namespaces(_CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    own = Path(tempfile.mkdtemp(prefix="kills-"))
    home = own / "disk"
    home.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "kills", str(home)], check=True)
        with works.registry() as address:
            control = Control()
            control.watch(home)
            made = Rig(home, own / "log", address, control)
            whole = home / "whole"
            asyncio.run(works.WORKS[-1].prepare(whole, address))
            for full, expectation in asyncio.run(captured(whole)).items():
                repository = full.removeprefix(f"{address}/").removesuffix(":1")
                if repository in (works.FIRST, works.SECOND):
                    made.expected[repository] = expectation
            yield made
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=False)
        shutil.rmtree(own)


def _end(_: int, __: FrameType | None) -> None:
    sys.exit(1)
