"""A 429 and what follows, through the whole limiter."""

import asyncio
import logging

import pytest

from sd3async.limiter import Freeze, Limiter, Permit, PermitLostError, RateLimit
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter.loops import CLOCK, at, run

pytestmark = pytest.mark.usefixtures("no_spread")

LIMIT = RateLimit(max_requests=10, period=10.0, lockout=60.0, delay_bound=0.5)
SHUT = 60.5


def a_limiter(freezes: list[Freeze] | None = None, *, keys: int = 1) -> Limiter:
    on_freeze = None if freezes is None else freezes.append
    return Limiter(LIMIT, keys=keys, clock=CLOCK, on_freeze=on_freeze)


async def refused(limiter: Limiter, retry_after: float | None = None) -> int:
    """Send a request that is refused at once; return its key."""
    with await limiter.acquire() as permit:
        await permit.ready()
        permit.written()
        permit.refused(retry_after)
        return permit.key


async def accepted(limiter: Limiter, *, retry: bool = False) -> Permit:
    """Send a request that is answered after half a second."""
    with await limiter.acquire(retry=retry) as permit:
        await permit.ready()
        permit.written()
        await asyncio.sleep(0.5)
        permit.answered()
        return permit


def test_a_refusal_stops_everybody_then_one_goes_then_the_rest() -> None:
    """A gate behind the limiter releases hundreds at once; each refused again, for a minute."""

    async def main() -> None:
        limiter = a_limiter()
        await refused(limiter)

        permits = await asyncio.gather(*(accepted(limiter) for _ in range(5)))

        granted_at = [permit.instant for permit in permits]
        step = (10.0 + CLOCK_MARGIN + 0.75) / 9  # one request less, half as much delay again
        assert granted_at[0] == pytest.approx(SHUT)
        assert granted_at[1] == pytest.approx(SHUT + max(0.5, step))
        assert granted_at[2:] == pytest.approx([granted_at[1] + step * n for n in (1, 2, 3)])

    run(main())


def test_a_probe_that_takes_long_holds_the_rest_for_one_second() -> None:
    """No refusal after a second means accepted; images take longer than that to come."""

    async def main() -> None:
        limiter = a_limiter()
        await refused(limiter)
        probe = await limiter.acquire()
        assert probe.instant == pytest.approx(SHUT)
        waiting = asyncio.create_task(limiter.acquire())
        await at(SHUT + 5.0)  # connecting
        await probe.ready()
        probe.written()

        second = await waiting

        assert second.instant >= SHUT + 5.0 + 1.0
        assert second.instant < SHUT + 5.0 + 2.5

    run(main())


def test_a_refused_probe_shuts_the_key_again() -> None:
    """The lock-out was longer than believed: one request found out, not all."""

    async def main() -> None:
        freezes: list[Freeze] = []
        limiter = a_limiter(freezes)
        await refused(limiter)
        waiting = asyncio.create_task(refused(limiter))
        behind = asyncio.create_task(limiter.acquire())

        await waiting
        third = await behind

        assert third.instant == pytest.approx(2 * SHUT)
        assert [freeze.first_of_episode for freeze in freezes] == [True, False]

    run(main())


def test_a_probe_may_be_reported_refused_after_it_was_closed() -> None:
    """Callers learn the status first and judge it later; the same episode goes on all the same."""

    async def main() -> None:
        freezes: list[Freeze] = []
        limiter = a_limiter(freezes)
        await refused(limiter)
        probe = await accepted(limiter)

        probe.refused(None)

        assert [freeze.first_of_episode for freeze in freezes] == [True, False]
        assert (await limiter.acquire()).instant == pytest.approx(2 * SHUT + 0.5)

    run(main())


def test_a_cancelled_probe_hands_its_part_to_the_next() -> None:
    """The one request allowed may be the one whose caller loses patience."""

    async def main() -> None:
        limiter = a_limiter()
        await refused(limiter)
        first = asyncio.create_task(limiter.acquire())
        second = asyncio.create_task(limiter.acquire())
        probe = await first
        await at(SHUT + 3.0)
        assert not second.done()

        probe.close()

        assert (await second).instant == pytest.approx(SHUT + 3.0)

    run(main())


def test_a_probe_that_is_still_going_out_holds_the_rest_for_one_second() -> None:
    """A refusal would have come by then; an upload that stalls must not hold the key for minutes."""

    async def main() -> None:
        limiter = a_limiter()
        await refused(limiter)
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
        probe = await waiting[0]
        await probe.ready()
        probe.written(more=True)

        assert (await waiting[1]).instant < SHUT + 1.0 + 1.5

    run(main())


def test_an_answered_probe_lets_the_next_go_without_delay() -> None:
    """The second that a silent probe is given is not needed when it has been answered."""

    async def main() -> None:
        limiter = Limiter(RateLimit(max_requests=100), clock=CLOCK)
        await refused(limiter)
        waiting = [asyncio.create_task(accepted(limiter)) for _ in range(2)]
        await waiting[0]

        assert (await waiting[1]).instant == pytest.approx(SHUT + 0.5)

    run(main())


def test_a_permit_that_was_granted_before_a_refusal_is_lost() -> None:
    """It would be sent into the lock-out, and might extend it."""

    async def main() -> None:
        limiter = a_limiter()
        with await limiter.acquire() as permit:
            await refused(limiter)
            with pytest.raises(PermitLostError):
                await permit.ready()

        assert limiter.state().in_window == 1

    run(main())


def test_whoever_waits_for_a_token_does_not_miss_the_lockout() -> None:
    """The bucket in front knows nothing of a 429 that came while it was waited for."""

    async def main() -> None:
        limiter = Limiter(RateLimit(max_requests=10, max_rate=0.1), clock=CLOCK)
        with await limiter.acquire() as permit:
            permit.written()
            waiting = asyncio.create_task(limiter.acquire())
            await at(1.0)
            permit.refused(None)

        assert (await waiting).instant == pytest.approx(1.0 + SHUT)
        assert CLOCK.monotonic() > SHUT

    run(main())


def test_a_retry_after_wins_and_the_event_says_until_when() -> None:
    """The server knows best, if it says anything at all."""

    async def main() -> None:
        freezes: list[Freeze] = []
        limiter = a_limiter(freezes)
        await at(1.0)

        await refused(limiter, retry_after=100.0)

        assert freezes == [Freeze(key=0, until=101.5, seconds=100.5, first_of_episode=True)]
        assert limiter.state().frozen_until == 101.5
        assert (await limiter.acquire()).instant == pytest.approx(101.5)

    run(main())


def test_refusals_of_requests_in_flight_move_the_deadline_forward() -> None:
    """About twenty requests are on their way when the first is refused; all count as one episode."""

    async def main() -> None:
        freezes: list[Freeze] = []
        limiter = a_limiter(freezes)
        permits = [await limiter.acquire() for _ in range(4)]
        for permit in permits:
            permit.written()
        for permit in permits:
            await asyncio.sleep(0.1)
            permit.refused(None)
            permit.close()

        assert [freeze.until for freeze in freezes] == pytest.approx(
            [SHUT + 0.1 * n for n in (1, 2, 3, 4)]
        )
        assert [freeze.first_of_episode for freeze in freezes] == [True, False, False, False]
        assert limiter.state().max_requests == 9
        assert limiter.state().delay_bound == pytest.approx(0.75)

    run(main())


def test_nobody_is_served_while_frozen_however_the_line_changes() -> None:
    """Refunds, answers, cancellations and new arrivals must not open a shut key."""

    async def main() -> None:
        limiter = a_limiter()
        unused, answered = await limiter.acquire(), await limiter.acquire()
        answered.written()
        await refused(limiter)
        waiting = [asyncio.create_task(accepted(limiter)) for _ in range(3)]
        await at(5.0)

        unused.close()
        answered.answered()
        waiting[0].cancel()
        late = asyncio.create_task(accepted(limiter))
        await at(SHUT - 0.01)

        assert not any(task.done() for task in (*waiting[1:], late))
        assert (await waiting[1]).instant == pytest.approx(SHUT)

    run(main())


def test_retries_go_first_after_the_thaw_in_their_own_order() -> None:
    """Who was refused comes back before who never asked; 429s eat deadlines, not turns."""

    async def main() -> None:
        limiter = a_limiter()
        order: list[str] = []

        async def client(name: str, *, retry: bool) -> None:
            await accepted(limiter, retry=retry)
            order.append(name)

        await refused(limiter)
        async with asyncio.TaskGroup() as group:
            group.create_task(client("at the front", retry=False))
            group.create_task(client("newcomer", retry=False))
            await asyncio.sleep(1.0)
            group.create_task(client("retry 1", retry=True))
            group.create_task(client("retry 2", retry=True))

        assert order == ["at the front", "retry 1", "retry 2", "newcomer"]

    run(main())


def test_a_frozen_key_does_not_hold_up_its_pool() -> None:
    """With one line for all keys, its head takes whichever key can serve it."""

    async def main() -> None:
        limiter = a_limiter(keys=2)
        shut = await refused(limiter)

        permits = [await accepted(limiter) for _ in range(5)]

        assert {permit.key for permit in permits} == {1 - shut}
        assert CLOCK.monotonic() == pytest.approx(2.5)

    run(main())


def test_one_loud_warning_for_each_episode(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong assumption must be seen, and twenty copies of it are not."""

    async def main() -> None:
        limiter = a_limiter(keys=2)
        permits = [await limiter.acquire() for _ in range(4)]
        for permit in permits:
            if permit.key == 1:
                permit.written()
                permit.refused(None)

    with caplog.at_level(logging.INFO, "sd3async.limiter"):
        run(main())

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "key 2 of 2 is shut out for 60.5 s" in warnings[0].getMessage()
    assert "9 requests per 10 s and a delay bound of 0.75 s" in warnings[0].getMessage()
    assert len(caplog.records) == 2


def test_the_bucket_shape_freezes_too_and_follows_the_lowered_limit() -> None:
    """aiolimiter knows nothing of lock-outs; the limiter in front of it does."""

    async def main() -> None:
        limiter = Limiter(RateLimit(max_requests=10, shape="bucket"), clock=CLOCK)
        await refused(limiter)

        granted_at = [(await accepted(limiter)).instant for _ in range(30)]

        assert granted_at[0] == pytest.approx(SHUT)
        rate = 10 / (granted_at[-1] - granted_at[-11])
        assert rate == pytest.approx((9 - 1) / (10.0 + CLOCK_MARGIN + 0.33), rel=0.01)

    run(main())
