"""What ``--creds`` means."""

from io import StringIO

import pytest

from orlop.cli.credentials import credentials
from orlop.errors import InvalidArgument
from orlop.ports.registry import Credentials


def test_none() -> None:
    assert credentials(None) is None


@pytest.mark.parametrize(
    ("text", "user", "password"),
    [("me:secret", "me", "secret"), ("me:se:cret", "me", "se:cret"), ("me: ", "me", " ")],
)
def test_given(text: str, user: str, password: str) -> None:
    assert credentials(text) == Credentials(username=user, password=password)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore lines\n"])
def test_one_line_of_standard_input(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("me:sec ret" + end))
    assert credentials("-") == Credentials(username="me", password="sec ret")


@pytest.mark.parametrize("text", ["", ":secret", "me:", "me", "-"])
def test_refusals_show_no_secret(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("secret-without-a-user"))
    with pytest.raises(InvalidArgument) as caught:
        credentials(text)
    assert "secret" not in caught.value.message
    assert "--creds -" in caught.value.hint
