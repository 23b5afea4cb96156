"""Bodies of a known length, fresh for each attempt: `multipart/form-data`, or JSON."""

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import attrs

from sd3async.models.fields import refuse
from sd3async.models.sources import MAX_BODY_BYTES, Piece, Upload


@attrs.frozen
class Body:
    """One request's body: as often as it is asked for its pieces, it reads its sources anew.

    Attributes:
        content_type: The value of the `Content-Type` header.
        blocks: Text as it is sent, and images to be read, in turn.
    """

    content_type: str
    blocks: tuple[bytes | Upload, ...] = attrs.field(repr=False)

    @property
    def length(self) -> int:
        """The value of the `Content-Length` header [bytes]."""
        return sum(len(block) if isinstance(block, bytes) else block.size for block in self.blocks)

    @property
    def has_uploads(self) -> bool:
        """Whether there is more than text in it."""
        return len(self.blocks) > 1

    @property
    def is_replayable(self) -> bool:
        """Whether `pieces` can be gone through again."""
        return all(isinstance(block, bytes) or block.is_replayable for block in self.blocks)

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Yield the body from the beginning, images in pieces of at most 120 KiB.

        Raises:
            InvalidRequestError: A source cannot be read, or is not what it was.
        """
        for block in self.blocks:
            if isinstance(block, bytes):
                yield block
                continue
            async with aclosing(block.pieces()) as pieces:
                async for piece in pieces:
                    yield piece


NO_BODY = Body("", (b"",))
"""That of a GET: one piece of nothing."""


def encode(fields: Mapping[str, str], uploads: Mapping[str, Upload] | None = None) -> Body:
    """Lay out a form.

    Args:
        fields: Text fields, in order; names are plain ASCII.
        uploads: Images by the names of their parts; they come after the text.

    Returns:
        The body; nothing has been read yet.

    Raises:
        InvalidRequestError: The body would be larger than 10 MiB.
    """
    boundary = secrets.token_hex(16)
    start = f"--{boundary}\r\nContent-Disposition: form-data; name="
    text = "".join(f'{start}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    blocks: list[bytes | Upload] = []
    for name, upload in (uploads or {}).items():
        kind = upload.facts.format
        text += f'{start}"{name}"; filename="{name}.{kind}"\r\nContent-Type: image/{kind}\r\n\r\n'
        blocks += [text.encode(), upload]
        text = "\r\n"
    blocks.append(f"{text}--{boundary}--\r\n".encode())
    largest = max(uploads, key=lambda name: uploads[name].size) if uploads else "prompt"
    return _bounded(Body(f"multipart/form-data; boundary={boundary}", tuple(blocks)), largest)


def encode_json(document: bytes, largest: str) -> Body:
    """Lay out an object of JSON.

    Args:
        document: The object, encoded.
        largest: The field that takes the most room.

    Raises:
        InvalidRequestError: The body would be larger than 10 MiB.

    Source:
        v1 refuses `application/json` with a `charset` (rest-api-support, issue 31).
    """
    return _bounded(Body("application/json", (document,)), largest)


def _bounded(body: Body, largest: str) -> Body:
    if body.length > MAX_BODY_BYTES:
        raise refuse(
            largest,
            f"makes the whole request {body.length:,} bytes; at most {MAX_BODY_BYTES:,} "
            "(10 MiB) are allowed",
        )
    return body
