"""Bodies: of a known length, readable by anybody's parser, and the same each time."""

import email.parser
import email.policy
import io
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async import InvalidRequestError
from sd3async.emulator.virtual_time import run_in_virtual_time
from sd3async.models.sources import MAX_BODY_BYTES, PIECE_BYTES, Piece, as_source, prepare
from sd3async.multipart import Body, encode
from support.pictures import IMAGE_KINDS, padded_picture, picture


async def collect(body: Body) -> list[Piece]:
    return [piece async for piece in body.pieces()]


async def with_image(value: Any) -> Body:
    return encode({"prompt": "a"}, {"image": await prepare(as_source(value, "image"), "image")})


def parse(body: Body, data: bytes) -> dict[str, tuple[str | None, str, bytes]]:
    """Read a body with the standard library's e-mail parser: name -> filename, type, bytes."""
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + data)
    parts: dict[str, tuple[str | None, str, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts[str(name)] = (part.get_filename(), part.get_content_type(), content)
    return parts


def boundary_of(body: Body) -> str:
    return body.content_type.partition("boundary=")[2]


@given(
    fields=st.dictionaries(
        st.sampled_from(["prompt", "seed", "negative_prompt"]),
        st.text(st.characters(codec="utf-8"), max_size=200),
        min_size=1,
    )
)
def test_text_only_bodies_are_multipart_and_hold_every_field(fields: dict[str, str]) -> None:
    """The service refuses urlencoded forms, and prompts come in every script."""
    body = encode(fields)
    pieces = run_in_virtual_time(collect(body))

    assert len(pieces) == 1
    assert len(pieces[0]) == body.length
    for name, value in fields.items():
        block = (
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--{boundary_of(body)}'
        )
        assert block.encode() in bytes(pieces[0])


async def test_an_uploaded_image_arrives_whole_and_named() -> None:
    """The part needs a file name and a type to count as a file."""
    data = picture(kind="jpeg")
    body = await with_image(data)
    sent = b"".join(await collect(body))

    assert len(sent) == body.length
    assert parse(body, sent) == {
        "prompt": (None, "text/plain", b"a"),
        "image": ("image.jpeg", "image/jpeg", data),
    }


async def test_each_attempt_sends_the_same_bytes() -> None:
    """A second attempt with an empty part would succeed, and be charged."""
    body = await with_image(io.BytesIO(picture()))

    first, second, third = [b"".join(await collect(body)) for _ in range(3)]
    assert first == second == third
    assert len(first) == body.length


async def test_several_images_go_into_one_body() -> None:
    """Other endpoints take a mask beside the image."""
    image, mask = picture(), picture(kind="webp")
    uploads = {
        name: await prepare(as_source(data, name), name)
        for name, data in (("image", image), ("mask", mask))
    }
    body = encode({"prompt": "a", "seed": "7"}, uploads)
    sent = b"".join(await collect(body))

    assert len(sent) == body.length
    assert parse(body, sent) == {
        "prompt": (None, "text/plain", b"a"),
        "seed": (None, "text/plain", b"7"),
        "image": ("image.png", "image/png", image),
        "mask": ("mask.webp", "image/webp", mask),
    }


@pytest.mark.parametrize("kind", IMAGE_KINDS)
async def test_large_images_are_sent_in_small_pieces(kind: str, tmp_path: Path) -> None:
    """Memory must not grow with the picture."""
    path = tmp_path / "a.png"
    path.write_bytes(padded_picture(1_000_000))
    value = IMAGE_KINDS[kind](path)
    pieces = await collect(await with_image(value))
    if hasattr(value, "close"):
        value.close()

    assert max(len(piece) for piece in pieces) == PIECE_BYTES
    assert len(pieces) == 2 + math.ceil(1_000_000 / PIECE_BYTES)


async def test_bytes_are_sent_without_being_copied() -> None:
    """Fifty uploads of one picture hold it once."""
    data = padded_picture(1_000_000)
    pieces = await collect(await with_image(data))

    assert all(isinstance(piece, memoryview) and piece.obj is data for piece in pieces[1:-1])


async def test_a_source_that_ends_early_is_noticed() -> None:
    """A shortened body must break off instead of arriving as a shorter picture."""
    versions = iter([picture(), picture()[:-1]])

    with pytest.raises(InvalidRequestError, match="image: changed after the request was made"):
        await collect(await with_image(lambda: io.BytesIO(next(versions))))


@pytest.mark.parametrize("spare", [0, 1])
async def test_the_whole_request_is_held_to_ten_mebibytes(spare: int) -> None:
    """The limit is on the body, fields and boundaries included, not on the picture."""
    overhead = (await with_image(picture())).length - len(picture())
    data = padded_picture(MAX_BODY_BYTES - overhead + spare)

    if spare:
        with pytest.raises(InvalidRequestError, match="image: makes the whole request 10,485,761"):
            await with_image(data)
    else:
        assert (await with_image(data)).length == MAX_BODY_BYTES


def test_boundaries_differ() -> None:
    """A guessable boundary could be written into a prompt."""
    assert boundary_of(encode({"a": "b"})) != boundary_of(encode({"a": "b"}))
