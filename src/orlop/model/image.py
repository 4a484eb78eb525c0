"""Image configs: what an image runs, and the list of its layers' diffIDs.

Only fields that orlop acts on or shows are read, and those strictly; others are
the runtime's business. Nothing in a config is ever obeyed here: users, volumes,
paths and labels are a stranger's words, passed on as they are.

Specification: OCI image specification, config.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, ManifestInvalid
from orlop.model.digest import Digest
from orlop.model.document import Node, decode
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.platform import Platform
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.manifest import Manifest

_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_MAX_ID: Final = (1 << 31) - 1  # runtimes keep ids in signed 32-bit numbers (CVE-2024-40635)
_MAX_ID_DIGITS: Final = 20
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image's config says.

    Attributes:
        raw: the bytes it was read from.
        digest: theirs; CRI calls it the image id.
        platform: normalised; ``unknown`` where the config does not tell.
        diff_ids: digests of the uncompressed layers, lowest first.
        created: RFC 3339 time, as written; "" if not told.
        author: as written.
        user: ``user[:group]``, names or numbers; "" means root.
        env: ``NAME=value`` each.
        entrypoint: program and first arguments.
        command: further arguments, or the program if there is no entrypoint.
        working_dir: as written; "" means ``/``.
        volumes: sorted paths, as written.
        exposed_ports: sorted ``port[/protocol]``, as written.
        labels: a stranger's words; never mixed with labels of the store.
        stop_signal: name or number, as written; "" means SIGTERM.
    """

    raw: bytes = field(repr=False)
    digest: Digest
    platform: Platform
    diff_ids: tuple[Digest, ...]
    created: str = ""
    author: str = ""
    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""


def parse_config(
    raw: bytes, *, limits: Limits = DEFAULTS, algorithm: str = "sha256"
) -> ImageConfig:
    """Read an image config.

    Args:
        raw: the whole document.
        limits: caps to respect.
        algorithm: of the digest that the manifest calls it by.

    Raises:
        ManifestInvalid: it breaks its specification, or its user is a number that is none.
        UnsupportedMediaType: a diffID's algorithm is not supported.
        LimitExceeded: it, its list of layers or its user is too long.
    """
    if len(raw) > limits.config_bytes:
        raise LimitExceeded(
            f"image config has {len(raw)} bytes, more than {limits.config_bytes}",
            limit="config_bytes",
        )
    node = decode(raw, "image config", limits)
    node.expect(
        *("architecture", "os", "variant", "os.version", "os.features", "config", "rootfs"),
        *("history", "created", "author"),
    )
    run = node.node("config") or Node({}, "image config.config")
    run.expect(
        *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir"),
        *("Labels", "StopSignal"),
    )
    user = run.text("User")
    _check_user(user, limits)
    return ImageConfig(
        raw=raw,
        digest=Digest.of(raw, algorithm),
        platform=_platform(node),
        diff_ids=_diff_ids(node.node("rootfs"), limits),
        created=node.text("created"),
        author=node.text("author"),
        user=user,
        env=run.texts("Env"),
        entrypoint=run.texts("Entrypoint"),
        command=run.texts("Cmd"),
        working_dir=run.text("WorkingDir"),
        volumes=run.names("Volumes"),
        exposed_ports=run.names("ExposedPorts"),
        labels=run.text_map("Labels"),
        stop_signal=run.text("StopSignal"),
    )


def check_pair(
    manifest: Manifest, config: ImageConfig, *, platform: Platform | None = None
) -> None:
    """Check that a manifest and its config speak of the same image.

    Args:
        manifest: of an image.
        config: the document that ``manifest.config`` points at.
        platform: what the index said about the manifest, if there was one. Variants may
            differ, for many configs leave theirs out.

    Raises:
        ManifestInvalid: the numbers of layers differ, a layer that occurs twice has two
            diffIDs, or the config is for another platform.
    """
    layers, diff_ids = manifest.layers, config.diff_ids
    if len(layers) != len(diff_ids):
        raise ManifestInvalid(
            f"manifest {manifest.digest} has {len(layers)} layers,"
            f" its config has {len(diff_ids)} diffIDs"
        )
    seen: dict[Digest, Digest] = {}
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if seen.setdefault(layer.digest, diff_id) != diff_id:
            raise ManifestInvalid(f"layer {layer.digest} has two diffIDs in config {config.digest}")
    if platform is not None and not _agree(platform.normalised(), config.platform):
        raise ManifestInvalid(
            f"config {config.digest} is for {quote(str(config.platform))},"
            f" the index says {quote(str(platform))}"
        )


def split_user(user: str) -> tuple[int | None, str]:
    """Take the user out of ``user[:group]``, as CRI reports it.

    Returns:
        A uid and ``""``, or ``None`` and a name; ``(None, "")`` for an empty user and for
        a number outside 0 to 2^31-1.
    """
    name = user.partition(":")[0]
    if _NUMBER.fullmatch(name) is None:
        return None, name
    return (int(name), "") if _is_id(name) else (None, "")


def _check_user(user: str, limits: Limits) -> None:
    size = len(user.encode())
    if size > limits.user_bytes:
        raise LimitExceeded(
            f"image config.config.User has {size} bytes, more than {limits.user_bytes}",
            limit="user_bytes",
        )
    for part in user.split(":"):
        if _NUMBER.fullmatch(part) and not _is_id(part):
            raise ManifestInvalid(
                f"image config.config.User is {quote(user)}: {quote(part)} is outside 0 to 2^31-1"
            )


def _is_id(number: str) -> bool:
    return len(number) <= _MAX_ID_DIGITS and 0 <= int(number) <= _MAX_ID


def _platform(node: Node) -> Platform:
    return Platform(
        os=node.text("os") or _UNKNOWN,
        architecture=node.text("architecture") or _UNKNOWN,
        variant=node.text("variant"),
        os_version=node.text("os.version"),
        os_features=node.texts("os.features"),
    ).normalised()


def _diff_ids(rootfs: Node | None, limits: Limits) -> tuple[Digest, ...]:
    if rootfs is None:
        raise ManifestInvalid("image config.rootfs is missing")
    rootfs.expect("type", "diff_ids")
    kind = rootfs.text("type")
    if kind != "layers":
        raise ManifestInvalid(f"{rootfs.path}.type is {quote(kind)}, not 'layers'")
    diff_ids = rootfs.digests("diff_ids")
    if len(diff_ids) > limits.layers:
        raise LimitExceeded(
            f"image config has {len(diff_ids)} diffIDs, more than {limits.layers}", limit="layers"
        )
    return diff_ids


def _agree(promised: Platform, found: Platform) -> bool:
    """Compare what both platforms tell; old tools leave parts out."""
    return all(
        one == other or _UNKNOWN in (one, other)
        for one, other in (
            (promised.os, found.os),
            (promised.architecture, found.architecture),
        )
    )
