"""Several keys behind one line, and keys that are gone."""

import asyncio

import pytest

from sd3async.limiter import Limiter, Permit, RateLimit
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter.loops import CLOCK, at, run

LIMIT = RateLimit(max_requests=3, period=10.0, delay_bound=0.5, shape="burst")
HELD = LIMIT.period + CLOCK_MARGIN + LIMIT.delay_bound


def a_limiter(limit: RateLimit = LIMIT, *, keys: int = 1) -> Limiter:
    return Limiter(limit, keys=keys, clock=CLOCK)


async def send(limiter: Limiter) -> Permit:
    """Send a request that is never answered."""
    with await limiter.acquire() as permit:
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

        assert (await send(limiter)).granted_at == pytest.approx(HELD)

    run(main())


def test_a_retired_key_grants_no_more() -> None:
    """A withdrawn key (401) or an empty account (402) must not be asked again."""

    async def main() -> None:
        limiter = a_limiter(keys=2)

        limiter.retire(0, PermissionError("withdrawn"))
        limiter.retire(0, PermissionError("withdrawn twice"))

        assert {(await send(limiter)).key for _ in range(3)} == {1}
        assert (limiter.state(0).retired, limiter.state(1).retired) == (True, False)

    run(main())


def test_with_the_last_key_gone_everyone_is_told() -> None:
    """Waiting for a key that never comes back would look like a hang."""

    async def main() -> None:
        limiter = a_limiter(keys=2)
        await fill(limiter)
        await fill(limiter)
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
        await at(1.0)

        limiter.retire(1, PermissionError("first gone"))
        limiter.retire(0, PermissionError("last gone"))

        for late in (*waiting, limiter.acquire(), limiter.acquire()):
            with pytest.raises(PermissionError, match="last gone"):
                await late
        assert limiter.state().waiting == 0

    run(main())


def test_a_waiter_cancelled_while_it_is_told_leaves_no_unread_error() -> None:
    """asyncio reports errors that nobody fetched; a clean shutdown must be silent."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        limiter.retire(0, PermissionError("gone"))
        waiting.cancel()
        await asyncio.wait([waiting])

        assert waiting.cancelled()

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
