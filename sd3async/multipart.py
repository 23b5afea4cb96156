"""`multipart/form-data` bodies of a known length, fresh for each attempt.

Text fields are rendered once into one block of bytes; an image is streamed from its source in
64 KiB pieces that are read off the event loop.
"""

import secrets
from collections.abc import AsyncIterator, Mapping

import attrs

from sd3async._threads import in_thread
from sd3async.models.fields import refuse
from sd3async.models.sources import MAX_BODY_BYTES, PIECE_BYTES, Reader, Upload


@attrs.frozen
class MultipartBody:
    """One request's body: as often as it is asked for its pieces, it reads its source anew.

    Attributes:
        boundary: The string between the parts.
        head: Everything before the image's bytes, or the whole body when there is no image.
        upload: The image, or None.
        tail: Everything after the image's bytes.
    """

    boundary: str
    head: bytes
    upload: Upload | None = None
    tail: bytes = b""

    @property
    def content_type(self) -> str:
        """The value of the `Content-Type` header."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int:
        """The value of the `Content-Length` header [bytes]."""
        return len(self.head) + (self.upload.size if self.upload else 0) + len(self.tail)

    @property
    def is_replayable(self) -> bool:
        """Whether `pieces` can be gone through again."""
        return self.upload is None or self.upload.replayable

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, piece by piece, from the beginning.

        Raises:
            InvalidRequestError: The source can no longer be read, or is not what it was.
        """
        yield self.head
        if self.upload is not None:
            async for piece in _read(self.upload):
                yield piece
            yield self.tail


def encode(fields: Mapping[str, str], upload: Upload | None = None) -> MultipartBody:
    """Lay out a body.

    Args:
        fields: Text fields, in order; names are plain ASCII.
        upload: The part `image`, or None.

    Returns:
        The body; nothing has been read yet.

    Raises:
        InvalidRequestError: The body would be larger than 10 MiB.
    """
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    end = f"--{boundary}--\r\n"
    if upload is None:
        body = MultipartBody(boundary, "".join([*parts, end]).encode())
    else:
        kind = upload.facts.format
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; '
            f'filename="image.{kind}"\r\nContent-Type: image/{kind}\r\n\r\n'
        )
        body = MultipartBody(boundary, "".join(parts).encode(), upload, f"\r\n{end}".encode())
    if body.length > MAX_BODY_BYTES:
        raise refuse(
            "image" if upload else "prompt",
            f"makes the whole request {body.length:,} bytes; at most {MAX_BODY_BYTES:,} "
            "(10 MiB) are allowed",
        )
    return body


async def _read(upload: Upload) -> AsyncIterator[bytes]:
    reader: Reader = upload.open() if upload.in_memory else await in_thread(upload.open)
    left = upload.size
    try:
        while left:
            size = min(left, PIECE_BYTES)
            piece = reader.read(size) if upload.in_memory else await in_thread(reader.read, size)
            if not piece:
                raise refuse("image", f"ended {left:,} bytes early; the source has changed")
            left -= len(piece)
            yield piece
    finally:
        reader.close()
