"""The order of waiting."""

import asyncio

import pytest

from sd3async.limiter.line import Line


async def test_retries_go_first_and_each_kind_keeps_its_order() -> None:
    """A refused request has waited longest; behind 10,000 newcomers it would miss its deadline."""
    loop = asyncio.get_running_loop()
    line: Line[str] = Line()
    newcomers = [loop.create_future() for _ in range(2)]
    retries = [loop.create_future() for _ in range(2)]
    for waiter in newcomers:
        line.join(waiter, 1.0, retry=False)
    for waiter in retries:
        line.join(waiter, 2.0, retry=True)

    served = [line.call() for _ in range(4)]

    assert served == [*((waiter, 2.0) for waiter in retries), *((w, 1.0) for w in newcomers)]
    assert line.call() is None


async def test_who_left_or_was_cancelled_is_passed_over() -> None:
    """A permit given to somebody who is gone would be lost."""
    loop = asyncio.get_running_loop()
    line: Line[str] = Line()
    left, cancelled, patient = (loop.create_future() for _ in range(3))
    for waiter in (left, cancelled, patient):
        line.join(waiter, 0.0, retry=False)

    line.leave(left)
    line.leave(left)
    cancelled.cancel()

    assert line.call() == (patient, 0.0)
    assert len(line) == 0


async def test_who_is_called_stands_in_line_until_it_leaves() -> None:
    """A newcomer that runs before the called one wakes would overtake it."""
    line: Line[str] = Line()
    waiter = asyncio.get_running_loop().create_future()
    line.join(waiter, 0.0, retry=False)

    line.call()
    assert not line.is_clear()
    line.leave(waiter)
    assert line.is_clear()


async def test_dismissing_fails_everyone() -> None:
    """With no key left nobody may be kept waiting."""
    line: Line[str] = Line()
    waiter = asyncio.get_running_loop().create_future()
    line.join(waiter, 0.0, retry=False)

    line.dismiss(LookupError("no key"))

    with pytest.raises(LookupError, match="no key"):
        await waiter
