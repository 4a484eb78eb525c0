"""What the tests of this room share."""

from __future__ import annotations

import pytest

from tests.rigs.store_calls import StoreCalls, store_calls


@pytest.fixture
def calls() -> StoreCalls:
    """Watches the calls that change the store."""
    return store_calls()
