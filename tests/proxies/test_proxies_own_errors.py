"""Errors that a proxy makes up: they say nothing about what the service did, or billed."""

import asyncio
import time

import pytest

from sd3async import (
    APIError,
    ContentModerationError,
    RateLimitError,
    RetryPolicy,
    SD3Client,
    ServerError,
)
from sd3async.emulator import Emulator, Fault
from support.proxies import Gate, haproxy, nginx, reserved_port, through

KEY = "sk-test0123456789abcdef"
AT_ONCE = RetryPolicy(attempts=3, wait=0)
PREFER_TO_KNOW = RetryPolicy(attempts=3, wait=0, on_unknown="raise")

BOTH = through({"nginx": nginx, "HAProxy": haproxy})
IMPATIENT = through(
    {
        "nginx": lambda upstream: nginx(upstream, "proxy_read_timeout 300ms;"),
        "HAProxy": lambda upstream: haproxy(upstream, backend="timeout server 300ms"),
    }
)


@IMPATIENT
async def test_a_504_counts_as_possibly_charged(gate: Gate) -> None:
    """The proxy gave up; the service went on, and billed every attempt."""
    async with Emulator(limit=None, image_bytes=3_000, latency=3.0) as emulator:
        with gate(emulator.url) as proxy:
            async with SD3Client(KEY, base_url=proxy.url, retry=AT_ONCE) as client:
                with pytest.raises(ServerError) as caught:
                    await client.core("a")

            assert await proxy.statuses(3) == {504: 3}
        assert emulator.paid == 3
    assert [past.may_be_charged for past in caught.value.history] == [True] * 3


@IMPATIENT
async def test_a_504_stops_who_would_rather_know(gate: Gate) -> None:
    """`on_unknown="raise"` promises that nothing is paid twice."""
    async with Emulator(limit=None, image_bytes=3_000, latency=3.0) as emulator:
        with gate(emulator.url) as proxy:
            async with SD3Client(KEY, base_url=proxy.url, retry=PREFER_TO_KNOW) as client:
                with pytest.raises(ServerError) as caught:
                    await client.core("a")
        assert emulator.paid == 1
    assert caught.value.status == 504
    assert [past.may_be_charged for past in caught.value.history] == [True]


@BOTH
async def test_a_502_after_the_service_broke_off_counts_as_possibly_charged(
    emulator: Emulator, gate: Gate
) -> None:
    """A proxy says 502 when the service dies over work that it has booked."""
    emulator.faults.script([Fault.reset(paid=True)])
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=AT_ONCE) as client:
            image = await client.core("a")

        assert await proxy.statuses(2) == {502: 1, 200: 1}
    assert emulator.paid == 2
    assert (image.attempts, image.unknown_charges) == (2, 1)


async def test_a_502_of_a_dead_service_is_tried_again_and_told() -> None:
    """The client cannot know that nobody was there to bill anything."""
    with reserved_port() as port, nginx(f"http://127.0.0.1:{port}") as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=AT_ONCE) as client:
            with pytest.raises(ServerError) as caught:
                await client.core("a")

        assert await proxy.statuses(3) == {502: 3}
    assert [past.may_be_charged for past in caught.value.history] == [True] * 3


@BOTH
async def test_the_services_own_500_stays_free_behind_a_proxy(
    emulator: Emulator, gate: Gate
) -> None:
    """What the service says of itself is known: its failures are not billed."""
    emulator.faults.script([Fault.status(500), Fault.status(503, page=False)])
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=PREFER_TO_KNOW) as client:
            image = await client.core("a")

        assert await proxy.statuses(3) == {500: 1, 503: 1, 200: 1}
    assert (image.attempts, image.unknown_charges) == (3, 0)
    assert emulator.paid == 1


@pytest.mark.parametrize(
    ("status", "doubts"),
    [(502, 1), (503, 0), (504, 1), (520, 1), (521, 1), (522, 1), (523, 1), (524, 1), (529, 0)],
)
async def test_a_gateways_own_5xx_is_tried_again(
    emulator: Emulator, status: int, doubts: int
) -> None:
    """What large gateways say of a service that they cannot reach, or no longer hear."""
    only_the_first = f"""
        stick-table type string len 64 size 1k expire 60s store http_req_cnt
        http-request track-sc0 req.hdr(authorization)
        http-request return status {status} if {{ sc_http_req_cnt(0) eq 1 }}
    """
    with haproxy(emulator.url, only_the_first) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=AT_ONCE) as client:
            image = await client.core("a")

    assert (image.attempts, image.unknown_charges) == (2, doubts)


async def test_a_403_of_a_firewall_is_no_moderation(emulator: Emulator) -> None:
    """Whoever is told that a prompt was flagged looks for the fault in the wrong place."""
    with haproxy(emulator.url, "http-request deny") as proxy:
        async with SD3Client(KEY, base_url=proxy.url) as client:
            with pytest.raises(APIError) as caught:
                await client.core("a")

        assert await proxy.statuses(1) == {403: 1}
    assert not isinstance(caught.value, ContentModerationError)


async def test_a_limiters_own_retry_after_is_kept(emulator: Emulator) -> None:
    """A gateway knows best for how long it shuts a key out; a minute would be wasted."""
    one_a_second = """
        stick-table type string len 64 size 1k expire 10s store http_req_rate(1s)
        http-request track-sc0 req.hdr(authorization)
        http-request return status 429 hdr Retry-After 2 if { sc_http_req_rate(0) gt 1 }
    """
    with haproxy(emulator.url, one_a_second) as proxy:
        async with SD3Client(KEY, base_url=proxy.url) as client:
            await client.core("a")
            began = time.monotonic()
            image = await client.core("b")
            took = time.monotonic() - began
            with pytest.raises(RateLimitError) as caught:
                await client.with_options(retry=RetryPolicy(attempts=1)).core("c")

        assert await proxy.statuses(4) == {200: 2, 429: 2}
    assert image.attempts == 2
    assert 2 <= took < 5
    assert caught.value.retry_after == 2


async def test_a_503_is_waited_out_for_as_long_as_it_asks() -> None:
    """HAProxy has no server for a moment; hammering at it would use every attempt up."""
    sorry = "http-error status 503 content-type text/plain string sorry hdr Retry-After 2"
    with (
        reserved_port() as port,
        haproxy(f"http://127.0.0.1:{port}", sorry, backend="retries 0") as proxy,
    ):
        async with SD3Client(KEY, base_url=proxy.url, retry=AT_ONCE) as client:
            call = asyncio.create_task(client.core("a"))
            await asyncio.sleep(1)
            async with Emulator(limit=None, image_bytes=3_000, port=port) as emulator:
                image = await call
                assert emulator.paid == 1

        assert await proxy.statuses(2) == {503: 1, 200: 1}
    assert (image.attempts, image.unknown_charges) == (2, 0)


async def test_a_server_that_comes_back_is_found_again() -> None:
    """A restart behind HAProxy, with health checks, must cost waiting and nothing else."""
    checked = "check inter 100ms fall 1 rise 1"
    with (
        reserved_port() as port,
        haproxy(f"http://127.0.0.1:{port}", backend="retries 0", server=checked) as proxy,
    ):
        await asyncio.sleep(0.3)  # long enough to be found missing
        async with SD3Client(KEY, base_url=proxy.url) as client:
            call = asyncio.create_task(client.core("a"))
            await asyncio.sleep(0.1)
            async with Emulator(limit=None, image_bytes=3_000, port=port) as emulator:
                image = await call
                assert emulator.paid == 1

        assert await proxy.statuses(image.attempts) == {503: image.attempts - 1, 200: 1}
    assert image.attempts > 1
    assert image.unknown_charges == 0
