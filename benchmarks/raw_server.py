"""A server that costs next to nothing: canned answers, no parsing beyond a request's length.

It runs in a process of its own, so that what is measured is the client. A path says what comes
back: `/image/1024/…` an image of 1,024 bytes, `/base64/1024/…` the same image as OpenAI's images
API wraps it.
"""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_BACKLOG = 4096  # connections that arrive at once
_HEAD_END = b"\r\n\r\n"


@cache
def answer_to(path: bytes) -> bytes:
    """Return a whole HTTP answer.

    Args:
        path: `/image/SIZE/…` or `/base64/SIZE/…`, of 20 bytes or more.
    """
    _, form, size, *_ = path.split(b"/", 3)
    room = int(size) - len(_PNG_START + _PNG_END)
    image = _PNG_START + bytes(max(0, room)) + _PNG_END
    if form == b"image":
        return _render(image, b"content-type: image/png\r\nseed: 7\r\nfinish-reason: SUCCESS\r\n")
    wrapped = {"created": 1, "data": [{"b64_json": base64.b64encode(image).decode()}]}
    return _render(json.dumps(wrapped).encode(), b"content-type: application/json\r\n")


def _render(body: bytes, headers: bytes) -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return b"HTTP/1.1 200 OK\r\n" + headers + b"x-request-id: r\r\n" + length + b"\r\n" + body


class Connection(asyncio.Protocol):
    """Reads one request after the other and answers when its last byte is there.

    Args:
        write: Sends an answer; by default to the transport.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._head = b""
        self._left = 0  # bytes of the body still to come
        self._answer = b""
        self._write = write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream connection is needed")
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._left:
            self._take(len(data))
            return
        self._head += data
        head, end, rest = self._head.partition(_HEAD_END)
        if end:
            self._head = b""
            self._answer = answer_to(head.split(b" ", 2)[1])
            self._left = _content_length(head)
            self._take(len(rest))

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left <= 0:
            self._left = 0
            if self._write is not None:
                self._write(self._answer)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    """Listen on a free loopback port, print it, and serve for ever."""
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", 0, backlog=_BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running() -> Generator[str]:
    """Run the server in a process of its own; its URL."""
    command = [sys.executable, "-m", "benchmarks.raw_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield f"http://127.0.0.1:{int(line)}"
        finally:
            process.terminate()


if __name__ == "__main__":
    from benchmarks.workers import pin

    pin("server")
    asyncio.run(serve())
