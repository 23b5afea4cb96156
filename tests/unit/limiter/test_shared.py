"""One key in several processes, in virtual time."""

import asyncio
import random

import pytest

from sd3async.limiter import Limiter, Permit, PermitLostError, RateLimit
from sd3async.limiter.key import LOCKOUT_MARGIN
from sd3async.limiter.shared import SharedSupply
from sd3async.limiter.window import CLOCK_MARGIN
from unit.limiter import servers
from unit.limiter.loops import CLOCK, at, run
from unit.limiter.stores import Shelf, ShelfStore

LIMIT = RateLimit(max_requests=150, delay_bound=0.22)


def a_party(shelf: Shelf, limit: RateLimit = LIMIT, *, keys: int = 1, way: float = 0.0) -> Limiter:
    """Return the limiter of a process."""
    supplies = [SharedSupply(key, limit, CLOCK, ShelfStore(shelf, way)) for key in range(keys)]
    return Limiter(limit, clock=CLOCK, supplies=supplies)


async def send(
    party: Limiter,
    sent: list[float] | None = None,
    *,
    uploading: float = 0.0,
    answer_after: float | None = None,
) -> Permit:
    """Send a request; when its permit was lost, with another."""
    while True:
        with await party.acquire(is_upload=uploading > 0) as permit:
            try:
                await permit.ready()
            except PermitLostError:
                continue
            if sent is not None:
                sent.append(CLOCK.monotonic())
            if uploading:
                permit.written(more=True)
                await asyncio.sleep(uploading)
            permit.written()
            if answer_after is not None:
                await asyncio.sleep(answer_after)
                permit.answered()
            return permit


async def keep_busy(party: Limiter, requests: int) -> list[float]:
    """Send so many requests, all waiting from the beginning; return when they went."""
    sent: list[float] = []
    await asyncio.gather(*(send(party, sent) for _ in range(requests)))
    return sent


@pytest.mark.parametrize(("processes", "contacts"), [(1, 0.1), (4, 0.4), (16, 0.8), (32, 1.4)])
def test_busy_processes_use_the_ceiling_and_share_it_alike(processes: int, contacts: float) -> None:
    """Four workers with one key used to need five times as long as one."""

    async def main() -> None:
        shelf = Shelf()
        each = max(100, 600 // processes)
        sent = await asyncio.gather(*(keep_busy(a_party(shelf), each) for _ in range(processes)))

        everything = sorted(instant for instants in sent for instant in instants)
        rate = 300 / (everything[-1] - everything[-301])
        assert rate >= 0.95 * LIMIT.ceiling
        assert everything[149] < 1.5
        end = min(instants[-1] for instants in sent)  # while all are busy
        served = [sum(10.0 < instant < end for instant in instants) for instants in sent]
        assert max(served) <= 1.3 * min(served)
        assert shelf.changes < contacts * len(everything)

    run(main())


@pytest.mark.parametrize(("busy", "patience"), [(1, 1.5), (4, 1.5), (16, 2.6)])
def test_a_newcomer_beside_busy_processes_waits_for_little_more_than_a_turn(
    busy: int, patience: float
) -> None:
    """A service must not stand behind the thousands of prompts of a bulk job."""

    async def main() -> None:
        shelf = Shelf()
        others = [asyncio.create_task(keep_busy(a_party(shelf), 300)) for _ in range(busy)]
        await at(15.0)

        began_at = CLOCK.monotonic()
        await send(a_party(shelf))
        assert CLOCK.monotonic() - began_at < patience
        for other in others:
            other.cancel()

    run(main())


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("uploads", [1, 2, 10])
def test_uploads_among_texts_hold_up_nobody(processes: int, uploads: int) -> None:
    """An upload at the front let the slots that were in hand for texts pass: 34 % of the ceiling."""

    async def main() -> None:
        shelf = Shelf()
        sent: list[float] = []
        jobs = [
            asyncio.create_task(send(party, sent, uploading=0.0 if number % uploads else 0.2))
            for party in [a_party(shelf) for _ in range(processes)]
            for number in range(600 // processes)
        ]
        await at(32.0)

        assert sent[149] < 1.5
        assert sum(11.0 <= instant < 31.0 for instant in sent) >= 0.92 * 20 * LIMIT.ceiling
        assert shelf.changes < 1.5 * len(sent)
        for job in jobs:
            job.cancel()

    run(main())


def test_processes_that_begin_with_the_same_seed_are_told_apart() -> None:
    """Whoever seeds `random` for his experiment was taken for one process, and not served alike."""

    async def main() -> None:
        shelf = Shelf()
        supplies = [SharedSupply(0, LIMIT, CLOCK, ShelfStore(shelf)) for _ in range(2)]
        for supply in supplies:
            random.seed(7)
            await send(Limiter(LIMIT, clock=CLOCK, supplies=[supply]))

        assert len(supplies[1].parties.known) == 2

    run(main())


def test_a_429_in_one_process_voids_the_slots_of_the_others() -> None:
    """What was given before the lock-out must not be sent into it."""

    async def main() -> None:
        shelf = Shelf()
        mine, other = a_party(shelf), a_party(shelf)
        permit = await other.acquire()
        (await send(mine)).refused(None)
        await asyncio.sleep(0)

        with pytest.raises(PermitLostError):
            await permit.ready()
        again = asyncio.create_task(other.acquire(retry=True))
        await asyncio.sleep(0.1)
        assert other.estimated_wait() > LIMIT.lockout - 1
        again.cancel()

    run(main())


@pytest.mark.parametrize("way", [0.0, 0.025, 0.15])
@pytest.mark.parametrize("later", [0.0, 0.1, 0.2, 0.3])
def test_who_received_a_429_sends_nothing_more_however_far_the_store(
    way: float, later: float
) -> None:
    """What the store answers to an earlier question knows nothing of it."""

    async def main() -> None:
        shelf, sent = Shelf(), list[float]()
        mine, other = a_party(shelf, way=way), a_party(shelf, way=way)
        refused = await send(mine)
        jobs = [
            asyncio.create_task(send(party, instants, answer_after=0.1))
            for party, instants in ((mine, sent), (other, []))
            for _ in range(100)
        ]
        await asyncio.sleep(0.5 + later)
        refused.refused(None)
        refused_at = CLOCK.monotonic()
        await asyncio.sleep(10.0)

        assert not [instant for instant in sent if instant > refused_at]
        for job in jobs:
            job.cancel()

    run(main())


def test_a_lock_out_outlasts_the_record_that_told_of_it() -> None:
    """Redis was restarted within the minute: the server has forgotten nothing."""

    async def main() -> None:
        shelf = Shelf()
        parties = [a_party(shelf), a_party(shelf)]
        (await send(parties[0])).refused(None)
        await look_into_the_record(parties[1])
        shelf.wipe()

        waiting = [asyncio.create_task(send(party)) for party in parties]
        await at(LIMIT.lockout)
        assert not any(task.done() for task in waiting)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    run(main())


async def look_into_the_record(party: Limiter) -> None:
    """Let a process look into the record, in vain."""
    asking = asyncio.create_task(party.acquire())
    await asyncio.sleep(0.1)
    asking.cancel()


def test_one_process_probes_for_all_of_them() -> None:
    """Four probes at the end of a lock-out are three too many."""

    async def main() -> None:
        shelf = Shelf()
        parties = [a_party(shelf) for _ in range(4)]
        (await send(parties[0])).refused(None)

        permits = [asyncio.create_task(party.acquire()) for party in parties]
        await at(LIMIT.lockout + 1.0)

        assert sum(permit.done() for permit in permits) == 1
        for permit in permits:
            permit.cancel()

    run(main())


@pytest.mark.parametrize("processes", [1, 4])
def test_all_processes_go_on_right_after_the_probe_is_answered(processes: int) -> None:
    """They used to stand still for half a minute: for as long as a probe may take at most."""

    async def main() -> None:
        shelf = Shelf()
        parties = [a_party(shelf) for _ in range(processes)]
        (await send(parties[0])).refused(None)
        sent: list[list[float]] = [[] for _ in parties]
        waiting = [
            asyncio.create_task(send(party, mine, answer_after=0.3))
            for party, mine in zip(parties, sent, strict=True)
            for _ in range(100)
        ]

        await at(LIMIT.lockout + LOCKOUT_MARGIN + 6.0)
        assert all(len(mine) >= 3 for mine in sent)
        assert sum(map(len, sent)) >= 0.8 * 4.0 * LIMIT.ceiling
        for task in waiting:
            task.cancel()

    run(main())


def test_a_key_that_is_withdrawn_is_left_alone_by_all_who_have_another() -> None:
    """Each process finding out by itself is as many 401s."""

    async def main() -> None:
        shelves = [Shelf(), Shelf()]
        parties = [
            Limiter(
                LIMIT,
                clock=CLOCK,
                supplies=[
                    SharedSupply(key, LIMIT, CLOCK, ShelfStore(shelf))
                    for key, shelf in enumerate(shelves)
                ],
            )
            for _ in range(2)
        ]
        assert {(await send(parties[1])).key for _ in range(4)} == {0, 1}
        assert parties[0].retire(0)
        await asyncio.sleep(1.0)

        assert {(await send(parties[1])).key for _ in range(4)} == {1}

    run(main())


def test_closing_gives_the_slots_in_hand_to_the_others() -> None:
    """Fifteen slots that nobody uses are a second of everybody's time."""

    async def main() -> None:
        shelf = Shelf()
        leaving, staying = a_party(shelf), a_party(shelf)
        waiting = [asyncio.create_task(leaving.acquire()) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        await leaving.aclose()

        await send(staying)
        assert staying.state().in_window <= 2

    run(main())


@pytest.mark.parametrize("is_away", [False, True])
def test_closing_leaves_no_task_and_no_slot_behind(is_away: bool) -> None:
    """A question on its way was answered after the end, and opened the store anew."""

    async def main() -> None:
        shelf = Shelf()
        leaving, staying = a_party(shelf, way=0.1), a_party(shelf)
        waiting = [asyncio.create_task(leaving.acquire()) for _ in range(10)]
        await asyncio.sleep(0.05)
        shelf.is_away = is_away
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        await leaving.aclose()

        assert asyncio.all_tasks() == {asyncio.current_task()}
        changes, shelf.is_away = shelf.changes, False
        await asyncio.sleep(5.0)
        assert shelf.changes == changes
        await send(staying)
        assert staying.state().in_window == 1

    run(main())


def test_closing_waits_for_no_store_that_does_not_answer() -> None:
    """A program that is done would hang until somebody kills it."""

    async def main() -> None:
        party = a_party(Shelf(), way=60.0)
        asking = asyncio.create_task(party.acquire())
        await asyncio.sleep(0.1)
        asking.cancel()

        await party.aclose()

        assert CLOCK.monotonic() < 2.0

    run(main())


def test_an_upload_that_outlives_its_record_does_not_end_somebody_elses() -> None:
    """Both had the same number, and the second weighed nothing from there on."""

    async def main() -> None:
        limit = RateLimit(max_requests=1, period=1.0)
        shelf = Shelf()
        first, second = a_party(shelf, limit), a_party(shelf, limit)
        mine = await first.acquire(is_upload=True)
        await mine.ready()
        mine.written(more=True)
        shelf.wipe()
        with await second.acquire(is_upload=True) as yours:
            await yours.ready()
            yours.written(more=True)
            mine.written()
            mine.close()
            await asyncio.sleep(5.0)

            asking = asyncio.create_task(first.acquire())
            await asyncio.sleep(10.0)
            assert not asking.done()
            asking.cancel()

    run(main())


def test_a_store_that_does_not_answer_is_named_though_it_may_yet() -> None:
    """A deadline that ends before its patience must not blame the rate limit."""

    async def main() -> None:
        party = a_party(Shelf(), way=5.0)
        waiting = asyncio.create_task(party.acquire())
        await asyncio.sleep(0.1)
        words = [party.trouble]
        await asyncio.sleep(1.0)
        words.append(party.trouble)

        assert words == ["", "the shelf: no answer for 1.1 s"]
        waiting.cancel()

    run(main())


def test_a_damaged_record_is_taken_for_used_up() -> None:
    """Nobody knows what it said, and one request too many costs a minute."""

    async def main() -> None:
        shelf = Shelf()
        party = a_party(shelf)
        await send(party)
        shelf.record = b"what a crash has left"

        instant = (await send(party)).instant

        assert instant >= 2 * (LIMIT.period + CLOCK_MARGIN)

    run(main())


def test_slots_in_hand_are_among_what_a_lost_record_may_have_held() -> None:
    """They lie up to a second ahead, and so does the end of the two periods."""

    async def main() -> None:
        limit = RateLimit(max_requests=1, period=10.0, delay_bound=0.0)
        shelf, sent = Shelf(), list[float]()
        party = a_party(shelf, limit)
        await send(party, sent)
        with await party.acquire() as permit:
            shelf.record = b""
            waiting = asyncio.create_task(send(party, sent))
            await permit.ready()
            permit.written()
            sent.append(CLOCK.monotonic())
        await waiting

        assert servers.most_in_counter(sent, limit.period) <= limit.max_requests

    run(main())


def test_who_waited_long_knows_too_that_a_lost_record_was_in_use() -> None:
    """It has sent nothing itself of late; others have, and may be slower to look."""

    async def main() -> None:
        shelf = Shelf()
        patient, busy = a_party(shelf), a_party(shelf)
        await send(patient)
        await at(100.0)
        await send(busy)
        shelf.record = b""

        instant = (await send(patient)).instant

        assert instant >= 100.0 + 2 * (LIMIT.period + CLOCK_MARGIN)

    run(main())


@pytest.mark.parametrize("by", [-3600.0, -30.0, 30.0, 3600.0])
def test_a_clock_that_is_set_costs_two_periods_and_no_more(by: float) -> None:
    """Set back by an hour, everybody waited for an hour: their stamps were in the future."""

    async def main() -> None:
        shelf, sent = Shelf(), list[float]()
        parties = [a_party(shelf), a_party(shelf)]
        for party in parties:
            for _ in range(100):
                await send(party, sent)
        shelf.ahead = by
        set_at = CLOCK.monotonic()

        await asyncio.gather(*(keep_busy(party, 20) for party in parties))
        assert 2 * LIMIT.period < CLOCK.monotonic() - set_at < 3 * LIMIT.period + 3.0

    run(main())


def test_a_record_that_nobody_changed_for_a_day_may_be_forgotten() -> None:
    """Redis forgets it, and whoever comes back on Monday need not wait for that."""

    async def main() -> None:
        shelf = Shelf()
        party = a_party(shelf)
        await send(party)
        await at(90_000.0)
        shelf.record = b""

        assert (await send(party)).waited < 0.1

    run(main())


def test_the_state_tells_the_others_part() -> None:
    """Who wonders where the limit has gone sees it."""

    async def main() -> None:
        shelf = Shelf()
        mine, other = a_party(shelf), a_party(shelf)
        await keep_busy(other, 20)
        await send(mine)

        state = mine.state()
        assert (state.in_window, state.of_others) == (21, 20)

    run(main())
