"""Answers that come before an upload is read: proxies refuse on the head, and then reset."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from sd3async import RequestTimeoutError, Timeouts
from support.raw import (
    Crossing,
    Journal,
    Peer,
    descriptors,
    exchange,
    post,
    raw_server,
    thread_server,
    transport,
    until,
    upload,
)

SIZES = [9_000_000, 300_000]


async def reset_at_once(peer: Peer) -> None:
    peer.reset()


async def close_at_once(peer: Peer) -> None:
    peer.writer.close()


async def stop_reading(peer: Peer) -> None:
    await asyncio.sleep(0.5)


async def read_on(peer: Peer) -> None:
    while await peer.reader.read(2**16):
        pass


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("then", [reset_at_once, close_at_once, stop_reading, read_on])
async def test_an_answer_that_comes_early_is_read(
    then: Callable[[Peer], Awaitable[None]], size: int
) -> None:
    """A 429 that is lost freezes nobody, and looks like a charge."""
    taken: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"slow down", "429 Too Many Requests", "connection: close")
        await then(peer)

    async with raw_server(behave, buffer=65_536) as url:
        for _ in range(12):
            async with transport() as through:
                watch = Journal()
                answer = await exchange(through, post(url, upload(size)), watch)
                assert answer == (429, b"slow down")
                taken.append(watch.told.count("more") // 2)

    assert max(taken) < 20


async def test_a_connection_with_half_an_upload_is_never_used_again() -> None:
    """The rest of the body would be taken for the next request."""
    requests: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        requests.append(peer.number)
        await peer.answer(b"no", "429 Too Many Requests")  # and says nothing of closing
        await asyncio.sleep(1)

    async with raw_server(behave, buffer=65_536) as url, transport() as through:
        for _ in range(3):
            assert await exchange(through, post(url, upload(9_000_000))) == (429, b"no")

    assert requests == [1, 2, 3]


@pytest.mark.parametrize("interim", ["100 Continue", "103 Early Hints"])
async def test_an_interim_answer_stops_no_upload(interim: str) -> None:
    """Only a final answer says that the rest is not wanted."""

    async def behave(peer: Peer) -> None:
        peer.writer.write(f"HTTP/1.1 {interim}\r\n\r\n".encode())
        size = len(await peer.request())
        await peer.answer(str(size > 9_000_000).encode())

    async with raw_server(behave) as url, transport() as through:
        assert await exchange(through, post(url, upload(9_000_000))) == (200, b"True")


async def test_a_417_is_an_answer_like_any_other() -> None:
    """Nothing is expected of the server, so nothing is sent again without it."""

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(b"", "417 Expectation Failed")

    async with raw_server(behave) as url, transport() as through:
        assert await exchange(through, post(url, upload(9_000_000))) == (417, b"")


@pytest.mark.parametrize("end", ["answer", "timeout", "cancellation"])
async def test_an_upload_that_nobody_reads_holds_no_connection(end: str) -> None:
    """Bytes of it wait to be taken for ever, and a polite close would wait with them."""

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        if end == "answer":
            await peer.answer(b"no", "429 Too Many Requests")
        await asyncio.sleep(5)

    async with raw_server(behave, buffer=4096) as url, transport() as through:
        before = descriptors()
        timeouts = Timeouts(attempt=0.2 if end == "timeout" else None)
        message = post(url, upload(20_000_000))
        sending = asyncio.create_task(exchange(through, message, timeouts=timeouts))
        if end == "cancellation":
            await asyncio.sleep(0.2)
            sending.cancel()
        await asyncio.wait([sending])
        await until(lambda: descriptors() == before + 1)  # the server's end

    if end == "answer":
        assert sending.result() == (429, b"no")
    elif end == "timeout":
        assert isinstance(sending.exception(), RequestTimeoutError)


async def test_an_answer_that_arrives_with_a_reset_during_a_write_is_read() -> None:
    """asyncio closes on the failed write, and what had arrived would be lost with it."""
    watch = Crossing(instant="written")

    def behave(sock: socket.socket) -> None:
        watch.event.wait(5)
        sock.sendall(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\nno")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with thread_server(behave) as url:
        async with transport() as through:
            await exchange(through, post(url))
            answer = await exchange(through, post(url, upload(300_000)), watch)

    assert answer == (429, b"no")


async def test_a_large_early_answer_is_read_to_its_end() -> None:
    """Stopping the upload must not stop the answer."""
    taken = 0

    async def behave(peer: Peer) -> None:
        async def read_on() -> None:
            nonlocal taken
            while piece := await peer.reader.read(2**16):
                taken += len(piece)

        await peer.reader.readuntil(b"\r\n\r\n")
        reading = asyncio.create_task(read_on())
        peer.writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 600000\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.02)
            peer.writer.write(b"y" * 100_000)
            await peer.writer.drain()
        await reading

    async with raw_server(behave) as url, transport() as through:
        status, body = await exchange(through, post(url, upload(9_000_000)))

    assert (status, len(body)) == (429, 600_000)
    assert taken < 2_000_000
