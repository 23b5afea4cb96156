"""The promise, kept by several processes together, over random lives of requests."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd3async.limiter import Limiter, RateLimit
from sd3async.limiter.shared import SharedSupply
from unit.limiter.loops import CLOCK, run
from unit.limiter.scenarios import ALL_SERVERS, Scenario, play, scenarios
from unit.limiter.stores import Shelf, ShelfStore

EXAMPLES = 60
WAYS = st.lists(st.sampled_from([0.0, 0.002, 0.03]), min_size=2, max_size=4)


def a_party(shelf: Shelf, limit: RateLimit, way: float = 0.0) -> Limiter:
    """Return the limiter of a process that shares a key through a shelf."""
    return Limiter(
        limit, clock=CLOCK, supplies=[SharedSupply(0, limit, CLOCK, ShelfStore(shelf, way))]
    )


async def play_and_check(
    scenario: Scenario, ways: list[float], *others: Coroutine[Any, Any, None], shelf: Shelf
) -> None:
    """Play with a process for each way to the store, and look at what the server saw."""
    parties = [a_party(shelf, scenario.limit, way) for way in ways]
    for party in parties:  # who has never seen the store cannot know what it has lost
        (await party.acquire()).close()
    meanwhile = [asyncio.ensure_future(other) for other in others]
    outcome = await play(scenario, parties)

    for is_kept in ALL_SERVERS:
        assert is_kept(outcome.stamps, scenario.limit), is_kept.__name__
    await asyncio.gather(*meanwhile)
    await check_that_nothing_is_lost(parties, scenario.limit)


async def check_that_nothing_is_lost(parties: list[Limiter], limit: RateLimit) -> None:
    """After a rest the whole limit is there again, for any of them."""
    await asyncio.sleep(4 * limit.period + limit.delay_bound)
    began = CLOCK.monotonic()
    permits = [await parties[0].acquire() for _ in range(limit.max_requests)]
    assert CLOCK.monotonic() - began <= limit.period / 10 + 1.0
    for permit in permits:
        permit.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scenarios("paced"), WAYS)
def test_no_kind_of_server_ever_refuses_several_processes(
    scenario: Scenario, ways: list[float]
) -> None:
    """Four workers with one key used to lock each other out."""
    run(play_and_check(scenario, ways, shelf=Shelf()))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    scenarios("paced"),
    WAYS,
    st.floats(0, 60),
    st.sampled_from([0.1, 3.0, 25.0]),
    st.booleans(),
)
def test_a_store_that_is_away_or_comes_back_empty_breaks_no_limit(
    scenario: Scenario, ways: list[float], at: float, away: float, is_wiped: bool
) -> None:
    """Redis is restarted without its memory, PostgreSQL fails over, somebody deletes the file."""
    shelf = Shelf()

    async def restart() -> None:
        await asyncio.sleep(at)
        shelf.is_away = True
        await asyncio.sleep(away)
        shelf.is_away = False
        if is_wiped:
            shelf.record = b""

    run(play_and_check(scenario, ways, restart(), shelf=shelf))
