"""The only place that speaks aiohttp's client: bytes out, bytes in, what went wrong. No policy."""

import asyncio
import errno
import os
import re
import socket
import ssl
import struct
import sys
import weakref
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.payload import Payload
from multidict import CIMultiDict, CIMultiDictProxy

from sd3async._threads import outlast
from sd3async.config import Timeouts, check_proxy, read_ca_file
from sd3async.errors import (
    ConnectFailedError,
    RequestTimeoutError,
    ResponseReadError,
    SD3Error,
    UnexpectedResponseError,
)
from sd3async.models.fields import check_type, refuse
from sd3async.models.sources import Piece
from sd3async.multipart import NO_BODY, Body
from sd3async.wire import read_request_id, redact

_PIECE_BYTES = 256 * 1024
_WORDS_BYTES = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_POLL = 0.025
"""How often to see whether bytes that a peer is slow to take have left [s]."""
_PROBE_SECONDS = 1.0
"""How long the kernel is asked about a request that has left: any round trip is shorter [s]."""
_ESTABLISHED = 1
"""The only TCP state in which neither side has closed a connection."""
_RESET = struct.pack("ii", 1, 0)
_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError, asyncio.CancelledError)
"""What aiohttp raises when it cannot go on; the last two when a session is closed under it."""
_UNTRUSTED = (ssl.CertificateError, aiohttp.ServerFingerprintMismatch)
_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
_QUOTATION = re.compile(r"[:'\"\n].*", re.DOTALL)
_BROKE_OFF = "the answer broke off before its end"


class Watch(Protocol):
    """What an attempt wants to know while it is sent."""

    async def ready(self) -> None:
        """Give leave to send, when the connection stands and not one byte has left.

        Awaited once for each sending: a caller's middleware may send a message again. What it
        raises comes out of `Transport.send`.
        """

    def whole(self) -> None:
        """Take note that the last piece goes out now: half a request is never worked on."""

    def written(self, *, more: bool) -> None:
        """Take note that bytes are leaving (`more`), or that the last one has left.

        Called before and after each piece is written, and once when the last byte has left this
        machine, as far as the platform tells; not at all when an answer comes before that.
        """


@attrs.frozen
class Message:
    """What to send; the body's headers are added to `headers`, where the key is a `config.Secret`."""

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Body = attrs.field(default=NO_BODY, repr=False)


class _Line:
    """A connection as asyncio knows it and, where the platform tells, the kernel.

    The kernel is asked through a second descriptor, for asyncio closes its own before anyone can
    ask what became of the last bytes. Where there is no `TCP_INFO` (Linux has it), or no
    descriptor left, asyncio is believed.
    """

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._probe: socket.socket | None = None
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sys.platform == "linux":
            with suppress(OSError):
                fd = os.dup(sock.fileno())
                self._probe = socket.socket(sock.family, sock.type, sock.proto, fd)
        self._acked_before = self._ask()[1]
        self.is_closing = transport.is_closing

    def _ask(self) -> tuple[int, int, int]:
        """Return the TCP state, the bytes acknowledged, ever, and those not sent yet."""
        if self._probe is not None:
            with suppress(OSError, struct.error):  # no TCP, or a kernel before 4.6
                info = self._probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148)
                return struct.unpack("=B119xQ16xI", info)
        return _ESTABLISHED, -1, 0

    def is_open(self) -> bool:
        """Return whether neither side has closed it, as far as this machine has heard."""
        return self._ask()[0] == _ESTABLISHED and not self.is_closing()

    @property
    def has_unsent(self) -> bool:
        """Whether bytes that were written have not left this machine."""
        return self._transport.get_write_buffer_size() > 0 or self._ask()[2] > 0

    @property
    def is_unheard(self) -> bool:
        """Whether the peer has certainly acknowledged nothing since this was made."""
        return self._acked_before == self._ask()[1] != -1

    def hand_over(self) -> None:
        """Let the protocol have what had arrived when a write failed: asyncio reads no further."""
        is_plain = self._transport.get_extra_info("sslcontext") is None
        protocol = self._transport.get_protocol()
        if isinstance(protocol, asyncio.Protocol) and self._probe and is_plain:
            with suppress(OSError):
                protocol.data_received(self._probe.recv(_PIECE_BYTES))

    def abort(self) -> None:
        """Close it at once, and let nothing more leave.

        Closed without a reset, the kernel would go on sending what it holds: an upload that was
        given up would arrive whole once its peer reads again.
        """
        if self._probe is not None:
            with suppress(OSError):
                self._probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def forget(self) -> None:
        """Give the second descriptor back."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None


class _Sending(Payload):
    """A message on its way, and its connection until the answer is read.

    aiohttp calls `write` when the connection stands, and lets not one byte of the
    head leave before the first piece of the body: so that is where to wait for leave.

    Attributes:
        secrets: The key it is sent with.
        task: Where aiohttp calls `write`.
        is_written: Whether all of it was.
        response: The answer, as soon as its head is there.
        error: Why there is none, when that is known better here than to aiohttp.
    """

    def __init__(self, message: Message, watch: Watch, seconds: float | None) -> None:
        super().__init__(message, content_type=message.body.content_type)
        self.secrets = message.headers.get("authorization", "").split()[1:]
        self._is_get = message.method == "GET"
        self._size = message.body.length
        self._body = message.body
        self._watch = watch
        self._seconds = seconds
        self._line: _Line | None = None
        self.task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._is_begun = False
        self._is_whole = False
        self.is_written = False
        self.response: aiohttp.ClientResponse | None = None
        self.error: BaseException | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Wait for leave, and write it all."""
        if self._is_repeated_by_aiohttp():
            self.error = self.explain(aiohttp.ServerDisconnectedError())
        if self.error is not None:
            raise self.error
        self._consumed = True  # aiohttp 3.14 then leaves it to us to send a GET again
        self.task = asyncio.current_task()
        try:
            if writer.transport is None or not await self._write_to(writer, writer.transport):
                # The peer has answered or is gone: the reading side sees which, and ends this.
                await asyncio.get_running_loop().create_future()
            self.is_written = True
            self._look()
        except BaseException as error:
            if self.task and not self.task.cancelling():
                self.error = error
            raise

    def _is_repeated_by_aiohttp(self) -> bool:
        """Return whether aiohttp, before 3.14, sends a GET again whose connection broke."""
        line = self._line
        return self._is_begun and self._is_get and line is not None and line.is_closing()

    async def _write_to(self, writer: AbstractStreamWriter, to: asyncio.WriteTransport) -> bool:
        """Return whether every byte was written."""
        self.stop()  # what an earlier sending may have left
        self._line = line = _Line(to)
        await self._watch.ready()
        if self._seconds is not None:
            late = TimeoutError(f"{self._seconds:g} s have passed")
            self._call_later(self._seconds, self.fail, late)
        left = self._body.length
        async with aclosing(self._body.pieces()) as pieces:
            async for piece in pieces:
                left -= len(piece)
                if not await self._write(writer, line, piece, is_last=not left):
                    return False
                if left:
                    # An answer that came early is read and seen before the next write, which may
                    # meet the reset behind it: asyncio would close without having read it.
                    for _ in range(3):
                        await asyncio.sleep(0)
        return True

    async def _write(
        self, writer: AbstractStreamWriter, line: _Line, piece: Piece, *, is_last: bool
    ) -> bool:
        if self.response is not None or not line.is_open():
            return False
        self._is_begun = True
        if is_last:
            self._is_whole = True
            self._watch.whole()
        self._watch.written(more=True)
        try:
            await writer.write(piece)
        except (aiohttp.ClientError, OSError):
            return False
        if line.is_closing():
            line.hand_over()
        self._watch.written(more=True)
        return True

    def _look(self) -> None:
        """Tell when the last byte has left."""
        line = self._line
        if line is None or line.is_closing() or self.response is not None:
            return
        if line.has_unsent:
            self._call_later(_POLL, self._look)
            return
        self._watch.written(more=False)
        self._call_later(_PROBE_SECONDS, line.forget)

    def _call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, callback, *args)
        self._timers.append(timer)

    def fail(self, reason: Exception) -> None:
        """End it for a reason of this side's, unless its answer is all here."""
        if self.response is None or not self.response.closed:
            self.error = self.explain(reason)
            self.stop(abort=True)
            if self.response is not None:
                # Not left to aiohttp: a session being closed forgets who reads an answer.
                self.response.content.set_exception(self.error)

    def explain(self, caught: BaseException) -> BaseException:
        """Return the error to raise for what aiohttp raised."""
        task = asyncio.current_task()
        if isinstance(caught, asyncio.CancelledError) and task and task.cancelling():
            return _scrubbed(caught)
        if self.error is not None or not isinstance(caught, _BROKEN):
            return self.error or caught
        words = _words(_scrubbed(caught))
        error: SD3Error
        if not self._is_begun:
            may_help = not isinstance(caught, _UNTRUSTED)
            error = ConnectFailedError(f"no connection: {words}", is_retryable=may_help)
        elif isinstance(caught, TimeoutError):
            error = RequestTimeoutError(f"no whole answer in time: {words}")
        elif isinstance(caught, aiohttp.ClientPayloadError):
            error = ResponseReadError(_BROKE_OFF)
        else:
            error = ResponseReadError(f"the connection broke: {words}")
            # A goodbye acknowledges what its sender had read, and EPIPE means that one came first.
            # A reset may overtake the delayed acknowledgement (40 ms) of a request that was read.
            is_goodbye = isinstance(caught, aiohttp.ServerDisconnectedError)
            is_goodbye |= getattr(caught, "errno", None) == errno.EPIPE
            error.may_be_charged = not (is_goodbye and self._line and self._line.is_unheard)
        if not self._is_whole and self.response is None:
            error.may_be_charged = False
        error.__cause__ = caught
        return error

    def stop(self, *, abort: bool = False) -> None:
        """Stop watching the connection, and perhaps close it, whatever was not taken from it yet."""
        while self._timers:
            self._timers.pop().cancel()
        if self._line is not None:
            if abort:
                self._line.abort()
            self._line.forget()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Only aiohttp's debugging asks for this; a streamed body has no text."""
        raise TypeError("a streamed body has no text")

    def __deepcopy__(self, memo: object) -> Self:
        # aioresponses copies what it is called with, and the watch leads to the whole client.
        return self


class Answer:
    """An answer whose head has arrived. Close it: a connection hangs on it.

    Attributes:
        status: HTTP status.
        headers: Its headers, case-insensitive.
    """

    def __init__(self, response: aiohttp.ClientResponse, sending: _Sending) -> None:
        self._response = response
        self._sending = sending
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body as it arrives, in pieces of less than a MiB.

        Raises:
            ResponseReadError: It broke off.
            RequestTimeoutError: Nothing arrived for too long, or the attempt took too long.
            UnexpectedResponseError: It is compressed, though none was asked for, and not by gzip.
        """
        coding = redact(self.headers.get("content-encoding", ""), self._sending.secrets)
        coding = coding.strip().lower()
        if coding in ("", "identity"):
            while piece := await self._receive():
                yield piece
            return
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise UnexpectedResponseError(
                f"the answer is compressed ({coding[:20]!r}), which was not asked for",
                status=self.status,
                request_id=read_request_id(self.headers, self._sending.secrets),
            )
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            while packed := await self._receive():
                while packed:  # a thousand times as much may come out
                    if unpacker.eof:  # RFC 1952 allows members in a row; what is none is padding
                        if not packed.startswith(b"\x1f"):
                            break
                        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
                    yield unpacker.decompress(packed, _PIECE_BYTES)
                    packed = unpacker.unconsumed_tail or unpacker.unused_data
                    await asyncio.sleep(0)
        except zlib.error as error:
            raise ResponseReadError(f"the compressed answer is damaged: {error}") from error
        if not unpacker.eof:
            raise ResponseReadError(_BROKE_OFF)

    async def _receive(self) -> bytes:
        """Return what has arrived, or nothing at the end."""
        try:
            return await self._response.content.readany()
        except _BROKEN as error:
            caught = error
        raise self._sending.explain(caught)

    async def read(self, *, in_part: bool = False) -> bytes:
        """Return the first 64 KiB of the body: whatever is no image is shorter.

        Args:
            in_part: Return what there is when it breaks off, instead of raising as `pieces` does.
        """
        taken = bytearray()
        try:
            async with aclosing(self.pieces()) as pieces:
                async for piece in pieces:
                    taken += piece
                    if len(taken) >= _WORDS_BYTES:
                        break
        except SD3Error:
            if not in_part:
                raise
        return bytes(taken[:_WORDS_BYTES])

    async def read_error_body(self) -> bytes:
        """Return what there is of it: the status has said it all, and nothing must hide that."""
        return await self.read(in_part=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if isinstance(error, SD3Error | OSError | asyncio.CancelledError):
            _forget_frames(error)
        self._sending.stop(abort=not self._sending.is_written)
        self._response.release()  # back to the pool if it was read to its end, else closed


@attrs.define(kw_only=True, eq=False)
class Transport:
    """Connections to one service, opened in whatever event loop asks first.

    Attributes:
        session: The caller's own session, never closed here; None makes one when it is needed.
        max_connections: Size of the connection pool of a session made here.
        trace_configs: aiohttp's tracing, for a session made here.
        trust_env: Whether to heed `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
        proxy: The http(s) URL of a proxy to go through.
        ca_file: Certificates (PEM) of the authorities to trust, in place of the system's.

    Raises:
        InvalidRequestError: A session was passed together with settings of one made here, or a
            value is no good.
    """

    session: aiohttp.ClientSession | None = None
    max_connections: int
    trace_configs: Sequence[aiohttp.TraceConfig] = ()
    trust_env: bool = False
    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | str | None = None
    _ssl: ssl.SSLContext | bool = attrs.field(default=True, init=False)
    _own: aiohttp.ClientSession | None = attrs.field(default=None, init=False)
    _keeper: AsyncGenerator[aiohttp.ClientSession] | None = attrs.field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _under_way: weakref.WeakSet[_Sending] = attrs.field(
        factory=weakref.WeakSet[_Sending], init=False
    )

    def __attrs_post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        for name in ("trace_configs", "trust_env", "proxy", "ca_file"):
            if self.session is not None and getattr(self, name):
                raise refuse(name, "is set; give it to the session you pass instead")
        check_type("trust_env", self.trust_env, bool, "True or False")
        check_proxy(self.proxy)
        self._ssl = read_ca_file(self.ca_file)

    async def open(self) -> aiohttp.ClientSession:
        """Return the session passed in, or one for the running loop.

        Raises:
            InvalidRequestError: The session that was passed in is closed.
        """
        if self.session is not None:
            if self.session.closed:
                raise refuse("session", "is closed; pass an open one, or none")
            return self.session
        loop = asyncio.get_running_loop()
        if self._own is None or self._loop is not loop:
            self._loop, self._keeper = loop, self._keep_session()
            self._own = await anext(self._keeper)
        return self._own

    async def aclose(self) -> None:
        """Close the session made here, and end what is under way; a later `send` opens another."""
        for sending in list(self._under_way):
            sending.fail(aiohttp.ClientConnectionError("the client was closed"))
        keeper, self._keeper, self._own = self._keeper, None, None
        if keeper is not None:
            await keeper.aclose()

    async def _keep_session(self) -> AsyncGenerator[aiohttp.ClientSession]:
        """Make a session, closed at the latest when `asyncio.run` closes generators of its loop."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.max_connections, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=list(self.trace_configs),
        ) as session:
            yield session

    def _proxy_for(self, url: str) -> str | None:
        if self.proxy or not self.trust_env:
            return self.proxy
        parts = urlsplit(url)
        if proxy_bypass(parts.netloc):
            return None
        proxy = getproxies().get(parts.scheme)
        check_proxy(proxy, f"{parts.scheme}_proxy")
        return proxy

    async def send(self, message: Message, *, timeouts: Timeouts, watch: Watch) -> Answer:
        """Send a message and wait for the answer's head, which may come before all is sent.

        Args:
            message: What to send; its body's pieces are gone through once.
            timeouts: For this attempt.
            watch: Told how far it is.

        Raises:
            InvalidRequestError: The body's source failed, or the session passed in is closed.
            ConnectFailedError: Not one byte was sent.
            RequestTimeoutError: Time ran out after something was sent.
            ResponseReadError: The connection broke after something was sent.
            BaseException: What `watch.ready` raised.
        """
        session = await self.open()
        sending = _Sending(message, watch, timeouts.attempt)
        self._under_way.add(sending)
        connect = timeouts.connect
        try:
            sending.response = await session.request(
                message.method,
                message.url,
                data=sending,
                headers={**message.headers, "accept-encoding": "identity"},
                skip_auto_headers=("content-type",) if message.body is NO_BODY else (),
                timeout=aiohttp.ClientTimeout(  # without `total`: waiting for leave would count
                    connect=connect, sock_connect=connect, sock_read=timeouts.read
                ),
                proxy=self._proxy_for(message.url),
                read_bufsize=_PIECE_BYTES,
                auto_decompress=False,  # `Answer` does it, in memory that is bounded
                allow_redirects=False,
                raise_for_status=False,
            )
            return Answer(sending.response, sending)
        except BaseException as caught:  # noqa: BLE001  # raised below, or explained
            error = sending.explain(caught)
        sending.stop(abort=True)
        if sending.task is not None:
            error = await outlast(sending.task) or error
        # Outside of the handler, or the error's context would lead to aiohttp's frames.
        raise error


def _scrubbed(error: BaseException) -> BaseException:
    """Return an error without what may hold a key or a password.

    That is request headers and connection keys, which aiohttp keeps as tuples; URLs of proxies;
    what a malformed answer said, for it may be an echo; and frames, whose locals hold any of
    these, so the errors behind this one go as well.
    """
    error.__cause__ = error.__context__ = error.__traceback__ = None
    error.args = tuple(arg for arg in error.args if isinstance(arg, str | int))
    if isinstance(error, aiohttp.ClientResponseError):
        url = error.request_info.real_url.with_user(None)
        error.request_info = aiohttp.RequestInfo(url, error.request_info.method, _NO_HEADERS, url)
        error.message = _QUOTATION.sub("", error.message)
    return error


def _forget_frames(error: BaseException | None) -> None:
    """Forget who was reading an answer: their locals hold it, perhaps with an echo of the key."""
    while error is not None:
        error.__traceback__, error = None, error.__cause__


def _words(error: BaseException) -> str:
    words = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
