"""The promise, on the server's own stamps, over random lives of requests."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd3async.limiter import Limiter, RateLimit, Shape
from unit.limiter.loops import CLOCK, run
from unit.limiter.scenarios import (
    ALL_BUT_COUNTERS,
    ALL_SERVERS,
    Outcome,
    Scenario,
    Server,
    play,
    scenarios,
)

EXAMPLES = 120


async def play_and_check(scenario: Scenario, kept_servers: list[Server]) -> None:
    """Play, and check what holds for every scenario."""
    outcome = await play(scenario)

    for is_kept in kept_servers:
        assert is_kept(outcome.stamps, scenario.limit), is_kept.__name__
    assert outcome.granted == sorted(outcome.granted), "somebody was served out of turn"
    await check_that_nothing_is_lost(outcome, scenario.limit)


async def check_that_nothing_is_lost(outcome: Outcome, limit: RateLimit) -> None:
    """After a rest the whole limit is there again; a leaked slot would be missed here."""
    limiter = outcome.limiter
    assert limiter.state().waiting == 0
    await asyncio.sleep(3 * limit.period + limit.delay_bound)
    assert limiter.state().in_window == 0

    began = CLOCK.monotonic()
    permits = [await limiter.acquire() for _ in range(limit.max_requests)]
    if limit.shape != "bucket":
        assert CLOCK.monotonic() - began <= limit.period / 10
    for permit in permits:
        permit.close()


def promise(shape: Shape, kept_servers: list[Server]) -> None:
    """Play many scenarios of a shape."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(scenarios(shape))
    def never_refused(scenario: Scenario) -> None:
        run(play_and_check(scenario, kept_servers))

    never_refused()


def test_no_kind_of_server_ever_refuses_the_paced_shape() -> None:
    """One request too many costs 60 seconds without any: the promise of the package."""
    promise("paced", ALL_SERVERS)


def test_logs_windows_and_buckets_never_refuse_the_burst_shape() -> None:
    """The fast shape promises less, but what it promises holds."""
    promise("burst", ALL_BUT_COUNTERS)


def test_no_kind_of_server_ever_refuses_the_bucket_shape() -> None:
    """aiolimiter paces, and the window behind it covers what a bucket cannot know."""
    promise("bucket", ALL_SERVERS)


@pytest.mark.parametrize("shape", ["paced", "burst", "bucket"])
def test_what_was_sent_under_one_event_loop_counts_under_the_next(shape: Shape) -> None:
    """Three `asyncio.run` in a row are one client to the server."""
    limit = RateLimit(max_requests=8, delay_bound=0.5, shape=shape)
    servers = ALL_BUT_COUNTERS if shape == "burst" else ALL_SERVERS

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.floats(0, 4), min_size=2, max_size=5))
    def never_refused(rests: list[float]) -> None:
        outcome = send_under_several_loops(limit, rests)
        assert all(is_kept(outcome, limit) for is_kept in servers)

    never_refused()


def send_under_several_loops(limit: RateLimit, rests: list[float]) -> list[float]:
    """Send five requests under each of several loops, with rests between; return the stamps."""
    limiter = Limiter(limit, clock=CLOCK)
    stamps: list[float] = []

    async def send_five() -> float:
        for _ in range(5):
            with await limiter.acquire() as permit:
                await permit.ready()
                permit.written()
                stamps.append(CLOCK.monotonic() + limit.delay_bound * (len(stamps) % 2))
        return CLOCK.monotonic()

    now = 0.0
    for rest in rests:
        now = run(send_five(), start=now) + rest
    return stamps
