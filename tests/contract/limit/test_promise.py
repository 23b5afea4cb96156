"""The limit through the real client over real sockets, with peers that are not polite."""

import asyncio
import enum
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd3async import RateLimit, RetryPolicy, SD3Client, SD3Error, SD3Request
from sd3async.emulator import run_in_virtual_time
from sd3async.emulator.virtual_time import LoopClock
from support.pictures import padded_picture, picture
from unit.limiter.scenarios import ALL_SERVERS

PERIOD = 10.0
CLOCK = LoopClock()
UPLOAD = padded_picture(400_000)  # more than all buffers on the way hold
ANSWER = picture()
SMALL_BUFFER = 4096


class Manner(enum.Enum):
    """How the peer treats a request."""

    ANSWER = "answers"
    ANSWER_LATE = "answers after 12 s"
    STALL = "stops reading after the head"
    REFUSE_EARLY = "answers 400 before it reads the body, and resets"
    RESET = "resets after the head"
    CLOSE = "reads all and closes without an answer"


@attrs.frozen
class Order:
    """One request: when it is made, what it carries, how it is met, and when its caller gives up."""

    gap: float
    is_upload: bool
    manner: Manner
    stall: float
    patience: float | None
    is_counted_at_head: bool


class Peer:
    """A server that notes when it counts each request: at its head, or when it has read it all."""

    def __init__(self, plan: list[Order]) -> None:
        self.stamps: list[float] = []
        self._plan = plan
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        server = await asyncio.start_server(self._meet, sock=listener, limit=SMALL_BUFFER)
        async with server:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(30)  # until the last one has stalled enough

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        number = int(head.partition("stability-client-id: ")[2].partition("\r\n")[0])
        order = self._plan[number]
        manner = order.manner
        if order.is_counted_at_head or manner is Manner.REFUSE_EARLY:
            self.stamps.append(CLOCK.monotonic())
        if manner is Manner.STALL and size > len(UPLOAD):
            # A small request lies in this side's buffers by then: no client can see that.
            await asyncio.sleep(order.stall)
        if manner is Manner.REFUSE_EARLY:
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        if manner in (Manner.REFUSE_EARLY, Manner.RESET):
            return False
        while size:
            size -= len(await reader.readexactly(min(size, SMALL_BUFFER)))
        if not order.is_counted_at_head:
            self.stamps.append(CLOCK.monotonic())
        if manner is Manner.CLOSE:
            return False
        if manner is Manner.ANSWER_LATE:
            await asyncio.sleep(12.0)
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
        )
        writer.write(head.encode() + ANSWER)
        await writer.drain()
        return True


orders = st.builds(
    Order,
    gap=st.sampled_from([0.0, 0.0, 0.0, 0.4, 3.0, 9.9]),
    is_upload=st.booleans(),
    manner=st.sampled_from([Manner.ANSWER, Manner.STALL, *Manner]),
    stall=st.sampled_from([0.3, 2.0, 11.0, 23.0]),
    patience=st.sampled_from([None, None, None, 0.0, 0.05, 4.0, 11.0]),
    is_counted_at_head=st.booleans(),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.integers(1, 6), st.lists(orders, min_size=6, max_size=20))
def test_the_clients_own_calls_never_break_the_limit(limit: int, plan: list[Order]) -> None:
    """Stalls, resets, early answers and cancellations must not bunch what the server counts."""
    rate_limit = RateLimit(limit, PERIOD)

    stamps = run_in_virtual_time(_play(rate_limit, plan))

    for is_kept in ALL_SERVERS:
        assert is_kept(stamps, rate_limit), is_kept.__name__


async def _play(rate_limit: RateLimit, plan: list[Order]) -> list[float]:
    peer = Peer(plan)
    async with (
        peer.serve() as url,
        SD3Client(
            "sk-any",
            base_url=url,
            rate_limit=rate_limit,
            retry=RetryPolicy(attempts=2),
            clock=CLOCK,
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        for number, order in enumerate(plan):
            await asyncio.sleep(order.gap)
            group.create_task(_send(client.with_options(client_id=str(number)), order))
    return peer.stamps


async def _send(client: SD3Client, order: Order) -> None:
    request = SD3Request("a kite")
    if order.is_upload:
        request = SD3Request("a kite", image=UPLOAD, strength=0.5)
    with suppress(SD3Error, TimeoutError):
        async with asyncio.timeout(order.patience):
            await client.generate(request)
