"""Both ends of a raw connection: servers that do what no library would, and a watch that notes."""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from sd3async import Timeouts
from sd3async.config import Secret
from sd3async.models.sources import ImageFacts, Reading, Upload
from sd3async.multipart import Body
from sd3async.transport import Answer, Message, Transport

KEY = "sk-test0123456789abcdef"
PATIENT = Timeouts(connect=5, read=10, attempt=20)


class Readable(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


@attrs.define
class Peer:
    """The server's end of one connection.

    Attributes:
        number: Counted from 1.
        reader: What the client sends.
        writer: What it gets.
    """

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Return one whole request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + await self.reader.readexactly(length)

    async def answer(self, body: bytes = b"", status: str = "200 OK", *headers: str) -> None:
        """Send a whole answer."""
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection by RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextmanager
def thread_server(
    behave: Callable[[socket.socket], object], tls: ssl.SSLContext | None = None
) -> Generator[str]:
    """Answer the first request of each connection from a thread, so that a test may block its loop.

    Args:
        behave: What to do with the connection then.
        tls: The server's certificate.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        with listener:
            while True:
                sock, _ = listener.accept()
                if is_over.is_set():
                    return sock.close()
                with suppress(OSError):
                    if tls is not None:
                        sock = tls.wrap_socket(sock, server_side=True)
                    with sock:
                        sock.recv(65_536)
                        sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        behave(sock)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


Behaviour: TypeAlias = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def raw_server(
    behave: Behaviour, *, buffer: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[str]:
    """Serve raw connections on a loopback port, and give the URL.

    Args:
        behave: What to do with each; the connection is closed when it returns.
        buffer: Size of the kernel's receive buffer [bytes].
        tls: The server's certificate.
    """
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        try:
            await behave(Peer(count, reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # With its protocol named, asyncio switches Nagle off, which could hold a short answer back.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(accept, sock=sock, ssl=tls, limit=buffer or 2**16)
    try:
        yield f"{'https' if tls else 'http'}://localhost:{sock.getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        for _ in range(3):  # the ends of connections are told one pass of the loop later
            await asyncio.sleep(0)


@attrs.define
class Journal:
    """A watch that notes what it is told, and when.

    Attributes:
        on_ready: Awaited when leave to send is asked for.
        told: `ready`, `more`, `out`, in order.
        at: The loop's time at which the last byte had left.
    """

    on_ready: Callable[[], Awaitable[None]] | None = None
    told: list[str] = attrs.field(factory=list[str])
    at: float = 0.0

    async def ready(self) -> None:
        self.told.append("ready")
        if self.on_ready is not None:
            await self.on_ready()

    def whole(self) -> None: ...

    def written(self, *, more: bool) -> None:
        self.told.append("more" if more else "out")
        self.at = asyncio.get_running_loop().time()


@attrs.define
class Crossing(Journal):
    """Blocks the loop at an instant, and lets the server act meanwhile."""

    instant: str = ""
    event: threading.Event = attrs.field(factory=threading.Event)

    async def ready(self) -> None:
        await super().ready()
        self._block("ready")

    def written(self, *, more: bool) -> None:
        super().written(more=more)
        self._block("written")

    def _block(self, instant: str) -> None:
        if instant == self.instant:
            self.event.set()
            time.sleep(0.05)


def upload(size: int, open_reader: Callable[[], Readable] | None = None) -> Body:
    """Return a body of about `size` bytes, from memory unless told otherwise."""
    data = b"x" * size

    def read() -> Reading:
        with closing((open_reader or (lambda: BytesIO(data)))()) as reader:
            while piece := reader.read(64 * 1024):
                if open_reader:
                    yield None  # what comes next may block
                yield piece

    source = Upload(size, ImageFacts("png", 64, 64), "image", read)
    return Body("multipart/form-data; boundary=b", (b"--b\r\n\r\n", source, b"\r\n--b--\r\n"))


def post(url: str, body: Body | None = None) -> Message:
    """Return a small POST, or one with the body given."""
    headers = {"authorization": Secret(f"Bearer {KEY}")}
    return Message(
        "POST",
        url,
        headers,
        body or Body("multipart/form-data; boundary=b", (b"--b\r\n\r\na\r\n--b--\r\n",)),
    )


def get(url: str) -> Message:
    """Return a GET."""
    return Message("GET", url, {"authorization": Secret(f"Bearer {KEY}")})


@asynccontextmanager
async def transport(**options: object) -> AsyncGenerator[Transport]:
    """Give a transport of ten connections, closed at the end."""
    made = Transport(**{"max_connections": 10, **options})  # type: ignore[arg-type]  # tests' own
    try:
        yield made
    finally:
        await made.aclose()


async def exchange(
    through: Transport, message: Message, watch: Journal | None = None, timeouts: Timeouts = PATIENT
) -> tuple[int, bytes]:
    """Send a message; return the answer's status and body."""
    with await through.send(message, timeouts=timeouts, watch=watch or Journal()) as answer:
        return answer.status, await read(answer)


async def until(condition: Callable[[], bool]) -> None:
    """Wait, five seconds at most, until something is true."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came true")


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def read(answer: Answer) -> bytes:
    """Return an answer's body, read in the pieces it comes in."""
    async with aclosing(answer.pieces()) as pieces:
        return b"".join([piece async for piece in pieces])
