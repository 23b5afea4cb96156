"""A reader of multipart/form-data (RFC 7578), piece by piece and to the letter.

Not aiohttp's: a slip that both sides share would be read back as right. What is legal but no form
needs (a preamble, an epilogue, blanks after a boundary) is noted, or refused when it is strict.
No nesting, no transfer encodings: no form has them.
"""

import functools
from collections.abc import AsyncGenerator
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import Protocol

import attrs

__all__ = ["MalformedBodyError", "MultipartReader", "PartHead", "parse_content_type"]

_MAX_HEAD = 16 * 1024  # [bytes] of one part's headers


class Content(Protocol):
    """A body as aiohttp gives it."""

    async def readany(self) -> bytes:
        """Return what is there, empty at the end."""
        ...


class MalformedBodyError(Exception):
    """The bytes are no multipart form; says why."""


@attrs.frozen
class PartHead:
    """What the headers of a part say.

    Attributes:
        name: The form field.
        filename: As given, or None.
        content_type: As given, or None.
    """

    name: str
    filename: str | None
    content_type: str | None


def parse_content_type(header: str) -> tuple[str, str | None]:
    """Return the type that a `Content-Type` header names, and its boundary or None."""
    message = Message()
    message["Content-Type"] = header
    return message.get_content_type(), message.get_boundary()


@functools.lru_cache(maxsize=256)  # a client's heads are few
def _read_head(head: bytes) -> PartHead:
    try:
        message = HeaderParser().parsestr(head.decode())
    except UnicodeDecodeError:
        raise MalformedBodyError("the headers of a part are not UTF-8") from None
    if message.get_content_disposition() != "form-data":
        raise MalformedBodyError("a part has no form-data disposition")
    name = message.get_param("name", header="content-disposition")
    if not name:
        raise MalformedBodyError("a part has no name")
    filename = message.get_param("filename", header="content-disposition")
    return PartHead(
        collapse_rfc2231_value(name),
        None if filename is None else collapse_rfc2231_value(filename),
        message.get("Content-Type"),
    )


class MultipartReader:
    """Reads one body. Take a head, then all pieces of its content, then the next head.

    Args:
        content: The body.
        boundary: From the request's `Content-Type`.
        strict: Refuse what is legal but needless, instead of noting it.

    Attributes:
        oddities: What was legal but needless, in words.
    """

    def __init__(self, content: Content, boundary: str, *, strict: bool) -> None:
        self.oddities: list[str] = []
        self._content = content
        self._strict = strict
        self._delimiter = b"\r\n--" + boundary.encode()
        # The line break before the first delimiter is implied.
        self._buffer = bytearray(b"\r\n")
        self._at_start = True

    async def next_head(self) -> PartHead | None:
        """Return the next part's head, or None after the last part.

        Raises:
            MalformedBodyError: The bytes are not as they should be.
        """
        if self._at_start:
            self._at_start = False
            async for _ in self.pieces():
                self._note("a preamble", "it does not begin with its boundary")
        if await self._peek(2) == b"--":
            del self._buffer[:2]
            await self._finish()
            return None
        await self._skip_blanks()
        if await self._peek(2) != b"\r\n":
            raise MalformedBodyError("a boundary line goes on after the boundary")
        del self._buffer[:2]
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise MalformedBodyError("the headers of a part are too long")
            await self._more()
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        # An empty content may follow at once: its delimiter begins with the line break.
        return _read_head(head)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the content of the part whose head was taken last.

        Raises:
            MalformedBodyError: The body ends inside the part.
        """
        while (end := self._buffer.find(self._delimiter)) < 0:
            # The end may be the beginning of a delimiter.
            safe = len(self._buffer) - len(self._delimiter) + 1
            if safe > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            await self._more()
        if end:
            yield bytes(self._buffer[:end])
        del self._buffer[: end + len(self._delimiter)]

    async def _more(self) -> None:
        piece = await self._content.readany()
        if not piece:
            raise MalformedBodyError("it ends before its last boundary")
        self._buffer += piece

    async def _peek(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        return bytes(self._buffer[:count])

    async def _skip_blanks(self) -> None:
        while await self._peek(1) in (b" ", b"\t"):
            self._note("blanks after a boundary", "a boundary line goes on after the boundary")
            del self._buffer[:1]

    async def _finish(self) -> None:
        rest = bytes(self._buffer)
        while piece := await self._content.readany():
            rest = rest[:3] + piece  # enough to tell a line break from an epilogue
        if rest not in (b"", b"\r\n"):
            self._note("an epilogue", "it goes on after its last boundary")

    def _note(self, oddity: str, complaint: str) -> None:
        if self._strict:
            raise MalformedBodyError(complaint)
        if oddity not in self.oddities:
            self.oddities.append(oddity)
