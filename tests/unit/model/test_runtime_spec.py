"""The document that a runtime reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.model.accounts import Identity
from orlop.model.image import parse_config
from orlop.model.runtime_spec import runtime_spec
from orlop.testing.images import build_image

if TYPE_CHECKING:
    from typing import Any

    from orlop.testing.images import Json


def spec(read_only: bool = False, unified: bool = False, **config: Json) -> dict[str, Any]:
    image = build_image(config={"config": config})
    return runtime_spec(
        parse_config(image.config),
        Identity(7, 8, (9,)),
        working_dir="/srv",
        read_only=read_only,
        cgroup_namespace=unified,
    )


def test_the_process() -> None:
    process = spec(Entrypoint=["/run", "-x"], Cmd=["y"], Env=["A=b"])["process"]
    assert process["args"] == ["/run", "-x", "y"]
    assert process["env"][0].startswith("PATH=/")
    assert process["env"][1:] == ["A=b"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [9]}
    assert process["cwd"] == "/srv"
    assert process["noNewPrivileges"]
    assert "ambient" not in process["capabilities"]


def test_what_the_image_does_not_say() -> None:
    process = spec(Cmd=None, Env=["PATH=/mine"])["process"]
    assert process["args"] == ["sh"]
    assert process["env"] == ["PATH=/mine"]


def test_choices() -> None:
    assert spec()["root"] == {"path": "rootfs", "readonly": False}
    assert spec(read_only=True)["root"]["readonly"]
    kinds = [one["type"] for one in spec()["linux"]["namespaces"]]
    assert kinds == ["pid", "network", "ipc", "uts", "mount"]
    kinds = [one["type"] for one in spec(unified=True)["linux"]["namespaces"]]
    assert kinds[-1] == "cgroup"


def test_annotations() -> None:
    found = spec(Labels={"": "x", "empty": "", "a": "b"}, ExposedPorts={"80": {}, "9/udp": {}})
    assert found["annotations"] == {
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.created": "2024-01-01T00:00:00Z",
        "org.opencontainers.image.exposedPorts": "80,9/udp",
        "a": "b",
    }
