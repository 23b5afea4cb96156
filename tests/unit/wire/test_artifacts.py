"""From the bytes of v1's list of artifacts to images that are whole."""

import base64
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from sd3async import ResponseReadError, SD3Error, UnexpectedResponseError
from sd3async.wire import ArtifactsReader, ImageReader, read_account, read_engines
from sd3async.wire.json_picture import MAX_KEPT
from support.pictures import picture

PICTURES = [picture(hue=hue) for hue in (1, 60, 200)]
HEADERS = CIMultiDict({"Content-Type": "application/json"})


def artifact(data: bytes | None, **others: Any) -> dict[str, Any]:
    text = {} if data is None else {"base64": base64.b64encode(data).decode()}
    return {**text, "seed": 7, "finishReason": "SUCCESS", **others}


def answer(*artifacts: object, **others: Any) -> bytes:
    return json.dumps({"artifacts": artifacts, **others}).encode()


def read(
    body: bytes, *, size: int = 1 << 20, samples: int = 3, max_bytes: int = 1 << 20
) -> tuple[list[bytes], ArtifactsReader]:
    """Feed an answer in pieces; return the images, and what is known of them."""
    reader = ArtifactsReader(
        200, HEADERS, samples=samples, max_bytes=max_bytes, secrets=["sk-hidden"]
    )
    images: dict[int, bytes] = {}
    for at in range(0, len(body), size):
        for place, data in reader.feed(body[at : at + size]):
            images[place] = images.get(place, b"") + data
    reader.finish()
    return [images.get(place, b"") for place in range(len(reader.readers))], reader


@pytest.mark.parametrize("size", [1, 2, 3, 61, 1 << 20])
def test_each_artifact_is_an_image_with_its_own_facts(size: int) -> None:
    """In whatever pieces they come, and whatever stands beside them."""
    filtered = artifact(PICTURES[1], seed=8, finishReason="CONTENT_FILTERED")
    body = answer(
        artifact(PICTURES[0], note='a "{[" \\ in words', deeper={"a": [{"b": "]}"}]}),
        filtered,
        artifact(PICTURES[2], seed=9),
        id='} ] " \\',
        more=[[1], {"a": {}}],
    )
    images, reader = read(b" \r\n" + body, size=size)

    assert images == PICTURES
    assert [one.seed for one in reader.readers] == [7, 8, 9]
    assert reader.readers[1].finish_reason == "CONTENT_FILTERED"
    assert {one.content_type for one in reader.readers} == {"image/png"}
    assert reader.problems == {}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (artifact(None, finishReason="ERROR"), "the finish reason ERROR"),
        (artifact(b"", finishReason="ERROR"), "the finish reason ERROR"),
        (artifact(PICTURES[0], finishReason="ERROR"), "the finish reason ERROR"),
        (artifact(b"x" * 200), "a picture that is no jpeg, png or webp"),
        (artifact(PICTURES[0][:100]), "the image broke off"),
        ({"base64": "!" * 80}, "a picture that is not base64"),
        (artifact(None, message="sk-hidden is bad"), r"\[key\] is bad"),
        (artifact(PICTURES[0] + bytes(6_000)), "an image of more than 5,000 bytes"),
    ],
)
def test_one_that_is_no_good_leaves_the_others_whole(bad: dict[str, Any], words: str) -> None:
    """They were paid for."""
    body = answer(artifact(PICTURES[0]), bad, artifact(PICTURES[2]))
    images, reader = read(body, max_bytes=5_000)

    assert (images[0], images[2]) == (PICTURES[0], PICTURES[2])
    assert set(reader.problems) == {1}
    with pytest.raises(SD3Error, match=words):
        raise reader.problems[1]


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "try later"}', "no images, but 'try later'"),
        (b'{"artifacts": []}', "no images"),
        (b'{"artifacts": 7}', "no images"),
        (b'{"other": [{"base64": ""}]}', "no images"),
        (b"{]}", "no images"),
        (b"", "no images, but 'nothing'"),
        (answer(*[artifact(PICTURES[0])] * 4), "more images than the 3"),
        (b'{"a": "' + b"x" * MAX_KEPT, "bytes beside the images"),
        (b'{"a": ' + b"[" * 2 * MAX_KEPT, "bytes beside the images"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_without_a_list_of_images_is_unexpected(
    body: bytes, words: str, size: int
) -> None:
    """It may be charged, and the server's own words are told."""
    with pytest.raises(UnexpectedResponseError, match=words) as caught:
        read(body, size=size)

    assert caught.value.may_be_charged


def test_an_answer_cut_anywhere_broke_off() -> None:
    """It ends wherever its connection does, and another attempt may bring it whole."""
    body = answer(*(artifact(data) for data in PICTURES))
    for end in [*range(1, 60), *range(60, len(body), 7), len(body) - 1]:
        with pytest.raises(ResponseReadError, match="broke off"):
            read(body[:end])


def test_an_image_in_the_place_of_the_list_is_taken_as_it_is() -> None:
    """The bytes say what an answer is; a gateway may not heed what is accepted."""
    images, reader = read(PICTURES[0], size=50)

    assert images == [PICTURES[0]]
    assert reader.problems == {}


@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_one_artifact_streams_like_any_image(size: int) -> None:
    """To a file, in memory that does not grow with it; its facts stand beside it."""
    body = answer(artifact(PICTURES[0], finishReason="CONTENT_FILTERED", seed=4_294_967_295))
    reader = ImageReader(200, HEADERS)
    image = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size))
    reader.finish()

    assert image == PICTURES[0]
    assert (reader.seed, reader.finish_reason) == (4_294_967_295, "CONTENT_FILTERED")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (answer(artifact(None, finishReason="ERROR")), "no image, but 'the finish reason ERROR'"),
        (answer(artifact(PICTURES[0], finishReason="ERROR")), "the finish reason ERROR"),
        (answer(artifact(PICTURES[0]), artifact(PICTURES[1])), "two pictures"),
        (answer(), "no image"),
    ],
)
def test_an_answer_without_its_one_artifact_says_so(body: bytes, words: str) -> None:
    """An artifact that failed is an error, and its own word for that is told."""

    def read_one() -> None:
        reader = ImageReader(200, HEADERS)
        reader.feed(body)
        reader.finish()

    with pytest.raises(UnexpectedResponseError, match=words):
        read_one()


def test_engines_and_accounts_are_read_with_tolerance() -> None:
    """What is missing is empty, and what is new is passed over."""
    [engine] = read_engines(200, b'[{"id": "a", "type": "PICTURE", "new": {}}]', [])
    account = read_account(
        200, b'{"id": "u", "organizations": [{"id": "o", "is_default": true}, 7], "x": 1}', []
    )

    assert (engine.id, engine.name, engine.type) == ("a", "", "PICTURE")
    assert account.organizations[0].is_default
    assert "nobody@" not in repr(read_account(200, b'{"id": "u", "email": "nobody@x"}', []))


@pytest.mark.parametrize("body", [b"", b"{}", b"7", b'{"id": 7}', b'[{"name": "a"}]', b"[" * 9_999])
def test_what_tells_of_neither_is_unexpected(body: bytes) -> None:
    """A proxy's page is no account."""
    with pytest.raises(UnexpectedResponseError, match="tells of no account"):
        read_account(200, body, [])
    with pytest.raises(UnexpectedResponseError, match="lists no engines"):
        read_engines(200, body, [])
