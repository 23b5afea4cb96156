"""A wire to a server that counts what is said, is slow, goes dead, or is cut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs


@attrs.define
class Wire:
    """What lies between clients and a server.

    Attributes:
        port: Where it begins.
        said: How many messages clients have sent; each is a round trip.
        delay: How long a message takes in each direction [s].
        is_dead: Whether it swallows everything.
        cut_after: How many more bytes the server may answer before all connections are cut.
    """

    server: int
    port: int = 0
    said: int = 0
    delay: float = 0.0
    is_dead: bool = False
    cut_after: int | None = None
    writers: set[asyncio.StreamWriter] = attrs.field(factory=set[asyncio.StreamWriter])

    async def carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        far, there = await asyncio.open_connection("127.0.0.1", self.server)
        ends = {back, there}
        self.writers |= ends
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    ways = [
                        group.create_task(self._pass_on(near, there, is_answer=False)),
                        group.create_task(self._pass_on(far, back, is_answer=True)),
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
        finally:
            self.writers -= ends
            for end in ends:
                end.transport.abort()

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self.writers:
            writer.transport.abort()

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await source.read(1 << 20):
            self.said += not is_answer
            await asyncio.sleep(self.delay)
            if is_answer and self.cut_after is not None:
                data, self.cut_after = data[: self.cut_after], self.cut_after - len(data)
                if self.cut_after < 0:
                    self.cut_after = None
                    target.write(data)
                    self.cut()
            if not self.is_dead:
                target.write(data)


@asynccontextmanager
async def wire_to(port: int) -> AsyncGenerator[Wire]:
    """Lay a wire to a server on a loopback port."""
    wire = Wire(port)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
        await asyncio.sleep(0.01)
