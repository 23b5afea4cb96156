"""Closing, cancelling, and one event loop after another: nothing stays behind, nothing reopens."""

import asyncio
import gc
from io import BytesIO

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd3async import InvalidRequestError, SD3Error, Timeouts
from sd3async.transport import Message, Transport
from support.raw import (
    PATIENT,
    Journal,
    Peer,
    descriptors,
    exchange,
    get,
    post,
    raw_server,
    until,
    upload,
)


async def test_closing_ends_what_is_under_way_and_sends_nothing_again() -> None:
    """One clear error each, at every stage, and not a byte is sent on its behalf later."""
    stages: list[int] = []

    async def behave(peer: Peer) -> None:
        if peer.number > 4 and not await peer.reader.read(1):
            return
        stages.append(peer.number)
        if peer.number == 2:
            peer.writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc")
        await asyncio.sleep(5)

    async def never() -> None:
        await asyncio.sleep(5)

    async with raw_server(behave, buffer=4096) as url:
        through = Transport(max_connections=4)
        calls = [
            asyncio.create_task(exchange(through, message, watch))
            for message, watch in [
                (post(url), Journal()),
                (post(url), Journal()),
                (get(url), Journal(never)),
                (post(url, upload(300_000)), Journal()),
                (post(url), Journal()),  # waits for a connection
            ]
        ]
        await until(lambda: len(stages) == 4)
        await asyncio.sleep(0.1)
        await asyncio.gather(through.aclose(), through.aclose())
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        await asyncio.sleep(0.1)

        assert len(stages) == 4
        for end in ends:
            assert isinstance(end, SD3Error)
            assert "the client was closed" in str(end)
            assert not isinstance(end, InvalidRequestError)


async def test_an_upload_that_is_given_up_never_arrives_whole() -> None:
    """The kernel sent on what it held: seconds later the server had it all, counted and billed."""
    arrived: list[int] = []

    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await given_up.wait()
        try:
            while piece := await peer.reader.read(65536):
                arrived.append(len(piece))
        finally:
            ended.set()

    given_up, ended = asyncio.Event(), asyncio.Event()
    async with raw_server(behave, buffer=4096) as url:
        through = Transport(max_connections=1)
        watch = Journal()
        call = asyncio.create_task(exchange(through, post(url, upload(400_000)), watch))
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.wait([call])
        given_up.set()
        await asyncio.wait_for(ended.wait(), 5)

        assert sum(arrived) < 400_000
        await through.aclose()


async def test_a_later_request_opens_anew() -> None:
    """A client may be closed and used again."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with raw_server(behave) as url:
        through = Transport(max_connections=1)
        for _ in range(3):
            assert await exchange(through, post(url)) == (200, b"ok")
            await through.aclose()
        await through.aclose()


async def test_an_answer_that_is_all_here_survives_the_closing() -> None:
    """It is paid, and nothing more is needed of the connection."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")
        await asyncio.sleep(1)

    async with raw_server(behave) as url:
        through = Transport(max_connections=1)
        with await through.send(post(url), timeouts=PATIENT, watch=Journal()) as answer:
            await asyncio.sleep(0.05)
            await through.aclose()
            assert await answer.read() == b"ok"


async def test_a_session_passed_in_is_never_closed() -> None:
    """Whoever opens a session closes it; what was under way on it ends all the same."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await asyncio.sleep(5)
        await peer.answer(b"ok")

    async with raw_server(behave) as url, aiohttp.ClientSession() as session:
        through = Transport(session=session, max_connections=1)
        call = asyncio.create_task(exchange(through, post(url)))
        await asyncio.sleep(0.1)
        await through.aclose()
        with pytest.raises(SD3Error, match="closed"):
            await asyncio.wait_for(call, 1)
        assert not session.closed
        assert await exchange(through, post(url)) == (200, b"ok")


async def test_a_closed_session_is_refused_before_anything_is_sent() -> None:
    """aiohttp would raise a RuntimeError from deep within."""
    async with aiohttp.ClientSession() as session:
        through = Transport(session=session, max_connections=1)
    for attempt in (through.open(), exchange(through, get("http://127.0.0.1:9"))):
        with pytest.raises(InvalidRequestError, match="is closed") as caught:
            await attempt
        assert caught.value.field == "session"


async def test_a_session_closed_under_a_request_is_an_error_of_the_tree() -> None:
    """Its owner may close it at any time; aiohttp forgets to wake who reads an answer then."""
    stages: list[int] = []

    async def behave(peer: Peer) -> None:
        stages.append(peer.number)
        if peer.number == 2:
            peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await asyncio.sleep(5)

    async with raw_server(behave) as url:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
        through = Transport(session=session, max_connections=2)
        timeouts = Timeouts(attempt=0.5)
        calls = [
            asyncio.create_task(exchange(through, post(url), timeouts=timeouts)) for _ in range(3)
        ]
        await until(lambda: len(stages) == 2)
        await asyncio.sleep(0.1)
        await session.close()
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 2)

    assert [isinstance(end, SD3Error) for end in ends] == [True] * 3


def test_one_transport_serves_several_loops_in_a_row() -> None:
    """Each leaves its session closed behind, though nobody asked."""
    through = Transport(max_connections=2)

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"ok")

    async def main() -> None:
        async with raw_server(behave) as url:
            assert await exchange(through, post(url)) == (200, b"ok")

    before = descriptors()
    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert descriptors() == before


class Passes:
    """Counts passes of the loop, and cancels a task after some of them."""

    def __init__(self, task: asyncio.Task[object], at: set[int]) -> None:
        self._task = task
        self._at = at
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        if self._task.done():
            return
        if self.count in self._at:
            self._task.cancel()
        self.count += 1
        self._loop.call_soon(self._next)


async def cancelled_call(message: Message, opened: list[BytesIO], at: set[int], url: str) -> int:
    """Cancel a call at some passes of the loop; return after how many it was over."""
    through = Transport(max_connections=1)
    ready = Journal(lambda: asyncio.sleep(0))
    task = asyncio.create_task(exchange(through, message, ready, Timeouts(attempt=5)))
    passes = Passes(task, at)
    await asyncio.wait([task])
    assert all(reader.closed for reader in opened), at
    for _ in range(3):
        await asyncio.sleep(0)
    assert {each for each in asyncio.all_tasks() if "write_bytes" in repr(each)} == set(), at
    if task.cancelled():
        # The one connection of the pool is free again.
        assert await asyncio.wait_for(exchange(through, post(url)), 5) == (200, b"ok")
    else:
        assert task.result() == (200, b"ok")
    await through.aclose()
    return passes.count


@pytest.mark.parametrize("kind", ["get", "post", "upload"])
def test_a_cancellation_leaves_nothing(kind: str) -> None:
    """After any pass of the loop, once or twice: no task, no reader, no descriptor stays."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"ok")

    async def main(at: set[int]) -> int:
        opened: list[BytesIO] = []

        def open_reader() -> BytesIO:
            opened.append(BytesIO(b"x" * 300_000))
            return opened[-1]

        async with raw_server(behave) as url:
            if kind == "get":
                message = get(url)
            else:
                body = upload(300_000, open_reader) if kind == "upload" else None
                message = post(url, body)
            return await cancelled_call(message, opened, at, url)

    before = descriptors()
    usual = asyncio.run(main(set()))

    @settings(max_examples=60, deadline=None)
    @given(first=st.integers(0, usual + 5), second=st.integers(0, 4))
    def cancel(first: int, second: int) -> None:
        asyncio.run(main({first, first + second}))
        assert descriptors() == before

    cancel()
