"""Image files as bytes: with a note on their origin, or made up quickly to a given length.

Both rest on what decoders skip: ancillary PNG chunks, JPEG comments, unknown WebP chunks.
"""

import functools
import hashlib
import io
import struct
import zlib

from PIL import Image

from sd3async.emulator.images import Picture

__all__ = ["NOTICE", "label", "payload_of_size"]

NOTICE = "drawn by the sd3async emulator, not by a model"

Size = tuple[int, int]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_START = 8 + 25  # [bytes] signature and IHDR chunk
_LONGEST_COMMENT = 65_533  # [bytes] in one JPEG segment


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _jpeg_comment(content: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(content) + 2) + content


def _with_webp_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    content += bytes(len(content) % 2)  # RIFF counts in pairs of bytes
    chunk = kind + struct.pack("<I", len(content)) + content
    length = struct.pack("<I", len(data) - 8 + len(chunk))
    return data[:4] + length + data[8:] + chunk


def label(data: bytes, output_format: str, request_id: str) -> bytes:
    """Return the file with a note on its origin, fresh for each answer.

    The service's files differ from call to call in the same way, by signed metadata: whoever
    compares images has to compare pixels.

    Args:
        data: An encoded image.
        output_format: Its format.
        request_id: Told in the note.
    """
    note = f"{NOTICE}; {request_id}".encode()
    match output_format:
        case "png":
            chunk = _png_chunk(b"tEXt", b"Source\0" + note)
            return data[:_PNG_START] + chunk + data[_PNG_START:]
        case "jpeg":
            return data[:2] + _jpeg_comment(note) + data[2:]
        case _:
            return _with_webp_chunk(data, b"NOTE", note)


@functools.lru_cache(maxsize=32)
def _two_fields(size: Size) -> bytes:
    width, height = size
    row, above = (width + 7) // 8, height * 3 // 5
    upper = (b"\0" + bytes(row)) * above
    lower = (b"\0" + b"\xff" * row) * (height - above)
    return _png_chunk(b"IDAT", zlib.compress(upper + lower, 9))


@functools.lru_cache(maxsize=8)
def _png_padding(length: int) -> bytes:
    return _png_chunk(b"paDd", bytes(length))


@functools.lru_cache(maxsize=8)
def _jpeg_padding(length: int) -> bytes:
    whole, rest = divmod(length, _LONGEST_COMMENT)
    return _jpeg_comment(bytes(_LONGEST_COMMENT)) * whole + _jpeg_comment(bytes(rest))


@functools.lru_cache(maxsize=32)
def _plain(size: Size, kind: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("L" if kind == "JPEG" else "RGB", size)
    image.save(buffer, kind, quality=1, optimize=True)
    return buffer.getvalue()


def _png_of_size(size: Size, colours: bytes, target: int) -> bytes:
    # The colours are a palette, so that the compressed pixels can be shared.
    head = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 1, 3, 0, 0, 0))
    front = (_PNG_SIGNATURE, head, _png_chunk(b"PLTE", colours), _two_fields(size))
    end = _png_chunk(b"IEND", b"")
    room = target - sum(map(len, front)) - len(end) - 12
    return b"".join((*front, _png_padding(max(0, room)), end))


def payload_of_size(picture: Picture, target: int) -> bytes:
    """Return a file of about `target` bytes that costs next to nothing to make, for load tests.

    It decodes to plain colours in the documented size, padded with what decoders skip. Different
    requests get different bytes, and as PNG different colours.

    Args:
        picture: Decides format, dimensions and colours.
        target: Wanted length [bytes]; the image itself needs some 300 as PNG, some thousand as
            JPEG and WebP.
    """
    digest = hashlib.sha256(repr(picture).encode()).digest()
    match picture.output_format:
        case "png":
            return _png_of_size(picture.size, digest[:6], target)
        case "jpeg":
            data = _plain(picture.size, "JPEG")
            room = max(0, target - len(data) - 48)
            return data[:2] + _jpeg_comment(digest) + _jpeg_padding(room) + data[2:]
        case _:
            data = _plain(picture.size, "WEBP")
            room = max(0, target - len(data) - 40)
            return _with_webp_chunk(data, b"PADD", digest + bytes(room))
