"""``orlop rm``."""

import json
from collections.abc import Callable

from orlop.testing.images import build_image
from orlop.testing.layers import file
from orlop.testing.memory_service import MemoryService, shelf

Run = Callable[..., tuple[int, str, str]]
BUSYBOX_ID = str(shelf()["docker.io/library/busybox:latest"].id)


def names(run: Run) -> list[str]:
    return [line.split()[0] for line in run("images")[1].splitlines()[1:]]


def test_a_reference_removes_that_name(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("rm", "busybox:1.37")
    assert (code, out, err) == (0, "removed busybox:1.37\n", "")
    assert names(run) == ["busybox:latest", "registry.example/team/app:v1"]


def test_an_id_removes_the_image(run: Run, stocked: MemoryService) -> None:
    assert run("rm", BUSYBOX_ID)[0] == 0
    assert names(run) == ["registry.example/team/app:v1"]


def test_one_that_is_missing_does_not_stop_the_others(run: Run, stocked: MemoryService) -> None:
    code, out, err = run("rm", "nothing", "busybox:1.37")
    assert (code, out) == (3, "removed busybox:1.37\n")
    assert err == "orlop: no such image: nothing\nhint: `orlop images` lists what is here\n"


def test_the_first_error_decides(run: Run, service: MemoryService) -> None:
    # Of seventeen ids, two begin with the same digit.
    images = [build_image([[file(f"f{number}")]]) for number in range(17)]
    for number, image in enumerate(images):
        service.put(f"docker.io/library/n{number}:latest", image)
    digits = [image.id.hex[0] for image in images]
    shared = next(digit for digit in digits if digits.count(digit) > 1)
    code, _, err = run("rm", shared, "nothing")
    assert code == 2
    assert [line.split()[1] for line in err.splitlines() if line.startswith("orlop:")] == [
        f'"{shared}"',
        "no",
    ]
    assert run("rm", "nothing", shared)[0] == 3


def test_json(run: Run, stocked: MemoryService) -> None:
    code, out, _ = run("rm", "-o", "json", "busybox", "nothing")
    assert code == 3
    assert json.loads(out) == [
        {"reference": "busybox", "removed": True, "error": None},
        {"reference": "nothing", "removed": False, "error": "no such image: nothing"},
    ]


def test_it_wants_a_reference(run: Run) -> None:
    code, _, err = run("rm")
    assert code == 2
    assert "REF" in err


def test_all_names(run: Run, stocked: MemoryService) -> None:
    assert run("rm", "--all-names", "busybox:1.37")[0] == 0
    assert names(run) == ["registry.example/team/app:v1"]


def test_a_pinned_image_needs_force(run: Run, stocked: MemoryService) -> None:
    stocked.pins.add(shelf()["docker.io/library/busybox:latest"].id)
    for reference in ("busybox:1.37", BUSYBOX_ID):
        code, _, err = run("rm", reference)
        assert code == 5
        assert f"image {reference} is pinned\nhint: use --force" in err
    assert len(names(run)) == 3
    assert run("rm", "--force", BUSYBOX_ID)[0] == 0
    assert names(run) == ["registry.example/team/app:v1"]
