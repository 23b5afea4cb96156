"""Connections that a proxy closes while they are idle, just when the next request needs them."""

import asyncio
import time

from sd3async import RateLimit, RetryPolicy, SD3Client
from sd3async.emulator import Emulator, Fault
from support.proxies import Gate, haproxy, nginx, through

KEY = "sk-test0123456789abcdef"
KEPT_FOR = 0.2  # [s]

SOON_CLOSING = through(
    {
        "nginx": lambda upstream: nginx(upstream, "keepalive_timeout 200ms;"),
        "HAProxy": lambda upstream: haproxy(upstream, "timeout http-keep-alive 200ms"),
    }
)


@SOON_CLOSING
async def test_a_request_may_meet_the_end_of_its_connection(emulator: Emulator, gate: Gate) -> None:
    """30 requests just before, at and after the instant of closing: no error, no alarm."""
    waits = [KEPT_FOR + (number - 15) / 5_000 for number in range(30)]  # up to 3 ms away
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url) as client:

            async def call_again(waits: list[float]) -> int:
                doubts = 0
                for wait in waits:
                    doubts += (await client.core("a")).unknown_charges
                    await asyncio.sleep(wait)
                return doubts

            doubts = await asyncio.gather(*(call_again(waits[start::3]) for start in range(3)))

        assert await proxy.statuses(30) == {200: 30}
    assert emulator.paid == 30
    assert sum(doubts) <= 2  # honest ones: a kernel took in what the proxy then never read


@SOON_CLOSING
async def test_a_busy_program_notices_a_closed_connection_too_late(gate: Gate) -> None:
    """When the loop was busy, the end of the connection waits unread; nothing was charged."""
    at_once = RetryPolicy(wait=0)
    with Emulator.in_thread(limit=None, image_bytes=3_000) as emulator, gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=at_once) as client:
            doubts = 0
            for _ in range(5):
                doubts += (await client.core("a")).unknown_charges
                time.sleep(KEPT_FOR * 1.5)  # noqa: ASYNC251  # a program at work

        assert emulator.paid == 5
    assert doubts == 0


@SOON_CLOSING
async def test_a_service_that_dies_is_not_taken_for_an_idle_end(
    emulator: Emulator, gate: Gate
) -> None:
    """HAProxy hides it: on a connection in use it hangs up without a word, as an idle one ends."""
    with gate(emulator.url) as proxy:
        at_once = RetryPolicy(wait=0)
        async with SD3Client(KEY, base_url=proxy.url, retry=at_once) as client:
            await client.core("a")  # from here on the connection is in use
            emulator.faults.script([Fault.reset(paid=True), None, Fault.hang_up(paid=True)])
            images = [await client.core("a"), await client.core("a")]

    assert emulator.paid == 5
    assert [image.unknown_charges for image in images] == [1, 1]


async def test_waiting_for_the_limit_outlasts_a_proxys_patience(emulator: Emulator) -> None:
    """HAProxy gives up on a connection that says nothing for long: no call may wait on one."""
    with haproxy(emulator.url, "timeout http-request 300ms") as proxy:
        limit = RateLimit(1, 0.5)
        async with SD3Client(KEY, base_url=proxy.url, rate_limit=limit) as client:
            images = await asyncio.gather(*(client.core("a") for _ in range(5)))

        assert await proxy.statuses(5) == {200: 5}
    assert [image.attempts for image in images] == [1] * 5
