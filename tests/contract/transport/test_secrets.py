"""The key is nowhere but on the wire."""

import asyncio
import base64
import gzip
import json
import traceback
from collections.abc import Awaitable, Iterator
from pathlib import Path

import aiohttp
import pytest

from sd3async import APIError, RetryPolicy, SD3Client, SD3Error, Timeouts, UnexpectedResponseError
from support.pictures import padded_picture
from support.raw import KEY, Peer, exchange, get, post, raw_server, transport, upload


def reachable(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """Yield whatever can be shown of an error and of all that hangs on it."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield repr(error)
    yield str(error)
    yield repr(error.args)
    yield repr(vars(error))
    yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    for linked in (error.__cause__, error.__context__, *error.args, *vars(error).values()):
        if isinstance(linked, BaseException):
            yield from reachable(linked, seen)


ENDINGS = {
    "no HTTP": b"hello there, this is no HTTP at all\r\n\r\n",
    "bad header": b"HTTP/1.1 200 OK\r\nbad header\x00: x\r\n\r\n",
    "echo in a header": f"HTTP/1.1 200 OK\r\nx: Bearer {KEY}\x00\r\n\r\n".encode(),
    "bad length": b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    "bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "cut": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    "cut chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
    "nothing": b"",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST", "upload"])
async def test_no_error_leads_to_the_key(ending: str, is_reset: bool, method: str) -> None:
    """Error trackers keep causes, and the locals of every frame."""

    async def behave(peer: Peer) -> None:
        request = await peer.request()
        if ending == "no HTTP":
            peer.writer.write(request)  # echoes the key
        peer.writer.write(ENDINGS[ending])
        await peer.writer.drain()
        await asyncio.sleep(0.01)
        if is_reset:
            peer.reset()

    async with raw_server(behave) as url, transport() as through:
        message = get(url) if method == "GET" else post(url)
        if method == "upload":
            message = post(url, upload(300_000))
        with pytest.raises(SD3Error) as caught:
            await exchange(through, message)

    assert KEY not in "".join(reachable(caught.value, set()))
    assert isinstance(caught.value.__cause__, Exception)
    assert isinstance(caught.value.__cause__, aiohttp.ClientError | OSError | Exception)


@pytest.mark.parametrize("timeouts", [Timeouts(read=0.05), Timeouts(attempt=0.05)])
async def test_no_timeout_leads_to_the_key(timeouts: Timeouts) -> None:
    """Nor does the cancellation that a caller's own timeout makes."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(5)

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(SD3Error) as caught:
            await exchange(through, post(url), timeouts=timeouts)
        with pytest.raises(TimeoutError) as own:
            async with asyncio.timeout(0.05):
                await exchange(through, post(url))

    assert KEY not in "".join(reachable(caught.value, set()))
    assert KEY not in "".join(reachable(own.value, set()))


async def test_a_message_does_not_show_its_key() -> None:
    """Neither does a header's value on its way through aiohttp."""
    message = post("http://localhost")

    assert KEY not in repr(message)
    assert KEY not in repr(message.headers)
    assert message.headers["authorization"] == f"Bearer {KEY}"


PLAIN_KEY = "Gateway/0123456789+abcDEF"
"""A key that nothing but its owner can tell from other words; all of it is legal base64."""

PICTURE = base64.b64encode(padded_picture(90_000)).decode()
STORED = gzip.compress(PLAIN_KEY.encode() * 9_000, compresslevel=0)
ECHOES: dict[str, tuple[str, bytes, list[str]]] = {
    "page": ("200 OK", f"<p>you are {PLAIN_KEY}".encode(), []),
    "error object": ("200 OK", json.dumps({"errors": [PLAIN_KEY]}).encode(), []),
    "no JSON": ("200 OK", b'{"key": "%b", oops}' % PLAIN_KEY.encode(), []),
    "no JSON after": ("200 OK", f'{{"image":"{PICTURE}","key":"{PLAIN_KEY}"]'.encode(), []),
    "no base64": ("200 OK", f'{{"image":"!{PLAIN_KEY * 9}"}}'.encode(), []),
    "no ASCII": ("200 OK", f'{{"image":"{PLAIN_KEY * 9}\\u00e9"}}'.encode(), []),
    "no escape": ("200 OK", f'{{"image":"{PLAIN_KEY * 9}\\u00zz"}}'.encode(), []),
    "no whole picture": ("200 OK", f'{{"key":"{PLAIN_KEY}","image":"{PICTURE}'.encode(), []),
    "damaged gzip": ("200 OK", STORED[:-9] + b"damage...", ["content-encoding: gzip"]),
    "cut gzip": ("200 OK", STORED[:-9], ["content-encoding: gzip"]),
    "cut": ("200 OK", PLAIN_KEY.encode(), ["content-length: 900000"]),
    "unknown coding": ("200 OK", b"x", [f"content-encoding: {PLAIN_KEY}"]),
    "brotli": ("200 OK", b"x", ["content-encoding: br"]),
    "error": ("400 Bad Request", json.dumps({"errors": [PLAIN_KEY]}).encode(), []),
    "error's page": ("500 Oops", f"<p>you are {PLAIN_KEY}".encode(), []),
    "damaged error": ("400 Bad Request", STORED[:-9] + b"damage...", ["content-encoding: gzip"]),
    "brotli error": ("400 Bad Request", b"x", ["content-encoding: br"]),
    "huge": ("200 OK", PLAIN_KEY.encode() * 9_000, []),
}


async def failure(call: Awaitable[object]) -> BaseException:
    """Return what a call raises, without a frame of the test's own."""
    try:
        await call
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(("status", "body", "headers"), ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("way", ["image", "file", "balance"])
async def test_no_echo_of_a_key_stays_in_an_error(
    status: str, body: bytes, headers: list[str], way: str, tmp_path: Path
) -> None:
    """Gateways echo what they do not understand, and error trackers keep all that they find."""
    echoed = [f"x-request-id: r-{PLAIN_KEY}", f"x-echo: {PLAIN_KEY}", f"content-type: {PLAIN_KEY}"]

    async def behave(peer: Peer) -> None:
        await peer.request()
        lines = [f"HTTP/1.1 {status}", "connection: close", *headers, *echoed]
        peer.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await peer.writer.drain()

    async with (
        raw_server(behave) as url,
        SD3Client(PLAIN_KEY, base_url=url, retry=RetryPolicy(attempts=1)) as client,
    ):
        to = tmp_path / "a.png" if way == "file" else None
        call = client.balance() if way == "balance" else client.core("a", to=to)
        error = await failure(call)

    assert isinstance(error, SD3Error)
    assert PLAIN_KEY not in "".join(reachable(error, set()))
    if isinstance(error, APIError | UnexpectedResponseError):
        assert error.request_id in ("r-[key]", None)


@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
async def test_no_echo_of_a_key_stays_in_a_deadlines_error(status: str) -> None:
    """What had arrived when the time was up stands in the frames of whoever read it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(f"HTTP/1.1 {status}\r\n\r\n{PLAIN_KEY}".encode())
        await asyncio.sleep(5)

    async with raw_server(behave) as url, SD3Client(PLAIN_KEY, base_url=url) as client:
        error = await failure(client.core("a", deadline=0.1))

    assert isinstance(error, TimeoutError)
    assert PLAIN_KEY not in "".join(reachable(error, set()))
