"""What is counted, as Prometheus reads it."""

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from orlop.errors import Code
from orlop.metrics.observer import OTHER, PrometheusObserver
from orlop.model.digest import Digest
from orlop.ports.observe import Observer, PullEnded

DIGEST = Digest.of(b"layer")


def ended(code: str = "", registry: str = "r.example", downloaded: int = 100) -> PullEnded:
    return PullEnded(
        reference=f"{registry}/a:b",
        registry=registry,
        code=code,
        seconds=2.0,
        bytes_downloaded=downloaded,
        layers_downloaded=2,
        layers_present=1,
    )


def samples(observer: PrometheusObserver) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(observer.exposition().decode())
        for sample in family.samples
    }


def value(observer: PrometheusObserver, name: str, **labels: str) -> float:
    return samples(observer)[name, tuple(sorted(labels.items()))]


def test_it_is_an_observer() -> None:
    observer: Observer = PrometheusObserver()
    observer.pull_started("a")


def test_a_successful_pull() -> None:
    observer = PrometheusObserver()
    observer.pull_started("r.example/a:b")
    assert value(observer, "orlop_pulls_in_progress") == 1
    observer.pull_ended(ended())
    assert value(observer, "orlop_pulls_in_progress") == 0
    assert value(observer, "orlop_pulls_total", registry="r.example", code="ok") == 1
    assert value(observer, "orlop_downloaded_bytes_total", registry="r.example") == 100
    assert value(observer, "orlop_layers_total", source="downloaded") == 2
    assert value(observer, "orlop_layers_total", source="present") == 1
    bucket = {"registry": "r.example", "outcome": "ok"}
    assert value(observer, "orlop_pull_seconds_sum", **bucket) == 2
    assert value(observer, "orlop_pull_seconds_bucket", le="1.0", **bucket) == 0
    assert value(observer, "orlop_pull_seconds_bucket", le="2.5", **bucket) == 1


@pytest.mark.parametrize("code", list(Code))
def test_failed_pulls_by_code(code: Code) -> None:
    observer = PrometheusObserver()
    observer.pull_ended(ended(code.value))
    label = code.name.lower()
    assert value(observer, "orlop_pulls_total", registry="r.example", code=label) == 1
    labels = {"registry": "r.example", "outcome": "failed"}
    assert value(observer, "orlop_pull_seconds_count", **labels) == 1


def test_a_code_that_nobody_knows() -> None:
    observer = PrometheusObserver()
    observer.pull_ended(ended("surprise"))
    assert value(observer, "orlop_pulls_total", registry="r.example", code="unknown") == 1


def test_layers_and_attributes() -> None:
    observer = PrometheusObserver()
    observer.layer_unpacked(DIGEST, 0.2, 1000)
    observer.layer_unpacked(DIGEST, 0.2, 500)
    observer.attribute_dropped("xattr", 3)
    assert value(observer, "orlop_layer_unpack_seconds_count") == 2
    assert value(observer, "orlop_unpacked_bytes_total") == 1500
    assert value(observer, "orlop_attributes_dropped_total", kind="xattr") == 3


def test_odd_numbers_do_not_raise() -> None:
    observer = PrometheusObserver()
    observer.pull_ended(ended(downloaded=-1))
    observer.layer_unpacked(DIGEST, -1.0, -1)
    observer.attribute_dropped("", -1)
    assert value(observer, "orlop_downloaded_bytes_total", registry="r.example") == 0


def test_clients_cannot_make_more_and_more_series() -> None:
    observer = PrometheusObserver()
    for number in range(1000):
        observer.pull_ended(ended(registry=f"r{number}.example", downloaded=1))
        observer.attribute_dropped(f"kind-{number}", 1)
    found = samples(observer)
    assert len([key for key in found if key[0] == "orlop_pulls_total"]) == 65
    assert len([key for key in found if key[0] == "orlop_attributes_dropped_total"]) == 65
    assert value(observer, "orlop_pulls_total", registry=OTHER, code="ok") == 1000 - 64
    observer.pull_ended(ended(registry="r0.example"))
    assert value(observer, "orlop_pulls_total", registry="r0.example", code="ok") == 2


def test_two_observers_are_apart_and_the_global_registry_is_left_alone() -> None:
    one, two = PrometheusObserver(), PrometheusObserver()
    one.attribute_dropped("x", 1)
    assert ("orlop_attributes_dropped_total", (("kind", "x"),)) not in samples(two)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("orlop")]


def test_every_metric_is_ours_and_explained() -> None:
    text = PrometheusObserver().exposition().decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) >= 8
    for family in families:
        assert family.name.startswith("orlop_")
        assert family.documentation.endswith(".")


def test_the_room_loads_no_other_room_of_siblings() -> None:
    code = (
        "import sys, orlop.metrics.observer, orlop.metrics.server;"
        "print([m for m in sys.modules if m.startswith(('orlop.pull', 'orlop.store', 'grpc'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
