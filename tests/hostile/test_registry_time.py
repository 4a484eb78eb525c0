"""A registry that is silent or slow, in every phase of a connection (H26, H27)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.config.durations import Duration
from orlop.errors import OrlopError, RegistryUnavailable, Stalled
from orlop.registry.settings import RegistrySettings
from orlop.testing.faults import Act, ConnectionFault, Drip, Event, Fault
from orlop.testing.scenarios import Match, Scenario, Step, endless_interim
from tests.hostile.registry_rig import Site, site
from tests.hostile.rows import case

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.testing.fake_registry import FakeRegistry

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

WIRES = pytest.mark.parametrize("wire", ["tcp", "tls"])
SHORT = RegistrySettings(connect_timeout=0.5, header_timeout=0.3)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(
        tmp_path_factory.mktemp("site"),
        settings=SHORT,
        image_pull_progress_timeout=Duration.parse("1200ms"),
        image_pull_with_sync_fs=False,
    ) as made:
        yield made


@pytest.fixture
def registry(wire: str, here: Site) -> Iterator[FakeRegistry]:
    made = here.plain if wire == "tcp" else here.secure
    yield made
    made.clear_rules()
    made.clear_requests()


HEAD = Match("manifest", method="HEAD")
BLOB = Match("blob")
DOCUMENT = Match("manifest", method="GET")
BEFORE = Fault(events=(Event(Act.STALL, 0, "head"),))
IN_HEAD = Fault(events=(Event(Act.STALL, 20, "head"),))

SILENT = [
    case("H26", "before-the-head", HEAD, BEFORE, RegistryUnavailable),
    case("H26", "in-the-head", HEAD, IN_HEAD, RegistryUnavailable),
    case("H26", "head-byte-by-byte", HEAD, Fault(drip=Drip(1, 0.05, "head")), RegistryUnavailable),
    case("H26", "after-the-head", DOCUMENT, Fault(stall_at=0), Stalled),
    case("H26", "in-a-document", DOCUMENT, Fault(stall_at=100), Stalled),
    case("H26", "in-a-layer", BLOB, Fault(stall_at=100), Stalled),
    case("H26", "chunks", BLOB, Fault(chunked=True, stall_at=100), Stalled),
    case("H27", "interim-answers", HEAD, endless_interim(), RegistryUnavailable),
    case("H27", "interim-processing", HEAD, endless_interim(102), RegistryUnavailable),
    case("H27", "interim-continue", HEAD, endless_interim(100), RegistryUnavailable),
]


@WIRES
@pytest.mark.parametrize(("match", "fault", "kind"), SILENT)
async def test_silence(
    here: Site, registry: FakeRegistry, match: Match, fault: Fault, kind: type[OrlopError]
) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    registry.play(Scenario("silence", (Step(match, fault, None),)))
    error = await here.survives(registry, reference, kind, image=image)
    assert registry.address in error.message


PAUSE = Event(Act.PAUSE, 99, seconds=0.3)
SLOW = [
    case("H26", "head-in-time", Step(HEAD, Fault(drip=Drip(100, 0.05, "head")))),
    case("H26", "layer-by-drips", Step(BLOB, Fault(drip=Drip(20_000, 0.1)))),
    case(
        "H26",
        "silence-and-then-more",
        Step(BLOB, Fault(events=(Event(Act.PAUSE, 99, seconds=0.3),))),
    ),
]


@WIRES
@pytest.mark.parametrize("step", SLOW)
async def test_slow_but_honest(here: Site, registry: FakeRegistry, step: Step) -> None:
    reference = here.offer(registry, here.fresh(size=100_000))
    registry.play(Scenario("slow", (step,)))
    await here.gets(reference)


HANDSHAKES = [
    case("H26", "no-handshake", ConnectionFault(act=Act.STALL)),
    case("H26", "part-of-a-handshake", ConnectionFault(raw=b"\x16\x03\x03\x40", act=Act.STALL)),
]


@pytest.mark.parametrize("wire", ["tls"])
@pytest.mark.parametrize("fault", HANDSHAKES)
async def test_handshakes(here: Site, registry: FakeRegistry, fault: ConnectionFault) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    # No connection may be left from before: those that are kept have shaken hands.
    for _ in range(2):
        registry.fail(Fault(headers={"Connection": "close"}, truncate_at=0), times=None)
        await here.refuses(reference, RegistryUnavailable)
        registry.clear_rules()
    registry.fail_connection(fault, times=3)
    await here.survives(registry, reference, RegistryUnavailable, image=image)


@WIRES
@pytest.mark.parametrize(
    "fault",
    [
        case("H26", "slow-to-accept", ConnectionFault(delay=0.1)),
        case("H26", "reset-at-once", ConnectionFault(act=Act.RESET)),
        case("H26", "closed-at-once", ConnectionFault(act=Act.CLOSE)),
    ],
)
async def test_connections(here: Site, registry: FakeRegistry, fault: ConnectionFault) -> None:
    image = here.fresh()
    reference = here.offer(registry, image)
    breaks = Fault(headers={"Connection": "close"}, events=(Event(Act.CLOSE, None),))
    registry.play(Scenario("breaks", (Step(Match(), breaks, None),), (fault, replace(fault))))
    await here.gets(reference)
