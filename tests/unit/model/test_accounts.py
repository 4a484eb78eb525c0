"""Who an image's user is."""

from __future__ import annotations

import pytest

from orlop.errors import ImageInvalid
from orlop.model.accounts import Identity, identify

PASSWD = b"""\
root:x:0:0:root:/:/bin/sh
# a comment
ann:x:1000:100:Ann:/var/ann:/bin/sh
short:x:5
big:x:4294967296:0::/:
1005:x:1006:1007::/:
ann:x:2000:200::/:
"""
GROUP = b"""\
root:x:0:ann
users:x:100:ann
staff:x:50:bob,ann
broken:x:many:ann
audio:x:29:
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0)),
        ("root", Identity(0, 0)),
        ("0", Identity(0, 0)),
        ("ann", Identity(1000, 100, (0, 50))),
        ("1000", Identity(1000, 100, (0, 50))),
        ("ann:audio", Identity(1000, 29)),
        ("ann:7", Identity(1000, 7)),
        ("ann:", Identity(1000, 100, (0, 50))),
        (":audio", Identity(0, 29)),
        ("7", Identity(7, 0)),
        ("7:8", Identity(7, 8)),
        ("1005", Identity(1005, 0)),
    ],
)
def test_users(user: str, expected: Identity) -> None:
    assert identify(user, passwd=PASSWD, group=GROUP) == expected


@pytest.mark.parametrize("user", ["bob", "short", "big", "ann:absent", "ann:broken", "-1", "a:b:c"])
def test_users_that_nobody_is(user: str) -> None:
    with pytest.raises(ImageInvalid, match="is not in its /etc/"):
        identify(user, passwd=PASSWD, group=GROUP)


def test_an_image_without_files() -> None:
    assert identify("", passwd=b"", group=b"") == Identity(0, 0)
    assert identify("12:13", passwd=b"", group=b"") == Identity(12, 13)
    with pytest.raises(ImageInvalid):
        identify("ann", passwd=b"\xff\xfe\0:x:1:1\n", group=b"\0")
