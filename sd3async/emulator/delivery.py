"""Getting an answer onto the wire, or failing to, as a fault demands."""

import asyncio
import contextlib
import socket
import struct
from typing import NoReturn, cast

import attrs
from aiohttp import HttpVersion11, web

from sd3async._clock import Clock
from sd3async.emulator.answers import Answer, phrase
from sd3async.emulator.faults import Ending, Fault
from sd3async.emulator.form import drain

__all__ = ["deliver", "invite", "leave", "stall", "vanish"]

_DRIPS = 20  # pieces of a slow body
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close sends RST


async def deliver(
    request: web.Request,
    answer: Answer,
    fault: Fault | None,
    clock: Clock,
    *,
    is_last: bool,
) -> web.StreamResponse:
    """Send an answer: at once and whole, or as a fault has it.

    Args:
        request: What it answers.
        answer: What to send.
        fault: What goes wrong on the way.
        clock: Time.
        is_last: Whether to say that the connection ends.
    """
    kind = fault and fault.kind
    if fault is not None and kind == "interim":
        _write(request, *(f"HTTP/1.1 {code} {phrase(code)}\r\n\r\n" for code in fault.codes))
    if fault is not None and kind == "truncated":
        kept = answer.body[: int(len(answer.body) * fault.keep)]
        if fault.length != "cut":
            await _break_off(request, answer, kept, told=fault.length == "whole")
        answer = attrs.evolve(answer, body=kept)
    response = _response(answer)
    if is_last:
        response.force_close()
    await response.prepare(request)
    if fault is not None and kind == "slow":
        await _drip(response, answer.body, fault.seconds or 0.0, clock)
        await response.write_eof()
    else:
        await response.write_eof(b"" if request.method == "HEAD" else answer.body)
    return response


def _response(answer: Answer) -> web.StreamResponse:
    headers = {"Content-Type": answer.content_type, **answer.headers}
    response = web.StreamResponse(
        status=answer.status, reason=phrase(answer.status), headers=headers
    )
    response.content_length = len(answer.body)
    return response


async def _break_off(request: web.Request, answer: Answer, kept: bytes, *, told: bool) -> NoReturn:
    if told:
        response = _response(answer)
        await response.prepare(request)
        await response.write(kept)
    else:
        headers = {"Content-Type": answer.content_type, **answer.headers, "Connection": "close"}
        lines = [f"HTTP/1.0 {answer.status} {phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        _write(request, "\r\n".join([*lines, "", ""]), kept)
    await vanish(request, reset=False)


async def _drip(response: web.StreamResponse, body: bytes, seconds: float, clock: Clock) -> None:
    step = max(1, -(-len(body) // _DRIPS))
    for start in range(0, len(body), step):
        await clock.sleep(seconds / _DRIPS)
        await response.write(body[start : start + step])


def _write(request: web.Request, *pieces: str | bytes) -> None:
    """Write past aiohttp what it has no words for."""
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    data = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    request.transport.write(b"".join(data))


def invite(request: web.Request) -> None:
    """Tell a client that has asked that its body is wanted."""
    if request.version >= HttpVersion11:
        _write(request, "HTTP/1.1 100 Continue\r\n\r\n")


async def leave(request: web.Request, ending: Ending | None) -> None:
    """See a body out that the answer did not wait for, or let go of its connection."""
    if ending == "reset":
        _cut_off(request, reset=True)
        return
    if ending == "close" and request.transport is not None:
        request.transport.write_eof()
    await drain(request)  # closed with bytes unread, a connection is reset


def _cut_off(request: web.Request, *, reset: bool) -> None:
    transport = request.transport
    if transport is None:
        return
    if reset:
        sock = cast("socket.socket", transport.get_extra_info("socket"))
        with contextlib.suppress(OSError):  # the client may have closed it before
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    else:
        transport.close()


async def vanish(request: web.Request, *, reset: bool) -> NoReturn:
    """End the connection, by RST or else by FIN after what was written. Never returns."""
    _cut_off(request, reset=reset)
    await stall(None, None)
    raise AssertionError("a handler outlived its connection")


async def stall(seconds: float | None, clock: Clock | None) -> None:
    """Keep silent for `seconds` [s], or until the connection's end cancels the handler."""
    if seconds is None or clock is None:
        await asyncio.get_running_loop().create_future()
    else:
        await clock.sleep(seconds)
