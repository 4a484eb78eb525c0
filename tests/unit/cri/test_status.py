"""The table from errors to gRPC codes, and the rules that kubelet relies on."""

from __future__ import annotations

import grpc
import pytest

from orlop import errors
from orlop.cri.status import CODES, MESSAGE_LIMIT, pull_status, status
from orlop.errors import Code
from orlop.registry.refusal import told

REFERENCE = "registry.example/team/app:v1"


def test_every_code_has_the_grpc_code_of_its_name() -> None:
    assert {code.name: CODES[code][0].name for code in Code} == {c.name: c.name for c in Code}


def test_every_class_text_is_the_one_that_go_clients_strip() -> None:
    texts = {code: text for code, (_, text) in CODES.items()}
    assert texts.pop(Code.CANCELLED) == "context canceled"
    assert texts.pop(Code.DEADLINE_EXCEEDED) == "context deadline exceeded"
    assert texts == {code: code.value for code in texts}


def test_the_message_ends_in_the_class_text_once() -> None:
    assert status(errors.NotFound("image x")).message == "image x: not found"
    assert status(errors.NotFound("image x: not found")).message == "image x: not found"


def test_a_long_message_is_cut_and_keeps_its_class() -> None:
    answer = status(errors.DataLoss("x" * 2000))
    assert len(answer.message) == MESSAGE_LIMIT
    assert answer.message.endswith("...: data loss")


def test_a_message_is_one_line() -> None:
    assert status(errors.Internal("one\n two\r\n\tthree")).message == "one two three: internal"


def test_a_message_is_fit_for_utf8() -> None:
    assert status(errors.Internal("a\udcff")).message == "a\\udcff: internal"


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (errors.RegistryUnavailable("registry.example: refused"), "RegistryUnavailable: registry."),
        (errors.SignatureRejected("no signature"), "SignatureValidationFailed: no signature"),
    ],
)
def test_kubelet_recognises_pull_errors(error: errors.OrlopError, start: str) -> None:
    answer = pull_status(REFERENCE, error)
    assert answer.code is grpc.StatusCode.UNKNOWN
    assert answer.message.startswith(start)


@pytest.mark.parametrize(
    "error",
    [
        errors.RegistryProtocol("registry.example sent no digest"),
        errors.RegistryRejected("registry.example: 403 Forbidden", status=403),
        errors.TLSFailed("registry.example: certificate has expired"),
        errors.AuthFailed("registry.example: 401 Unauthorized"),
    ],
)
def test_what_a_registry_says_is_shown_bare(error: errors.OrlopError) -> None:
    answer = pull_status(REFERENCE, error)
    assert (answer.code, answer.message) == (grpc.StatusCode.UNKNOWN, error.message)


def test_a_reference_that_does_not_parse() -> None:
    error = errors.InvalidReference("invalid reference 'UPPER': must be lower case")
    answer = pull_status("UPPER", error)
    assert answer.code is grpc.StatusCode.UNKNOWN
    assert answer.message == 'failed to parse image reference "UPPER": must be lower case'


def test_a_long_reference_does_not_hide_the_cause() -> None:
    answer = pull_status("a" * 5000, errors.InvalidReference("the name is too long"))
    assert answer.message.endswith(": the name is too long")


def test_a_stalled_pull_was_cancelled_by_us() -> None:
    answer = pull_status(REFERENCE, errors.Stalled("no byte arrived for 5m0s"))
    assert answer.code is grpc.StatusCode.CANCELLED
    assert answer.message == "no byte arrived for 5m0s: context canceled"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("no tag v9"), grpc.StatusCode.NOT_FOUND),
        (errors.NoMatchingPlatform("none for linux/s390x"), grpc.StatusCode.NOT_FOUND),
        (errors.InvalidArgument('no runtime handler "x"'), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.AuthPolicy("realm is elsewhere"), grpc.StatusCode.PERMISSION_DENIED),
        (errors.StoreFull("no space left"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DigestMismatch("layer"), grpc.StatusCode.DATA_LOSS),
        (errors.Unavailable("stopping"), grpc.StatusCode.UNAVAILABLE),
        (errors.StoreIO("fsync failed"), grpc.StatusCode.INTERNAL),
    ],
)
def test_other_pull_errors_keep_their_code(error: errors.OrlopError, code: grpc.StatusCode) -> None:
    assert pull_status(REFERENCE, error) == status(error)
    assert status(error).code is code


def test_pull_messages_are_short() -> None:
    for error in (
        errors.RegistryUnavailable("x" * 9999),
        errors.SignatureRejected("x" * 9999),
        errors.InvalidReference("x" * 9999),
        errors.AuthFailed("x" * 9999),
        errors.Stalled("x" * 9999),
    ):
        assert len(pull_status(REFERENCE, error).message) == MESSAGE_LIMIT


def test_the_limit_is_in_bytes() -> None:
    message = pull_status(REFERENCE, errors.RegistryUnavailable("\N{SNOWMAN}" * 999)).message
    assert MESSAGE_LIMIT - 3 < len(message.encode()) <= MESSAGE_LIMIT
    assert message.endswith("\N{SNOWMAN}...")


def test_the_registrys_own_cause_survives_the_cut() -> None:
    hosts = [(f"mirror{at}.example", "connection refused " * 9) for at in range(7)]
    hosts.append(("registry.example", "registry registry.example: certificate has expired"))
    message = pull_status(REFERENCE, errors.TLSFailed(told(hosts, REFERENCE))).message
    assert message.startswith(f"{REFERENCE}: registry.example: certificate has expired (before")
    assert "mirror0.example: connection refused" in message
    assert len(message.encode()) == MESSAGE_LIMIT
