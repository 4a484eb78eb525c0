"""What the tests of this room share."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.unit.unpack.rig import Images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Modes are taken as they are, as in a worker."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    """Makes images that are unmounted at the end."""
    with ExitStack() as cleanup:
        yield Images(tmp_path, cleanup)
