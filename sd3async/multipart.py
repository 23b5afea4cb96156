"""`multipart/form-data` bodies of a known length, fresh for each attempt."""

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import attrs

from sd3async.models.fields import refuse
from sd3async.models.sources import MAX_BODY_BYTES, Piece, Upload


@attrs.frozen
class MultipartBody:
    """One request's body: as often as it is asked for its pieces, it reads its sources anew.

    Attributes:
        boundary: The string between the parts.
        blocks: Text as it is sent, and images to be read, in turn.
    """

    boundary: str
    blocks: tuple[bytes | Upload, ...] = attrs.field(repr=False)

    @property
    def content_type(self) -> str:
        """The value of the `Content-Type` header."""
        return f"multipart/form-data; boundary={self.boundary}"

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


NO_BODY = MultipartBody("", (b"",))
"""That of a GET: one piece of nothing."""


def encode(fields: Mapping[str, str], uploads: Mapping[str, Upload] | None = None) -> MultipartBody:
    """Lay out a body.

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
    body = MultipartBody(boundary, tuple(blocks))
    if body.length > MAX_BODY_BYTES:
        raise refuse(
            max(uploads, key=lambda name: uploads[name].size) if uploads else "prompt",
            f"makes the whole request {body.length:,} bytes; at most {MAX_BODY_BYTES:,} "
            "(10 MiB) are allowed",
        )
    return body
