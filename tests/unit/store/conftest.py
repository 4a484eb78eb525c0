"""Fixtures of the blob store's tests."""

from __future__ import annotations

import pytest

from orlop.testing.file_events import FileEvents


@pytest.fixture(scope="session")
def file_events() -> FileEvents:
    return FileEvents()
