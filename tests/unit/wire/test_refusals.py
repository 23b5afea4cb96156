"""From answers that are no success to errors."""

import json
import sys
import traceback
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
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
    UnprocessableError,
)
from sd3async.wire import read_balance, read_error, redact

KEY = "sk-secret0123456789"
NOW = 1_700_000_000.0


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


def test_the_documented_body_becomes_attributes_and_words() -> None:
    """The service says what is wrong in `errors`."""
    body = {"id": "abc", "name": "bad_request", "errors": ["prompt: required", "seed: low"]}
    found = error(400, body, x_request_id="r-9")

    assert found.name == "bad_request"
    assert found.errors == ("prompt: required", "seed: low")
    assert found.error_id == "abc"
    assert found.request_id == "r-9"
    assert str(found) == "400 bad_request: prompt: required; seed: low"


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


OWN = {"id": "1", "name": "bad_gateway", "errors": ["no"]}
OWN_OF_V1 = {"id": "1", "name": "server_error", "message": "no"}


@pytest.mark.parametrize(
    ("status", "body", "is_doubtful"),
    [
        *[(status, "<h1>oops</h1>", True) for status in (502, 504, 520, 521, 522, 523, 524)],
        (504, "", True),
        (502, {"error": {"message": "upstream", "type": "new_api_error"}}, True),
        (502, {"name": "bad_gateway", "errors": ["no id"]}, True),
        (502, OWN, False),
        (504, OWN, False),
        (504, OWN_OF_V1, False),
        (502, {"name": "bad_gateway", "message": "no id"}, True),
        (500, "<h1>oops</h1>", False),
        (503, "<h1>oops</h1>", False),
        (402, "", False),
    ],
)
def test_a_proxys_failure_may_be_charged_and_the_services_own_is_free(
    status: int, body: Any, *, is_doubtful: bool
) -> None:
    """nginx gave up at 1 s, and the service behind it finished and billed."""
    assert error(status, body).may_be_charged is is_doubtful


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
        pytest.param(500, {"detail": "x"}, ServerError, '500: {"detail": "x"}', id="unknown shape"),
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


def test_a_key_is_struck_out_before_the_words_are_cut() -> None:
    """Half a key is half a secret."""
    page = "<title>" + "x" * 190 + " gateway-key-0123456789</title>"
    found = read_error(500, CIMultiDict(), page.encode(), secrets=["gateway-key-0123456789"], now=0)

    assert "gateway" not in str(found)


def test_a_key_that_begins_as_another_is_struck_out_whole() -> None:
    """Or the longer one's end would be left."""
    assert redact("token-abc", ["token", "token-abc"]) == "[key]"


def test_ordinary_words_are_not_struck_out() -> None:
    """Redaction must not eat the message."""
    words = "disk-quota: full; see https://example.org/a-b*c for more than 10 tasks, or risk-free"

    assert redact(words, [KEY]) == words


@pytest.mark.parametrize("status", [429, 503])
def test_an_error_carries_its_retry_after(status: int) -> None:
    """The limiter freezes a key, and a call waits, for as long as the server asks."""
    assert error(status, "slow", retry_after="77").retry_after == 77.0
    assert error(status, "slow").retry_after is None
    by_its_own_clock = {"retry_after": formatdate(90, usegmt=True), "date": formatdate(30)}
    assert error(status, "slow", **by_its_own_clock).retry_after == 60.0


def test_a_retry_after_of_more_than_a_day_is_told_and_not_heeded() -> None:
    """A program that sleeps for a year looks like one that hangs."""
    for asked in ("86401", "1e999"):
        found = error(503, "later", retry_after=asked)

        assert found.retry_after is None
        assert str(found) == "503: later (its Retry-After of more than a day is not heeded)"


def test_headers_are_read_whatever_their_case() -> None:
    """`error.headers["Retry-After"]` is what everybody writes."""
    found = error(429, "", RETRY_after="7", X_Request_ID="r")

    assert found.headers["Retry-After"] == found.headers["retry-after"] == "7"
    assert found.headers == {"RETRY-after": "7", "X-Request-ID": "r"}


HEAVY: dict[str, Any] = {
    "one word": b"a" * 65_536,
    "dashes": b"-" * 65_536,
    "asterisks here and there": b"a**b" * 16_384,
    "keys begun": b"sk-" * 21_845,
    "brackets": b"[" * 10_000,
    "brackets in errors": b'{"errors":' + b"[" * 10_000,
    "nested just not too deep": b'{"errors":' + b"[" * 900 + b"]" * 900 + b"}",
    "titles begun": b"<title" * 10_000,
    "styles begun": b"<style>" * 9_000,
    "scripts begun": b"<script" * 9_000,
    "less than": b"<" * 65_536,
    "a number": b'{"errors":' + b"9" * 10_000 + b"}",
    "megabytes": b"<p>word " * 1_000_000,
    "long fields": {"id": "i" * 20_000, "name": "n" * 20_000, "errors": ["e" * 20_000]},
    "many sentences": {"errors": ["e"] * 10_000},
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY.keys())
def test_a_heavy_error_body_stays_small(body: Any) -> None:
    """Each of these held the event loop for seconds, or ended in a RecursionError."""
    found = error(500, body)

    assert isinstance(found, ServerError)
    assert len(found.errors) <= 20
    assert max(map(len, found.errors), default=0) <= 1000
    assert len(found.name) <= 100
    assert len(found.error_id or "") <= 100


def test_no_more_than_the_beginning_of_a_body_is_looked_at() -> None:
    """Whatever reads the body may have read more of it."""
    assert error(500, b" " * 65_536 + b"<title>late</title>").errors == ()


def test_a_deep_stack_does_not_change_what_is_read() -> None:
    """`json` counts the caller's frames too: what parses here may not parse there."""

    def read(frames: int) -> APIError:
        return read(frames - 1) if frames else error(500, HEAVY["nested just not too deep"])

    room = sys.getrecursionlimit() - len(traceback.extract_stack())

    assert isinstance(read(room - 60), ServerError)


@given(body=st.binary(max_size=200) | st.text().map(str.encode))
def test_no_body_can_break_the_reading(body: bytes) -> None:
    """An error page is a stranger's text, and its words are printed and stored."""
    found = error(502, body)

    assert str(found).encode()
    assert str(found).isprintable()


def test_an_errors_words_can_be_printed_and_stored() -> None:
    """Half a surrogate pair breaks print() and SQLite; escape codes paint the terminal."""
    body = r'{"id":"\ud800", "name":"a\u0000b", "errors":["\u001b[31mred\ud83d", "tw\no"]}'
    found = error(500, body, x_request_id="r\udce9\x1b")

    assert found.errors == ("[31mred", "tw o")
    assert (found.name, found.error_id, found.request_id) == ("a b", None, "r")


def test_a_balance_is_a_number() -> None:
    """Anything else is no balance."""
    assert read_balance(200, b'{"credits": 12.5}') == 12.5
    for body in (
        b"{}", b"[]", b"<html>", b"[" * 10_000, b'{"credits": null}', b'{"credits": NaN}',
        b'{"credits": 1e999}', b'{"credits": 1' + b"0" * 400 + b"}",
    ):  # fmt: skip
        with pytest.raises(UnexpectedResponseError, match="no credits"):
            read_balance(200, body)
