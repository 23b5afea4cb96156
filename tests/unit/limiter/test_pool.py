"""Several keys behind one line, and keys that are gone."""

import asyncio

import pytest

from sd3async.limiter import Limiter, Permit, RateLimit
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter.loops import CLOCK, at, run

pytestmark = pytest.mark.usefixtures("no_spread")

LIMIT = RateLimit(max_requests=3, period=10.0, delay_bound=0.5, shape="burst")
HELD = LIMIT.period + CLOCK_MARGIN + LIMIT.delay_bound


def a_limiter(limit: RateLimit = LIMIT, *, keys: int = 1) -> Limiter:
    return Limiter(limit, keys=keys, clock=CLOCK)


async def send(limiter: Limiter) -> Permit:
    """Send a request that is never answered."""
    with await limiter.acquire() as permit:
        await permit.ready()
        permit.written()
        return permit


async def fill(limiter: Limiter) -> None:
    for _ in range(limiter.limit.max_requests):
        await send(limiter)


def test_a_pool_spreads_its_load_and_sends_each_key_no_more_than_its_limit() -> None:
    """Three keys are three limits; the first must not be worn out while the others idle."""

    async def main() -> None:
        limiter = a_limiter(keys=3)
        keys = [(await send(limiter)).key for _ in range(9)]
        assert sorted(keys[:3]) == sorted(keys[3:6]) == sorted(keys[6:]) == [0, 1, 2]

        assert (await send(limiter)).instant == pytest.approx(HELD)

    run(main())


def test_a_caller_may_need_one_key_of_the_pool() -> None:
    """What is sent again carries the key that it carried before, in its turn and no sooner."""

    async def main() -> None:
        limiter = a_limiter(keys=2)
        keys = [(await limiter.acquire(key=1)).key for _ in range(3)]
        fourth = asyncio.create_task(limiter.acquire(retry=True, key=1))
        await at(1.0)
        assert keys == [1, 1, 1]
        assert not fourth.done()
        assert (await fourth).instant >= HELD

    run(main())


def test_a_retired_key_grants_no_more() -> None:
    """A withdrawn key (401) or an empty account (402) must not be asked again."""

    async def main() -> None:
        limiter = a_limiter(keys=2)

        assert limiter.retire(0)
        assert limiter.retire(0)

        assert {(await send(limiter)).key for _ in range(3)} == {1}
        assert (limiter.state(0).retired, limiter.state(1).retired) == (True, False)

    run(main())


def test_whoever_waits_for_a_token_of_a_retired_key_gets_another() -> None:
    """The key may be withdrawn while its bucket fills."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_rate=0.1), keys=2)
        await send(limiter)
        await send(limiter)
        waiting = asyncio.create_task(send(limiter))
        await at(1.0)
        limiter.retire(0)

        assert (await waiting).key == 1

    run(main())


def test_the_last_key_is_never_given_up() -> None:
    """Its account may be topped up while the program runs; without it everyone would hang."""

    async def main() -> None:
        limiter = a_limiter(keys=2)
        await fill(limiter)
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        assert limiter.retire(1)
        assert not limiter.retire(0)

        assert (await waiting).key == 0

    run(main())


def test_quick_round_trips_reach_the_right_key() -> None:
    """The delay bound of one key says nothing about another's path."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(delay_bound=0.1), keys=2)
        limiter.observe_round_trip(1, 0.1)
        limiter.observe_round_trip(1, 0.3)
        assert limiter.state(0).delay_bound == 0.1
        assert limiter.state(1).delay_bound == pytest.approx(0.3)

    run(main())


def test_a_limiter_needs_a_key() -> None:
    """Without one, every caller would wait for ever."""
    with pytest.raises(ValueError, match="keys: 0"):
        Limiter(LIMIT, keys=0)
