"""Any sequence of requests leaves records and trees that agree with a simple model."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orlop.errors import Code, OrlopError
from orlop.linux.clock import SystemClock
from orlop.snapshots.native import Native
from orlop.snapshots.service import SnapshotService
from orlop.testing.memory_snapshots import MemorySnapshotRecords

if TYPE_CHECKING:
    from collections.abc import Coroutine

NS = "k8s.io"
KEYS = st.sampled_from(["a", "b", "c", "d"])
PARENTS = st.sampled_from(["", "", "a", "b", "c", "d"])

_T = TypeVar("_T")


@dataclass
class Model:
    """What a snapshot is, in the simplest words."""

    kind: str
    parent: str
    files: set[str] = field(default_factory=set)


class Snapshots(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        where = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.root = tempfile.mkdtemp(prefix="orlop-", dir=where)
        self.loop = asyncio.new_event_loop()
        self.records = MemorySnapshotRecords()
        self.model: dict[str, Model] = {}
        self.written = 0
        self.start_again()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)

    def run(self, work: Coroutine[None, None, _T]) -> _T | Code:
        """The result, or the error's code."""
        try:
            return self.loop.run_until_complete(work)
        except OrlopError as error:
            return error.code

    def tree(self, key: str) -> str:
        record = self.run(self.records.snapshot(NS, "native", key))
        assert record is not None
        assert not isinstance(record, Code)
        return self.service.staging.tree(record.directory)

    def start_error(self, key: str, parent: str) -> Code | None:
        if key in self.model:
            return Code.ALREADY_EXISTS
        if not parent:
            return None
        if parent not in self.model:
            return Code.NOT_FOUND
        return None if self.model[parent].kind == "committed" else Code.INVALID_ARGUMENT

    @rule(key=KEYS, parent=PARENTS, kind=st.sampled_from(["active", "view"]))
    def start(self, key: str, parent: str, kind: str) -> None:
        expected = self.start_error(key, parent)
        start = self.service.prepare if kind == "active" else self.service.view
        result = self.run(start(NS, key, parent))
        if expected is not None:
            assert result is expected
            return
        assert isinstance(result, list)
        inherited = self.model[parent].files if parent and kind == "active" else set()
        self.model[key] = Model(kind, parent, set(inherited))

    @rule(key=KEYS)
    def write(self, key: str) -> None:
        if key in self.model and self.model[key].kind == "active":
            self.written += 1
            name = f"file{self.written}"
            os.mkdir(os.path.join(self.tree(key), name))
            self.model[key].files.add(name)

    @rule(name=KEYS, key=KEYS)
    def commit(self, name: str, key: str) -> None:
        result = self.run(self.service.commit(NS, name, key))
        if key not in self.model:
            assert result is Code.NOT_FOUND
        elif self.model[key].kind != "active":
            assert result is Code.FAILED_PRECONDITION
        elif name in self.model:
            assert result is Code.ALREADY_EXISTS
        else:
            assert result is None
            self.model[name] = self.model.pop(key)
            self.model[name].kind = "committed"

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        result = self.run(self.service.remove(NS, key))
        if key not in self.model:
            assert result is Code.NOT_FOUND
        elif any(other.parent == key for other in self.model.values()):
            assert result is Code.FAILED_PRECONDITION
        else:
            assert result is None
            del self.model[key]

    @rule(key=KEYS)
    def mounts(self, key: str) -> None:
        result = self.run(self.service.mounts(NS, key))
        if key not in self.model:
            assert result is Code.NOT_FOUND
        elif self.model[key].kind == "committed":
            assert result is Code.FAILED_PRECONDITION
        else:
            (mount,) = result  # type: ignore[misc]
            shown = self.model[key]
            if shown.kind == "view" and shown.parent:
                shown = self.model[shown.parent]
            assert set(os.listdir(mount.source)) == shown.files

    @rule()
    def start_again(self) -> None:
        self.service = SnapshotService(Native(self.root), self.records, SystemClock())
        assert self.run(self.service.recover()) is None

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        records = self.run(self.service.walk(NS))
        assert not isinstance(records, Code)
        seen = [(record.key, record.kind, record.parent) for record in records]
        assert seen == sorted((key, m.kind, m.parent) for key, m in self.model.items())
        numbers = sorted(str(record.directory) for record in records)
        assert sorted(os.listdir(f"{self.service.root}/snapshots")) == numbers
        assert os.listdir(f"{self.service.root}/staging") == []
        assert os.listdir(f"{self.service.root}/trash") == []
        for key, model in self.model.items():
            if model.kind != "view":
                assert set(os.listdir(self.tree(key))) == model.files


TestSnapshots = Snapshots.TestCase
TestSnapshots.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
