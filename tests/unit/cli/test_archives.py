"""``orlop import`` and ``orlop export``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from orlop.ports.service import ExportOptions, ImportOptions
from tests.unit.cli.conftest import APP, BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.testing.memory_service import MemoryService

    Run = Callable[..., tuple[int, str, str]]


def options(service: MemoryService, method: str) -> object:
    return next(call.arguments[-1] for call in service.calls if call.method == method)


def test_import(run: Run, service: MemoryService, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text(f"{BUSYBOX}\n{APP}")
    code, out, err = run("import", str(tmp_path / "archive"))
    assert code == 0
    assert len(out.split()) == 2
    assert "imported busybox:latest" in err or f"imported {BUSYBOX}" in err
    assert options(service, "import_images") == ImportOptions()


def test_import_with_everything(run: Run, service: MemoryService, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text(BUSYBOX)
    words = ["--name", "a", "--base-name", "b", "--platform", "linux/arm64", "--platform", "amd64"]
    words += ["--snapshotter", "native", "-o", "json"]
    code, out, _ = run("import", str(tmp_path / "archive"), *words)
    assert code == 0
    assert BUSYBOX in json.loads(out)[0]["names"]
    assert options(service, "import_images") == ImportOptions(
        name="a", base_name="b", platforms=("linux/arm64", "amd64"), snapshotter="native"
    )


def test_import_of_no_file(run: Run, tmp_path: Path) -> None:
    code, out, err = run("import", str(tmp_path / "missing"))
    assert (code, out) == (1, "")
    assert "No such file" in err


def test_export(run: Run, stocked: MemoryService, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    code, out, _ = run("export", "busybox", APP, "-o", str(archive), "--format", "docker")
    assert (code, out) == (0, "")
    assert len(archive.read_text().split()) == 2
    assert options(stocked, "export") == ExportOptions(format="docker")
    assert os.listdir(tmp_path) == ["archive"]


def test_an_export_that_fails_leaves_the_file_alone(
    run: Run, stocked: MemoryService, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    archive.write_text("before")
    code, _, err = run("export", "absent", "-o", str(archive), "--all-platforms")
    assert code == 3
    assert "absent" in err
    assert archive.read_text() == "before"
    assert os.listdir(tmp_path) == ["archive"]
    assert options(stocked, "export") == ExportOptions(all_platforms=True)


def test_export_into_a_pipe(run: Run, stocked: MemoryService, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        code, _, _ = run("export", "busybox", "-o", str(fifo))
        assert code == 0
        assert os.read(reader, 1000).decode().startswith("docker.io/library/busybox")
    finally:
        os.close(reader)
    assert stocked.calls
