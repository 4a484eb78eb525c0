"""What tests of the hostile corpus share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.testing.fake_registry import FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """An honest one, until it is told otherwise."""
    with FakeRegistry() as found:
        yield found
