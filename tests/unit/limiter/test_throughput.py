"""How much of the ceiling is used, against the formula."""

import asyncio
from itertools import pairwise

import pytest

from sd3async.limiter import Limiter, RateLimit, Shape
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter.loops import CLOCK, run

LIMIT = RateLimit()
SPAN = LIMIT.period + CLOCK_MARGIN + LIMIT.delay_bound


def granted_at(shape: Shape, count: int, *, answer_after: float = 8.0) -> list[float]:
    """Return when `count` requests, all there from the beginning, were granted.

    The loop passes once between grant and write, as it does in any real client.
    """

    async def main() -> list[float]:
        limiter = Limiter(RateLimit(shape=shape), clock=CLOCK)
        instants: list[float] = []

        async def client() -> None:
            with await limiter.acquire() as permit:
                await asyncio.sleep(0)
                await permit.ready()
                instants.append(CLOCK.monotonic())
                permit.written()
                await asyncio.sleep(answer_after)
                permit.answered()

        await asyncio.gather(*(client() for _ in range(count)))
        return instants

    return run(main())


def test_the_paced_shape_keeps_97_percent_of_the_ceiling() -> None:
    """The README's number, and the price of pleasing every kind of server."""
    instants = granted_at("paced", 1000)

    assert instants[149] == pytest.approx(1.0, rel=0.01)
    assert max(later - sooner for sooner, later in pairwise(instants[:150])) < 0.01
    rate = 600 / (instants[-1] - instants[-601])
    assert rate == pytest.approx((LIMIT.max_requests - 1) / SPAN, rel=0.01)
    assert rate >= 0.97 * LIMIT.ceiling
    steps = [later - sooner for sooner, later in pairwise(instants[-601:])]
    assert max(steps) < 2 * min(steps)


def test_the_burst_shape_repeats_the_whole_limit() -> None:
    """Faster, for servers that are known to be no counters; each burst is spread over a second."""
    instants = granted_at("burst", 450)

    for number in range(3):
        burst = [instant - number * SPAN for instant in instants[150 * number : 150 * (number + 1)]]
        assert burst == pytest.approx([n / 150 for n in range(150)], abs=1e-4)


def test_the_bucket_shape_is_smooth_and_keeps_94_percent() -> None:
    """aiolimiter alone, in its simplest correct tuning, for comparison."""
    instants = granted_at("bucket", 600)

    rate = 300 / (instants[-1] - instants[-301])
    assert rate == pytest.approx((150 - 4) / SPAN, rel=0.01)
    assert instants[149] > 0.9 * SPAN


def test_quick_answers_make_it_no_slower() -> None:
    """An answer only ever brings news that something is over."""
    assert granted_at("paced", 400, answer_after=0.05)[-1] <= granted_at("paced", 400)[-1]
