"""``orlop pull`` without a terminal; the bars are tested on one elsewhere."""

import json
from collections.abc import Callable

from orlop.cli.connect import Endpoint
from orlop.errors import RegistryUnavailable
from orlop.ports.registry import Credentials
from orlop.ports.service import PullOptions
from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]
APP = "registry.example/team/app:v1"


def options(service: MemoryService) -> PullOptions:
    """What the last pull was asked for."""
    asked = service.calls[-1].arguments[1]
    assert isinstance(asked, PullOptions)
    return asked


def test_the_id_alone_goes_to_standard_output(run: Run) -> None:
    code, out, err = run("pull", APP)
    assert (code, out) == (0, f"{shelf()[APP].id}\n")
    lines = err.splitlines()
    assert [line.split(": ", 2)[2].split()[0] for line in lines[:-1]] == [
        "resolving",
        "pulling",
        "syncing",
    ]
    assert lines[1].startswith(f"orlop: {APP}: pulling 2 of 2 layers, ")
    assert lines[-1].startswith(f"orlop: pulled {APP}: ")


def test_json(run: Run) -> None:
    code, out, _ = run("pull", APP, "-o", "json")
    image = json.loads(out)
    assert code == 0
    assert image["id"] == str(shelf()[APP].id)
    assert APP in image["names"]


def test_options_reach_the_service(run: Run, service: MemoryService, asked: list[Endpoint]) -> None:
    run("pull", APP, "--platform", "linux/amd64", "--snapshotter", "native", "--root", "/r")
    assert options(service) == PullOptions(platform="linux/amd64", snapshotter="native")
    assert asked == [Endpoint(root="/r")]


def test_credentials(run: Run, service: MemoryService) -> None:
    secret = "private.example/secret"
    assert run("pull", secret)[0] == 1
    code, _, err = run("pull", secret, "--creds", "me:secret")
    assert code == 0
    assert "secret:" not in err.replace("private.example/secret:", "")
    assert run("pull", secret, "--creds", "-", stdin="me:secret\n")[0] == 0
    assert options(service).credentials == Credentials(username="me", password="secret")


def test_credentials_that_make_no_sense_are_not_sent(run: Run, service: MemoryService) -> None:
    for creds, stdin in (("me", ""), (":secret", ""), ("me:", ""), ("-", ""), ("-", "me\n")):
        code, _, err = run("pull", APP, "--creds", creds, stdin=stdin)
        assert code == 2
        assert "hint: use --creds USER" in err
    assert service.calls == []


def test_errors(run: Run, service: MemoryService) -> None:
    code, out, err = run("pull", "registry.example/nothing")
    assert (code, out) == (3, "")
    assert err.splitlines()[-1].startswith("orlop: registry.example/nothing:latest is not")
    assert run("pull", "Upper/Case")[0] == 2
    assert run("pull", APP, "--platform", "linux/s390x")[0] == 3
    service.failures[APP] = RegistryUnavailable("no route", hint="look at the cable")
    code, out, err = run("pull", APP)
    assert (code, out) == (75, "")
    assert err.splitlines()[-2:] == ["orlop: no route", "hint: look at the cable"]
