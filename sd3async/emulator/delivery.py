"""Getting an answer onto the wire, or failing to, as a fault demands."""

import asyncio
import contextlib
import socket
import struct
from typing import NoReturn, cast

from aiohttp import web

from sd3async._clock import Clock
from sd3async.emulator.answers import Answer
from sd3async.emulator.faults import Fault

__all__ = ["deliver", "stall", "vanish"]

_DRIPS = 20  # pieces of a slow body
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close sends RST


async def deliver(
    request: web.Request, answer: Answer, fault: Fault | None, clock: Clock
) -> web.StreamResponse:
    """Send an answer: at once and whole, or as "slow" and "truncated" faults have it."""
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    response.headers["Content-Type"] = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    if fault is not None and fault.kind == "truncated":
        await response.write(answer.body[: int(len(answer.body) * fault.keep)])
        await vanish(request, reset=False)
    if fault is not None and fault.kind == "slow":
        await _drip(response, answer.body, fault.seconds or 0.0, clock)
        await response.write_eof()
    else:
        await response.write_eof(answer.body)
    return response


async def _drip(response: web.StreamResponse, body: bytes, seconds: float, clock: Clock) -> None:
    step = max(1, -(-len(body) // _DRIPS))
    for start in range(0, len(body), step):
        await clock.sleep(seconds / _DRIPS)
        await response.write(body[start : start + step])


async def vanish(request: web.Request, *, reset: bool) -> NoReturn:
    """End the connection, by RST or else by FIN after what was written. Never returns."""
    transport = request.transport
    if transport is not None:
        if reset:
            sock = cast("socket.socket", transport.get_extra_info("socket"))
            with contextlib.suppress(OSError):  # the client may have closed it before
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        else:
            transport.close()
    await stall(None, None)
    raise AssertionError("a handler outlived its connection")


async def stall(seconds: float | None, clock: Clock | None) -> None:
    """Keep silent for `seconds` [s], or until the connection's end cancels the handler."""
    if seconds is None or clock is None:
        await asyncio.get_running_loop().create_future()
    else:
        await clock.sleep(seconds)
