"""From a successful answer's bytes to an image that is whole."""

import base64
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from sd3async import ResponseReadError, SD3Error, UnexpectedResponseError
from sd3async.wire import ImageReader
from support.pictures import picture

KINDS: list[Literal["png", "jpeg", "webp"]] = ["png", "jpeg", "webp"]
PNG = picture()
IMAGE = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json; type=image/png"}


def read(
    body: bytes, size: int = 1 << 20, headers: dict[str, str] = JSON, **limits: Any
) -> tuple[bytes, ImageReader]:
    """Feed an answer in pieces, and return the image and what is known of it."""
    reader = ImageReader(200, CIMultiDict(headers), **limits)
    image = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size))
    reader.finish()
    return image, reader


def wrapped(text: str | None = None, **others: Any) -> bytes:
    """Return a JSON answer; `text` is the picture as it stands between the quotes."""
    inside = base64.b64encode(PNG).decode() if text is None else text
    rest = json.dumps(others)[1:]
    return f'{{"image":"{inside}"{"," if others else ""}{rest}'.encode()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_and_what_its_headers_say(kind: Any, size: int) -> None:
    """Seed and finish reason stand in headers when the body is an image."""
    said = {"seed": "42", "finish-reason": "CONTENT_FILTERED", "x-request-id": "r"}
    data = picture(kind=kind)
    image, reader = read(data, size, {"Content-Type": f"image/{kind}", **said})

    assert image == data
    assert (reader.content_type, reader.size) == (f"image/{kind}", len(data))
    assert (reader.seed, reader.finish_reason, reader.request_id) == (42, "CONTENT_FILTERED", "r")


def test_the_pieces_of_an_image_pass_through_uncopied() -> None:
    """Copying every image once more would cost as much as receiving it."""
    reader = ImageReader(200, CIMultiDict(IMAGE))
    pieces = [PNG[:100], PNG[100:]]

    assert all(reader.feed(piece) is piece for piece in pieces)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("jpeg", "image/png"), ("png", "text/plain"), ("webp", ""), ("png", "application/json")],
)
def test_the_bytes_say_what_an_image_is(kind: Any, told: str) -> None:
    """An image that was paid for is not thrown away, or misnamed, for its label."""
    data = picture(kind=kind)
    image, reader = read(data, headers={"Content-Type": told} if told else {})

    assert (image, reader.content_type) == (data, f"image/{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_cut_anywhere_is_an_error_that_may_be_charged(kind: Any) -> None:
    """An answer without a length ends wherever its connection does; a third is no image."""
    data = picture(kind=kind)
    for end in range(len(data)):
        with pytest.raises(ResponseReadError, match=f"the image broke off after {end:,} b") as cut:
            read(data[:end], headers=IMAGE)
        assert cut.value.may_be_charged


def test_json_cut_anywhere_is_an_error() -> None:
    """Neither half a picture nor a picture without its seed is a success."""
    body = wrapped(finish_reason="SUCCESS", seed=7)
    for end in range(len(body)):
        with pytest.raises(ResponseReadError, match="the image broke off"):
            read(body[:end])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [b"\0", b"\n", b"\r\n", b"\0" * 50])
def test_a_little_padding_is_no_harm(kind: Any, padding: bytes) -> None:
    """Readers of images pass over it, and so did whoever put it there."""
    data = picture(kind=kind) + padding

    assert read(data, 1, IMAGE)[0] == data


@pytest.mark.parametrize("reason", ["ERROR", "null", "UNKNOWN \ud83d"])
def test_any_other_finish_reason_is_an_error_that_may_be_charged(reason: str) -> None:
    """The older interface says ERROR; that such a generation is free is said nowhere."""
    for body, headers in (
        (PNG, {**IMAGE, "finish-reason": reason}),
        (wrapped(finish_reason=reason), JSON),
    ):
        with pytest.raises(UnexpectedResponseError, match="the finish reason") as caught:
            read(body, headers=headers)
        assert caught.value.may_be_charged


ENCODED = base64.b64encode(PNG).decode()
UNFIT = {
    "page": (b"<html><title>Sign in</title>", "no image, but 'Sign in'"),
    "error": (b'{"id":"1","name":"x","errors":["out of luck"]}', "no image, but 'out of luck'"),
    "gateway's error": (b'{"error":{"message":"busy"}}', "no image, but 'busy'"),
    "error with a key": (b'{"errors":["is sk-abcdefgh"]}', r"no image, but 'is \[key\]'"),
    "no image": (b'{"finish_reason":"CONTENT_FILTERED"}', "no image, but .*CONTENT_FILTERED"),
    "gif": (b"GIF89a", "no image, but 'GIF89a'"),
    "word": (b"ok", "no image, but 'ok'"),
    "list": (b"[1]", "no image, but"),
    "brackets": (b"[" * 10_000, "no image, but"),
    "many deeper inside": (b'{"a":[' + b'{"image":"%b"},' % (b"x" * 66) * 700, "no image, but"),
    "nested too deeply": (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "no image, but"),
    "in too many lists": (b'{"a":' + b"[" * 20_000 + wrapped() + b"]" * 20_000 + b"}", "no image"),
    "null": (b'{"image":null}', "no image"),
    "short": (b'{"image":"!!!!"}', "no image"),
    "not base64": (wrapped("!" * 80), "not base64"),
    "not ASCII": (wrapped("\\ud83d\\ude00" * 10), "not base64"),
    "quote inside": (wrapped(ENCODED[:80] + '\\"'), "not base64"),
    "backslash inside": (wrapped(ENCODED[:80] + "\\\\"), "not base64"),
    "no escape": (wrapped(ENCODED[:80] + "\\u00zz"), "not base64"),
    "padding inside": (wrapped("QQ==" + "A" * 80), "not base64: it goes on after its padding"),
    "one sign too many": (wrapped(ENCODED[:81]), "not base64"),
    "encoded gif": (wrapped(base64.b64encode(b"GIF89a" * 20).decode()), "no jpeg, png or webp"),
    "twice": (wrapped(image=ENCODED), "two pictures"),
    "two names": (wrapped(result=ENCODED), "two pictures"),
    "image, then words": (wrapped(image="other"), "two pictures"),
    "image, then null": (wrapped(image=None), "two pictures"),
    "two objects": (wrapped() + wrapped(), "Extra data"),
    "brace too many": (wrapped() + b"}", "Extra data"),
    "in a list": (b"[" + wrapped() + b"]", "no image"),
    "in an object": (b'{"data":' + wrapped() + b"}", "no image"),
    "in a list in an object": (b'{"artifacts":[' + wrapped() + b"]}", "no image"),
    "in a string": (json.dumps({"prompt": wrapped().decode()}).encode(), "no image"),
}


@pytest.mark.parametrize(("body", "words"), UNFIT.values(), ids=UNFIT.keys())
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_an_answer_without_its_one_image_is_unexpected(body: bytes, words: str, size: int) -> None:
    """A picture is never made up of what is left, and the server's own words are told."""
    with pytest.raises(UnexpectedResponseError, match=words) as caught:
        read(body, size, {**JSON, "x-request-id": "r"})

    assert str(caught.value).startswith("status 200 with application/json; type=image/png: ")
    assert caught.value.request_id == "r"


@pytest.mark.parametrize(
    "words", ["success", "image", 'a "image":"b', "\\", '{"image":"' + "A" * 80]
)
@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_what_only_looks_like_the_picture_is_passed_over(words: str, size: int) -> None:
    """Gateways echo the prompt, say `"result": "success"`, and wrap other objects."""
    others = {"prompt": words, "echo": {"image": words, "base64": [words, "B" * 90]}, "seed": 5}
    before = json.dumps({**others, "result": words[:8]})[:-1].encode() + b","
    image, reader = read(before + wrapped(finish_reason="SUCCESS")[1:], size)

    assert (image, reader.seed) == (PNG, 5)


FORMS = ["{}"] * 4 + ["\\u{:04x}", "\\u{:04X}", "{}\\n", "{}\n", "{}\\r\\n"]
MEMBERS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name not in ("image", "result", "base64")),
    st.recursive(st.none() | st.text(max_size=9), st.lists, max_leaves=5),
    max_size=4,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw an image, and one of the many ways to write it in JSON."""
    image = PNG[:40] + draw(st.binary(max_size=300)) + PNG[-12:]
    text = base64.b64encode(image).decode()
    if draw(st.booleans()):
        text = text.rstrip("=")
    rng = draw(st.randoms(use_true_random=False))
    forms = rng.choices(FORMS if draw(st.booleans()) else ["{}"], k=len(text))
    written = "".join(
        form.format(sign if form.startswith("{") else ord(sign))
        for form, sign in zip(forms, text, strict=True)
    )
    prefix = draw(st.sampled_from(["", "data:image/png;base64,"]))
    picture = (prefix + written).replace("/", draw(st.sampled_from(["/", r"\/"])))
    name = draw(st.sampled_from(["image", "result", "base64"]))
    colon = draw(st.sampled_from([":", " : ", ":\n\t"]))
    members = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in draw(MEMBERS).items()]
    members += ['"seed":4294967295', '"finish_reason": "SUCCESS"']
    members.insert(draw(st.integers(0, len(members))), f'"{name}"{colon}"{picture}"')
    return image, ("{" + draw(st.sampled_from([",", " ,\n"])).join(members) + "}").encode()


@given(answer=answers(), size=st.integers(1, 80))
def test_a_json_picture_is_read_as_json_says(answer: tuple[bytes, bytes], size: int) -> None:
    """Network pieces end anywhere, and gateways write JSON their own way."""
    image, body = answer
    found, reader = read(body, size)

    assert found == image == read(body)[0]
    assert (reader.seed, reader.finish_reason) == (4294967295, "SUCCESS")
    assert reader.content_type == "image/png"


@given(
    answer=answers(),
    at=st.integers(0, 2000),
    length=st.integers(0, 3),
    put=st.sampled_from([b"", b'"', b"\\", b"=", b"}", b"{", b",", b"A", b"\n"]),
    size=st.integers(1, 80),
)
def test_damaged_json_means_the_same_however_it_is_cut(
    answer: tuple[bytes, bytes], at: int, length: int, put: bytes, size: int
) -> None:
    """Or a test with whole pieces would prove nothing."""
    body = answer[1][:at] + put + answer[1][at + length :]

    def outcome(size: int) -> object:
        try:
            image, reader = read(body, size)
        except SD3Error as error:
            return type(error)
        return image, reader.seed

    assert outcome(1) == outcome(size) == outcome(1 << 20)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b'{"a":"', b"x"),
        (b"{", b'"image":'),
        (b"<html>", b"<p>"),
        (b"", b" "),
        (b'{"image":"' + base64.b64encode(PNG[:99]), b"A"),
        (wrapped()[:-1], b" "),
        (PNG, b"\0"),
    ],
    ids=["string", "names", "page", "spaces", "base64", "after the picture", "image"],
)
def test_an_endless_answer_ends(first: bytes, more: bytes) -> None:
    """After no more than is allowed beside an image, or for one."""
    endless = first + (more * 80_000)[:80_000]

    with pytest.raises(UnexpectedResponseError, match=r"than 20,000|no image|beside"):
        read(endless, 1000, max_bytes=20_000)


def test_a_picture_of_nothing_but_line_breaks_ends() -> None:
    """It never grows, so its size does not end it."""
    with pytest.raises(UnexpectedResponseError, match="more than 1,000 bytes"):
        read(b'{"image":"' + b"\n" * 1_000_000, 10_000, max_bytes=1000)


def test_a_picture_of_the_largest_size_is_taken() -> None:
    """The bound is of what is allowed, not of what is not."""
    assert read(PNG, headers=IMAGE, max_bytes=len(PNG))[0] == PNG
    with pytest.raises(UnexpectedResponseError, match="an image of more than"):
        read(PNG, headers=IMAGE, max_bytes=len(PNG) - 1)


@pytest.mark.parametrize(
    ("seed", "read_as"),
    [
        ("7", 7), ('"7"', 7), ("0", 0), ("null", None), ('"x"', None), ("1e999", None),
        ("NaN", None), ("-1", None), ("4294967296", None), ("[]", None), ("1" * 4000, None),
    ],
)  # fmt: skip
def test_a_seed_is_a_seed_or_nothing(seed: str, read_as: int | None) -> None:
    """A seed that no column holds must not lose the image."""
    body = wrapped()[:-1] + f',"seed":{seed}}}'.encode()

    assert read(body)[1].seed == read_as


def test_a_byte_order_mark_is_no_harm() -> None:
    """Some JSON writers put one first."""
    assert read(b"\xef\xbb\xbf" + wrapped(), 1)[0] == PNG
