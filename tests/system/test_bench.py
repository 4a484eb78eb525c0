"""The benchmarks still run: one round with a tiny image. Nothing is timed here."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

_SVG = "{http://www.w3.org/2000/svg}"
_ROOT = Path(__file__).parents[2]


def test_both_peers_pull_the_same_tree(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    chart = tmp_path / "chart.svg"
    peers = ["--only", "containerd", "--only", "orlop", "--only", "skopeo+umoci"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench.pull",
            "--tiny",
            *peers,
            "--pairs",
            "1",
            "--json",
            result,
            "--chart",
            chart,
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    samples = json.loads(result.read_text())["samples"]
    assert [sample["peer"] for sample in samples] == ["containerd", "orlop", "skopeo+umoci"]
    assert samples[0]["entries"] == samples[1]["entries"] > 100
    assert samples[2]["entries"] > 100
    drawn = [text.text for text in ET.parse(chart).iter(f"{_SVG}text")]
    assert {"containerd", "orlop", "skopeo+umoci"} <= set(drawn)


def test_the_limit_of_the_machine_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.limit", "--image", "tiny"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "limit" in done.stdout


def test_small_calls_are_measured(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", "--images", "20", "--layers", "12", "--json", result],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(result.read_text())) == 9
    assert "ListImages, 20 images" in done.stdout


def test_the_price_of_the_fences_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.jail", "--image", "tiny", "--pairs", "1"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "medians of 1 pairs, 3 layers" in done.stdout
