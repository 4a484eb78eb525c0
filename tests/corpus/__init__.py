"""Configurations as they are met in the field, each with what it means (see README.md)."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HERE: Final = Path(__file__).parent
_EXPECTED: Final = "expected.json"
_HOME: Final = "/etc/containerd"
_IMPORTS: Final = re.compile(r"^imports\s*=\s*\[.*?\]", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One node's configuration.

    Attributes:
        directory: where its files are.
        images: the image service's keys that differ from the defaults.
        warnings: ``FILE KEY`` for each.
        report: keys by kind of change, by document.
        home: where the files would stand on the node.
    """

    directory: Path
    images: Mapping[str, object]
    warnings: list[str]
    report: Mapping[str, Mapping[str, list[str]]]
    home: str = _HOME

    def __str__(self) -> str:
        return self.directory.name

    @property
    def documents(self) -> list[Path]:
        """All documents, the main one among them, as they are in the repository."""
        return [self.directory / name for name in self.report]

    def lay_out(self, place: Path, texts: Mapping[str, str] = MappingProxyType({})) -> Path:
        """Copy the files below ``place``, which imports then lead to.

        Args:
            place: a directory.
            texts: what documents say instead, by their names in ``report``.

        Returns:
            The main document.
        """
        copy = place / self.directory.name
        shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns(_EXPECTED))
        for name in self.report:
            path = copy / name
            path.write_text(self._imports_below(copy, texts.get(name, path.read_text())))
        return copy / "config.toml"

    def _imports_below(self, copy: Path, text: str) -> str:
        def rewritten(imports: re.Match[str]) -> str:
            return (
                imports[0]
                .replace(f'"{self.home}/', f'"{copy}/')
                .replace(f"'{self.home}/", f"'{copy}/")
            )

        return _IMPORTS.sub(rewritten, text)


def cases() -> list[Case]:
    """All configurations, by name."""
    return list(_read())


def _read() -> Iterator[Case]:
    for path in sorted(_HERE.glob(f"*/{_EXPECTED}")):
        expected = json.loads(path.read_text())
        expected.pop("about")
        yield Case(path.parent, **expected)
