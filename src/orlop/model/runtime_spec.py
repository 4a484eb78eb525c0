"""``config.json`` of an OCI runtime bundle, from an image's config. Pure.

What the image says becomes the process; everything else is what ``runc spec`` and
``crun spec`` write, but for ambient capabilities: who is not root gets none. Volumes
of the image are left to whoever runs the container.

Sources: OCI runtime specification, config.md and config-linux.md; OCI image
specification, conversion.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orlop.model.accounts import Identity
    from orlop.model.image import ImageConfig

VERSION: Final = "1.0.2"
ROOT: Final = "rootfs"
"""Name of the root file system's directory in a bundle."""

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOSTNAME: Final = "orlop"
_SHELL: Final = "sh"
"""What runs when the image names no program."""

_OPEN_FILES: Final = 1024
_CAPABILITIES: Final = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount")
_MOUNTS: Final = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),  # noqa: S108 - the container's
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
_MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def runtime_spec(
    config: ImageConfig,
    identity: Identity,
    *,
    working_dir: str,
    read_only: bool = False,
    cgroup_namespace: bool = False,
) -> dict[str, object]:
    """The document, as values for JSON.

    Args:
        config: of the image.
        identity: whom the process runs as.
        working_dir: absolute path in the root file system.
        read_only: the process cannot write to the root file system.
        cgroup_namespace: give it one; only with the unified hierarchy.
    """
    namespaces = (*_NAMESPACES, *(("cgroup",) if cgroup_namespace else ()))
    return {
        "ociVersion": VERSION,
        "process": _process(config, identity, working_dir),
        "root": {"path": ROOT, "readonly": read_only},
        "hostname": _HOSTNAME,
        "mounts": [_mount(*mount) for mount in _MOUNTS],
        "annotations": _annotations(config),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _process(config: ImageConfig, identity: Identity, working_dir: str) -> dict[str, object]:
    has_path = any(entry.startswith("PATH=") for entry in config.env)
    user: dict[str, object] = {"uid": identity.uid, "gid": identity.gid}
    if identity.groups:
        user["additionalGids"] = list(identity.groups)
    return {
        "terminal": False,
        "user": user,
        "args": [*config.entrypoint, *config.command] or [_SHELL],
        "env": [*(() if has_path else (_PATH,)), *config.env],
        "cwd": working_dir,
        "capabilities": {
            kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": _OPEN_FILES, "soft": _OPEN_FILES}],
        "noNewPrivileges": True,
    }


def _mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, object]:
    mount: dict[str, object] = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def _annotations(config: ImageConfig) -> dict[str, str]:
    """What the image says about itself; its labels win (conversion.md)."""
    said = {
        "org.opencontainers.image.os": config.platform.os,
        "org.opencontainers.image.architecture": config.platform.architecture,
        "org.opencontainers.image.variant": config.platform.variant,
        "org.opencontainers.image.author": config.author,
        "org.opencontainers.image.created": config.created,
        "org.opencontainers.image.stopSignal": config.stop_signal,
        "org.opencontainers.image.exposedPorts": ",".join(config.exposed_ports),
    }
    # The runtime specification forbids empty keys.
    return {key: value for key, value in {**said, **config.labels}.items() if key and value}
