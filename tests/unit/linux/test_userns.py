"""The maps of a user namespace; what it is to be in one is shown in ``tests/system``."""

from __future__ import annotations

import pytest

from orlop.linux import userns


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", []),
        ("me:100000:65536\n", [(100_000, 65_536)]),
        ("1000:5:1\nyou:7:1\nme:9:2", [(5, 1), (9, 2)]),
        ("me:x:1\nme:1\nme\nme:5:0\nme:5:-1\n:1:1\n", []),
    ],
)
def test_what_a_file_grants(text: str, ranges: list[tuple[int, int]]) -> None:
    assert userns.id_ranges(text, ["me", "1000"]) == ranges


def test_a_user_is_root_and_others_follow_without_a_gap() -> None:
    words = userns.map_words(1000, [(5000, 10), (90, 3)])
    assert words == ["0", "1000", "1", "1", "5000", "10", "11", "90", "3"]
    assert userns.map_words(1000, []) == ["0", "1000", "1"]


def test_the_machine_s_own_namespace_has_all_ids() -> None:
    assert userns.is_initial() == (userns.granted() == (userns.WHOLE[2], userns.WHOLE[2]))


@pytest.mark.root
def test_root_stays_where_it_is() -> None:
    before = userns.is_initial()
    userns.become_root()
    assert userns.is_initial() == before
