"""One key through a lock-out and back, and what it learns."""

import math

import pytest

from sd3async.limiter.key import LOCKOUT_MARGIN, PROBE_PATIENCE, Key
from sd3async.limiter.settings import RateLimit
from sd3async.limiter.window import CLOCK_MARGIN

LIMIT = RateLimit(max_requests=100, period=10.0, lockout=60.0, delay_bound=0.2)
SHUT = LIMIT.lockout + LOCKOUT_MARGIN
CALM_MINUTE = 60.0


def a_key(limit: RateLimit = LIMIT) -> Key:
    return Key(limit)


def a_probe(key: Key, now: float) -> int:
    """Return the number of the slot that tests whether a lock-out is over."""
    slot = key.give(now, lead=0.0, slack=0.0)
    assert slot is not None
    assert slot.is_probe
    return slot.number


def passed_probe(key: Key, now: float) -> None:
    key.probe_closed(a_probe(key, now), now, accepted=True)


def shut_for(key: Key, now: float, retry_after: float | None) -> float:
    """Return for how long a 429 shuts the key [s]."""
    return key.freeze(now, retry_after)[0] - now


def is_first(key: Key, now: float) -> bool:
    """Return whether a 429 is the first of its episode."""
    return key.freeze(now, None)[1]


def test_a_refusal_shuts_the_key_for_the_lockout_and_a_margin() -> None:
    """Coming back early starts another lock-out: 900 requests lost."""
    key = a_key()
    until, _ = key.freeze(100.0, None)

    assert until == 100.0 + SHUT
    assert key.opens_at(100.0) == until
    assert key.frozen_until(100.0) == until
    assert key.frozen_until(until) is None


@pytest.mark.parametrize(
    ("retry_after", "shut"), [(90.0, 90.0), (5.0, 5.0), (-3.0, 60.0), (math.nan, 60.0)]
)
def test_what_the_server_asks_for_wins_over_the_usual_lockout(
    retry_after: float, shut: float
) -> None:
    """A gateway with a limit of its own may ask for seconds, and nonsense asks for nothing."""
    assert shut_for(a_key(), 0.0, retry_after) == shut + LOCKOUT_MARGIN


@pytest.mark.parametrize(("retry_after", "shut"), [(5.0, 60.0), (90.0, 90.0)])
def test_a_short_retry_after_is_believed_once(retry_after: float, shut: float) -> None:
    """Asking again and again inside a lock-out may extend it for ever."""
    key = a_key()
    thawed, _ = key.freeze(0.0, retry_after)
    a_probe(key, thawed)

    assert shut_for(key, thawed, retry_after) == shut + LOCKOUT_MARGIN


def test_a_later_refusal_only_moves_the_deadline_forward() -> None:
    """Of many refusals in flight, a short one must not undo a long one."""
    key = a_key()
    key.freeze(0.0, 300.0)

    second, _ = key.freeze(10.0, None)

    assert second == 300.0 + LOCKOUT_MARGIN
    assert key.freeze(290.0, None)[0] == 290.0 + SHUT


def test_a_thawed_key_grants_one_probe_and_waits_for_it() -> None:
    """A hundred requests into a lock-out that is not over would make it longer."""
    key = a_key()
    key.freeze(0.0, None)

    probe = a_probe(key, SHUT)

    assert key.opens_at(SHUT + 30) == math.inf
    key.probe_written(probe, SHUT + 30)
    assert key.opens_at(SHUT + 30) == SHUT + 30 + PROBE_PATIENCE


def test_a_probe_without_refusal_for_a_second_is_accepted() -> None:
    """An image takes seconds to come; waiting for it would waste the ceiling."""
    key = a_key()
    key.freeze(0.0, None)
    probe = a_probe(key, SHUT)

    key.probe_written(probe, SHUT)

    assert key.opens_at(SHUT + PROBE_PATIENCE) <= SHUT + PROBE_PATIENCE
    slot = key.give(SHUT + PROBE_PATIENCE, lead=0.0, slack=0.0)
    assert slot is not None
    assert not slot.is_probe


def test_a_probe_that_was_never_sent_is_followed_by_another() -> None:
    """A cancelled probe proves nothing; the key must neither open nor stay shut for good."""
    key = a_key()
    key.freeze(0.0, None)
    key.probe_closed(a_probe(key, SHUT), SHUT, accepted=False)

    opens_at = key.opens_at(SHUT)
    assert opens_at <= SHUT + LIMIT.spacing
    assert a_probe(key, opens_at)


def test_an_old_probe_says_nothing_about_a_new_lockout() -> None:
    """A slow answer to the first probe must not open a key that is shut again."""
    key = a_key()
    key.freeze(0.0, None)
    old = a_probe(key, SHUT)
    key.freeze(SHUT + 0.1, None)
    a_probe(key, 2 * SHUT + 0.1)

    key.probe_closed(old, 2 * SHUT + 0.1, accepted=True)

    assert key.opens_at(2 * SHUT + 0.1) == math.inf


def test_after_the_probe_a_ramp_and_after_a_period_the_rest() -> None:
    """If another program still uses the key, few requests should find out, not a burst."""
    key = a_key()
    key.freeze(0.0, None)
    passed_probe(key, SHUT)

    fair_share = (LIMIT.period + CLOCK_MARGIN + key.delay_bound(SHUT)) / key.max_requests(SHUT)
    assert key.opens_at(SHUT) == pytest.approx(SHUT + fair_share)
    assert key.opens_at(SHUT + LIMIT.period) == SHUT + LIMIT.spacing


def test_only_the_first_refusal_of_an_episode_counts_as_a_surprise() -> None:
    """Twenty refusals in flight are one mistake; the limit must not fall twenty times."""
    key = a_key()

    assert is_first(key, 0.0)
    assert not is_first(key, 0.1)
    a_probe(key, SHUT + 1)
    assert not is_first(key, SHUT + 1.1)
    assert key.max_requests(SHUT + 1.1) == 90

    passed_probe(key, 3 * SHUT)
    assert is_first(key, 3 * SHUT + 1)
    assert key.max_requests(3 * SHUT + 1) == 81


def test_a_surprise_makes_it_careful_and_calm_makes_it_bold_again() -> None:
    """Neither the same mistake every minute, nor a tenth less for ever."""
    key = a_key()
    key.freeze(0.0, None)
    assert key.delay_bound(0.0) == pytest.approx(0.3)
    assert key.max_requests(0.0) == key.max_requests(SHUT) == 90

    passed_probe(key, SHUT)

    numbers = [key.max_requests(SHUT + minute * CALM_MINUTE) for minute in range(12)]
    delays = [key.delay_bound(SHUT + minute * CALM_MINUTE) for minute in range(12)]
    assert numbers == sorted(numbers)
    assert delays == sorted(delays, reverse=True)
    assert numbers[5] in range(93, 97)
    assert (numbers[-1], delays[-1]) == (100, 0.2)


def test_however_often_it_is_refused_something_is_left() -> None:
    """A key shared with a greedy program must slow down, not stop, and not wait for minutes."""
    key = a_key(RateLimit(max_requests=2))
    now = 0.0
    for _ in range(40):
        now, _ = key.freeze(now, None)
        passed_probe(key, now)

    assert key.max_requests(now) == 1
    assert key.delay_bound(now) == 0.2 * LIMIT.period


def test_the_delay_bound_follows_the_spread_of_round_trips_not_their_length() -> None:
    """A distant server is no less regular; an uneven path is what bunches requests."""
    key = a_key()
    for seconds in (3.0, 3.1, 3.05):
        key.observe_round_trip(seconds)
    assert key.delay_bound(0.0) == LIMIT.delay_bound

    key.observe_round_trip(3.3)
    assert key.delay_bound(0.0) == pytest.approx(1.5 * 0.3)

    key.observe_round_trip(9.0)
    assert key.delay_bound(0.0) == 0.5


def test_old_round_trips_are_forgotten() -> None:
    """One bad minute must not cost throughput for the rest of the day."""
    key = a_key()
    key.observe_round_trip(9.0)
    for _ in range(64):
        key.observe_round_trip(0.1)

    assert key.delay_bound(0.0) == LIMIT.delay_bound


def test_a_generous_delay_bound_is_never_lowered() -> None:
    """Who sets two seconds knows why; calm round trips are no proof of the opposite."""
    key = a_key(RateLimit(delay_bound=2.0, period=5.0))
    key.observe_round_trip(0.1)
    key.freeze(0.0, None)

    assert key.delay_bound(0.0) == 2.0
