"""A registry that lies over HTTP: lengths, ranges, heads, bodies and statuses.

One service lives through all of it. Each case is an answer that is wrong for one
kind of request; the same is done over TCP and over TLS.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import (
    AuthPolicy,
    DigestMismatch,
    LimitExceeded,
    ManifestAmbiguous,
    ManifestInvalid,
    NotFound,
    OrlopError,
    RegistryError,
    RegistryProtocol,
    RegistryRejected,
    RegistryUnavailable,
    SizeMismatch,
    StoreFull,
)
from orlop.model.mediatype import DOCKER_MANIFEST, OCI_INDEX
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import NO_FAULT, Act, Event, Fault, Rule, redirect, throttle
from orlop.testing.scenarios import (
    Match,
    Scenario,
    Step,
    endless_body,
    endless_head,
    endless_trailers,
)
from tests.hostile.registry_rig import Site, site
from tests.hostile.rows import case, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.testing.faults import RecordedRequest
    from orlop.testing.images import BuiltImage

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

WIRES = pytest.mark.parametrize("wire", ["tcp", "tls"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("site"), image_pull_with_sync_fs=False) as made:
        yield made


@pytest.fixture
def registry(wire: str, here: Site) -> Iterator[FakeRegistry]:
    made = here.plain if wire == "tcp" else here.secure
    yield made
    made.clear_rules()
    made.clear_requests()


HEAD = Match("manifest", method="HEAD")
MANIFEST = Match("manifest", method="GET")
CONFIG = Match("blob", path="CONFIG")
BLOB = Match("blob", path="LAYER")
WHOLE = replace(BLOB, ranged=False)
RANGED = replace(BLOB, ranged=True)
PAGE = b"<html><body>Please log in</body></html>"


def fields(**named: str | tuple[str, ...] | None) -> Fault:
    return Fault(headers={name.replace("_", "-"): value for name, value in named.items()})


def always(match: Match, fault: Fault) -> list[Step]:
    return [Step(match, fault, None)]


def framed(body: bytes) -> Fault:
    """A body that is sent as it is and said to be in chunks."""
    return Fault(headers={"Content-Length": None, "Transfer-Encoding": "chunked"}, body=body)


REFUSED = [
    # Redirects; those to registries that exist are in test_registry_redirects.
    case("H03", "circle", always(BLOB, redirect("?again")), RegistryProtocol),
    case("H03", "to-a-file", always(BLOB, redirect("file:///etc/passwd")), RegistryProtocol),
    case("H03", "to-data", always(HEAD, redirect("data:text/plain,x")), RegistryProtocol),
    case("H03", "private", always(BLOB, redirect("https://10.0.0.1/x")), AuthPolicy),
    case("H03", "metadata", always(HEAD, redirect("https://169.254.169.254/x")), AuthPolicy),
    case("H03", "metadata-ipv6", always(BLOB, redirect("https://[fd00:ec2::254]/")), AuthPolicy),
    case("H03", "mapped", always(BLOB, redirect("https://[::ffff:10.0.0.1]/")), AuthPolicy),
    case("H03", "unspecified", always(BLOB, redirect("https://0.0.0.0/x")), AuthPolicy),
    case("H03", "a-number", always(BLOB, redirect("https://167772161/x")), AuthPolicy),
    case("H03", "user-name", always(BLOB, redirect("https://u:p@other.example/")), AuthPolicy),
    case("H03", "nonsense", always(HEAD, redirect("https://[x/")), RegistryProtocol),
    # Lengths.
    case("H20", "too-small", always(BLOB, fields(Content_Length="10")), RegistryProtocol),
    case("H20", "too-large", always(BLOB, fields(Content_Length="999999999")), RegistryProtocol),
    case("H20", "huge", always(BLOB, fields(Content_Length="9" * 18)), RegistryProtocol),
    case("H20", "beyond-integers", always(BLOB, fields(Content_Length="9" * 40)), RegistryProtocol),
    case("H20", "negative", always(BLOB, fields(Content_Length="-5")), RegistryProtocol),
    case("H20", "no-number", always(BLOB, fields(Content_Length="ten")), RegistryProtocol),
    case("H20", "twice", always(BLOB, fields(Content_Length=("10", "11"))), RegistryProtocol),
    case("H20", "both", always(BLOB, fields(Transfer_Encoding="chunked")), RegistryProtocol),
    case("H20", "document", always(MANIFEST, fields(Content_Length="7")), RegistryProtocol),
    case("H20", "ends-early", always(MANIFEST, Fault(truncate_at=9)), RegistryUnavailable),
    case("H20", "chunk-garbage", always(BLOB, framed(b"zz\r\nxx\r\n")), RegistryProtocol),
    case("H20", "chunk-negative", always(BLOB, framed(b"-5\r\nxx\r\n")), RegistryProtocol),
    case("H20", "chunk-huge", always(BLOB, framed(b"f" * 30 + b"\r\nx")), RegistryProtocol),
    # Bodies that go on.
    case("H21", "chunks", always(BLOB, endless_body(chunked=True)), SizeMismatch),
    case("H21", "until-the-end", always(BLOB, endless_body(chunked=False)), SizeMismatch),
    case(
        "H21",
        "one-byte",
        always(WHOLE, Fault(chunked=True, events=(Event(Act.INSERT, 0, data=b"1\r\n!\r\n"),))),
        SizeMismatch,
    ),
    case("H21", "document", always(MANIFEST, endless_body(chunked=True)), SizeMismatch),
    case(
        "H21",
        "document-of-unknown-size",
        [*always(HEAD, Fault(status=404)), *always(MANIFEST, endless_body(chunked=True))],
        LimitExceeded,
    ),
    # Ranges.
    case("H22", "no-byte-at-all", always(BLOB, Fault(reset_at=0)), RegistryUnavailable),
    case("H23", "not-asked-for", always(WHOLE, Fault(status=206, body=b"x")), RegistryProtocol),
    case(
        "H23",
        "another-total",
        [
            Step(WHOLE, Fault(truncate_at=1000), None),
            *always(RANGED, fields(Content_Range="bytes 0-1/9")),
        ],
        RegistryProtocol,
    ),
    case(
        "H24",
        "changes-every-time",
        [
            Step(WHOLE, Fault(corrupt_at=5, truncate_at=1000), 1),
            *always(WHOLE, Fault(corrupt_at=9)),
        ],
        DigestMismatch,
    ),
    # Statuses.
    case("H25", "asks-for-years", always(HEAD, throttle("1000000000")), RegistryUnavailable),
    case("H25", "asks-for-more", always(HEAD, throttle("9" * 40)), RegistryUnavailable),
    case("H25", "storm", always(HEAD, Fault(status=503)), RegistryUnavailable),
    case("H25", "storm-of-layers", always(BLOB, Fault(status=500)), RegistryUnavailable),
    case("H25", "timeout", always(HEAD, Fault(status=408)), RegistryUnavailable),
    case("H25", "misdirected", always(Match("manifest"), Fault(status=421)), RegistryRejected),
    case("H25", "legal-reasons", always(Match("manifest"), Fault(status=451)), RegistryRejected),
    # Heads.
    case("H27", "endless-head", always(HEAD, endless_head()), RegistryProtocol),
    case("H27", "endless-head-of-a-layer", always(BLOB, endless_head()), RegistryProtocol),
    case("H27", "long-field", always(BLOB, fields(X_Long="x" * 100_000)), RegistryProtocol),
    case("H27", "many-fields", always(BLOB, fields(X=("x",) * 500)), RegistryProtocol),
    case(
        "H27",
        "long-status-line",
        always(BLOB, Fault(raw=b"HTTP/1.1 200 " + b"O" * 100_000 + b"\r\n\r\n")),
        RegistryProtocol,
    ),
    case("H27", "no-http", always(BLOB, Fault(raw=b"SSH-2.0-x\r\n\r\n")), RegistryProtocol),
    case("H27", "http-0.9", always(HEAD, Fault(raw=PAGE)), RegistryProtocol),
    case("H27", "no-status", always(HEAD, Fault(raw=b"HTTP/1.1 abc\r\n\r\n")), RegistryProtocol),
    # Where the nonsense begins depends on how the bytes arrive: it is one or the other.
    case("H27", "trailers", always(MANIFEST, endless_trailers()), RegistryError),
    # What answers say of themselves.
    case(
        "H28",
        "another-digest",
        [
            *always(HEAD, Fault(status=404)),
            *always(MANIFEST, fields(Docker_Content_Digest=f"sha256:{'0' * 64}")),
        ],
        DigestMismatch,
    ),
    case(
        "H28",
        "a-digest-that-is-not-there",
        always(HEAD, fields(Docker_Content_Digest=f"sha256:{'0' * 64}")),
        NotFound,
    ),
    case(
        "H31",
        "error-text",
        always(
            Match("manifest"),
            Fault(
                status=418,
                body=b'{"errors":[{"code":"A","message":"\\u001b[31m\\r\\n%s"}]}' % (b"x" * 9000),
            ),
        ),
        RegistryRejected,
    ),
    case(
        "H32",
        "page-for-a-manifest",
        always(Match("manifest"), Fault(body=PAGE, headers={"Content-Type": "text/html"})),
        ManifestInvalid,
    ),
    case("H32", "page-for-a-layer", always(BLOB, Fault(body=PAGE)), RegistryProtocol),
    case("Z08", "packed-layer", always(BLOB, fields(Content_Encoding="gzip")), RegistryProtocol),
    case("M01", "corrupt-manifest", always(MANIFEST, Fault(corrupt_at=0)), DigestMismatch),
    case("M01", "corrupt-blobs", always(BLOB, Fault(corrupt_at=0)), DigestMismatch),
    case(
        "M06",
        "ten-gigabytes",
        always(HEAD, fields(Content_Length=str(10 << 30))),
        LimitExceeded,
    ),
]


def played(image: BuiltImage, steps: list[Step]) -> Scenario:
    """The steps, with the names of the image's parts filled in."""
    names = {"CONFIG": str(image.id), "LAYER": str(image.layers[0].digest)}
    return Scenario(
        "played",
        tuple(
            replace(step, match=replace(step.match, path=names.get(step.match.path, "")))
            for step in steps
        ),
    )


@WIRES
@pytest.mark.parametrize(("steps", "kind"), REFUSED)
async def test_refused(
    here: Site, registry: FakeRegistry, steps: list[Step], kind: type[OrlopError]
) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    registry.play(played(image, steps))
    await here.survives(registry, reference, kind, image=image)
    assert len(registry.requests) < 60


BROKEN_ONCE = Step(WHOLE, Fault(truncate_at=1000))
HALF = 100_000

ENDURED = [
    case("H20", "no-length", always(BLOB, Fault(chunked=True))),
    case(
        "H20",
        "no-length-until-the-end",
        always(BLOB, Fault(headers={"Content-Length": None}, events=(Event(Act.CLOSE, None),))),
    ),
    *(
        case("H22", f"{act.value}-at-{at}", [Step(BLOB, Fault(events=(Event(act, at),)))])
        for act in (Act.RESET, Act.CLOSE, Act.HALF_CLOSE)
        for at in (0, 1, HALF, -1)
    ),
    case("H22", "reset-in-the-head", [Step(BLOB, Fault(events=(Event(Act.RESET, 20, "head"),)))]),
    case("H22", "no-answer", [Step(BLOB, Fault(raw=b""), 2), Step(HEAD, Fault(raw=b""), 2)]),
    case("H22", "a-bit-each-time", always(BLOB, Fault(truncate_at=60_000))),
    case("H22", "documents", [Step(m, Fault(reset_at=5), 2) for m in (MANIFEST, CONFIG)]),
    case(
        "H22", "closed-after-each-answer", always(Match(), Fault(events=(Event(Act.CLOSE, None),)))
    ),
    case("H23", "ignored", [BROKEN_ONCE, Step(RANGED, Fault(ignore_range=True))]),
    case("H23", "not-the-one", [BROKEN_ONCE, Step(RANGED, Fault(shift=1))]),
    case("H23", "an-earlier-one", [BROKEN_ONCE, Step(RANGED, Fault(shift=-500))]),
    case(
        "H23",
        "another-total",
        [BROKEN_ONCE, Step(RANGED, fields(Content_Range="bytes 1000-1999/2000"))],
    ),
    case("H23", "no-total", [BROKEN_ONCE, Step(RANGED, fields(Content_Range="bytes 1000-1999/*"))]),
    case("H23", "unsatisfied", [BROKEN_ONCE, Step(RANGED, Fault(status=416))]),
    case("H23", "said-to-be-all", [BROKEN_ONCE, Step(RANGED, fields(Content_Range=None))]),
    case(
        "H23",
        "parts",
        [
            BROKEN_ONCE,
            Step(
                RANGED,
                Fault(
                    status=206,
                    body=b"--x--",
                    headers={"Content-Type": "multipart/byteranges; boundary=x"},
                ),
            ),
        ],
    ),
    case("H24", "once", [Step(WHOLE, Fault(corrupt_at=5, truncate_at=1000))]),
    case("H24", "the-rest", [BROKEN_ONCE, Step(RANGED, Fault(corrupt_at=5))]),
    case("H25", "at-once", [Step(HEAD, throttle("0"), 2)]),
    case("H25", "in-a-moment", [Step(BLOB, throttle("1", status=503))]),
    case("H25", "in-the-past", [Step(HEAD, throttle("Wed, 21 Oct 2015 07:28:00 GMT"), 2)]),
    case("H25", "garbage", [Step(HEAD, throttle("soon \x07"), 2)]),
    case("H25", "negative", [Step(HEAD, throttle("-1"), 2)]),
    case("H25", "busy-with-layers", [Step(BLOB, Fault(status=502), 4)]),
    case("H28", "no-digest", always(Match(), fields(Docker_Content_Digest=None))),
    case("H28", "garbage", always(Match(), fields(Docker_Content_Digest="sha256:../../x"))),
    case("H28", "of-a-layer", always(BLOB, fields(Docker_Content_Digest=f"sha256:{'0' * 64}"))),
    case("H28", "tags-that-change", [BROKEN_ONCE, *always(RANGED, fields(ETag='"another"'))]),
    case(
        "H31", "warnings", always(Match(), fields(Warning=('299 - "\x1b[31m' + "x" * 5000 + '"',)))
    ),
    case(
        "H27",
        "some-interim-answers",
        always(
            Match(),
            Fault(
                events=(
                    Event(
                        Act.INSERT, 0, "head", data=b"HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n" * 5
                    ),
                )
            ),
        ),
    ),
]


@WIRES
@pytest.mark.parametrize("steps", ENDURED)
async def test_endured(here: Site, registry: FakeRegistry, steps: list[Step]) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    registry.play(played(image, steps))
    await here.gets(reference)
    assert len(registry.requests) < 60


@WIRES
@row("H22")
async def test_nothing_is_fetched_twice(here: Site, registry: FakeRegistry) -> None:
    image = here.fresh(layers=2)
    reference = here.offer(registry, image)
    # Ended in good order, everything that was sent has arrived.
    steps = [Step(BLOB, Fault(truncate_at=at)) for at in (1000, 0, 50_000, 1)]
    registry.play(played(image, steps))
    await here.gets(reference)
    size = len(image.layers[0].blob)
    pieces = [(0, 1000), (1000, 51_000), (51_000, 51_001), (51_001, size)]
    assert registry.fetched(str(image.layers[0].digest)) == pieces
    # All else came once, and over connections that were kept.
    for one in (image.layers[1].digest, image.id, image.digest):
        assert len(registry.fetched(str(one))) == 1
    assert len({request.connection for request in registry.requests}) < len(registry.requests)


@WIRES
@row("M22")
async def test_a_tag_that_moves(here: Site, registry: FakeRegistry) -> None:
    first, second = here.fresh(), here.fresh()
    reference = here.offer(registry, first)

    def moves(request: RecordedRequest) -> bool:
        if request.method == "GET":
            here.offer(registry, second)
        return False

    registry.add_rule(Rule(moves, NO_FAULT))
    await here.pull(reference)
    found = await here.store.service.find(reference)
    assert found is not None
    assert found.record.id == first.id
    assert await here.store.service.remove(reference)


def described(image: BuiltImage, **changes: object) -> bytes:
    """The image's manifest, with other things said about its first layer."""
    document = json.loads(image.manifest)
    document["layers"][0].update(changes)
    return json.dumps({k: v for k, v in document.items() if v is not None}).encode()


SIZES = [
    case("M02", "one-more", 1, RegistryProtocol),
    case("M02", "one-less", -1, RegistryProtocol),
    case("M02", "negative", -(10**9), ManifestInvalid),
    case("M02", "beyond-doubles", 2**53, ManifestInvalid),
    case("M06", "a-terabyte", 2**40, StoreFull),
]


@pytest.mark.parametrize(("difference", "kind"), SIZES)
@pytest.mark.parametrize("wire", ["tcp"])
async def test_a_descriptor_with_another_size(
    here: Site, registry: FakeRegistry, difference: int, kind: type[OrlopError]
) -> None:
    image = here.fresh()
    here.offer(registry, image)
    raw = described(image, size=len(image.layers[0].blob) + difference)
    registry.add_manifest("team/lies", "v1", raw, image.media_type)
    await here.refuses(
        f"{registry.address}/team/lies:v1", kind, keeps=tuple(one.digest for one in image.layers)
    )


TYPES = [
    case("M04", "field-and-document", {"Content-Type": OCI_INDEX}, ManifestAmbiguous),
    case("M04", "another-family", {"Content-Type": DOCKER_MANIFEST}, ManifestAmbiguous),
]


@pytest.mark.parametrize(("said", "kind"), TYPES)
@pytest.mark.parametrize("wire", ["tcp"])
async def test_a_media_type_told_differently(
    here: Site, registry: FakeRegistry, said: dict[str, str], kind: type[OrlopError]
) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    registry.fail(Fault(headers=said), path="/manifests/", times=None)
    await here.survives(registry, reference, kind, image=image)


@WIRES
@row("M15")
async def test_addresses_in_descriptors(here: Site, registry: FakeRegistry) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    with FakeRegistry() as elsewhere:
        urls = [f"{elsewhere.url}/layer", "file:///etc/passwd", "http://169.254.169.254/x"]
        raw = described(image, urls=urls)
        registry.add_manifest(
            reference.split("/", 1)[1].partition(":")[0], "v1", raw, image.media_type
        )
        await here.gets(reference)
        assert elsewhere.connections == 0
