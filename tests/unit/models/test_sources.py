"""Image sources: read as often as needed, never closed, never moved."""

import io
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from PIL import Image

from sd3async import InvalidRequestError, SD3Request
from sd3async.models.sources import MAX_BODY_BYTES, ImageFacts, Upload, as_source
from support.pictures import IMAGE_KINDS, OneWayStream, padded_picture, picture

PICTURE = picture()


def read_all(upload: Upload) -> bytes:
    """Go through one pass in small pieces."""
    reader = upload.open()
    try:
        return b"".join(iter(lambda: reader.read(7), b""))
    finally:
        reader.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(PICTURE)
    return path


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_every_kind_gives_the_same_bytes_on_every_pass(kind: str, file: Path) -> None:
    """A retry that sends an empty or shortened image succeeds silently, and is charged."""
    value = IMAGE_KINDS[kind](file)
    upload = as_source(value, "image").prepare("image")

    assert upload.replayable
    assert upload.size == len(PICTURE)
    assert upload.facts == ImageFacts("png", 96, 64)
    assert [read_all(upload) for _ in range(3)] == [PICTURE] * 3
    if hasattr(value, "close"):
        value.close()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_facts_come_from_the_header(kind: Any) -> None:
    """Format and sides decide whether the service will take an image."""
    assert as_source(picture(80, 70, kind), "image").facts == ImageFacts(kind, 80, 70)


def test_the_callers_file_stays_open_and_where_it_stood(file: Path) -> None:
    """The caller may go on reading."""
    with file.open("rb") as stream:
        upload = as_source(stream, "image").prepare("image")
        reader = upload.open()
        reader.read(10)

        assert stream.tell() == 0
        reader.close()
        assert stream.read() == PICTURE


def test_a_stream_is_sent_from_where_it_stands() -> None:
    """What lies before the present position is the caller's own business."""
    stream = io.BytesIO(b"header" + PICTURE)
    stream.seek(6)

    assert read_all(as_source(stream, "image").prepare("image")) == PICTURE
    assert stream.tell() == 6


def test_two_passes_over_one_stream_do_not_disturb_each_other() -> None:
    """The same open file may be uploaded by many tasks at once."""
    upload = as_source(io.BytesIO(PICTURE), "image").prepare("image")
    first, second = upload.open(), upload.open()

    pieces = [(first.read(5), second.read(5)) for _ in range(len(PICTURE))]
    assert b"".join(a for a, _ in pieces) == b"".join(b for _, b in pieces) == PICTURE


def test_a_stream_at_its_end_is_named_as_such() -> None:
    """The commonest slip: a buffer just written to, not rewound."""
    stream = io.BytesIO()
    stream.write(PICTURE)

    with pytest.raises(InvalidRequestError, match="its end; seek to the image first"):
        as_source(stream, "image")


def test_a_one_way_stream_is_read_once_and_says_so() -> None:
    """It cannot be replayed, so a second call must not send nothing."""
    source = as_source(OneWayStream(PICTURE), "image")
    upload = source.prepare("image")

    assert not upload.replayable
    assert read_all(upload) == PICTURE
    with pytest.raises(InvalidRequestError, match="sent already; pass bytes, a path"):
        source.prepare("image")


def test_a_pillow_image_is_sent_as_png() -> None:
    """Its pixels must arrive unchanged."""
    upload = as_source(Image.new("RGB", (70, 80), (1, 2, 3)), "image").prepare("image")

    with Image.open(io.BytesIO(read_all(upload))) as sent:
        assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (70, 80), (1, 2, 3))


def test_a_file_that_changes_is_noticed_before_it_is_sent_again(file: Path) -> None:
    """Two attempts with different pictures would make the result a lottery."""
    upload = as_source(file, "image").prepare("image")
    file.write_bytes(PICTURE + b"more")

    with pytest.raises(InvalidRequestError, match="changed after the request was made"):
        upload.open()


def test_a_file_that_vanishes_is_named(file: Path) -> None:
    """The error must say which file, not just that something failed."""
    upload = as_source(file, "image").prepare("image")
    file.unlink()

    with pytest.raises(InvalidRequestError, match=r"a\.png' can no longer be read"):
        upload.open()


def test_a_stream_closed_by_the_caller_is_named() -> None:
    """The retry must say why it cannot go on."""
    stream = io.BytesIO(PICTURE)
    reader = as_source(stream, "image").prepare("image").open()
    stream.close()

    with pytest.raises(InvalidRequestError, match="was closed before it was sent"):
        reader.read(10)


def _closed() -> BinaryIO:
    stream = io.BytesIO(PICTURE)
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(b"", "is empty", id="no bytes"),
        pytest.param(b"GIF89a" + b"\0" * 20, "begins with b'GIF89a", id="gif"),
        pytest.param(PICTURE[:12], "damaged header", id="cut header"),
        pytest.param(12, "is int; a path, bytes", id="a number"),
        pytest.param("no/such.png", "no such file or directory", id="no file"),
        pytest.param(_closed(), "is a closed stream", id="closed"),
        pytest.param(io.StringIO("x"), "open it in binary mode", id="text stream"),
        pytest.param("data:image/png,abc", "but not data:image", id="data URI without base64"),
        pytest.param("data:image/png;base64,a", "damaged base64", id="bad base64"),
        pytest.param(padded_picture(MAX_BODY_BYTES + 1), "is 10.0 MiB; the whole", id="too large"),
    ],
)
def test_what_is_no_image_is_refused_with_a_sentence(value: Any, words: str) -> None:
    """It is refused where the request is made, before anything is sent."""
    with pytest.raises(InvalidRequestError, match=r"^image: ") as caught:
        as_source(value, "image")

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        pytest.param(lambda: None, "an open stream is needed", id="nothing"),
        pytest.param(_closed, "an open stream is needed", id="closed"),
        pytest.param(lambda: io.BytesIO(b"text"), "begins with b'text'", id="no image"),
        pytest.param(
            lambda: OneWayStream(padded_picture(MAX_BODY_BYTES + 70_000)), "MiB", id="too large"
        ),
    ],
)
def test_a_factory_is_looked_at_when_the_call_begins(factory: Any, words: str) -> None:
    """A callable may be slow, so it is not called when the request is made."""
    source = as_source(factory, "image")

    with pytest.raises(InvalidRequestError, match=words):
        source.prepare("image")


def test_bytes_are_written_down_as_a_data_uri_and_a_path_as_itself(file: Path) -> None:
    """A request with an image can go into a journal and come back."""
    for value in (PICTURE, file):
        request = SD3Request("a", image=value, strength=1)
        assert SD3Request.from_dict(request.to_dict()) == request
        assert pickle.loads(pickle.dumps(request)) == request


def test_a_stream_cannot_be_written_down() -> None:
    """A journal line that cannot be resumed must not be written."""
    with pytest.raises(InvalidRequestError, match="use a path or bytes"):
        SD3Request("a", image=io.BytesIO(PICTURE), strength=1).to_dict()
