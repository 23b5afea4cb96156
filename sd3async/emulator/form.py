"""Forms as they come in: texts are kept, files are spooled, each part is hashed."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import AsyncGenerator, Sequence
from typing import IO, Any, Literal, NoReturn, cast

import attrs
from aiohttp import web

from sd3async.emulator.answers import Refusal
from sd3async.emulator.journal import Part
from sd3async.emulator.multipart_reader import (
    MalformedBodyError,
    MultipartReader,
    PartHead,
    parse_content_type,
)

__all__ = ["MAX_BODY", "Form", "drain", "parse_json", "read_form"]

MAX_BODY = 10 * 1024 * 1024  # [bytes] of the whole body, not of the image
MAX_PARTS = 1000  # reading each one's headers takes time
_IN_MEMORY = 256 * 1024  # [bytes] of a file before it goes to disk


@attrs.define
class Form:
    """A form as it came in.

    Attributes:
        fields: Texts by name.
        files: Uploads by name; open as long as the form is.
        parts: Each part, in order.
        flaws: Names of fields, each with what is wrong with it.
        oddities: What is legal in the body but needless, in words.
        refusal: Why the body cannot be taken as a form at all, or None.
        document: What a JSON body holds, or None.
    """

    fields: dict[str, str] = attrs.field(factory=dict[str, str])
    files: dict[str, IO[bytes]] = attrs.field(factory=dict[str, IO[bytes]])
    parts: list[Part] = attrs.field(factory=list[Part])
    flaws: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    oddities: Sequence[str] = ()
    refusal: Refusal | None = None
    document: dict[str, Any] | None = None

    def close(self) -> None:
        """Let go of the uploads."""
        for stream in self.files.values():
            stream.close()


@attrs.frozen
class _Bounded:
    """A body that may not be larger than the service takes."""

    request: web.BaseRequest

    async def readany(self) -> bytes:
        """Return what is there, empty at the end."""
        try:
            piece = await self.request.content.readany()
        except web.RequestPayloadError:
            raise Refusal.bad_request("body: broken transfer or content encoding") from None
        if self.request.content.total_bytes > MAX_BODY:  # a chunked body does not say before
            raise Refusal.standard(413)
        return piece


def _boundary(request: web.BaseRequest, wanted: str) -> str | None:
    if (request.content_length or 0) > MAX_BODY:
        raise Refusal.standard(413)
    header = request.headers.get("Content-Type", "")
    if not header or not request.body_exists:
        raise Refusal.bad_request("content-type: required")
    content_type, boundary = parse_content_type(header)
    if content_type != wanted:
        raise Refusal.bad_request(f"content-type: must be {wanted}")
    return boundary


def _open(request: web.BaseRequest, *, strict: bool) -> MultipartReader:
    boundary = _boundary(request, "multipart/form-data")
    if not boundary:
        raise Refusal.bad_request("content-type: boundary required")
    return MultipartReader(_Bounded(request), boundary, strict=strict)


async def _read_text(pieces: AsyncGenerator[bytes], name: str, form: Form) -> tuple[int, str]:
    content = b"".join([piece async for piece in pieces])
    try:
        form.fields[name] = content.decode()
    except UnicodeDecodeError:
        form.flaws.append((name, "must be UTF-8 text"))
    return len(content), hashlib.sha256(content).hexdigest()


async def _spool(pieces: AsyncGenerator[bytes], name: str, form: Form) -> tuple[int, str]:
    digest = hashlib.sha256()
    stream = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the form
    form.files[name] = stream
    async for piece in pieces:
        digest.update(piece)
        stream.write(piece)
    return stream.tell(), digest.hexdigest()


async def _skip(pieces: AsyncGenerator[bytes], name: str, form: Form) -> tuple[int, str]:
    form.flaws.append((name, "given more than once"))
    size, digest = 0, hashlib.sha256()
    async for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


async def _read_part(head: PartHead, reader: MultipartReader, form: Form) -> None:
    if len(form.parts) == MAX_PARTS:
        raise Refusal.bad_request(f"body: more than {MAX_PARTS} parts")
    if head.name in form.fields or head.name in form.files:
        read = _skip
    else:
        read = _read_text if head.filename is None else _spool
    size, sha256 = await read(reader.pieces(), head.name, form)
    form.parts.append(Part(head.name, head.filename, head.content_type, size, sha256))


async def _read(request: web.BaseRequest, form: Form, *, strict: bool) -> None:
    reader = _open(request, strict=strict)
    form.oddities = reader.oddities
    try:
        while (head := await reader.next_head()) is not None:
            await _read_part(head, reader, form)
    except MalformedBodyError as malformed:
        raise Refusal.bad_request(f"body: malformed multipart, {malformed}") from malformed


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)  # Infinity and NaN are Python's own, not JSON's


def parse_json(text: str | bytes | bytearray) -> Any:
    """Return what JSON holds.

    Raises:
        ValueError: It is none.
        RecursionError: It is too deep.
    """
    return json.loads(text, parse_constant=_no_number)


async def _read_json(request: web.BaseRequest, form: Form) -> None:
    _boundary(request, "application/json")
    body, content = _Bounded(request), bytearray()
    while piece := await body.readany():
        content += piece
    try:
        document: Any = parse_json(content)
    except (ValueError, RecursionError):
        raise Refusal.bad_request("body: malformed JSON") from None
    if not isinstance(document, dict):
        raise Refusal.bad_request("body: must be a JSON object")
    form.document = cast("dict[str, Any]", document)
    form.fields = {name: _shown(value) for name, value in form.document.items()}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def drain(request: web.BaseRequest) -> None:
    """Read on to the body's end, and throw it away."""
    with contextlib.suppress(web.RequestPayloadError):
        while await request.content.readany():
            pass


@contextlib.asynccontextmanager
async def read_form(
    request: web.BaseRequest,
    *,
    strict: bool,
    to_the_end: bool,
    body: Literal["form", "json"] = "form",
) -> AsyncGenerator[Form]:
    """Read the body of a request.

    Args:
        request: Its head has arrived.
        strict: Whether oddities that the format allows are refused.
        to_the_end: Whether a body that is refused half-way is still read to its end.
        body: What the endpoint takes: a multipart form, or JSON.

    Yields:
        The form; its files are closed afterwards.
    """
    form = Form()
    try:
        try:
            if body == "json":
                await _read_json(request, form)
            else:
                await _read(request, form, strict=strict)
        except Refusal as refusal:
            form.refusal = refusal
            if to_the_end:
                await drain(request)
        yield form
    finally:
        form.close()
