"""Bodies: of a known length, readable by anybody's parser, and the same each time."""

import email.parser
import email.policy
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async import InvalidRequestError
from sd3async.emulator.virtual_time import run_in_virtual_time
from sd3async.models.sources import MAX_BODY_BYTES, PIECE_BYTES, Upload, as_source
from sd3async.multipart import MultipartBody, encode
from support.pictures import padded_picture, picture


async def collect(body: MultipartBody) -> list[bytes]:
    return [piece async for piece in body.pieces()]


def parse(body: MultipartBody, data: bytes) -> dict[str, tuple[str | None, str, bytes]]:
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
        block = f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--{body.boundary}'
        assert block.encode() in pieces[0]


async def test_an_uploaded_image_arrives_whole_and_named() -> None:
    """The part needs a file name and a type to count as a file."""
    data = picture(kind="jpeg")
    body = encode({"prompt": "a"}, as_source(data, "image").prepare("image"))
    sent = b"".join(await collect(body))

    assert len(sent) == body.length
    assert parse(body, sent) == {
        "prompt": (None, "text/plain", b"a"),
        "image": ("image.jpeg", "image/jpeg", data),
    }


async def test_each_attempt_sends_the_same_bytes() -> None:
    """A second attempt with an empty part would succeed, and be charged."""
    body = encode({"prompt": "a"}, as_source(io.BytesIO(picture()), "image").prepare("image"))

    first, second, third = [b"".join(await collect(body)) for _ in range(3)]
    assert first == second == third
    assert len(first) == body.length


async def test_large_images_are_sent_in_small_pieces() -> None:
    """Memory must not grow with the picture."""
    upload = as_source(padded_picture(1_000_000), "image").prepare("image")
    pieces = await collect(encode({"prompt": "a"}, upload))

    assert max(len(piece) for piece in pieces) <= PIECE_BYTES


async def test_a_source_that_ends_early_is_noticed() -> None:
    """A shortened body must break off instead of arriving as a shorter picture."""
    facts = as_source(picture(), "image").prepare("image").facts
    upload = Upload(1_000, facts, lambda: io.BytesIO(b"x" * 400), in_memory=True)

    with pytest.raises(InvalidRequestError, match="ended 600 bytes early"):
        await collect(encode({"prompt": "a"}, upload))


@pytest.mark.parametrize("spare", [0, 1])
def test_the_whole_request_is_held_to_ten_mebibytes(spare: int) -> None:
    """The limit is on the body, fields and boundaries included, not on the picture."""
    overhead = encode({"prompt": "a"}, as_source(picture(), "image").prepare("image"))
    room = MAX_BODY_BYTES - (overhead.length - len(picture()))
    upload = as_source(padded_picture(room + spare), "image").prepare("image")

    if spare:
        with pytest.raises(InvalidRequestError, match="image: makes the whole request 10,485,761"):
            encode({"prompt": "a"}, upload)
    else:
        assert encode({"prompt": "a"}, upload).length == MAX_BODY_BYTES


def test_boundaries_differ() -> None:
    """A guessable boundary could be written into a prompt."""
    assert encode({"a": "b"}).boundary != encode({"a": "b"}).boundary
