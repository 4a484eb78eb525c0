"""``orlop pull`` without a terminal; the bars are tested on one elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

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
    assert [line.split(": ", 2)[2].split()[0] for line in lines[:-3]] == [
        "resolving",
        "pulling",
        "syncing",
    ]
    assert lines[1].startswith(f"orlop: {APP}: pulling 2 of 2 layers, ")
    assert lines[-3].startswith(f"orlop: pulled {APP}: ")
    assert lines[-2].startswith("orlop: took 0.50 s: downloading 0.20 s at ")
    assert lines[-1] == (
        "orlop: waited for the registry 0.29 s, unpacking 0.10 s,"
        " the sync to disk 0.10 s, hashing and writing 10 ms"
    )


def test_json(run: Run) -> None:
    code, out, _ = run("pull", APP, "-o", "json")
    image = json.loads(out)
    assert code == 0
    assert image["id"] == str(shelf()[APP].id)
    assert APP in image["names"]


def test_json_says_what_the_lines_say(run: Run) -> None:
    pull = json.loads(run("pull", APP, "-o", "json")[1])["pull"]
    assert pull["seconds"] == 0.5
    assert pull["downloaded_bytes"] > pull["present_bytes"] == 0
    assert pull["download_rate"] == round(pull["downloaded_bytes"] / 0.2)
    assert pull["waited"] == {"registry": 0.29, "processor": 0.1, "sync": 0.1, "writing": 0.01}


def test_a_timeline_is_a_picture_or_a_document(run: Run, tmp_path: Path) -> None:
    picture, document = tmp_path / "pull.svg", tmp_path / "pull.json"
    assert run("pull", APP, "--timeline", str(picture))[0] == 0
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert run("pull", APP, "--timeline", str(document))[0] == 0
    assert json.loads(document.read_text())["reference"] == APP


def test_a_timeline_of_a_pull_that_failed(run: Run, service: MemoryService, tmp_path: Path) -> None:
    service.failures[APP] = RegistryUnavailable("no route")
    path = tmp_path / "pull.json"
    assert run("pull", APP, "--timeline", str(path))[0] == 75
    assert json.loads(path.read_text())["error"] == "no route"


def test_a_timeline_of_another_kind(run: Run, service: MemoryService) -> None:
    code, _, err = run("pull", APP, "--timeline", "pull.png")
    assert code == 2
    assert "hint: end it in .svg" in err
    assert service.calls == []


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
