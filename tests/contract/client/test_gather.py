"""Many at once: in order, bounded, and nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from sd3async import (
    CoreRequest,
    InvalidRequestError,
    Outcome,
    RetryPolicy,
    SD3Request,
    ServerError,
    gather_generations,
    iter_generations,
)
from sd3async.emulator import Fault
from sd3async.emulator import latency as latencies


async def test_outcomes_come_in_input_order(start: Any) -> None:
    """Results out of order at 26,000 rows are useless without their requests."""
    _, client = await start(latency=latencies.Uniform(0.1, 9.0))
    prompts = [f"p{number}" for number in range(40)]
    outcomes = await gather_generations(client, prompts)

    assert [outcome.index for outcome in outcomes] == list(range(40))
    assert [outcome.unwrap().request.prompt for outcome in outcomes] == prompts


async def test_a_failure_is_an_outcome_and_costs_no_other(start: Any) -> None:
    """One refused prompt of a thousand must not throw away 999 paid images."""
    _, client = await start(faults=[None, Fault.status(403)])
    requests: list[Any] = ["a", "b", "", CoreRequest("c"), 7]
    outcomes = await gather_generations(client, requests, concurrency=1)

    assert [outcome.ok for outcome in outcomes] == [True, False, False, True, False]
    assert "403" in str(outcomes[1].error)
    assert "prompt: is empty" in str(outcomes[2].error)
    assert "item 4 is int; a prompt, a request or a mapping" in str(outcomes[4].error)
    assert isinstance(outcomes[3].request, CoreRequest)


async def test_fail_fast_raises_the_error_and_cancels_the_rest(start: Any) -> None:
    """What is in flight must really stop, and leave nothing behind."""
    emulator, client = await start(faults=[Fault.status(500)], latency=20.0)
    quick = client.with_options(retry=RetryPolicy(attempts=1))
    tasks = asyncio.all_tasks()

    with pytest.raises(ServerError):
        await gather_generations(quick, ["a"] * 50, concurrency=20, fail_fast=True)
    await asyncio.sleep(0.5)
    assert emulator.paid < 50
    own = {task for task in asyncio.all_tasks() - tasks if "sd3async/gather" in repr(task)}
    assert own == set()


class Counted:
    """A source that knows how far it has been pulled."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.pulled = 0

    def __iter__(self) -> Iterator[str]:
        for number in range(self.length):
            self.pulled += 1
            yield f"p{number}"


@pytest.mark.parametrize("ordered", [False, True])
async def test_the_source_is_pulled_lazily(start: Any, ordered: bool) -> None:
    """A million prompts must not become a million tasks."""
    _, client = await start(latency=1.0)
    source = Counted(1_000_000)
    taken = 0
    async with aclosing(iter_generations(client, source, concurrency=5, ordered=ordered)) as stream:
        async for _ in stream:
            taken += 1
            assert source.pulled <= taken + 10
            if taken == 40:
                break

    assert source.pulled <= 50


async def test_a_slow_consumer_holds_the_source_back(start: Any) -> None:
    """Finished images pile up in memory otherwise."""
    _, client = await start()
    source = Counted(1_000)
    async with aclosing(iter_generations(client, source, concurrency=3)) as stream:
        await anext(stream)
        await asyncio.sleep(100)

        assert source.pulled <= 8


async def test_ordered_outcomes_wait_for_the_slow_one(start: Any) -> None:
    """A reader that writes a file line by line needs them so."""
    _, client = await start(faults=[Fault.status(500)], latency=latencies.Uniform(0.1, 5.0))
    indices = [
        outcome.index
        async for outcome in iter_generations(client, ["a"] * 30, concurrency=8, ordered=True)
    ]

    assert indices == list(range(30))


async def test_unordered_outcomes_come_as_they_finish(start: Any) -> None:
    """Nobody should wait for a slow neighbour."""
    _, client = await start(faults=[Fault.slow(30.0), None, None], image_bytes=100_000)
    indices = [outcome.index async for outcome in iter_generations(client, ["a", "b", "c"])]

    assert indices[-1] == 0


async def test_an_async_source_works_and_its_error_comes_last(start: Any) -> None:
    """What was pulled before the source broke has been paid for."""
    _, client = await start(latency=2.0)

    async def prompts() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0.1)
        yield "b"
        raise LookupError("the database went away")

    stream = iter_generations(client, prompts())
    assert (await anext(stream)).ok
    assert (await anext(stream)).ok
    with pytest.raises(LookupError, match="went away"):
        await anext(stream)


async def test_an_empty_source_gives_nothing(start: Any) -> None:
    """A filter that leaves nothing over is no error."""
    _, client = await start()

    assert await gather_generations(client, []) == []
    assert [outcome async for outcome in iter_generations(client, [], ordered=True)] == []


@pytest.mark.parametrize("requests", ["a prompt", SD3Request("a")])
async def test_a_lone_request_is_refused(start: Any, requests: Any) -> None:
    """A string is an iterable of characters: one image for each letter."""
    emulator, client = await start()

    with pytest.raises(InvalidRequestError, match="pass an iterable"):
        await gather_generations(client, requests)
    with pytest.raises(InvalidRequestError, match="concurrency: is 0"):
        await gather_generations(client, ["a"], concurrency=0)
    assert emulator.requests == []


async def test_concurrency_bounds_what_is_in_flight(start: Any) -> None:
    """The caller's bound holds below the client's own."""
    emulator, client = await start(latency=2.0)
    await gather_generations(client, ["a"] * 12, concurrency=4)

    instants = sorted(round(request.at) for request in emulator.requests)
    assert instants == [0] * 4 + [2] * 4 + [4] * 4


async def test_on_outcome_hears_each_one_as_it_is_there(start: Any) -> None:
    """A caller may save images before the last one is done."""
    _, client = await start()
    heard: list[int] = []
    await gather_generations(
        client, ["a", "b", "c"], on_outcome=lambda outcome: heard.append(outcome.index)
    )

    assert sorted(heard) == [0, 1, 2]


async def test_cancelling_cancels_everything_in_flight(start: Any) -> None:
    """No task may go on spending after its caller has gone."""
    emulator, client = await start(latency=60.0)
    run = asyncio.create_task(gather_generations(client, ["a"] * 30, concurrency=10))
    await asyncio.sleep(5)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await asyncio.sleep(5)

    assert emulator.stats.disconnected == 10
    assert len(emulator.requests) == 10
    await client.core("still usable")


async def test_a_broken_callback_costs_no_image_that_was_paid(start: Any) -> None:
    """What is with the server when it raises is waited for: the account is charged either way."""
    emulator, client = await start(latency=latencies.Uniform(0.1, 9.0))
    heard = 0

    async def save(outcome: Outcome) -> None:
        nonlocal heard
        heard += 1
        if heard == 5:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full") as caught:
        await gather_generations(client, ["a"] * 60, concurrency=20, on_outcome=save)

    outcomes: list[Outcome] = vars(caught.value)["outcomes"]
    assert sum(outcome.ok for outcome in outcomes) == emulator.paid < 60
    assert heard == 5


async def test_a_table_costs_nothing(start: Any) -> None:
    """Its columns' names were two prompts, and two images."""

    class Frame:
        columns = ("prompt", "seed")

        def __iter__(self) -> Iterator[str]:
            return iter(self.columns)

    emulator, client = await start()
    frame: Any = Frame()
    with pytest.raises(InvalidRequestError, match=r"pass a list of mappings, such as \[fields\]"):
        await gather_generations(client, frame)

    assert emulator.requests == []


async def test_progress_is_shown_on_stderr(start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal it is a line of words, and stdout stays clean."""
    _, client = await start()
    await gather_generations(client, ["a", "b", ""], progress=True)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 / 3 done, 1 failed" in shown.err


async def test_trouble_of_every_kind_costs_no_image(start: Any) -> None:
    """300 requests under 500s, proxy pages, resets and torn bodies: 300 whole images."""
    emulator, client = await start(
        limit="log",
        faults={
            Fault.status(500): 0.08, Fault.status(502): 0.08, Fault.reset(): 0.08,
            Fault.truncated(): 0.08, Fault.hang_up(): 0.04, Fault.empty(): 0.04,
        },
        seed=11,
        image_bytes=20_000,
        retry=RetryPolicy(attempts=10),
    )  # fmt: skip
    outcomes = await gather_generations(client, [f"p{number}" for number in range(300)])

    images = [outcome.unwrap() for outcome in outcomes]
    assert len(images) == 300
    assert all((image.data or b"").endswith(b"IEND\xaeB`\x82") for image in images)
    assert emulator.refused == 0
    assert len(emulator.requests) > 350
    unknown = sum(image.unknown_charges for image in images)
    # A proxy's page leaves it open whether the work was done; here it never was.
    assert emulator.paid == 300 + unknown - emulator.stats.by_status[502]
