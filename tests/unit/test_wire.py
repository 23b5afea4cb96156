"""From values to form fields, and from answers to meaning."""

import base64
import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from sd3async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ContentModerationError,
    CoreRequest,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseReadError,
    SD3Request,
    ServerError,
    UnexpectedResponseError,
    UnprocessableError,
)
from sd3async.wire import (
    JSONImageDecoder,
    check_image_start,
    form_fields,
    read_balance,
    read_error,
    read_head,
    read_retry_after,
    redact,
)
from support.pictures import picture

KEY = "sk-secret0123456789"
NOW = 1_700_000_000.0


def test_every_set_field_becomes_text_and_nothing_else() -> None:
    """The form takes strings; None means absent, and zero is a value."""
    request = SD3Request(
        "a", model="sd3.5-flash", seed=0, image=picture(), strength=0, cfg_scale=2.5
    )

    assert form_fields(request) == {
        "prompt": "a",
        "seed": "0",
        "output_format": "png",
        "strength": "0",
        "mode": "image-to-image",
        "model": "sd3.5-flash",
        "cfg_scale": "2.5",
    }
    assert form_fields(CoreRequest("b")) == {"prompt": "b", "output_format": "png"}


def error(status: int, body: str | bytes | dict[str, Any], **headers: str) -> APIError:
    if isinstance(body, dict):
        body = json.dumps(body)
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_error(status, CIMultiDict(named), raw, secrets=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (404, APIError),
        (413, PayloadTooLargeError),
        (422, UnprocessableError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (529, ServerError),
    ],
)
def test_a_status_has_its_class_whatever_the_body(status: int, cls: type[APIError]) -> None:
    """Callers catch classes; an unreadable body must not change them."""
    for body in ("", "<html>", "[]", "null", '{"errors": 7}', b"\xff\xfe"):
        found = error(status, body)
        assert type(found) is cls
        assert found.status == status


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        ({"name": "content_moderation", "errors": ["flagged"]}, ContentModerationError),
        ({"name": "permission_denied", "message": "no"}, PermissionDeniedError),
        ("<html>Attention Required! | Cloudflare", PermissionDeniedError),
        ({"error": {"code": "insufficient_user_quota"}}, PaymentRequiredError),
    ],
    ids=["flagged", "not allowed", "firewall", "out of money"],
)
def test_a_403_is_moderation_only_when_the_body_says_so(body: Any, cls: type[APIError]) -> None:
    """A program that drops flagged prompts must not drop them all when a firewall is moved."""
    assert type(error(403, body)) is cls


def test_the_documented_body_becomes_attributes_and_words() -> None:
    """The service says what is wrong in `errors`."""
    body = {"id": "abc", "name": "bad_request", "errors": ["prompt: required", "seed: low"]}
    found = error(400, body, x_request_id="r-9")

    assert found.name == "bad_request"
    assert found.errors == ("prompt: required", "seed: low")
    assert found.error_id == "abc"
    assert found.request_id == "r-9"
    assert str(found) == "400 bad_request: prompt: required; seed: low"


def test_without_a_header_the_bodys_id_is_the_request_id() -> None:
    """Support asks for an id; the service repeats it in the body."""
    assert error(500, {"id": "abc", "name": "internal_error", "errors": []}).request_id == "abc"


@pytest.mark.parametrize(
    ("status", "body", "cls", "words"),
    [
        pytest.param(
            404, {"id": "x", "message": "no engine", "name": "not_found"}, APIError,
            "404 not_found: no engine", id="v1",
        ),
        pytest.param(
            500, {"error": {"message": "busy (request id: 1)", "type": "new_api_error", "code": ""}},
            ServerError, "500 new_api_error: busy (request id: 1)", id="new-api",
        ),
        pytest.param(
            503, {"error": {"message": "none left", "type": "one_api_error"}}, ServerError,
            "503 one_api_error: none left", id="one-api",
        ),
        pytest.param(
            403,
            {"error": {"message": "quota", "type": "v_api_error", "code": "insufficient_user_quota"}},
            PaymentRequiredError, "403 v_api_error: quota", id="out of money is 403 here",
        ),
        pytest.param(
            400, {"error": {"err_code": -10004, "message": "balance"}}, PaymentRequiredError,
            "400 -10004: balance", id="302.AI out of money",
        ),
        pytest.param(
            400, {"error": {"err_code": -10008, "message": "No available channels"}},
            BadRequestError, "400 -10008: No available channels", id="302.AI no channel",
        ),
        pytest.param(500, {"error": "plain"}, ServerError, "500: plain", id="error as a string"),
        pytest.param(
            502, "<html><head><title>502 Bad\n Gateway</title></head><body>x</body></html>",
            ServerError, "502: 502 Bad Gateway", id="proxy page",
        ),
        pytest.param(
            503, "<style>p{}</style><p>try <b>later</b></p>", ServerError, "503: try later",
            id="page without a title",
        ),
        pytest.param(500, "", ServerError, "500: no readable error body (text/html)", id="empty"),
        pytest.param(302, "", APIError, "302: a redirect, which is never followed", id="redirect"),
    ],
)  # fmt: skip
def test_every_known_error_shape_becomes_readable(
    status: int, body: Any, cls: type[APIError], words: str
) -> None:
    """Gateways and proxies have error bodies of their own."""
    found = error(status, body, content_type="text/html")

    assert type(found) is cls
    assert str(found).startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "Incorrect API key provided: sk-secr***********6789. Find it",
        "bad header Bearer abc.def",
        "gateway key ab******yz is unknown",
    ],
)
def test_no_part_of_a_key_reaches_an_error(text: str) -> None:
    """The service's own 401 repeats the ends of the key; errors end up in logs."""
    found = error(401, {"name": "unauthorized", "errors": [text]}, x_echo=text)

    for shown in (str(found), repr(found), repr(found.errors), repr(found.headers)):
        for secret in (KEY, "sk-secr", "6789", "abc.def", "ab***", "**yz"):
            assert secret not in shown
    assert "[key]" in str(found)


def test_ordinary_words_are_not_struck_out() -> None:
    """Redaction must not eat the message."""
    words = "prompt: required; see https://example.org/a-b*c for more than 10 tasks"

    assert redact(words, [KEY]) == words


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:50 -0000"}, 90.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date; nonsense is the same as nothing."""
    assert read_retry_after(CIMultiDict(headers), now=NOW) == seconds


def test_a_429_carries_its_retry_after() -> None:
    """The limiter freezes the key for as long as the server asks."""
    found = error(429, {"name": "rate_limit_exceeded", "errors": ["slow"]}, retry_after="77")

    assert isinstance(found, RateLimitError)
    assert found.retry_after == 77.0


def test_the_head_of_an_image_answer() -> None:
    """Seed and finish reason stand in headers when the body is an image."""
    head = read_head(
        200,
        CIMultiDict(
            {"Content-Type": "image/webp", "seed": "42", "finish-reason": "CONTENT_FILTERED",
             "x-request-id": "r"}
        ),
    )  # fmt: skip

    assert (head.is_json, head.content_type, head.seed) == (False, "image/webp", 42)
    assert (head.finish_reason, head.request_id) == ("CONTENT_FILTERED", "r")


def test_the_head_of_a_json_answer_names_the_picture_inside() -> None:
    """`application/json; type=image/jpeg` is no plain JSON."""
    head = read_head(200, CIMultiDict({"Content-Type": 'application/json; type="image/jpeg"'}))

    assert (head.is_json, head.content_type) == (True, "image/jpeg")


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", ""])
def test_a_success_that_is_no_image_is_unexpected(kind: str) -> None:
    """A captive portal answers everything with 200."""
    with pytest.raises(UnexpectedResponseError, match="where an image was expected"):
        read_head(200, CIMultiDict({"Content-Type": kind}))


def decode(body: bytes, size: int = 1 << 20) -> tuple[bytes, Any]:
    decoder = JSONImageDecoder(200, "r")
    image = b"".join(decoder.feed(body[at : at + size]) for at in range(0, len(body), size))
    return image, decoder.finish()


@given(
    data=st.binary(max_size=300),
    key=st.sampled_from(["image", "result", "base64"]),
    seed=st.integers(0, 2**32),
    pieces=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    escaped=st.booleans(),
    first=st.booleans(),
)
def test_a_json_picture_is_decoded_however_it_is_cut(
    data: bytes, key: str, seed: int, pieces: int, indent: int | None, escaped: bool, first: bool
) -> None:
    """Network pieces end anywhere, and gateways write JSON their own way."""
    picture_first = {key: base64.b64encode(data).decode(), "seed": seed, "finish_reason": "SUCCESS"}
    fields = picture_first if first else dict(sorted(picture_first.items(), reverse=True))
    body = json.dumps(fields, indent=indent)
    if escaped:
        body = body.replace("/", r"\/")

    image, tail = decode(body.encode(), pieces)
    assert image == data
    assert (tail.seed, tail.finish_reason) == (seed, "SUCCESS")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"seed":1}', "holds no picture"),
        (b"[1]", "holds no picture"),
        (b"<html>", "not the JSON"),
        (b'{"image":"!!!!","seed":1}', "not base64"),
        (b'{"image":"aaa","seed":1}', "cut short"),
        (b'{"image":null}', "holds no picture"),
        (b'{"image":"aaaa","seed":1', "not the JSON"),
    ],
)
def test_json_without_a_whole_picture_is_unexpected(body: bytes, words: str) -> None:
    """A picture must never be made up of what is left."""
    with pytest.raises(UnexpectedResponseError, match=words):
        decode(body)


def test_json_that_breaks_off_inside_the_picture_is_a_read_error() -> None:
    """It may be retried, unlike nonsense."""
    with pytest.raises(ResponseReadError, match="in the middle"):
        decode(b'{"image":"aaaa')


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_begins_as_one(kind: Any) -> None:
    """Three formats are documented, and three are taken."""
    head = read_head(200, CIMultiDict({"Content-Type": f"image/{kind}"}))

    check_image_start(picture(kind=kind)[:12], head, 200)


def test_what_does_not_begin_as_a_picture_is_refused() -> None:
    """An error page with an image's content type is not saved as an image."""
    head = read_head(200, CIMultiDict({"Content-Type": "image/png"}))

    with pytest.raises(UnexpectedResponseError, match=r"begins with b'<html>"):
        check_image_start(b"<html><body>", head, 200)
    with pytest.raises(ResponseReadError, match="was empty"):
        check_image_start(b"", head, 200)


def test_a_balance_is_a_number() -> None:
    """Anything else is no balance."""
    assert read_balance(200, b'{"credits": 12.5}') == 12.5
    for body in (b"{}", b"[]", b"<html>", b'{"credits": null}'):
        with pytest.raises(UnexpectedResponseError, match="no credits"):
            read_balance(200, body)
