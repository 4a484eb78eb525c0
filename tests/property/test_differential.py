"""A part of ``python -m tests.differential``: everybody agrees on generated archives."""

from __future__ import annotations

import pytest

from tests.differential.archives import BSDTAR, ODD, TAR, UMOCI, write
from tests.differential.compare import Report, compare, reduced

pytestmark = pytest.mark.root

FIRST = 1000
"""Number of the first archive; the whole takes others."""


def test_everybody_agrees() -> None:
    report = Report()
    compare(range(FIRST, FIRST + 60), [TAR, BSDTAR, UMOCI], report)
    compare(range(FIRST + 60, FIRST + 300), [TAR, BSDTAR], report)
    for archive, program, _ in report.unexplained:
        print(archive.number, program, *reduced(archive, program))
    assert report.unexplained == []
    assert report.compared == {"itself": 300, TAR: 300, BSDTAR: 300, UMOCI: 60}
    assert 20 < report.refused < 100


def test_every_oddity_is_tried() -> None:
    """Whoever tries enough archives."""
    assert {name for number in range(1000) for name in write(number).odd} == set(ODD)


def test_an_archive_is_made_from_its_number() -> None:
    assert [write(number).data for number in range(20)] == [
        write(number).data for number in range(20)
    ]
    assert write(1).data != write(2).data
