"""The benchmark of one blob, on a blob that takes no time."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from rich.console import Console

from bench.download import Run, measure, show
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER
from orlop.testing.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path


async def test_every_part_is_measured(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    blob = Descriptor(OCI_LAYER, Digest.of(data), len(data))
    async with FakeRegistry() as registry:
        registry.add_blob(data)
        found = await measure(f"{registry.address}/bench/blob:none", blob, tmp_path, runs=2)
        assert len(registry.requests) == 4
    assert list(found) == ["receive alone", "hash alone", "write alone", "download"]
    assert all(run.megabytes == 3 and run.rate > 0 for run in found.values())
    assert list(tmp_path.iterdir()) == []


def test_the_table() -> None:
    text = io.StringIO()
    show({"download": Run(600, 2.0, 1.0)}, Console(file=text, width=100))
    assert [word for word in text.getvalue().split() if word.isdigit()] == ["600", "300"]
