"""Closing a client while others use it: nothing is sent again, and nobody else is disturbed."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sd3async import ClientClosedError, GeneratedImage, RateLimit, RetryPolicy, SD3Client
from sd3async.emulator import Emulator, Fault
from sd3async.emulator.virtual_time import LoopClock

LATENCY = 5.0


def begin(client: SD3Client, calls: int) -> "list[asyncio.Task[GeneratedImage]]":
    return [asyncio.create_task(client.core(f"number {number}")) for number in range(calls)]


async def until_arrived(emulator: Emulator, calls: int) -> None:
    for _ in range(1000):
        if len(emulator.requests) >= calls:
            return
        await asyncio.sleep(0.01)


async def errors_of(calls: "list[asyncio.Task[GeneratedImage]]") -> list[BaseException]:
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [error for error in ended if isinstance(error, BaseException)]


async def test_closing_ends_calls_in_flight_and_sends_nothing_again(start: Any) -> None:
    """Twenty calls in flight made forty requests: every cut connection was taken for a fault."""
    emulator, client = await start(latency=LATENCY)
    calls = begin(client, 20)
    await until_arrived(emulator, 20)

    await client.aclose()

    errors = await errors_of(calls)
    assert {type(error) for error in errors} == {ClientClosedError}
    assert all(isinstance(error, ClientClosedError) and error.may_be_charged for error in errors)
    await asyncio.sleep(3 * LATENCY)
    assert len(emulator.requests) == 20


@pytest.mark.parametrize(
    "settings",
    [
        {"rate_limit": RateLimit(1)},
        {"client": {"max_in_flight": 1}},
        {"faults": [Fault.status(500)] * 2, "retry": RetryPolicy(wait=60, max_wait=60)},
    ],
    ids=["for the rate limit", "for a slot", "for the next attempt"],
)
async def test_closing_ends_calls_that_wait(start: Any, settings: dict[str, Any]) -> None:
    """A wait of a minute is no reason to stay for a minute."""
    emulator, client = await start(latency=LATENCY, **settings)
    calls = begin(client, 2)
    await until_arrived(emulator, 1)
    await asyncio.sleep(0.5)

    await client.aclose()

    errors = await errors_of(calls)
    assert [type(error) for error in errors] == [ClientClosedError] * 2
    arrived = len(emulator.requests)
    await asyncio.sleep(120)
    assert len(emulator.requests) == arrived


async def test_leaving_in_one_task_does_not_end_the_calls_of_another(start: Any) -> None:
    """Two parts of a program may each enter the client they share."""
    emulator, entered = await start(latency=LATENCY)
    client = entered.with_options()

    async def draw() -> GeneratedImage:
        async with client:
            image: GeneratedImage = await client.core("patient")
            return image

    patient = asyncio.create_task(draw())
    await until_arrived(emulator, 1)
    async with client:
        pass

    assert (await patient).attempts == 1
    assert len(emulator.requests) == 1


async def test_closing_a_variant_ends_its_own_calls_only(start: Any) -> None:
    """The variant of one request handler must not cut off the service's other handlers."""
    emulator, client = await start(latency=LATENCY)
    variant = client.with_options(retry=RetryPolicy(attempts=1))
    [others] = begin(client, 1)
    [its_own] = begin(variant, 1)
    await until_arrived(emulator, 2)

    await variant.aclose()

    assert isinstance((await errors_of([its_own]))[0], ClientClosedError)
    assert (await others).attempts == 1
    assert len(emulator.requests) == 2


async def test_the_last_one_out_closes_the_connections(start: Any) -> None:
    """A client that closes first leaves the connections to a variant that still uses them."""
    emulator, _ = await start()
    opened: list[object] = []

    async def note(*facts: object) -> None:
        opened.append(facts)

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(note)
    client = SD3Client("sk-any", base_url=emulator.url, trace_configs=[tracing])
    variant = client.with_options()
    async with variant:
        await client.core("a")
        await client.aclose()
        await variant.core("b")
        assert len(opened) == 1

    await variant.core("c")
    assert len(opened) == 2
    await variant.aclose()


async def test_connections_outlast_a_close_only_for_the_calls_that_use_them(start: Any) -> None:
    """Nobody comes back to close what a variant's last call has left open."""
    emulator, _ = await start(latency=LATENCY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    client = SD3Client("sk-any", base_url=emulator.url, clock=LoopClock())
    [patient] = begin(client.with_options(), 1)
    await until_arrived(emulator, 1)
    await client.aclose()

    assert (await patient).attempts == 1
    await asyncio.sleep(1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_call_after_a_close_keeps_its_connection_for_the_next(start: Any) -> None:
    """One close must not make every later call open and close a connection of its own."""
    emulator, _ = await start()
    opened: list[object] = []

    async def note(*facts: object) -> None:
        opened.append(facts)

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(note)
    client = SD3Client("sk-any", base_url=emulator.url, trace_configs=[tracing])
    await client.core("a")
    await client.aclose()
    await client.core("b")
    await client.core("c")
    await client.aclose()

    assert len(opened) == 2


async def test_closing_meets_calls_that_their_deadline_is_ending(start: Any) -> None:
    """One that was on its way out broke the close, and the others went on."""
    _, client = await start(latency=LATENCY)
    loop = asyncio.get_running_loop()
    for passes in range(8):
        now = asyncio.Event()
        loop.call_at(loop.time() + 1, now.set)
        late = asyncio.create_task(client.core("late", deadline=1))
        others = begin(client, 2)
        await now.wait()
        for _ in range(passes):
            await asyncio.sleep(0)

        await client.aclose()

        errors = await errors_of([late, *others])
        assert [type(error) for error in errors[1:]] == [ClientClosedError] * 2


async def test_two_may_close_at_once_and_a_later_call_opens_anew(start: Any) -> None:
    """Shutdown handlers meet; the second found an async generator already running."""
    emulator, client = await start(latency=LATENCY)
    calls = begin(client, 3)
    await until_arrived(emulator, 3)

    await asyncio.gather(client.aclose(), client.aclose())
    await client.aclose()

    assert len(await errors_of(calls)) == 3
    assert (await client.core("again")).attempts == 1


async def test_closing_may_be_cancelled_at_any_pass_of_the_loop(start: Any) -> None:
    """Half a close must neither hang the calls nor keep a later close from working."""
    emulator, client = await start(latency=LATENCY)
    for passes in range(12):
        before = len(emulator.requests)
        calls = begin(client, 3)
        await until_arrived(emulator, before + 3)
        closing = asyncio.create_task(client.aclose())
        for _ in range(passes):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])

        await client.aclose()

        assert all(task.done() for task in calls)
        await errors_of(calls)


def test_a_subclass_keeps_its_class_in_a_variant() -> None:
    """Methods that a program added must not vanish with `with_options`."""

    class Painter(SD3Client):
        def paint(self) -> Coroutine[Any, Any, GeneratedImage]:
            return self.core("a kite")

    variant = Painter("sk-any").with_options(client_id="shop")

    assert isinstance(variant, Painter)
