"""Time that is turned by hand."""

import asyncio

import pytest

from sd3async._clock import SYSTEM_CLOCK
from sd3async.emulator.virtual_time import LoopClock, VirtualClock, run_in_virtual_time


async def test_a_virtual_sleep_ends_when_its_instant_is_passed() -> None:
    """Tests of a minute's lock-out must not take a minute."""
    clock = VirtualClock(start=5.0)
    nap = asyncio.create_task(clock.sleep(10.0))
    await asyncio.sleep(0)

    clock.advance(9.9)
    await asyncio.sleep(0)
    assert not nap.done()
    clock.advance(0.1)
    await nap
    assert clock.monotonic() == 15.0
    assert clock.time() - VirtualClock().time() == 15.0


async def test_timers_fire_in_order_at_their_own_instant() -> None:
    """What a timer starts must see the time it was meant for."""
    clock = VirtualClock()
    fired: list[tuple[str, float]] = []
    clock.call_later(2.0, lambda: fired.append(("late", clock.monotonic())))
    clock.call_later(1.0, lambda: fired.append(("early", clock.monotonic())))
    clock.call_later(1.5, lambda: fired.append(("never", 0.0))).cancel()

    clock.advance(5.0)
    assert fired == [("early", 1.0), ("late", 2.0)]


async def test_a_sleep_of_nothing_yields_once() -> None:
    """`sleep(0)` is how a task lets others run."""
    for clock in (VirtualClock(), SYSTEM_CLOCK):
        ran = asyncio.Event()
        asyncio.get_running_loop().call_soon(ran.set)
        await clock.sleep(0)

        assert ran.is_set()


def test_time_does_not_go_back() -> None:
    """A monotonic clock that did would break every deadline."""
    with pytest.raises(ValueError, match="cannot go back by 1"):
        VirtualClock().advance(-1)


def test_a_loop_clock_follows_the_loop() -> None:
    """In a loop whose time jumps, everything must jump with it."""

    async def wait() -> tuple[float, float]:
        clock = LoopClock(epoch=100.0)
        await clock.sleep(60.0)
        return clock.monotonic(), clock.time()

    assert run_in_virtual_time(wait()) == (60.0, 160.0)


def test_the_system_clock_is_the_systems() -> None:
    """Its instants never go back, and its wall clock is past 2020."""
    assert SYSTEM_CLOCK.monotonic() <= SYSTEM_CLOCK.monotonic()
    assert SYSTEM_CLOCK.time() > 1_577_836_800
