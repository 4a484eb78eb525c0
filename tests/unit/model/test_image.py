"""Image configs (threats M10 to M12, M18 to M20)."""

from __future__ import annotations

import json

import pytest

from orlop.errors import LimitExceeded, ManifestInvalid, UnsupportedMediaType
from orlop.model import mediatype
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.image import ImageConfig, check_pair, parse_config, split_user
from orlop.model.limits import Limits
from orlop.model.manifest import Manifest
from orlop.model.platform import Platform

A, B = Digest.of(b"a"), Digest.of(b"b")


def document(**changes: object) -> dict[str, object]:
    """An image config; a change to ``...`` removes the field."""
    fields: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(A), str(B)]},
        "config": {"Env": ["PATH=/bin"]},
    }
    return {k: v for k, v in (fields | changes).items() if v is not ...}


def read(**changes: object) -> ImageConfig:
    return parse_config(json.dumps(document(**changes)).encode())


def run(**config: object) -> ImageConfig:
    return read(config=config)


def rootfs(*diff_ids: Digest) -> dict[str, object]:
    return {"type": "layers", "diff_ids": [str(digest) for digest in diff_ids]}


def manifest(*layers: Digest) -> Manifest:
    return Manifest(
        raw=b"",
        digest=Digest.of(b""),
        media_type=mediatype.OCI_MANIFEST,
        config=Descriptor(mediatype.OCI_CONFIG, Digest.of(b"config"), 6),
        layers=tuple(Descriptor(mediatype.OCI_LAYER, digest, 1) for digest in layers),
    )


def test_everything() -> None:
    raw = json.dumps(
        document(
            variant="v3",
            created="2026-01-02T03:04:05Z",
            author="somebody",
            config={
                "User": "1000:1000",
                "Env": ["A=1", "B=2"],
                "Entrypoint": ["/init"],
                "Cmd": ["-v"],
                "WorkingDir": "/work",
                "Volumes": {"/z": {}, "/a": {}},
                "ExposedPorts": {"80/tcp": {}, "53": {}},
                "Labels": {"containerd.io/gc.root": "mine"},
                "StopSignal": "SIGKILL",
                "Healthcheck": {"Test": ["NONE"]},
            },
            history=[{"created_by": "hand", "empty_layer": True}],
            container_config={"Image": "x"},
        )
    ).encode()
    assert parse_config(raw) == ImageConfig(
        raw=raw,
        digest=Digest.of(raw),
        platform=Platform("linux", "amd64", "v3"),
        diff_ids=(A, B),
        created="2026-01-02T03:04:05Z",
        author="somebody",
        user="1000:1000",
        env=("A=1", "B=2"),
        entrypoint=("/init",),
        command=("-v",),
        working_dir="/work",
        volumes=("/a", "/z"),
        exposed_ports=("53", "80/tcp"),
        labels={"containerd.io/gc.root": "mine"},
        stop_signal="SIGKILL",
    )


def test_the_least() -> None:
    config = read(config=..., rootfs={"type": "layers", "diff_ids": None})
    assert config.diff_ids == ()
    assert (config.user, config.env, config.labels, config.volumes) == ("", (), {}, ())


def test_nulls_are_empty() -> None:
    names = ("User", "Env", "Entrypoint", "Cmd", "Volumes", "ExposedPorts", "Labels", "StopSignal")
    plain = run()
    nothing = run(**dict.fromkeys(names))
    assert (nothing.user, nothing.env, nothing.entrypoint, nothing.command) == ("", (), (), ())
    assert (nothing.volumes, nothing.exposed_ports, nothing.labels) == ((), (), plain.labels)
    assert read(config=None).env == ()


def test_the_digest_is_of_the_algorithm_that_was_asked_for() -> None:
    raw = json.dumps(document()).encode()
    assert parse_config(raw, algorithm="sha512").digest == Digest.of(raw, "sha512")


@pytest.mark.parametrize(
    ("changes", "platform"),
    [
        ({"architecture": "x86_64"}, "linux/amd64"),
        ({"architecture": "arm64", "variant": "v8"}, "linux/arm64"),
        ({"architecture": "arm"}, "linux/arm/v7"),
        ({"architecture": ...}, "linux/unknown"),
        ({"os": "", "architecture": ""}, "unknown/unknown"),
    ],
)
def test_platform(changes: dict[str, object], platform: str) -> None:
    assert str(read(**changes).platform) == platform


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"rootfs": ...}, r"image config\.rootfs is missing"),
        ({"rootfs": {"diff_ids": []}}, r"rootfs\.type is '', not 'layers'"),
        ({"rootfs": {"type": "erofs", "diff_ids": []}}, r"rootfs\.type is 'erofs'"),  # M12
        ({"rootfs": {"type": "layers", "diff_ids": "x"}}, r"diff_ids is no list"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, r"diff_ids\[0\]: digest 'x'"),
        ({"rootfs": {"type": "layers", "Diff_IDs": []}}, "'Diff_IDs' where only 'diff_ids'"),
        ({"os": 1}, r"image config\.os is no string"),
        ({"Rootfs": {}}, "'Rootfs' where only 'rootfs'"),
        ({"config": []}, r"image config\.config is no object"),
        ({"config": {"user": "root"}}, "'user' where only 'User'"),
        ({"config": {"User": 0}}, r"image config\.config\.User is no string"),
        ({"config": {"Env": "A=1"}}, "Env is no list"),
        ({"config": {"Cmd": "sh"}}, "Cmd is no list"),
        ({"config": {"Entrypoint": [1]}}, r"Entrypoint\[0\] is no string"),
        ({"config": {"Volumes": ["/a"]}}, "Volumes is no object"),
        ({"config": {"Labels": {"k": 1}}}, "no string"),
        ({"config": {"StopSignal": 9}}, "StopSignal is no string"),
        ({"created": 0}, "created is no string"),
    ],
)
def test_invalid_configs(changes: dict[str, object], cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=cause):
        read(**changes)


def test_unknown_algorithms_are_unsupported() -> None:
    with pytest.raises(UnsupportedMediaType, match=r"diff_ids\[0\] has the unsupported"):
        read(rootfs={"type": "layers", "diff_ids": ["blake3:00"]})


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8b", b"[]", b'{"a":1,"a":1}'])
def test_configs_are_strict_json(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid, match=r"^image config "):
        parse_config(raw)


def test_the_length_is_checked_first() -> None:
    with pytest.raises(LimitExceeded) as caught:
        parse_config(b"{" * 11, limits=Limits(config_bytes=10))
    assert caught.value.limit == "config_bytes"


def test_diff_ids_are_counted() -> None:
    assert len(read(rootfs=rootfs(*[A] * 500)).diff_ids) == 500
    with pytest.raises(LimitExceeded) as caught:
        read(rootfs=rootfs(*[A] * 501))
    assert caught.value.limit == "layers"


def test_hostile_content_is_passed_on_as_it_is() -> None:
    config = run(Volumes={"../../etc": {}}, WorkingDir="../..", Env=["x" * 100_000])  # M20
    assert config.volumes == ("../../etc",)
    assert config.working_dir == "../.."
    assert len(config.env[0]) == 100_000


# Who the image runs as: threat M19.


@pytest.mark.parametrize(
    ("user", "parts"),
    [
        ("", (None, "")),
        ("0", (0, "")),
        ("1000", (1000, "")),
        ("1000:1000", (1000, "")),
        ("1000:staff", (1000, "")),
        ("007", (7, "")),
        ("+5", (5, "")),
        ("2147483647", (2147483647, "")),
        ("root", (None, "root")),
        ("nobody:nogroup", (None, "nobody")),
        (":1000", (None, "")),
        ("0x0", (None, "0x0")),
        ("1e3", (None, "1e3")),
        ("\u0661", (None, "\u0661")),
        ("root:\u2026", (None, "root")),
    ],
)
def test_users(user: str, parts: tuple[int | None, str]) -> None:
    assert split_user(user) == parts
    assert run(User=user).user == user


@pytest.mark.parametrize(
    "user",
    ["2147483648", "4294967295", "4294967296", "-1", "-1:0", "9" * 400, "1" * 21 + ":x"],
)
def test_numbers_that_are_no_uid(user: str) -> None:
    assert split_user(user) == (None, "")
    with pytest.raises(ManifestInvalid, match="outside 0 to"):
        run(User=user)


@pytest.mark.parametrize("user", ["0:4294967296", "root:-1"])
def test_numbers_that_are_no_gid(user: str) -> None:
    with pytest.raises(ManifestInvalid, match="outside 0 to"):
        run(User=user)


def test_users_are_short() -> None:
    assert run(User="u" * 512).user
    for user in ("u" * 513, "\u20ac" * 171, "9" * 10**6):
        with pytest.raises(LimitExceeded) as caught:
            run(User=user)
        assert caught.value.limit == "user_bytes"
        assert len(str(caught.value)) < 200


# Manifest and config together: threats M10 and M11.


def test_a_pair() -> None:
    check_pair(manifest(A, B), read())
    check_pair(manifest(), read(rootfs=rootfs()))


@pytest.mark.parametrize("layers", [(), (A,), (A, B, A)])
def test_counts_must_agree(layers: tuple[Digest, ...]) -> None:
    with pytest.raises(ManifestInvalid, match=f"has {len(layers)} layers, its config has 2"):
        check_pair(manifest(*layers), read())


def test_a_repeated_layer_has_one_diff_id() -> None:
    check_pair(manifest(A, A), read(rootfs=rootfs(B, B)))
    with pytest.raises(ManifestInvalid, match="two diffIDs"):
        check_pair(manifest(A, A), read(rootfs=rootfs(A, B)))


def test_one_content_may_be_packed_in_two_ways() -> None:
    check_pair(manifest(A, B), read(rootfs=rootfs(A, A)))


@pytest.mark.parametrize(
    ("promised", "changes"),
    [
        ("linux/amd64", {}),
        ("linux/amd64/v3", {}),
        ("linux/arm/v7", {"architecture": "arm"}),
        ("linux/arm64", {"architecture": "aarch64", "variant": "v8"}),
        ("linux/arm64", {"architecture": ...}),
        ("linux/arm64", {"architecture": ..., "os": ...}),
        ("unknown/amd64", {}),
    ],
)
def test_platforms_agree(promised: str, changes: dict[str, object]) -> None:
    check_pair(manifest(A, B), read(**changes), platform=Platform.parse(promised))


@pytest.mark.parametrize("promised", ["linux/arm64", "windows/amd64", "linux/386"])
def test_platforms_must_agree(promised: str) -> None:
    with pytest.raises(ManifestInvalid, match="is for 'linux/amd64', the index says"):
        check_pair(manifest(A, B), read(), platform=Platform.parse(promised))
