"""How long an answer asks to wait."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from sd3async.wire import MAX_RETRY_AFTER, read_retry_after

NOW = 1_700_000_000.0
HOURS_OFF = formatdate(NOW - 10_000, usegmt=True)
"""The time by the clock of a server that is hours behind."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:50 -0000"}, 90.0),
        ({"retry-after": formatdate(NOW - 9_940, usegmt=True), "Date": HOURS_OFF}, 60.0),
        ({"retry-after": formatdate(NOW + 90, usegmt=True), "Date": "yesterday"}, 90.0),
        ({"retry-after": "86400"}, MAX_RETRY_AFTER),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "9999999999"}, None),
        ({"retry-after": "9" * 10_000}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "Fri, 14 Nov 9999 22:14:50 GMT"}, None),
        ({"retry-after": "Fri, 14 Nov 99999999999999999999 22:14:50 GMT"}, None),
        ({"retry-after": "Fri, 14 Nov 2023 22:14:50 +99999999999999999999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date; nonsense, and more than a day, are the same as nothing."""
    assert read_retry_after(CIMultiDict(headers), now=NOW) == seconds


SIGNS = st.text(max_size=60) | st.text("0123456789 :,+-.eEGMTJanFebDcMonTue", max_size=60)


@given(value=SIGNS, date=SIGNS, name=st.sampled_from(["retry-after", "retry-after-ms"]))
def test_no_header_can_break_the_reading(value: str, date: str, name: str) -> None:
    """A header is a stranger's text, and the limiter takes what comes of it as it is."""
    asked = read_retry_after(CIMultiDict({name: value, "date": date}), now=NOW)

    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER
