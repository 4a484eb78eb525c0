"""Scenarios: that they match what they say, play in order, and come again from a seed."""

from __future__ import annotations

import http.client

import pytest

from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, ConnectionFault, Fault, RecordedRequest
from orlop.testing.scenarios import Match, Scenario, Step, random_schedule


def request(method: str, path: str, **headers: str) -> RecordedRequest:
    return RecordedRequest(0, method, path, "", headers)


MANIFEST = request("HEAD", "/v2/a/manifests/latest")
BLOB = request("GET", "/v2/a/blobs/sha256:12", range="bytes=1-")
TOKEN = request("POST", "/token")


@pytest.mark.parametrize(
    ("match", "found"),
    [
        (Match(), [MANIFEST, BLOB, TOKEN]),
        (Match("manifest"), [MANIFEST]),
        (Match("blob"), [BLOB]),
        (Match("token"), [TOKEN]),
        (Match(method="POST"), [TOKEN]),
        (Match(path="sha256:12"), [BLOB]),
        (Match("blob", path="sha256:13"), []),
        (Match(ranged=True), [BLOB]),
        (Match(ranged=False), [MANIFEST, TOKEN]),
    ],
)
def test_what_a_step_is_for(match: Match, found: list[RecordedRequest]) -> None:
    assert [one for one in (MANIFEST, BLOB, TOKEN) if match(one)] == found


def test_a_scenario_is_played_in_order() -> None:
    steps = (
        Step(Match("blob"), Fault(status=500)),
        Step(Match(method="GET"), Fault(status=501), times=2),
        Step(Match(), Fault(status=502), times=None),
    )
    play = Scenario("play", steps, (ConnectionFault(act=Act.CLOSE),))
    found: list[object] = []
    with FakeRegistry() as registry:
        registry.play(play)
        for _ in range(6):
            connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)
            connection.request("GET", "/v2/a/blobs/x")
            try:
                found.append(connection.getresponse().status)
            except (http.client.RemoteDisconnected, ConnectionResetError):
                found.append("closed")
            finally:
                connection.close()
    assert found == ["closed", 500, 501, 501, 502, 502]


def test_a_seed_makes_the_same_schedule_again() -> None:
    many = [random_schedule(seed, sizes=(5000, 70)) for seed in range(100)]
    assert many == [random_schedule(seed, sizes=(5000, 70)) for seed in range(100)]
    assert [repr(one) for one in many[:5]] == [
        repr(random_schedule(seed, sizes=(5000, 70))) for seed in range(5)
    ]
    assert len({repr(one.steps) for one in many}) == 100
    assert {len(one.steps) for one in many} == {6}
    assert len({step.match.kind for one in many for step in one.steps}) == 3


def test_schedules_lie_only_when_they_may() -> None:
    def changes(lies: bool) -> set[bool]:
        return {
            bool(step.fault.corrupt_at is not None or step.fault.shift)
            for seed in range(200)
            for step in random_schedule(seed, lies=lies).steps
        }

    assert changes(lies=False) == {False}
    assert changes(lies=True) == {False, True}
    assert random_schedule(1, steps=0) == Scenario("seed 1")
