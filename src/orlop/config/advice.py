"""What an operator should be told of a configuration that can be read. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from orlop.config import values
from orlop.config.decode import Problem
from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, PLUGINS, RUNTIME, Key, origin_of, show
from orlop.config.moves import IMAGE_KEYS_OF_CRI

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.config.draft import Draft
    from orlop.config.schema import Config, ImageConfig, RegistryConfig
    from orlop.config.sections import Section

# containerd's own places, in documents that were written for it. Two services
# on one of them would destroy each other's data.
_CONTAINERDS: tuple[tuple[Key, str], ...] = (
    (("root",), "/var/lib/containerd"),
    (("state",), "/run/containerd"),
    ((*GRPC, "address"), "/run/containerd/containerd.sock"),
)

# Types of containerd's plugins. Whatever is configured for one of these is the
# runtime's, unless it is a section of ours.
_TYPES = frozenset(
    f"io.containerd.{name}"
    for name in (
        "content.v1",
        "cri.v1",
        "diff.v1",
        "differ.v1",
        "event.v1",
        "exec.v1",
        "gc.v1",
        "grpc.v1",
        "image-verifier.v1",
        "internal.v1",
        "lease.v1",
        "metadata.v1",
        "metrics.v1",
        "monitor.container.v1",
        "monitor.task.v1",
        "monitor.v1",
        "mount-handler.v1",
        "mount-manager.v1",
        "nri.v1",
        "podsandbox.controller.v1",
        "runtime.v1",
        "runtime.v2",
        "sandbox.controller.v1",
        "sandbox.store.v1",
        "server.v1",
        "service.v1",
        "shim.v1",
        "snapshotter.v1",
        "streaming.v1",
        "tracing.processor.v1",
        "transfer.v1",
        "ttrpc.v1",
        "warning.v1",
    )
)

# Plugins of containerd whose names are near to those of our sections.
_RUNTIMES = frozenset(
    {
        "io.containerd.cri.v1.runtime",
        "io.containerd.server.v1.debug",
        "io.containerd.server.v1.grpc-tcp",
        "io.containerd.server.v1.ttrpc",
        "io.containerd.service.v1.diff",
        "io.containerd.service.v1.images-service",
        "io.containerd.snapshotter.v1.aufs",
        "io.containerd.snapshotter.v1.btrfs",
        "io.containerd.snapshotter.v1.erofs",
        "io.containerd.snapshotter.v1.zfs",
        "io.containerd.transfer.v1.remote",
        "io.containerd.metadata.v1.sqlite",
    }
)


def leave_containerds_places(draft: Draft) -> Iterator[str]:
    """Remove containerd's own root, state and addresses, so that our defaults hold."""
    for key, place in _CONTAINERDS:
        table = draft.table(key[:-1]) or {}
        value = table.get(key[-1])
        if isinstance(value, str) and value.removeprefix("unix://").rstrip("/") == place:
            yield _left(draft, key, place)
            del table[key[-1]]
    key = (*METRICS, "address")
    table = draft.table(METRICS) or {}
    value = table.get("address")
    # The daemon's own table, which orlop's documents write as a plugin's.
    old = origin_of(key, draft.origins).key == ("metrics", "address")
    if old and isinstance(value, str) and values.is_public(value):
        yield _left(draft, key, value)
        del table["address"]


def _left(draft: Draft, key: Key, place: str) -> str:
    where = origin_of(key, draft.origins)
    return f"{where}: {show(where.key)}: {place} is containerd's, orlop's default holds"


def contradictions(images: ImageConfig) -> Iterator[Problem]:
    """Values that are good alone and impossible together."""
    if images.registry.mirrors and images.registry.config_path:
        yield Problem(
            (*IMAGES, "registry", "mirrors"),
            "it cannot be set together with registry.config_path",
            "move the mirrors to hosts.toml files",
        )
    if images.min_pull_rate and not images.image_pull_progress_timeout.nanoseconds:
        yield Problem(
            (*IMAGES, "min_pull_rate"),
            "the average is taken over image_pull_progress_timeout, which is 0s",
        )


def advice(
    config: Config, document: Mapping[str, object], sections: Sequence[Section]
) -> Iterator[tuple[Key, str]]:
    """What is allowed but will surprise somebody: a key, and what there is to say of it.

    Args:
        config: what holds.
        document: the document that says it, of today's version.
        sections: all that are read.
    """
    yield from _deprecated(config.images.registry)
    if config.images.use_local_image_pull:
        key = (*IMAGES, "use_local_image_pull")
        yield key, "without effect; there is one way to pull"
    yield from _leftovers(config)
    yield from _slips(config)
    yield from _old_servers(document)
    known = [section.name for section in sections]
    for name in config.plugins:
        if name in known or name in _RUNTIMES:
            continue
        # Names of one type are alike; a slip of the pen is very near.
        of_containerd = name.rpartition(".")[0] in _TYPES
        near = get_close_matches(name, known, 1, 0.93 if of_containerd else 0.6)
        if near or not of_containerd:
            text = "nobody reads this table"
            yield (*PLUGINS, name), f"{text}; did you mean {near[0]}?" if near else text


def _deprecated(registry: RegistryConfig) -> Iterator[tuple[Key, str]]:
    """Tables that files replace, with the names of these files."""
    credentials = "use credentials that clients send, or name a file with them in"
    for name, use, hosts in (
        ("mirrors", "use", registry.mirrors),
        ("configs", credentials, registry.configs),
        ("auths", credentials, [values.auth_host(url) for url in registry.auths]),
    ):
        if hosts:
            key = (*IMAGES, "registry", name)
            yield key, f"deprecated; {use} {_hosts_files(hosts)}"


def _hosts_files(hosts: Iterable[str]) -> str:
    """The files for some registries, as an operator would look for them."""
    names = [f"{'_default' if host == '*' else host}/hosts.toml" for host in dict.fromkeys(hosts)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} in a directory of registry.config_path"


def _leftovers(config: Config) -> Iterator[tuple[Key, str]]:
    """Image keys that version 3 and later ignore, as containerd 2.0 to 2.2 did."""
    for relative in sorted(IMAGE_KEYS_OF_CRI):
        table: object = config.plugins.get(CRI[1])
        for name in relative[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and relative[-1] in table:
            key = (*CRI, *relative)
            yield key, f"ignored; since version 3 it belongs into {show(IMAGES)}"


def _slips(config: Config) -> Iterator[tuple[Key, str]]:
    """Keys that migration has given to the runtime, and that were meant for the images.

    The runtime's own keys are not known here; one that is all but an image key is none.
    """
    names = {relative[-1]: relative for relative in IMAGE_KEYS_OF_CRI}
    for above in sorted({relative[:-1] for relative in IMAGE_KEYS_OF_CRI}):
        table: object = config.plugins.get(RUNTIME[1])
        for name in above:
            table = table.get(name) if isinstance(table, dict) else None
        for name in table if isinstance(table, dict) else ():
            near = get_close_matches(name, names, 1, 0.9)
            if near and names[near[0]][:-1] == above:
                key = (*RUNTIME, *above, name)
                yield key, f"kept for the runtime; did you mean {near[0]}?"


def _old_servers(document: Mapping[str, object]) -> Iterator[tuple[Key, str]]:
    """Keys of tables that migration would have moved, in a document of today's version."""
    for name, place in (("grpc", GRPC), ("metrics", METRICS)):
        table = document.get(name)
        for below in table if isinstance(table, dict) else ():
            key = (name, below)
            yield key, f"ignored; since version 4 it belongs into {show(place)}"
