"""Random lives of requests, played against a limiter in virtual time, stamped by a server.

What the limiter is promised holds here and nothing more: a server stamps a request between
`distance` and `distance + delay bound` after it was written (its last byte, or its first), and
never after it answers.
"""

import asyncio
import enum
from collections.abc import Callable, Sequence

import attrs
from hypothesis import strategies as st

from sd3async.limiter import Limiter, Permit, PermitLostError, RateLimit, Shape
from unit.limiter import servers
from unit.limiter.loops import CLOCK, at

PERIOD = 10.0


class Fate(enum.Enum):
    """How a request ends."""

    ANSWERED = "answered"
    DROPPED = "sent, never answered"
    CANCELLED_WAITING = "cancelled after `patience`, most likely in the line"
    CANCELLED_CONNECTING = "cancelled with a permit, before anything is written"
    CONNECT_FAILED = "closed with a permit, before anything is written"
    CANCELLED_SENDING = "cancelled after the first byte; the server counts it all the same"
    CANCELLED_SENT = "cancelled after the last byte, before the server has it"


@attrs.frozen
class Life:
    """One request's plan; durations in seconds, `delay` as a share of the bound."""

    gap: float
    connecting: float
    sending: float
    delay: float
    thinking: float
    patience: float
    counted_at_head: bool
    fate: Fate


@attrs.frozen
class Scenario:
    """A limit, a distance to the server, and the requests in order of arrival."""

    limit: RateLimit
    distance: float
    lives: list[Life]


@attrs.define
class Outcome:
    """What came of a scenario."""

    limiter: Limiter
    stamps: list[float] = attrs.field(factory=list[float])
    granted: list[int] = attrs.field(factory=list[int])


def scenarios(shape: Shape) -> st.SearchStrategy[Scenario]:
    """Return scenarios for a shape: small limits, bunched arrivals, extreme delays."""
    life = st.builds(
        Life,
        gap=st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.3, 1.7, 5.0, 9.9, 23.0]),
        connecting=st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.3, 2.0, 9.0]),
        sending=st.sampled_from([0.0, 0.0, 0.0, 0.4, 3.0, 11.0]),
        delay=st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.5]),
        thinking=st.sampled_from([0.0, 0.01, 0.3, 8.0, 40.0]),
        patience=st.sampled_from([0.0, 0.5, 10.0, 20.1]),
        counted_at_head=st.booleans(),
        fate=st.sampled_from([Fate.ANSWERED, Fate.ANSWERED, Fate.DROPPED, *Fate]),
    )
    limit = st.builds(
        RateLimit,
        max_requests=st.integers(1, 6),
        period=st.just(PERIOD),
        delay_bound=st.sampled_from([0.0, 0.22, 1.5]),
        shape=st.just(shape),
    )
    return st.builds(
        Scenario,
        limit=limit,
        distance=st.sampled_from([0.0, 0.4, 5.0]),
        lives=st.lists(life, min_size=12, max_size=36),
    )


async def play(scenario: Scenario, limiters: Sequence[Limiter] = ()) -> Outcome:
    """Live every life; return when all have ended.

    Args:
        scenario: What happens.
        limiters: Whose permits the requests take, in turn; none is for one of their own.
    """
    limiters = limiters or [Limiter(scenario.limit, clock=CLOCK)]
    outcome = Outcome(limiters[0])
    async with asyncio.TaskGroup() as group:
        for number, life in enumerate(scenario.lives):
            if life.gap:
                await asyncio.sleep(life.gap)
            limiter = limiters[number % len(limiters)]
            task = group.create_task(_live(number, life, scenario, outcome, limiter))
            if life.fate is Fate.CANCELLED_WAITING:
                asyncio.get_running_loop().call_later(life.patience, task.cancel)
    return outcome


async def _live(
    number: int, life: Life, scenario: Scenario, outcome: Outcome, limiter: Limiter
) -> None:
    is_upload = life.sending > 0
    with await limiter.acquire(is_upload=is_upload) as permit:
        outcome.granted.append(number)
        is_over = await _use(permit, life, scenario, outcome.stamps)
    while not is_over:
        with await limiter.acquire(retry=True, is_upload=is_upload) as permit:
            quicker = attrs.evolve(life, connecting=0.0)  # its name is resolved by now
            is_over = await _use(permit, quicker, scenario, outcome.stamps)


async def _use(permit: Permit, life: Life, scenario: Scenario, stamps: list[float]) -> bool:
    """Connect and send; return whether that was all, or the permit was lost over it."""
    await asyncio.sleep(life.connecting)
    if life.fate in (Fate.CANCELLED_CONNECTING, Fate.CONNECT_FAILED):
        return True
    try:
        await permit.ready()
    except PermitLostError:
        return False
    delay = scenario.distance + life.delay * scenario.limit.delay_bound
    stamp = await _send(permit, life, delay, stamps)
    if life.fate is Fate.ANSWERED:
        await at(stamp + life.thinking)
        permit.answered()
    elif life.fate is Fate.DROPPED:
        await asyncio.sleep(life.thinking)
    return True


async def _send(permit: Permit, life: Life, delay: float, stamps: list[float]) -> float:
    """Write a request in one or two pieces; return, and note, when the server counts it."""
    stamp = CLOCK.monotonic() + delay
    counted_at_head = life.counted_at_head or life.fate is Fate.CANCELLED_SENDING
    if counted_at_head:
        stamps.append(stamp)
    if life.sending:
        permit.written(more=True)
        if life.fate is Fate.CANCELLED_SENDING:
            return stamp
        await asyncio.sleep(life.sending)
    permit.written()
    if not counted_at_head:
        stamp = CLOCK.monotonic() + delay
        stamps.append(stamp)
    return stamp


def log_is_kept(stamps: list[float], limit: RateLimit) -> bool:
    """Whether a sliding log never refused."""
    return servers.most_in_log(stamps, limit.period) <= limit.max_requests


def fixed_windows_are_kept(stamps: list[float], limit: RateLimit) -> bool:
    """Whether fixed windows never refused, at any phase."""
    return servers.most_in_fixed_windows(stamps, limit.period) <= limit.max_requests


def bucket_is_kept(stamps: list[float], limit: RateLimit) -> bool:
    """Whether a token bucket never refused."""
    most = servers.most_taken_from_bucket(stamps, limit.max_requests, limit.period)
    return most <= limit.max_requests


def counter_is_kept(stamps: list[float], limit: RateLimit) -> bool:
    """Whether a two-window counter never refused, at any phase."""
    return servers.most_in_counter(stamps, limit.period) <= limit.max_requests


Server = Callable[[list[float], RateLimit], bool]
ALL_BUT_COUNTERS: list[Server] = [log_is_kept, fixed_windows_are_kept, bucket_is_kept]
ALL_SERVERS: list[Server] = [*ALL_BUT_COUNTERS, counter_is_kept]
