"""What tests of the hostile corpus share."""

from __future__ import annotations

import pytest


@pytest.fixture
def threat(request: pytest.FixtureRequest) -> str:
    """Id of the row that a test is for; ``rows.row`` sets it."""
    name: str = request.param
    return name
