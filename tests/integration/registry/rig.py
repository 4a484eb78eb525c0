"""What the tests of hosts share: directories of ``hosts.toml``, registries that write a log."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from orlop.errors import OrlopError
from orlop.registry.settings import RegistrySettings
from orlop.testing.distribution import DistributionRegistry
from tests.integration.registry.test_distribution import (
    CONFIG_DESCRIPTOR,
    LAYER,
    MANIFEST,
    pull,
)
from tests.unit.registry.rig import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.remote import HTTPRemote

CANARY: Final = "hunter2-canary"
"""Stands in every secret, and must stand in no message."""


@contextmanager
def serving(
    directory: Path,
    stored: Path | None,
    *,
    htpasswd: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
) -> Iterator[DistributionRegistry]:
    """A registry with the image, or without any, that writes down what it is asked."""
    directory.mkdir()
    if stored is not None:
        shutil.copytree(stored, directory / "storage")
    with DistributionRegistry(
        directory,
        htpasswd=htpasswd,
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        access_log=True,
    ) as running:
        yield running


class Certs:
    """A directory of ``registry.config_path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, domain: str, text: str) -> Path:
        """A ``hosts.toml`` for a registry; its directory."""
        host, colon, port = domain.partition(":")
        directory = self.path / (f"{host}_{port}_" if colon else host)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(text)
        return directory

    @property
    def settings(self) -> RegistrySettings:
        return RegistrySettings(directories=(str(self.path),))


class Asked:
    """What a registry has been asked since."""

    def __init__(self, registry: DistributionRegistry) -> None:
        self._registry = registry
        self._before = len(registry.accesses())

    @property
    def requests(self) -> list[str]:
        return self._registry.accesses()[self._before :]

    async def for_all(self, namespace: str = "") -> None:
        """Wait until the log tells that the whole image was fetched here."""
        query = f"?ns={namespace}" if namespace else ""
        wanted = {
            f"HEAD /v2/library/app/manifests/latest{query} 200",
            f"GET /v2/library/app/manifests/{MANIFEST.digest}{query} 200",
            f"GET /v2/library/app/blobs/{CONFIG_DESCRIPTOR.digest}{query} 200",
            f"GET /v2/library/app/blobs/{LAYER.digest}{query} 200",
        }
        await until(lambda: wanted <= set(self.requests))


async def failure(remote: HTTPRemote) -> OrlopError:
    with pytest.raises(OrlopError) as caught:
        await pull(remote)
    return caught.value
