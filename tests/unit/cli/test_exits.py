"""Every code ends somewhere, and the table in the documentation holds."""

import pytest

from orlop import errors
from orlop.cli import exits


def test_every_code_has_an_exit_code() -> None:
    assert set(exits.BY_CODE) == set(errors.Code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidReference("x"), 2),
        (errors.InvalidArgument("x"), 2),
        (errors.ConfigInvalid("x"), 1),
        (errors.NotFound("x"), 3),
        (errors.NoMatchingPlatform("x"), 3),
        (errors.ManifestInvalid("x"), 4),
        (errors.ArchiveEscape("x"), 4),
        (errors.DigestMismatch("x"), 4),
        (errors.StoreCorrupt("x"), 4),
        (errors.PermissionDenied("x"), 5),
        (errors.SignatureRejected("x"), 5),
        (errors.AuthPolicy("x"), 5),
        (errors.LimitExceeded("x", limit="layers"), 5),
        (errors.Unavailable("x"), 75),
        (errors.RegistryUnavailable("x"), 75),
        (errors.Stalled("x"), 75),
        (errors.RegistryRejected("x", status=400), 1),
        (errors.AuthFailed("x"), 1),
        (errors.StoreLocked("x"), 1),
        (errors.StoreFull("x"), 1),
        (errors.Internal("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(error: errors.OrlopError, code: int) -> None:
    assert exits.exit_code(error) == code
