"""The attacks of a registry and on credentials that are tested here, and how tests name them.

Every test of ``test_registry_*`` and ``test_credentials_*`` begins the id of each of its
cases with that of a row, such as ``H23-another-total``; ``test_registry_rows`` sees that
no row is without a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest.mark.structures import ParameterSet

T = TypeVar("T")

ROWS: Final = {
    "H01": "a redirect to another origin gets nothing that is secret or ours",
    "H02": "a redirect from https to http is refused",
    "H03": "redirects in circles, out of HTTP, to addresses inside or with a user name are refused",
    "H10": "a token service without TLS, by address, inside or in another domain is not asked",
    "H11": "a token answer that is too long, no document or no token is refused",
    "H12": "challenges that are too long, too many or malformed are refused in linear time",
    "H13": "challenges without end are answered twice; tokens never serve another repository",
    "H20": "lengths that lie are found out before the body; nothing is allocated by them",
    "H21": "a body longer than its descriptor is cut off at once",
    "H22": "a connection may break at any byte; the download goes on where it stopped",
    "H23": "answers to range requests must be what was asked for, or start again",
    "H24": "a blob that changes between two connections is fetched afresh, once",
    "H25": "failing registries are asked again, as patiently as they want, up to a bound",
    "H26": "silence and slowness in any phase end the pull in bounded time",
    "H27": "interim answers, fields and trailers without end are refused in bounded memory",
    "H28": "digest and entity tags of an answer are compared at most, never believed",
    "H29": "a server that cannot prove who it is gets no request",
    "H30": "no user name in URLs; the environment's proxies and passwords are not used",
    "H31": "warnings and error texts are shortened and escaped, never acted upon",
    "H32": "login pages are neither manifests nor blobs",
    "H33": "of a name's addresses only those that may be reached are connected to",
    "H34": "a mirror that fails or lies is passed over and sees no credentials",
    "K01": "credentials appear in no log, error, traceback, file or database",
    "K02": "credentials appear in no argument and no environment of a process",
    "K03": "credentials stay in memory: the process dumps no core and cannot be traced by others",
    "K04": "credentials for one host are never offered to another host, port, sub-domain or scheme",
    "K05": "an image that is here is given only to those whom the registry gives it",
    "Z08": "a body that is packed on its way is refused, and never unpacked",
    "M01": "a document with another digest than asked for is refused before it is parsed",
    "M02": "a document with another size than its descriptor says is refused",
    "M04": "a document whose media type is told differently in three places is refused",
    "M06": "documents beyond the limits are not fetched",
    "M15": "addresses inside a descriptor are not visited",
    "M22": "a tag that moves during a pull does not mix two images",
}
"""What a registry can do to us, by the id of the threat, and what must be so."""


def case(row: str, what: str, *values: object) -> ParameterSet:
    """One set of parameters for ``pytest.mark.parametrize``, named by its row."""
    assert row in ROWS
    return pytest.param(*values, id=f"{row}-{what}")


def row(name: str) -> Callable[[T], T]:
    """Marks a test of its own for one row."""
    assert name in ROWS

    def mark(test: T) -> T:
        named = pytest.mark.parametrize("threat", [pytest.param(name, id=name)], indirect=True)
        return cast("T", pytest.mark.usefixtures("threat")(named(test)))

    return mark
