"""Answers that come before an upload was read: the connection breaks under the rest of it."""

import asyncio
import hashlib
import itertools
from contextlib import AbstractContextManager

import pytest

from sd3async import (
    PayloadTooLargeError,
    RateLimit,
    RateLimitError,
    RetryPolicy,
    SD3Client,
    SD3Error,
    SD3Request,
    gather_generations,
)
from sd3async.emulator import Emulator
from support.pictures import padded_picture
from support.proxies import Gate, Proxy, haproxy, nginx, through

KEY = "sk-test0123456789abcdef"
NUMBERS = itertools.count(1)
ONCE = RetryPolicy(attempts=1)
HANGS_UP = "lingering_close off; keepalive_requests 1;"
SMALL, LARGE = padded_picture(300_000), padded_picture(9_000_000)


def _haproxy_limit(requests: int, seconds: int) -> str:
    return f"""
        stick-table type string len 64 size 1k expire 60s store http_req_rate({seconds}s)
        http-request track-sc0 req.hdr(authorization)
        http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {requests} }}
    """


def _nginx_one_a_minute(upstream: str, more: str = "") -> AbstractContextManager[Proxy]:
    zone = "limit_req_zone $http_authorization zone=keys:1m rate=1r/m;"
    return nginx(upstream, f"limit_req zone=keys; limit_req_status 429; {more}", http=zone)


UPLOAD = pytest.mark.parametrize("upload", [SMALL, LARGE], ids=["300 kB", "9 MB"])


async def _upload(url: str, upload: bytes) -> tuple[SD3Error, int]:
    """Upload in one attempt that is refused; return the error, and how often it froze the key."""
    # A limit of its own, or it would know of the others' lock-out and wait for its end.
    limit = RateLimit(lockout=60 + next(NUMBERS))
    async with SD3Client(KEY, base_url=url, retry=ONCE, rate_limit=limit) as client:
        with pytest.raises(SD3Error) as caught:
            await client.sd3("a", image=upload, strength=0.5)
        return caught.value, client.freezes


@through(
    {
        "HAProxy": lambda upstream: haproxy(upstream, _haproxy_limit(1, 60)),
        "nginx": _nginx_one_a_minute,
        "nginx that hangs up": lambda upstream: _nginx_one_a_minute(upstream, HANGS_UP),
    }
)
@UPLOAD
@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
async def test_no_early_429_is_missed(
    emulator: Emulator, gate: Gate, upload: bytes, at_once: bool
) -> None:
    """A missed 429 keeps knocking at a key that is shut out, and looks like money lost."""
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=ONCE) as client:
            await client.core("the one that is allowed")
        if at_once:
            met = await asyncio.gather(*(_upload(proxy.url, upload) for _ in range(12)))
        else:
            met = [await _upload(proxy.url, upload) for _ in range(12)]

        assert await proxy.statuses(13) == {200: 1, 429: 12}
    assert [(type(error), freezes) for error, freezes in met] == [(RateLimitError, 1)] * 12
    assert not any(past.may_be_charged for error, _ in met for past in error.history)
    assert emulator.paid == 1


async def test_a_lock_out_costs_each_upload_one_attempt_at_most(emulator: Emulator) -> None:
    """Ten uploads that go on knocking at a shut door move 9 MB each for nothing."""
    request = SD3Request("a", image=LARGE, strength=0.5)
    with haproxy(emulator.url, _haproxy_limit(5, 2)) as proxy:
        limit = RateLimit(lockout=3.0)
        async with SD3Client(KEY, base_url=proxy.url, rate_limit=limit) as client:
            outcomes = await gather_generations(client, [request] * 10)

        statuses = await proxy.statuses(11)
    assert statuses[200] == emulator.paid == 10
    assert 1 <= statuses[429] <= 5
    assert client.freezes == 1
    assert sum(outcome.unwrap().unknown_charges for outcome in outcomes) == 0


@through(
    {
        "nginx": lambda upstream: nginx(upstream, "client_max_body_size 1m;"),
        "nginx that hangs up": lambda upstream: nginx(
            upstream, f"client_max_body_size 1m; {HANGS_UP}"
        ),
        "HAProxy": lambda upstream: haproxy(
            upstream,
            "http-request deny deny_status 413 if { req.hdr(content-length) -m int gt 1000000 }",
        ),
    }
)
async def test_an_upload_that_is_too_large_for_a_proxy_is_told_as_that(
    emulator: Emulator, gate: Gate
) -> None:
    """A proxy's 413 must not be retried as a broken connection, 9 MB at a time."""
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url) as client:
            with pytest.raises(PayloadTooLargeError) as caught:
                await client.sd3("a", image=LARGE, strength=0.5)

        assert await proxy.statuses(1) == {413: 1}
    assert [past.may_be_charged for past in caught.value.history] == [False]


@through(
    {
        "nginx": nginx,
        "nginx unbuffered": lambda upstream: nginx(
            upstream, "proxy_request_buffering off; proxy_http_version 1.1;"
        ),
        "HAProxy": haproxy,
        "HAProxy buffered": lambda upstream: haproxy(upstream, "option http-buffer-request"),
        "HAProxy without Expect": lambda upstream: haproxy(
            upstream, "http-request return status 417 if { req.hdr(expect) -m found }"
        ),
    }
)
@UPLOAD
async def test_uploads_come_through_whole(emulator: Emulator, gate: Gate, upload: bytes) -> None:
    """What helps against early answers must not harm those that are welcome."""
    with gate(emulator.url) as proxy:
        async with SD3Client(KEY, base_url=proxy.url, retry=ONCE) as client:
            image = await client.sd3("a", image=upload, strength=0.5)

    arrived = [part.sha256 for part in emulator.requests[-1].parts if part.name == "image"]
    assert arrived == [hashlib.sha256(upload).hexdigest()]
    assert image.unknown_charges == 0
