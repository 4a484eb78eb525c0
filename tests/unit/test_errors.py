"""The error tree: references are unique, and another process's error comes back whole."""

import pytest

from orlop import errors
from orlop.errors import (
    Internal,
    LimitExceeded,
    NotFound,
    OrlopError,
    RegistryRejected,
    Unavailable,
    rebuild,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, OrlopError) and kind is not OrlopError
]


def test_every_kind_has_a_reference_of_its_own() -> None:
    references = [kind.reference for kind in KINDS]
    assert len(set(references)) == len(references)


@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_errors_are_of_the_same_kind(kind: type[OrlopError]) -> None:
    error = rebuild(kind.reference, "m", hint="h", limit="layers", status=418)
    assert type(error) is kind
    assert (error.message, error.hint) == ("m", "h")
    if isinstance(error, LimitExceeded):
        assert error.limit == "layers"
    if isinstance(error, RegistryRejected):
        assert error.status == 418


def test_a_refinement_elsewhere_does_not_take_its_parents_place() -> None:
    class Refined(Unavailable):
        """As a room may have."""

    assert type(rebuild(Refined.reference, "m")) is Unavailable


def test_an_unknown_reference_falls_back_to_its_code() -> None:
    assert type(rebuild("from-the-future", "m", code="NOT_FOUND")) is NotFound
    assert type(rebuild("from-the-future", "m")) is Internal
