"""Injected trouble as a client meets it, and what is booked for it."""

import asyncio
import email.utils
import time
from typing import Any

import aiohttp
import pytest

from contract.emulator.caller import emulated
from sd3async.emulator import Fault, run_in_virtual_time


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "name"),
    [
        (Fault.status(500), 500, "application/json", "internal_error"),
        (Fault.status(401), 401, "application/json", "unauthorized"),
        (Fault.status(402), 402, "application/json", "payment_required"),
        (Fault.status(403), 403, "application/json", "content_moderation"),
        (Fault.status(413), 413, "application/json", "payload_too_large"),
        (Fault.status(422), 422, "application/json", "invalid_language"),
        (Fault.status(429), 429, "application/json", "rate_limit_exceeded"),
        (Fault.status(409), 409, "application/json", "conflict"),
        (Fault.status(502), 502, "text/html", None),
        (Fault.status(503), 503, "text/html", None),
        (Fault.status(504), 504, "text/html", None),
        (Fault.status(500, page=True), 500, "text/html", None),
        (Fault.from_gateway("new-api"), 500, "application/json", None),
        (Fault.from_gateway("one-api", 503), 503, "application/json", None),
        (Fault.from_gateway("v-api", 403), 403, "application/json", None),
        (Fault.from_gateway("302.ai", 500), 500, "application/json", None),
        (Fault.html(), 200, "text/html", None),
    ],
    ids=str,
)
async def test_answers_that_are_no_image_cost_nothing(
    fault: Fault, status: int, content_type: str, name: str | None
) -> None:
    """Each class of error has to reach the client in its real shape, unpaid."""
    async with emulated(faults=[fault]) as (emulator, client):
        reply = await client.post("core", prompt="a cat")
        (seen,) = emulator.requests

        assert reply.status == status
        assert reply.headers["Content-Type"] == content_type
        assert reply.headers["x-emulator"] == "sd3async"
        assert seen.error_name == name
        assert emulator.paid == 0
        assert (await client.post("core", prompt="a cat")).status == 200


@pytest.mark.parametrize("gateway", ["new-api", "one-api", "v-api", "302.ai"])
async def test_gateways_report_errors_in_their_own_json(gateway: Any) -> None:
    """A client that looks for `errors` alone would show nothing."""
    async with emulated(faults=[Fault.from_gateway(gateway)]) as (_, client):
        reply = await client.post("core", prompt="a cat")

    assert set(reply.json) == {"error"}
    assert "message" in reply.json["error"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.reset(), aiohttp.ClientOSError),
        (Fault.hang_up(), aiohttp.ServerDisconnectedError),
        (Fault.truncated(0.5), aiohttp.ClientPayloadError),
        (Fault.truncated(0.0), aiohttp.ClientPayloadError),
    ],
    ids=str,
)
@pytest.mark.parametrize("paid", [True, False])
async def test_broken_connections(fault: Fault, error: type[Exception], *, paid: bool) -> None:
    """The client cannot know whether it was charged: both must be possible."""
    fault = type(fault)(fault.kind, paid=paid, keep=fault.keep)
    async with emulated(faults=[fault], image_bytes=100_000) as (emulator, client):
        with pytest.raises(error):
            await client.post("core", prompt="a cat")
        await client.post("core", prompt="a cat")
        seen = emulator.requests[0]

        assert emulator.paid == 1 + paid
        assert seen.disconnected
        assert not seen.finished
        assert emulator.stats.disconnected == 1


async def test_empty_and_imageless_answers() -> None:
    """A 200 alone proves nothing."""
    async with emulated(faults=[Fault.empty(), Fault.no_image()]) as (emulator, client):
        empty = await client.post("core", prompt="a cat")
        imageless = await client.post("core", prompt="a cat", accept="application/json")

        assert (empty.status, empty.body) == (200, b"")
        assert empty.headers["Content-Type"] == "image/png"
        assert set(imageless.json) == {"finish_reason", "seed"}
        assert emulator.paid == 2


async def test_filtered_images_are_blurred_and_flagged() -> None:
    """CONTENT_FILTERED is a 200, and is booked."""
    faults = [Fault.filtered(), Fault.filtered(), None]
    async with emulated(faults=faults, image_bytes=None) as (emulator, client):
        blurred = await client.post("sd3", prompt="a cat", seed=1)
        as_json = await client.post("sd3", prompt="a cat", seed=1, accept="application/json")
        sharp = await client.post("sd3", prompt="a cat", seed=1)

        assert blurred.status == 200
        assert blurred.headers["finish-reason"] == "CONTENT_FILTERED"
        assert as_json.json["finish_reason"] == "CONTENT_FILTERED"
        assert blurred.image.tobytes() != sharp.image.tobytes()
        assert emulator.paid == 3


def test_slow_bodies_drip() -> None:
    """A body may take longer than any reasonable read timeout."""

    async def main() -> tuple[float, int]:
        async with emulated(faults=[Fault.slow(40.0)], image_bytes=50_000) as (_, client):
            reply = await client.post("core", prompt="a cat")
            return asyncio.get_running_loop().time(), len(reply.body)

    took, size = run_in_virtual_time(main())
    assert took == pytest.approx(40.0, abs=0.1)
    assert size == 50_000


def test_stalls_end_after_their_time_or_with_the_client() -> None:
    """A server that keeps silent is what read timeouts are for."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        faults = [Fault.stall(30.0), Fault.stall()]
        async with emulated(faults=faults) as (emulator, client):
            await client.post("core", prompt="a cat")
            ends = [loop.time()]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(500):
                    await client.post("core", prompt="a cat")
            ends.append(loop.time())
            await asyncio.sleep(0.1)
            assert emulator.requests[1].disconnected
            assert emulator.paid == 2
            return ends

    assert run_in_virtual_time(main()) == pytest.approx([30.0, 530.0], abs=0.1)


@pytest.mark.parametrize(
    ("fault", "header", "locked"),
    [
        (Fault.rate_limited(), None, 60.0),
        (Fault.rate_limited(retry_after=7), "7", 7.0),
        (Fault.rate_limited(retry_after=7, lock_out=False), "7", 0.0),
    ],
    ids=str,
)
def test_a_429_on_demand_locks_the_key_out(fault: Fault, header: str | None, locked: float) -> None:
    """Another program on the same key is met like this."""

    async def main() -> None:
        async with emulated(faults=[fault], limit=None) as (emulator, client):
            reply = await client.post("core", prompt="a cat")
            other = await client.post("core", prompt="a cat", key="sk-other")
            now = await client.post("core", prompt="a cat")
            await asyncio.sleep(locked)
            later = await client.post("core", prompt="a cat")

            assert (reply.status, reply.headers.get("Retry-After")) == (429, header)
            assert other.status == 200
            assert now.status == (429 if locked else 200)
            assert later.status == 200
            assert emulator.paid == 3 - bool(locked)

    run_in_virtual_time(main())


async def test_retry_after_may_be_a_date() -> None:
    """The HTTP date is the other legal form of the header."""
    fault = Fault.rate_limited(retry_after=30, as_date=True)
    async with emulated(faults=[fault]) as (_, client):
        reply = await client.post("core", prompt="a cat")

    until = email.utils.parsedate_to_datetime(reply.headers["Retry-After"]).timestamp()
    assert until - time.time() == pytest.approx(30, abs=3)


async def test_faults_by_chance_repeat_with_the_seed() -> None:
    """A run under random trouble must be repeatable."""

    async def statuses(seed: int) -> list[int]:
        faults = {Fault.status(500): 0.3, Fault.status(503): 0.2}
        async with emulated(faults=faults, seed=seed, limit=None) as (_, client):
            return [(await client.post("core", prompt="a cat")).status for _ in range(60)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 500, 503}
    assert 15 <= sum(status != 200 for status in first) <= 45


async def test_malformed_requests_do_not_use_up_the_script() -> None:
    """Faults strike only what would have been served."""
    async with emulated(faults=[Fault.status(500)]) as (_, client):
        bad = await client.post("core", prompt="")
        good = await client.post("core", prompt="a cat")

    assert (bad.status, good.status) == (400, 500)


async def test_a_script_finds_its_prompt_in_a_crowd() -> None:
    """Concurrent requests arrive in any order."""
    async with emulated() as (emulator, client):
        emulator.faults.script([Fault.status(500)] * 2, prompt="cat 3")
        replies = await asyncio.gather(*(client.post("core", prompt=f"cat {n}") for n in range(6)))

    assert [reply.status for reply in replies] == [200, 200, 200, 500, 200, 200]
