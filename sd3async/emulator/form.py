"""Multipart bodies, read as a stream: texts are kept, files are spooled, each part is hashed."""

import contextlib
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO

import attrs
from aiohttp import BodyPartReader, web

from sd3async.emulator.answers import Refusal
from sd3async.emulator.journal import Part

__all__ = ["MAX_BODY", "Form", "read_form"]

MAX_BODY = 10 * 1024 * 1024  # [bytes] of the whole body, not of the image
_PIECE = 64 * 1024  # [bytes] read at once
_IN_MEMORY = 256 * 1024  # [bytes] of a file before it goes to disk


@attrs.define
class Form:
    """A form as it came in.

    Attributes:
        fields: Texts by name.
        files: Uploads by name; open as long as the form is.
        parts: Each part, in order.
        refusal: Why the body cannot be taken as a form at all, or None.
    """

    fields: dict[str, str] = attrs.field(factory=dict[str, str])
    files: dict[str, IO[bytes]] = attrs.field(factory=dict[str, IO[bytes]])
    parts: list[Part] = attrs.field(factory=list[Part])
    refusal: Refusal | None = None

    def close(self) -> None:
        """Let go of the uploads."""
        for stream in self.files.values():
            stream.close()


async def _drain(request: web.BaseRequest) -> None:
    async for _ in request.content.iter_chunked(_PIECE):
        pass


def _check_head(request: web.BaseRequest) -> None:
    if (request.content_length or 0) > MAX_BODY:
        raise Refusal.standard(413)
    if "Content-Type" not in request.headers or not request.body_exists:
        raise Refusal.bad_request("content-type: required")
    if request.content_type != "multipart/form-data":
        raise Refusal.bad_request("content-type: must be multipart/form-data")


async def _pieces(request: web.BaseRequest, part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_PIECE):
        if request.content.total_bytes > MAX_BODY:
            raise Refusal.standard(413)
        yield piece


async def _read_text(pieces: AsyncIterator[bytes], name: str, form: Form) -> tuple[int, str]:
    content = b"".join([piece async for piece in pieces])
    try:
        form.fields[name] = content.decode()
    except UnicodeDecodeError:
        raise Refusal.bad_request(f"{name}: must be UTF-8 text") from None
    return len(content), hashlib.sha256(content).hexdigest()


async def _spool(pieces: AsyncIterator[bytes], name: str, form: Form) -> tuple[int, str]:
    digest = hashlib.sha256()
    stream = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the form
    form.files[name] = stream
    async for piece in pieces:
        digest.update(piece)
        stream.write(piece)
    return stream.tell(), digest.hexdigest()


async def _read_part(request: web.BaseRequest, part: BodyPartReader, form: Form) -> None:
    name = part.name
    if not name:
        raise Refusal.bad_request("body: a part has no name")
    if name in form.fields or name in form.files:
        raise Refusal.bad_request(f"{name}: given more than once")
    read = _read_text if part.filename is None else _spool
    size, sha256 = await read(_pieces(request, part), name, form)
    form.parts.append(Part(name, part.filename, part.headers.get("Content-Type"), size, sha256))


async def _read_parts(request: web.BaseRequest, form: Form) -> None:
    _check_head(request)
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise Refusal.bad_request("body: nested multipart is not accepted")
            await _read_part(request, part, form)
    except ValueError as malformed:
        raise Refusal.bad_request(f"body: malformed multipart, {malformed}") from malformed


@contextlib.asynccontextmanager
async def read_form(request: web.BaseRequest, *, to_the_end: bool) -> AsyncGenerator[Form]:
    """Read the body of a request.

    Args:
        request: Its head has arrived.
        to_the_end: Whether a body that is refused half-way is still read to its end.

    Yields:
        The form; its files are closed afterwards.
    """
    form = Form()
    try:
        try:
            await _read_parts(request, form)
        except Refusal as refusal:
            form.refusal = refusal
            if to_the_end:
                await _drain(request)
        yield form
    finally:
        form.close()
