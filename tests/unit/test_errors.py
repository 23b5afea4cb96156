"""The error tree: one root, facts as attributes, safe to send to another process."""

import inspect
import pickle

import pytest

import sd3async
from sd3async import errors
from sd3async.errors import (
    ConnectFailedError,
    FailedAttempt,
    InvalidRequestError,
    NotEnoughTimeError,
    RateLimitError,
    RequestTimeoutError,
    SD3Error,
    UnexpectedResponseError,
)

CLASSES: list[type[BaseException]] = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException)
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_the_one_root(cls: type[BaseException]) -> None:
    """`except SD3Error` must be enough, and every other one can be named where it is needed."""
    assert issubclass(cls, SD3Error)
    assert getattr(sd3async, cls.__name__) is cls
    assert cls.__doc__


def test_errors_are_also_what_python_calls_them() -> None:
    """Generic handlers catch ValueError and TimeoutError."""
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(RequestTimeoutError, TimeoutError)


def test_only_lost_answers_may_have_been_charged() -> None:
    """Error answers are documented as free; a lost or useless answer is unknown."""
    doubtful = {cls.__name__ for cls in CLASSES if getattr(cls, "may_be_charged", None)}

    assert doubtful == {"RequestTimeoutError", "ResponseReadError", "UnexpectedResponseError"}


def test_headers_are_read_whatever_their_case() -> None:
    """HTTP knows no case, and servers write what they like."""
    error = RateLimitError("429: slow", status=429, headers={"Retry-After": "7"})
    copy = pickle.loads(pickle.dumps(error))

    assert error.headers["retry-after"] == copy.headers["RETRY-AFTER"] == "7"
    assert error.headers == copy.headers == {"Retry-After": "7"}


def limited() -> RateLimitError:
    error = RateLimitError("429: slow", status=429, name="n", errors=("slow",), request_id="r")
    error.retry_after = 60.0
    error.history = (
        FailedAttempt(1, "500: x", 0.1, False),
        FailedAttempt(2, "429: slow", 0.1, False),
    )
    error.note = "remark"
    error.may_be_charged = True
    return error


@pytest.mark.parametrize(
    "error",
    [
        limited(),
        InvalidRequestError("prompt: no", field="prompt"),
        UnexpectedResponseError("no", status=200, request_id="r"),
        ConnectFailedError("certificate", is_retryable=False),
        NotEnoughTimeError("no", wait=60.0),
    ],
    ids=repr,
)
def test_an_error_survives_a_process_boundary(error: SD3Error) -> None:
    """Worker processes hand errors back by pickle, which keyword-only parameters break."""
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)


def test_the_message_says_what_each_attempt_met() -> None:
    """ "Still failing" is no help without knowing what failed before."""
    assert str(limited()) == "429: slow (remark) [2 attempts: 1: 500: x; 2: 429: slow]"


def test_a_single_attempt_is_not_listed() -> None:
    """The message has said it already."""
    error = SD3Error("500: x")
    error.history = (FailedAttempt(1, "500: x", 0.1, False),)

    assert str(error) == "500: x"
