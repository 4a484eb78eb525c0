"""``orlop leases``."""

import json
from collections.abc import Callable

import pytest

from orlop.cli.connect import Endpoint
from orlop.testing.memory_service import MemoryService

Run = Callable[..., tuple[int, str, str]]


def test_added_listed_and_removed(run: Run) -> None:
    assert run("leases", "add", "busybox", "app", "--id", "mine", "-x", "1h", "--flat") == (
        0,
        "mine\n",
        "",
    )
    made_up = run("leases", "add", "busybox")[1].strip()
    lines = [line.split() for line in run("leases")[1].splitlines()]
    assert lines == [
        ["LEASE", "CREATED", "EXPIRES", "FLAT", "KEEPS"],
        [made_up, "2023-11-14T22:13:20Z", "never", "no", "1"],
        ["mine", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20Z", "yes", "2"],
    ]
    assert run("leases", "rm", "mine", made_up) == (0, f"removed mine\nremoved {made_up}\n", "")
    assert len(run("leases")[1].splitlines()) == 1


def test_json(run: Run) -> None:
    document = json.loads(run("leases", "add", "busybox", "--id", "mine", "-o", "json")[1])
    assert document == {
        "id": "mine",
        "created_at": "2023-11-14T22:13:20Z",
        "expires_at": None,
        "flat": False,
        "labels": {},
        "resources": [{"kind": "images", "id": "busybox"}],
    }
    assert json.loads(run("leases", "-o", "json")[1]) == [document]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("rm", "absent"), 3),
        (("add", "busybox", "-x", "soon"), 2),
        (("add",), 2),
        (("--root", "/x", "add", "busybox"), 2),
    ],
)
def test_what_goes_wrong(run: Run, arguments: tuple[str, ...], code: int) -> None:
    assert run("leases", *arguments)[0] == code
    assert run("leases")[1].count("\n") == 1


def test_where(run: Run, asked: list[Endpoint], service: MemoryService) -> None:
    for command in (("leases",), ("leases", "add", "a", "--id", "b"), ("leases", "rm", "b")):
        assert run(*command, "--root", "/x")[0] == 0
    assert [one.root for one in asked] == ["/x"] * 3
