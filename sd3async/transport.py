"""The only place that speaks aiohttp's client: sends bodies, streams answers, maps its errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from sd3async.config import Timeouts
from sd3async.errors import (
    ConnectFailedError,
    InvalidRequestError,
    RequestTimeoutError,
    ResponseReadError,
    SD3Error,
)
from sd3async.multipart import MultipartBody

_PIECE_BYTES = 64 * 1024
_ERROR_BODY_BYTES = 64 * 1024


class _StreamedBody(Payload):
    """A multipart body as aiohttp wants it, which tells when each piece was written."""

    def __init__(
        self, body: MultipartBody, on_written: Callable[[], None], on_sent: Callable[[], None]
    ) -> None:
        super().__init__(body, content_type=body.content_type)
        self._size = body.length
        self._body = body
        self._on_written = on_written
        self._on_sent = on_sent
        self.is_begun = False
        self.source_error: InvalidRequestError | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        try:
            async for piece in self._body.pieces():
                self.is_begun = True
                # Marked on both sides: the bytes leave between the two, or while the write
                # waits for the peer to take them.
                self._on_written()
                await writer.write(piece)
                self._on_written()
            self._on_sent()
        except InvalidRequestError as error:
            self.source_error = error
            raise

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self.write(writer)

    def __deepcopy__(self, memo: object) -> Self:
        # aioresponses copies what it is called with, and the callbacks lead to the whole client.
        return self

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Only aiohttp's debugging asks for this; a streamed body has no text."""
        raise TypeError("a streamed body has no text")


class Answer:
    """An answer whose head has arrived. Close it: a connection hangs on it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def length(self) -> int | None:
        """The declared length of the body [bytes], or None."""
        return self._response.content_length

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in the pieces it arrives in: a few 100 KiB at most.

        Raises:
            ResponseReadError: It broke off.
            RequestTimeoutError: Nothing arrived for too long.
        """
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _as_broken_off(error) from error

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            ResponseReadError: It broke off.
            RequestTimeoutError: Nothing arrived for too long.
        """
        try:
            return await self._response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _as_broken_off(error) from error

    async def read_error_body(self) -> bytes:
        """Return the beginning of the body, or what there is of it if it breaks off."""
        pieces = bytearray()
        try:
            async for piece in self._response.content.iter_chunked(_PIECE_BYTES):
                pieces += piece
                if len(pieces) >= _ERROR_BODY_BYTES:
                    break
        except (aiohttp.ClientError, OSError, TimeoutError):
            # The status has said it all; a broken error page must not hide it.
            pass
        return bytes(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Back to the pool if read to the end, else closed.
        self._response.release()


class Transport:
    """Connections to one service, opened in whatever event loop asks first.

    Args:
        session: The caller's own session, never closed here; None makes one when it is needed.
        max_connections: Size of the connection pool of a session made here.
        trace_configs: aiohttp's tracing, for a session made here.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        max_connections: int,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        self._given = session
        self._max_connections = max_connections
        self._trace_configs = list(trace_configs)
        self._own: aiohttp.ClientSession | None = None
        self._closer: AsyncGenerator[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def session(self) -> aiohttp.ClientSession:
        """Return a session of the running loop, opening one if there is none."""
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        if self._own is not None and not self._own.closed and self._loop is loop:
            return self._own
        connector = aiohttp.TCPConnector(limit=self._max_connections)
        self._own = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=self._trace_configs,
        )
        self._loop = loop
        # asyncio.run closes async generators before its loop ends: a session that nobody closed
        # is closed then, in the loop it belongs to.
        self._closer = _close_when_the_loop_ends(self._own)
        await anext(self._closer)
        return self._own

    async def aclose(self) -> None:
        """Close the session made here; a later request opens another."""
        if self._closer is not None:
            await self._closer.aclose()
        self._own = self._closer = None

    async def post(
        self,
        url: str,
        body: MultipartBody,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        on_written: Callable[[], None],
        on_sent: Callable[[], None],
    ) -> Answer:
        """Send a body and wait for the answer's head.

        Args:
            url: Where to.
            body: The body; this attempt goes through its pieces once.
            headers: Request headers, without those of the body.
            timeouts: For this attempt.
            on_written: Called around each write of a piece.
            on_sent: Called once, when the last piece was written.

        Raises:
            InvalidRequestError: The body's source failed.
            ConnectFailedError: Nothing was sent.
            RequestTimeoutError: Time ran out after something was sent.
            ResponseReadError: The connection broke after something was sent.
        """
        session = await self.session()
        payload = _StreamedBody(body, on_written, on_sent)
        try:
            response = await session.post(
                url,
                data=payload,
                headers=headers,
                timeout=timeouts.to_aiohttp(),
                allow_redirects=False,
                raise_for_status=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if payload.source_error is not None:
                raise payload.source_error from error
            if payload.is_begun:
                raise _as_broken_off(error) from error
            raise ConnectFailedError(f"no connection: {_words(error)}") from error
        return Answer(response)

    async def get(self, url: str, *, headers: Mapping[str, str], timeouts: Timeouts) -> Answer:
        """Send a GET and wait for the answer's head.

        Raises:
            ConnectFailedError: No connection could be made.
            RequestTimeoutError: No answer came in time.
            ResponseReadError: The connection broke.
        """
        session = await self.session()
        try:
            response = await session.get(
                url,
                headers=headers,
                timeout=timeouts.to_aiohttp(),
                allow_redirects=False,
                raise_for_status=False,
                middlewares=(_SendOnce(),),
            )
        except aiohttp.ClientConnectorError as error:
            raise ConnectFailedError(f"no connection: {_words(error)}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _as_broken_off(error) from error
        return Answer(response)


class _SendOnce:
    """aiohttp sends a GET a second time, unasked, when its connection has died.

    Every request needs a permit of its own, so the second sending is stopped here.
    """

    def __init__(self) -> None:
        self._is_sent = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._is_sent:
            raise aiohttp.ClientConnectionError("the connection was closed by the server")
        self._is_sent = True
        return await handler(request)


async def _close_when_the_loop_ends(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


def _as_broken_off(error: BaseException) -> SD3Error:
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"no whole answer in time: {_words(error)}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return ResponseReadError("the answer broke off before its end")
    return ResponseReadError(f"the connection broke: {_words(error)}")


def _words(error: BaseException) -> str:
    words = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
