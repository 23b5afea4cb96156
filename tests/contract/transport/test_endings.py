"""How a connection ends, and whether what was sent can have been charged."""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable

import pytest

from sd3async import (
    ConnectFailedError,
    RequestTimeoutError,
    ResponseReadError,
    RetryPolicy,
    SD3Client,
    SD3Error,
    Timeouts,
    TransportError,
)
from support.pictures import padded_picture
from support.raw import (
    KEY,
    Crossing,
    Journal,
    Peer,
    descriptors,
    exchange,
    get,
    post,
    raw_server,
    read,
    thread_server,
    transport,
    until,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
End = Callable[[socket.socket], object]


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def second_request(watch: Crossing, end: End) -> SD3Error:
    """Let a server answer once and end the connection at `watch`'s instant; return the error."""

    def behave(sock: socket.socket) -> None:
        watch.event.wait(5)
        end(sock)

    with thread_server(behave) as url:
        async with transport() as through:
            assert await exchange(through, post(url)) == (200, b"ok")
            with pytest.raises(SD3Error) as caught:
                await exchange(through, post(url), watch)
    return caught.value


@pytest.mark.parametrize("end", [close, reset])
async def test_nothing_is_sent_on_a_connection_that_the_kernel_knows_is_dead(end: End) -> None:
    """A busy event loop learns late that a server has closed an idle connection."""
    watch = Crossing(instant="ready")
    error = await second_request(watch, end)

    assert isinstance(error, ConnectFailedError)
    assert watch.told == ["ready"]


async def test_a_request_that_crossed_the_servers_goodbye_is_no_unknown_charge() -> None:
    """It had closed the connection before it got a byte: it acknowledged none."""
    watch = Crossing(instant="written")
    error = await second_request(watch, close)

    assert isinstance(error, ResponseReadError)
    assert not error.may_be_charged
    assert "more" in watch.told


async def test_where_the_kernel_cannot_be_asked_a_doubt_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other platforms have no `TCP_INFO`."""
    monkeypatch.setattr(sys, "platform", "sunos")
    error = await second_request(Crossing(instant="written"), close)

    assert isinstance(error, ResponseReadError)
    assert error.may_be_charged


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("requests", [1, 3])
async def test_a_request_that_was_read_may_be_charged(end: End, requests: int) -> None:
    """Even when the reset overtakes the acknowledgement, as it does on a warm connection."""

    def behave(sock: socket.socket) -> None:
        for _ in range(requests - 1):
            sock.recv(65_536)
            sock.sendall(OK)
        sock.recv(65_536)
        end(sock)

    with thread_server(behave) as url:
        async with transport() as through:
            for _ in range(requests):
                await exchange(through, post(url))
            with pytest.raises(ResponseReadError) as caught:
                await exchange(through, post(url))

    assert caught.value.may_be_charged


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "deadline"])
async def test_half_a_request_is_no_unknown_charge(is_reset: bool) -> None:
    """No service works on an upload whose end it has not got."""

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if is_reset:
            peer.reset()
        await asyncio.sleep(5)

    async with (
        raw_server(behave, buffer=4096) as url,
        SD3Client(KEY, base_url=url, retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(TransportError) as caught:
            await client.ultra("a", image=padded_picture(9_000_000), strength=0.5, deadline=0.5)

    assert [past.may_be_charged for past in caught.value.history] == [False]
    assert not caught.value.may_be_charged


async def test_a_get_is_sent_again_by_nobody_here() -> None:
    """aiohttp would repeat it unasked when a connection was dead, whatever the policy says."""
    watch = Crossing(instant="written")

    def behave(sock: socket.socket) -> None:
        watch.event.wait(5)

    with thread_server(behave) as url:
        async with transport() as through:
            await exchange(through, post(url))
            with pytest.raises(ResponseReadError):
                await exchange(through, get(url), watch)
            assert await exchange(through, get(url)) == (200, b"ok")

    assert watch.told.count("ready") == 1


async def test_a_silent_server_costs_the_read_timeout() -> None:
    """From the request's end to the answer's head."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(5)

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(RequestTimeoutError) as caught:
            await exchange(through, post(url), timeouts=Timeouts(read=0.1))

    assert caught.value.may_be_charged


@pytest.mark.parametrize("head", ["content-length: 9", "connection: close", "x: y"])
async def test_an_attempt_ends_in_time_in_the_middle_of_an_answer(head: str) -> None:
    """Also where the connection's end would be the answer's end."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\nabc".encode())
        await asyncio.sleep(5)

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(RequestTimeoutError, match=r"0\.2 s have passed"):
            await exchange(through, post(url), timeouts=Timeouts(attempt=0.2))


async def test_an_answer_that_is_all_here_outlives_its_attempt() -> None:
    """Its connection may serve another request already."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"x" * 200_000)

    async with raw_server(behave) as url, transport() as through:
        timeouts = Timeouts(attempt=0.2)
        with await through.send(post(url), timeouts=timeouts, watch=Journal()) as answer:
            await asyncio.sleep(0.3)
            assert len(await read(answer)) == 200_000


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    """Half an image is none."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")

    async with raw_server(behave) as url, transport() as through:
        with pytest.raises(ResponseReadError, match="broke off") as caught:
            await exchange(through, post(url))

    assert caught.value.may_be_charged


async def test_an_error_body_that_breaks_off_is_what_there_is_of_it() -> None:
    """The status has said it all; a broken page must not hide it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc")

    async with raw_server(behave) as url, transport() as through:
        with await through.send(post(url), timeouts=Timeouts(), watch=Journal()) as answer:
            assert await answer.read_error_body() == b"abc"


async def test_no_connection_means_that_nothing_was_sent() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with transport() as through:
        watch = Journal()
        with pytest.raises(ConnectFailedError, match="no connection") as caught:
            await exchange(through, post(f"http://127.0.0.1:{port}"), watch)

    assert caught.value.is_retryable
    assert watch.told == []
    assert not caught.value.may_be_charged


async def test_a_waiting_call_holds_one_descriptor() -> None:
    """A second one is needed only until the request is acknowledged."""
    arrived = 0
    release = asyncio.Event()

    async def behave(peer: Peer) -> None:
        nonlocal arrived
        await peer.request()
        arrived += 1
        await release.wait()
        await peer.answer(b"ok")

    async with raw_server(behave) as url, transport() as through:
        before = descriptors()
        calls = [asyncio.create_task(exchange(through, post(url))) for _ in range(5)]
        await until(lambda: arrived == 5)
        await until(lambda: descriptors() - before == 10)  # both ends are in this process
        release.set()
        await asyncio.gather(*calls)
