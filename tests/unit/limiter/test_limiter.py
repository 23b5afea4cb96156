"""`Limiter` and `Permit`: who is served, when, and what remains."""

import asyncio
import gc
import logging
import threading

import pytest

from sd3async.emulator.virtual_time import SocketlessLoop
from sd3async.limiter import Limiter, Permit, PermitLostError, RateLimit
from sd3async.limiter.key import Key
from sd3async.limiter.supply import SLACK, Supply
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter.loops import CLOCK, at, run

pytestmark = pytest.mark.usefixtures("no_spread")

LIMIT = RateLimit(max_requests=3, period=10.0, delay_bound=0.5, shape="burst")
HELD = LIMIT.period + CLOCK_MARGIN + LIMIT.delay_bound
LEAD = 0.25


def a_limiter(limit: RateLimit = LIMIT) -> Limiter:
    return Limiter(limit, clock=CLOCK)


async def send(limiter: Limiter, *, retry: bool = False) -> Permit:
    """Send a request that is never answered."""
    with await limiter.acquire(retry=retry) as permit:
        await permit.ready()
        permit.written()
        return permit


async def fill(limiter: Limiter) -> None:
    for _ in range(limiter.limit.max_requests):
        await send(limiter)


def test_an_idle_limiter_grants_without_suspending() -> None:
    """One pass of the loop per request would be a tax on everybody who is far below the limit."""

    async def main() -> None:
        acquiring = a_limiter().acquire()
        with pytest.raises(StopIteration) as stop:
            acquiring.send(None)
        assert isinstance(stop.value.value, Permit)
        assert stop.value.value.waited == 0.0

    run(main())


def test_a_full_limiter_waits_for_the_period_and_the_delay_bound() -> None:
    """The server may have stamped a request that much after it was written."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        await at(4.0)

        permit = await limiter.acquire()

        assert permit.instant == pytest.approx(HELD)
        assert permit.waited == pytest.approx(HELD - 4.0)

    run(main())


def test_what_another_thread_gives_back_is_found_soon() -> None:
    """It wakes its own event loop alone; who waited for the period's end lost ten seconds."""

    async def main() -> None:
        key, lock = Key(LIMIT), threading.RLock()
        here, there = (
            Limiter(LIMIT, clock=CLOCK, supplies=[Supply(0, LIMIT, CLOCK, key, lock)])
            for _ in range(2)
        )
        permits = [await there.acquire() for _ in range(3)]
        waiting = asyncio.create_task(here.acquire())
        await at(1.0)
        for permit in permits:
            permit.close()

        permit = await waiting

        assert permit.waited <= 1.25

    run(main())


def test_a_quick_answer_shortens_the_hold() -> None:
    """Who has answered has counted; waiting out the delay bound would waste it."""

    async def main() -> None:
        limiter = a_limiter()
        for _ in range(3):
            with await limiter.acquire() as permit:
                permit.written()
                permit.answered()
                permit.answered()

        permit = await limiter.acquire()

        assert permit.instant == pytest.approx(LIMIT.period + CLOCK_MARGIN)

    run(main())


def test_a_late_answer_does_not_lengthen_the_hold() -> None:
    """Held until the answer, a limiter loses half the ceiling to images that take seconds."""

    async def main() -> None:
        limiter = a_limiter()
        for _ in range(3):
            permit = await limiter.acquire()
            permit.written()
            asyncio.get_running_loop().call_later(8.0, permit.answered)

        assert (await limiter.acquire()).instant == pytest.approx(HELD)

    run(main())


def test_the_last_piece_written_counts() -> None:
    """A server that stamps whole bodies sees an upload at its end, not at its head."""

    async def main() -> None:
        limiter = a_limiter()
        await send(limiter)
        permits = [await limiter.acquire() for _ in range(2)]
        for instant in (1.0, 2.0):
            await at(instant)
            for permit in permits:
                permit.written()

        assert (await send(limiter)).instant == pytest.approx(HELD)
        assert (await send(limiter)).instant == pytest.approx(2.0 + HELD)

    run(main())


def test_an_upload_that_is_still_going_out_weighs_in_full() -> None:
    """An upload may take longer than a period; its stamp is yet to come all the while."""

    async def main() -> None:
        limiter = a_limiter()
        await send(limiter)
        await send(limiter)
        upload = await limiter.acquire()
        upload.written(more=True)
        asyncio.get_running_loop().call_later(30.0, upload.written)

        waiting = [asyncio.create_task(send(limiter)) for _ in range(7)]
        instants = [(await task).instant for task in waiting]

        two_a_period = [HELD, HELD, 2 * HELD, 2 * HELD, 3 * HELD, 3 * HELD]
        assert instants == pytest.approx([*two_a_period, 30.0 + HELD])

    run(main())


def test_a_permit_that_was_not_used_in_time_moves_to_the_present() -> None:
    """A process that was stopped writes now what was granted then; the server counts it now."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_requests=1, delay_bound=0.5, shape="burst"))
        with await limiter.acquire() as permit:
            await at(7.0)
            await permit.ready()
            assert permit.instant == 7.0
            permit.written()

        assert (await limiter.acquire()).instant == pytest.approx(7.0 + HELD)

    run(main())


def test_a_permit_whose_place_is_taken_is_lost() -> None:
    """What was granted long ago was forgotten long ago, and others have gone since."""

    async def main() -> None:
        limiter = a_limiter()
        with await limiter.acquire() as permit:
            await at(2 * HELD)
            await fill(limiter)
            with pytest.raises(PermitLostError):
                await permit.ready()

        assert limiter.state().in_window == 3

    run(main())


def test_a_permit_may_be_used_a_little_late() -> None:
    """Until it is written, others count it as late as it may be."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_requests=1, delay_bound=0.5, shape="burst"))
        with await limiter.acquire():
            waiting = asyncio.create_task(limiter.acquire())
            await at(HELD + SLACK - LEAD - 0.001)
            assert not waiting.done()

            assert (await waiting).instant == pytest.approx(HELD + SLACK)

    run(main())


def test_an_instant_is_granted_no_longer_ahead_than_the_delay_bound() -> None:
    """Others rely on a request that is not begun; one that turns out to be slow must not betray them."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_requests=1, delay_bound=0.05))
        await send(limiter)
        permit = await limiter.acquire()

        assert permit.instant - CLOCK.monotonic() == pytest.approx(0.05)

    run(main())


def test_a_half_written_request_keeps_its_hold() -> None:
    """Cancelled in the middle of an upload: the server may have counted the head."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_requests=1, delay_bound=0.5, shape="burst"))
        with await limiter.acquire() as permit:
            permit.written(more=True)

        assert (await limiter.acquire()).instant == pytest.approx(HELD)

    run(main())


def test_an_unwritten_permit_is_given_back_at_once() -> None:
    """A failed connection must not cost a place for ten seconds."""

    async def main() -> None:
        limiter = a_limiter()
        permits = [await limiter.acquire() for _ in range(3)]
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        permits[0].close()
        permits[0].close()

        assert (await waiting).instant == 1.0
        assert limiter.state().in_window == 3

    run(main())


def test_a_write_after_the_refund_is_counted_all_the_same() -> None:
    """A transport may write once more while it is being cancelled; the server does not mind."""

    async def main() -> None:
        limiter = a_limiter()
        permit = await limiter.acquire()
        permit.close()

        permit.written()

        assert limiter.state().in_window == 1

    run(main())


def test_an_answer_without_a_noted_write_is_counted() -> None:
    """Whatever the transport forgot to say, an answer proves that the server has counted."""

    async def main() -> None:
        limiter = a_limiter()
        with await limiter.acquire() as permit:
            permit.answered()
            permit.written(more=True)

        assert limiter.state().in_window == 1
        await at(LIMIT.period + CLOCK_MARGIN)
        assert limiter.state().in_window == 0

    run(main())


def test_newcomers_do_not_overtake_and_retries_do() -> None:
    """Fair to each other, and kind to who was refused: only who is at the front already goes first."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        order: list[str] = []

        async def client(name: str, *, retry: bool = False) -> None:
            await limiter.acquire(retry=retry)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c", "d"):
                group.create_task(client(name))
            await at(1.0)
            for name in ("first retry", "second retry"):
                group.create_task(client(name, retry=True))
            await at(HELD)
            group.create_task(client("barging"))

        assert order == ["a", "first retry", "second retry", "b", "c", "d", "barging"]

    run(main())


def test_a_newcomer_does_not_slip_in_before_the_called_one_wakes() -> None:
    """With room for two, the one that waited still goes first."""

    async def main() -> None:
        limiter = a_limiter()
        permits = [await limiter.acquire() for _ in range(3)]
        order: list[str] = []

        async def client(name: str) -> None:
            await send(limiter)
            order.append(name)

        patient = asyncio.create_task(client("patient"))
        await at(1.0)
        for permit in permits:
            permit.close()
        newcomer = asyncio.create_task(client("newcomer"))  # runs right after the grant
        await asyncio.wait([patient, newcomer])

        assert order == ["patient", "newcomer"]

    run(main())


def test_cancelling_a_waiter_costs_nobody_a_turn() -> None:
    """The head of the line, the middle and the last may all give up."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        waiting = [asyncio.create_task(send(limiter)) for _ in range(5)]
        await at(1.0)
        for gone in (0, 2, 4):
            waiting[gone].cancel()

        assert [(await waiting[left]).instant for left in (1, 3)] == pytest.approx([HELD] * 2)
        assert limiter.state().waiting == 0

    run(main())


def test_a_waiter_cancelled_in_the_instant_of_its_grant_passes_it_on() -> None:
    """Woken and cancelled in one pass, it must not take the place with it."""

    async def main() -> None:
        limiter = a_limiter()
        permits = [await limiter.acquire() for _ in range(3)]
        unlucky = asyncio.create_task(limiter.acquire())
        next_in_line = asyncio.create_task(limiter.acquire())
        await at(1.0)

        asyncio.get_running_loop().call_soon(unlucky.cancel)
        permits[0].close()  # whoever is at the front wakes in the next pass of the loop

        assert (await next_in_line).instant == 1.0
        assert unlucky.cancelled()
        assert limiter.state().in_window == 3

    run(main())


def test_a_place_freed_in_the_instant_its_only_waiter_gives_up_stays_free() -> None:
    """The line may hold nobody but the cancelled; the next caller must find the place."""

    async def main() -> None:
        limiter = a_limiter()
        permits = [await limiter.acquire() for _ in range(3)]
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        permits[0].close()
        waiting.cancel()
        await asyncio.wait([waiting])

        assert (await limiter.acquire()).instant == 1.0

    run(main())


def test_the_last_waiter_to_give_up_leaves_no_timer_behind() -> None:
    """A timer of nobody would keep a virtual clock busy, and a real one awake."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        waiting.cancel()
        await asyncio.wait([waiting])

        loop = asyncio.get_running_loop()
        assert isinstance(loop, SocketlessLoop)
        assert loop.timers() == []

    run(main())


def test_ten_thousand_wait_and_none_is_overtaken() -> None:
    """The spec's crowd; aiolimiter throws some of them back by thousands of places."""

    async def main() -> None:
        limiter = a_limiter(
            RateLimit(max_requests=1000, period=1.0, delay_bound=0.02, shape="burst")
        )
        order: list[int] = []

        async def client(number: int) -> None:
            with await limiter.acquire() as permit:
                order.append(number)
                await permit.ready()
                permit.written()

        async with asyncio.TaskGroup() as group:
            for number in range(10_000):
                group.create_task(client(number))

        assert order == list(range(10_000))
        assert CLOCK.monotonic() == pytest.approx(9 * (1.0 + CLOCK_MARGIN + 0.02), rel=0.01)

    run(main())


def test_max_rate_spaces_what_the_window_would_let_go() -> None:
    """Smoothing below the limit, for gateways that dislike bunches."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_rate=2.0))
        granted_at = [(await send(limiter)).instant for _ in range(5)]
        assert granted_at == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0], abs=1e-4)

    run(main())


def test_the_estimated_wait_knows_what_max_rate_has_let_go() -> None:
    """One request each ten seconds, and the next was told to come at once."""

    async def main() -> None:
        limiter = a_limiter(RateLimit(max_rate=0.1))
        assert limiter.estimated_wait() == 0.0
        await send(limiter)
        await at(4.0)

        assert limiter.estimated_wait() == pytest.approx(6.0)
        assert limiter.estimated_wait(behind=2) == pytest.approx(26.0)
        assert (await send(limiter)).waited == pytest.approx(6.0, abs=1e-4)

    run(main())


def test_the_state_tells_what_a_display_needs() -> None:
    """Numbers shown to people come from here and must be the limiter's own."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await at(1.0)

        state = limiter.state()

        assert (state.waiting, state.in_window, state.of_others) == (1, 3, 0)
        assert state.frozen_until is None
        assert (state.delay_bound, state.max_requests, state.retired) == (0.5, 3, False)
        waiting.cancel()

    run(main())


def test_an_unlimited_limiter_holds_nothing_back() -> None:
    """Benchmarks measure the rest with it; a 429 is for the caller's retries to deal with."""

    async def main() -> None:
        limiter = a_limiter(RateLimit.unlimited())
        for _ in range(500):
            with await limiter.acquire() as permit:
                permit.written()
                permit.refused(None)
        assert CLOCK.monotonic() == 0.0

    run(main())


def test_waiters_of_a_dead_loop_do_not_hold_up_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """A loop may be closed in the middle of a wait; the next one starts with an empty line."""
    limiter = a_limiter()

    async def leave_in_the_middle() -> "asyncio.Task[Permit]":
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        return waiting

    async def come_back() -> None:
        assert limiter.state().waiting == 1
        assert (await limiter.acquire()).instant == HELD
        assert limiter.state().waiting == 0

    async def nobody_waits() -> None:
        assert limiter.state().waiting == 0

    dead = SocketlessLoop()
    abandoned = dead.run_until_complete(leave_in_the_middle())
    dead.close()
    run(come_back(), start=HELD)

    with caplog.at_level(logging.CRITICAL, "asyncio"):  # "Task was destroyed but it is pending"
        del abandoned
        gc.collect()
    run(nobody_waits(), start=HELD)


def test_two_running_loops_at_once_are_refused() -> None:
    """Its line belongs to one loop; sharing it between threads would corrupt it silently."""
    limiter = a_limiter()
    outer, inner = SocketlessLoop(), SocketlessLoop()

    async def use() -> None:
        await limiter.acquire()
        asyncio._set_running_loop(inner)
        try:
            with pytest.raises(RuntimeError, match="another running event loop"):
                limiter.acquire().send(None)
        finally:
            asyncio._set_running_loop(outer)

    try:
        outer.run_until_complete(use())
    finally:
        outer.close()
        inner.close()


def test_a_late_event_loop_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The delay bound assumes a CPU that is there; when it is not, people should know why 429s come."""

    async def main() -> None:
        limiter = a_limiter()
        await fill(limiter)
        waiting = asyncio.create_task(limiter.acquire())
        await at(HELD - LEAD - 0.01)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SocketlessLoop)
        loop.jump(3.0)  # somebody computes for three seconds
        await waiting
        assert limiter.state().loop_lag == pytest.approx(2.99)

    with caplog.at_level(logging.WARNING, "sd3async.limiter"):
        run(main())

    assert "ran 2.99 s late" in caplog.text
