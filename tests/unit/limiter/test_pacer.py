"""aiolimiter behind a synchronous face."""

import pytest

from sd3async.limiter.key import Key
from sd3async.limiter.pacer import Pacer
from sd3async.limiter.settings import RateLimit
from unit.limiter.loops import CLOCK, at, run


def taken_at(limit: RateLimit, count: int) -> list[float]:
    """Return when a pacer lets `count` pass that are all ready."""

    async def main() -> list[float]:
        pacer = Pacer(limit, Key(0, limit))
        instants: list[float] = []
        while len(instants) < count:
            now = CLOCK.monotonic()
            ready_at = pacer.ready_at(now)
            if ready_at > now:
                await at(ready_at)
            else:
                pacer.take(now)
                instants.append(now)
        return instants

    return run(main())


def test_max_rate_spaces_requests_evenly() -> None:
    """Smoothing that lets bunches through is no smoothing."""
    instants = taken_at(RateLimit(max_rate=4.0), 5)

    assert instants == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0], abs=1e-5)


def test_the_bucket_is_tuned_so_that_burst_and_rate_stay_within_the_limit() -> None:
    """`AsyncLimiter(150, 10)` admits 299; what fits is burst + rate x (period + delay) = limit."""
    limit = RateLimit(shape="bucket")
    instants = taken_at(limit, 300)

    assert instants[3] == 0.0
    window = limit.period + 0.01 + limit.delay_bound
    rate = 295 / (instants[-1] - instants[4])
    assert rate == pytest.approx((150 - 4) / window, rel=1e-3)


@pytest.mark.parametrize("max_requests", [1, 2, 5, 40])
def test_small_buckets_have_a_rate_too(max_requests: int) -> None:
    """A burst of 4 in a limit of 2 would be refused, a rate of nothing would hang."""
    limit = RateLimit(max_requests=max_requests, shape="bucket")

    instants = taken_at(limit, 3)

    assert instants[1] > 0.0
    assert instants[2] == pytest.approx(2 * instants[1], rel=1e-4)


def test_the_slower_of_bucket_and_max_rate_wins_without_a_burst() -> None:
    """Who asks for an even pace gets no bunch of four."""
    slow = taken_at(RateLimit(shape="bucket", max_rate=2.0), 3)
    fast = taken_at(RateLimit(shape="bucket", max_rate=1000.0), 3)

    assert slow == pytest.approx([0.0, 0.5, 1.0], abs=1e-5)
    assert fast[1] == pytest.approx((10.0 + 0.01 + 0.22) / 146, rel=1e-4)


def test_taking_what_is_not_there_is_a_mistake_that_shows() -> None:
    """A token taken without waiting would break the pace silently."""

    async def main() -> None:
        limit = RateLimit(max_rate=1.0)
        pacer = Pacer(limit, Key(0, limit))
        pacer.take(0.0)
        with pytest.raises(RuntimeError, match="not there"):
            pacer.take(0.0)

    run(main())


def test_a_pacer_without_a_pace_is_refused() -> None:
    """Only `max_rate` and the bucket shape say how fast."""
    limit = RateLimit()

    with pytest.raises(ValueError, match="max_rate or the bucket shape"):
        Pacer(limit, Key(0, limit)).ready_at(0.0)
