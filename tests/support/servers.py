"""Servers that do what the emulator never would, or run where it cannot."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

_PATIENCE = 10.0  # [s] to end, on a busy machine


@asynccontextmanager
async def serve(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncGenerator[str]:
    """Answer every request on a loopback port with `handler`; gives the URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_bytes(answer: bytes) -> AsyncGenerator[str]:
    """Answer every request on a loopback port with these bytes, and hang up; gives the URL."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def emulator_process(*options: str) -> Generator[str]:
    """Run `sd3async emulator` in a process of its own, on a free port; gives the URL."""
    command = [sys.executable, "-m", "sd3async", "emulator", "--port", "0", *options]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with process.stdout as lines:
            yield lines.readline().decode().strip()


@contextmanager
def running(
    command: list[str], *, stdout: int, stderr: int
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a server until the block ends; should the tests be killed, it ends with them."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
