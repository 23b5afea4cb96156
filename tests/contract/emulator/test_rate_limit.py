"""The limit over HTTP: who is refused, when, and for how long; in virtual time."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from contract.emulator.caller import Caller, emulated, picture
from sd3async.emulator import Uniform, VirtualClock, run_in_virtual_time


async def burst(client: Caller, count: int, **fields: Any) -> Counter[int]:
    replies = await asyncio.gather(
        *(client.post("core", prompt="a", **fields) for _ in range(count))
    )
    return Counter(reply.status for reply in replies)


def test_the_151st_request_costs_a_minute() -> None:
    """150 in 10 seconds, and then the key is shut out for 60."""

    async def main() -> None:
        async with emulated() as (emulator, client):
            assert await burst(client, 151) == {200: 150, 429: 1}
            await asyncio.sleep(59.0)
            assert await burst(client, 3) == {429: 3}
            await asyncio.sleep(1.5)
            assert await burst(client, 150) == {200: 150}
            assert (emulator.refused, emulator.paid) == (4, 300)
            assert emulator.max_in_any_window() == 153  # the three refused ones came as well

    run_in_virtual_time(main())


def test_the_words_of_the_429() -> None:
    """Clients show the service's sentence; its id repeats the name, unlike any other error's."""

    async def main() -> None:
        async with emulated(max_requests=1) as (_, client):
            await client.post("core", prompt="a")
            reply = await client.post("core", prompt="a")
            assert reply.json == {
                "id": "rate_limit_exceeded",
                "name": "rate_limit_exceeded",
                "errors": [
                    "You have exceeded the rate limit of 1 requests within a 10 second period, "
                    "and have been timed out for 60 seconds."
                ],
            }
            assert "Retry-After" not in reply.headers

    run_in_virtual_time(main())


def test_keys_are_counted_apart() -> None:
    """The limit is per key: a pool of keys is worth its sum."""

    async def main() -> None:
        async with emulated(max_requests=5) as (emulator, client):
            assert await burst(client, 6, key="sk-one") == {200: 5, 429: 1}
            assert await burst(client, 5, key="sk-two") == {200: 5}
            assert len({seen.key_id for seen in emulator.requests}) == 2
            assert emulator.max_in_any_window() == 6

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("model", "second_burst"),
    [("log", 0), ("fixed", 10), ("counter", 0), ("bucket", 0)],
)
def test_each_model_decides_a_double_burst_in_its_way(model: Any, second_burst: int) -> None:
    """A client has to be safe under all four."""

    async def main() -> None:
        async with emulated(limit=model, max_requests=10, lockout=0.0, phase=5.0) as (_, client):
            await asyncio.sleep(4.5)
            assert await burst(client, 10) == {200: 10}
            await asyncio.sleep(0.7)
            assert (await burst(client, 10))[200] == second_burst

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("counts", "statuses"),
    [
        ("all", [200, 400, 429, 429]),
        ("generations", [200, 400, 200, 429]),
        ("valid", [200, 400, 200, 200]),
    ],
)
def test_what_counts_is_a_setting(counts: str, statuses: list[int]) -> None:
    """Whether refused requests and balance calls count is not known."""

    async def main() -> None:
        async with emulated(counts=counts, max_requests=2) as (_, client):
            found = [
                (await client.post("core", prompt="a")).status,
                (await client.post("core", prompt="")).status,
            ]
            headers = {"Authorization": "sk-of-a-test"}
            found.append((await client.ask("GET", "/v1/user/balance", headers=headers)).status)
            await asyncio.sleep(10 if counts == "generations" else 0)
            if counts == "generations":
                await burst(client, 2)
            found.append((await client.post("core", prompt="a")).status)
            assert found == statuses

    run_in_virtual_time(main())


@pytest.mark.parametrize("told", [None, "seconds", "date"])
def test_a_429_may_say_how_long(told: str | None) -> None:
    """No document promises the header; clients must do with and without it."""

    async def main() -> None:
        async with emulated(max_requests=1, retry_after=told) as (_, client):
            await client.post("core", prompt="a")
            first = await client.post("core", prompt="a")
            await asyncio.sleep(20.5)
            second = await client.post("core", prompt="a")
            headers = [reply.headers.get("Retry-After") for reply in (first, second)]
            if told is None:
                assert headers == [None, None]
            elif told == "seconds":
                assert headers == ["60", "40"]
            else:
                assert headers == ["Tue, 14 Nov 2023 22:14:20 GMT"] * 2

    run_in_virtual_time(main())


def test_jitter_delays_the_stamps_and_repeats_with_the_seed() -> None:
    """The network is modelled, repeatably, and a stamp never precedes its request."""

    async def stamps(seed: int) -> list[float]:
        async with emulated(arrival_jitter=0.25, seed=seed, limit=None) as (emulator, client):
            for _ in range(20):
                sent = asyncio.get_running_loop().time()
                await client.post("core", prompt="a")
                assert 0 <= emulator.requests[-1].at - sent <= 0.26
            return [round(seen.at, 3) for seen in emulator.requests]

    first = run_in_virtual_time(stamps(1))
    assert run_in_virtual_time(stamps(1)) == first
    assert run_in_virtual_time(stamps(2)) != first


def test_a_request_is_counted_even_when_its_client_has_gone() -> None:
    """What is on its way arrives: a cancelled request still costs its slot."""

    async def main() -> None:
        async with emulated(arrival_jitter=5.0, max_requests=10) as (emulator, client):
            for _ in range(10):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await client.post("core", prompt="a")
            await asyncio.sleep(5.0)
            assert emulator.max_in_any_window() == 10
            assert (await client.post("core", prompt="a")).status == 429
            assert all(seen.disconnected for seen in emulator.requests[:10])

    run_in_virtual_time(main())


@pytest.mark.parametrize(("stamp", "delay"), [("head", 0.0), ("body", 3.0)])
def test_stamping_at_the_head_or_at_the_body(stamp: str, delay: float) -> None:
    """Which of the two the service does is not known; with slow uploads it matters."""

    async def main() -> None:
        async with emulated(stamp=stamp) as (emulator, client):
            boundary = b"--x\r\nContent-Disposition: form-data; "

            async def slow_body() -> AsyncGenerator[bytes]:
                yield boundary + b'name="prompt"\r\n\r\n'
                await asyncio.sleep(3.0)
                yield b"a cat\r\n--x--"

            headers = {
                "Content-Type": "multipart/form-data; boundary=x",
                "Accept": "image/*",
                "Authorization": "sk-of-a-test",
            }
            path = "/v2beta/stable-image/generate/core"
            await client.ask("POST", path, headers=headers, data=slow_body())
            assert emulator.requests[0].at == pytest.approx(delay, abs=0.1)

    run_in_virtual_time(main())


@pytest.mark.parametrize("early", [False, True])
def test_refusals_may_come_before_the_body_has_been_read(*, early: bool) -> None:
    """Either way the client gets its 429, and the journal shows how much was read."""

    async def main() -> None:
        async with emulated(max_requests=1, early_refusal=early) as (emulator, client):
            await client.post("core", prompt="a")
            image = picture() + bytes(2_000_000)
            reply = await client.post("ultra", prompt="a", image=image, strength=1)
            assert reply.status == 429
            assert bool(emulator.requests[1].parts) is not early

    run_in_virtual_time(main())


def test_latency_counts_from_the_arrival() -> None:
    """Drawing and the way there are part of the latency, not added to it."""

    async def main() -> None:
        settings = {"latency": Uniform(2.0, 3.0), "arrival_jitter": 1.9, "image_bytes": None}
        async with emulated(**settings) as (emulator, client):
            await asyncio.gather(*(client.post("sd3", prompt=f"cat {n}") for n in range(4)))
            ends = [seen.answered_at or 0.0 for seen in emulator.requests]
            assert all(2.0 <= end <= 3.05 for end in ends)
            assert len({round(end, 2) for end in ends}) == 4

    run_in_virtual_time(main())


async def test_the_clock_can_be_turned_by_hand() -> None:
    """With an injected clock a minute of lock-out costs no time at all."""
    clock = VirtualClock()
    async with emulated(max_requests=1, clock=clock) as (_, client):
        statuses = [(await client.post("core", prompt="a")).status for _ in range(2)]
        clock.advance(60.0)
        statuses.append((await client.post("core", prompt="a")).status)

    assert statuses == [200, 429, 200]
