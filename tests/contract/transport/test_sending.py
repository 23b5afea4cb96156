"""From a message to bytes on the wire, and what is told of it."""

import asyncio
import socket
import sys
from collections.abc import Callable
from io import BytesIO

import aiohttp
import pytest

from sd3async import InvalidRequestError, Timeouts
from sd3async.transport import Message
from support.raw import (
    Journal,
    Peer,
    exchange,
    get,
    post,
    raw_server,
    transport,
    until,
    upload,
)

MESSAGES = [get, post]


@pytest.mark.parametrize("message", MESSAGES)
async def test_not_one_byte_leaves_before_leave_is_given(message: Callable[[str], Message]) -> None:
    """A permit is the last thing before the first byte, once the connection stands."""
    connected = asyncio.Event()
    arrived = asyncio.Event()

    async def behave(peer: Peer) -> None:
        connected.set()
        await peer.request()
        arrived.set()
        await peer.answer(b"ok")

    async def wait() -> None:
        await asyncio.wait_for(connected.wait(), 5)
        await asyncio.sleep(0.1)
        assert not arrived.is_set()

    async with raw_server(behave) as url, transport() as through:
        watch = Journal(wait)
        assert await exchange(through, message(url), watch) == (200, b"ok")

    assert watch.told[:2] == ["ready", "more"]
    assert watch.told.count("ready") == 1


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize(
    "error", [RuntimeError("no"), TimeoutError("late"), OSError(5, "io"), asyncio.CancelledError()]
)
async def test_a_leave_that_is_refused_is_the_callers_own_error(
    message: Callable[[str], Message], error: BaseException
) -> None:
    """The very exception comes out, nothing was sent, and nobody asks a second time."""
    seen: list[bytes] = []

    async def behave(peer: Peer) -> None:
        seen.append(await peer.reader.read(1))

    async def refuse() -> None:
        raise error

    async with raw_server(behave) as url, transport() as through:
        watch = Journal(refuse)
        with pytest.raises(type(error)) as caught:
            await exchange(through, message(url), watch)
        await asyncio.sleep(0.05)

    assert caught.value is error
    assert watch.told == ["ready"]
    assert set(seen) <= {b""}
    assert len(seen) <= 1


async def test_waiting_for_leave_is_not_part_of_the_attempt() -> None:
    """The queue must not eat the time that an attempt has."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with raw_server(behave) as url, transport() as through:
        watch = Journal(lambda: asyncio.sleep(0.4))
        timeouts = Timeouts(connect=0.3, read=0.3, attempt=0.3)
        assert await exchange(through, post(url), watch, timeouts) == (200, b"ok")


@pytest.mark.parametrize("error", [OSError(5, "io"), ValueError("bad"), TimeoutError("slow")])
async def test_the_sources_error_never_looks_like_a_broken_connection(error: Exception) -> None:
    """A stream of the caller's that fails is no reason to send it all again."""

    class Failing:
        closed = False

        def read(self, size: int, /) -> bytes:
            raise error

        def close(self) -> None:
            Failing.closed = True

    async def behave(peer: Peer) -> None:
        await peer.request()

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(InvalidRequestError, match="image: cannot be read") as caught:
            await exchange(through, post(url, upload(100_000, Failing)))

    assert caught.value.__cause__ is error
    assert Failing.closed


@pytest.mark.parametrize("size", [20_000_000, 300_000, 30_000])
async def test_the_last_byte_is_told_when_it_has_left_this_machine(size: int) -> None:
    """Bytes that a peer does not take wait in two buffers, and the server counts them later."""
    resume = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await resume.wait()
        await peer.request()
        await asyncio.sleep(0.2)
        await peer.answer(b"ok")

    async with raw_server(behave, buffer=4096) as url, transport() as through:
        watch = Journal()
        sending = asyncio.create_task(exchange(through, post(url, upload(size)), watch))
        await asyncio.sleep(0.3)
        assert "out" not in watch.told
        resumed = asyncio.get_running_loop().time()
        resume.set()
        assert await sending == (200, b"ok")

    assert watch.told[-1] == "out"
    assert watch.told.count("out") == 1
    assert watch.at >= resumed


async def test_where_the_kernel_cannot_be_asked_asyncios_buffer_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other platforms have no `TCP_INFO`."""
    monkeypatch.setattr(sys, "platform", "sunos")
    resume = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await resume.wait()
        await peer.request()
        await asyncio.sleep(0.1)
        await peer.answer(b"ok")

    def small(_: object) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return made

    connector = aiohttp.TCPConnector(socket_factory=small, family=socket.AF_INET)
    async with (
        raw_server(behave, buffer=4096) as url,
        aiohttp.ClientSession(connector=connector) as session,
        transport(session=session) as through,
    ):
        watch = Journal()
        sending = asyncio.create_task(exchange(through, post(url, upload(50_000)), watch))
        await asyncio.sleep(0.2)
        assert watch.told.count("more") == 6
        assert "out" not in watch.told
        resume.set()
        assert await sending == (200, b"ok")

    assert watch.told[-1] == "out"


async def test_the_last_byte_of_a_small_request_is_told_at_once() -> None:
    """Most requests leave with one write; nothing may be waited for."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"ok")

    async with raw_server(behave) as url, transport() as through:
        for message in (post(url), get(url)):
            watch = Journal()
            await exchange(through, message, watch)
            assert watch.told == ["ready", "more", "more", "out"]


async def test_nothing_more_is_told_once_the_answer_is_there() -> None:
    """An answer proves that the server has counted the request."""

    async def behave(peer: Peer) -> None:
        await asyncio.sleep(0.1)
        peer.writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n")
        await asyncio.sleep(0.1)
        await peer.request()
        await asyncio.sleep(0.1)
        peer.writer.write(b"no")

    async with raw_server(behave, buffer=4096) as url, transport() as through:
        watch = Journal()
        assert await exchange(through, post(url, upload(300_000)), watch) == (429, b"no")

    assert set(watch.told) == {"ready", "more"}


async def test_a_body_is_sent_whole_and_in_order() -> None:
    """Head, image and tail, with the length that was announced."""
    got: list[bytes] = []

    async def behave(peer: Peer) -> None:
        got.append(await peer.request())
        await peer.answer(b"ok")

    body = upload(1_000_000)
    async with raw_server(behave) as url, transport() as through:
        await exchange(through, post(url, body))

    head, _, sent = got[0].partition(b"\r\n\r\n")
    assert b"accept-encoding: identity" in head.lower()
    assert b"content-type: multipart/form-data; boundary=b" in head.lower()
    assert len(sent) == body.length
    assert sent.endswith(b"xx\r\n--b--\r\n")


async def test_a_get_has_no_body() -> None:
    """Its permit is awaited where an upload's is, without one byte that a GET has not."""
    got: list[bytes] = []

    async def behave(peer: Peer) -> None:
        got.append(await peer.request())
        await peer.answer(b"ok")

    async with raw_server(behave) as url, transport() as through:
        await exchange(through, get(url))

    assert got[0].startswith(b"GET / HTTP/1.1\r\n")
    assert got[0].endswith(b"\r\n\r\n")
    assert b"content-type" not in got[0].lower()


async def test_the_upload_is_closed_when_its_attempt_ends() -> None:
    """A reader left to the garbage collector keeps a file open."""
    closed: list[bool] = []

    class Noted(BytesIO):
        def close(self) -> None:
            closed.append(True)
            super().close()

    def open_noted() -> BytesIO:
        return Noted(b"x" * 300_000)

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"no", "429 Too Many Requests")
        peer.reset()

    async with raw_server(behave) as url, transport() as through:
        message = post(url, upload(300_000, open_noted))
        assert await exchange(through, message) == (429, b"no")
        await until(lambda: bool(closed))
