"""The key is nowhere but on the wire."""

import asyncio
import traceback
from collections.abc import Iterator

import aiohttp
import pytest

from sd3async import SD3Error, Timeouts
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
