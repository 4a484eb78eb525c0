"""Errors over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop._proto import orlop_v1_pb2 as pb
from orlop.control.failure import details, from_message, to_message

if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(kind: type[errors.OrlopError] = errors.OrlopError) -> Iterator[type[errors.OrlopError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from tree(child)


def make(kind: type[errors.OrlopError]) -> errors.OrlopError:
    if issubclass(kind, errors.LimitExceeded):
        return kind("message", limit="layers", hint="hint")
    if issubclass(kind, errors.RegistryRejected):
        return kind("message", status=429, hint="hint")
    return kind("message", hint="hint")


@pytest.mark.parametrize("kind", list(tree()))
def test_every_error_comes_back_as_it_was(kind: type[errors.OrlopError]) -> None:
    sent = make(kind)
    received = from_message(pb.Error.FromString(to_message(sent).SerializeToString()))
    assert type(received) is kind
    assert vars(received) == vars(sent)
    assert received.args == sent.args


def test_an_unknown_kind_becomes_the_widest_of_its_code() -> None:
    message = pb.Error(code="DATA_LOSS", reference="moth-holes", message="m", hint="h")
    received = from_message(message)
    assert type(received) is errors.DataLoss
    assert (received.message, received.hint) == ("m", "h")
    message.code = "UNAVAILABLE"
    assert from_message(message).code is errors.Code.UNAVAILABLE


def test_an_unknown_code_is_a_defect() -> None:
    assert type(from_message(pb.Error(code="NEW", reference="new", message="m"))) is errors.Internal


def test_text_is_made_fit_for_the_wire() -> None:
    message = to_message(errors.NotFound("no file \udcff", hint="\udc80"))
    assert (message.message, message.hint) == ("no file \\udcff", "\\udc80")


@pytest.mark.parametrize("letter", ["x", "ä", "€", "\U0001f40b"])
def test_long_text_is_cut_between_letters(letter: str) -> None:
    error = errors.NotFound(letter * 9999, hint=letter * 9999)
    message = to_message(error)
    for text, limit in ((message.message, 2048), (message.hint, 2048), (details(error), 512)):
        assert limit - 4 < len(text.encode()) <= limit
        assert text.rstrip(".").strip(letter) == ""
