"""Whatever happens to a host: it is never lost, and never asked by a crowd while it is down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orlop.registry.health import HealthPolicy, HostHealth

POLICY = HealthPolicy()
EVENTS = st.tuples(
    st.sampled_from(["unreachable", "broke", "answered", "completed", "prefers", "gate"]),
    st.integers(0, 40),
)


@given(st.lists(EVENTS, max_size=60))
def test_the_breaker(events: list[tuple[str, int]]) -> None:
    host, now = HostHealth(POLICY), 0.0
    probe = -1.0  # when one was lent, of which nothing has been heard yet
    for kind, passed in events:
        now += passed
        before = host.state(now)
        match kind:
            case "unreachable":
                host.unreachable(now)
                assert host.state(now) == "open"
                probe = -1.0
            case "broke":
                host.broke(now)
                if before != "closed":
                    assert host.state(now) != "closed"
                if host.state(now) == "open":
                    probe = -1.0
            case "answered" | "completed":
                getattr(host, kind)()
                assert host.state(now) == "closed"
                probe = -1.0
            case "prefers":
                preferred = host.prefers(now)
                if before == "half-open" and preferred:
                    assert probe < 0 or now - probe >= POLICY.probe
                    probe = now
                elif before != "half-open":
                    assert preferred == (before == "closed")
            case _:
                host.close_gate(now, passed * 100)
                assert host.wait(now) <= POLICY.longest_gate
    # Left alone for long enough it may always be asked again.
    later = now + POLICY.longest_rest + POLICY.longest_gate + POLICY.probe
    assert host.prefers(later)
    assert host.wait(later) == 0


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 2000)), min_size=1, max_size=20))
def test_the_gate_opens_at_the_latest_moment(closings: list[tuple[int, int]]) -> None:
    host, now, latest = HostHealth(POLICY), 0.0, 0.0
    for passed, seconds in closings:
        now += passed
        host.close_gate(now, seconds)
        if seconds <= POLICY.longest_gate:
            latest = max(latest, now + seconds)
        assert host.wait(now) == max(0.0, latest - now)
