"""How long an answer asks to wait."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 86_400.0
"""Longest wait that is believed [s]: more is a mistake, or a way to say never."""


def read_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return what `Retry-After` asks for [s]; None if it asks for nothing, or for over a day.

    Args:
        headers: The answer's headers, case-insensitive.
        now: Wall-clock time [s since the epoch], for a date in an answer that has no `Date` of
            its own: the server's clock may be hours off.
    """
    asked = wait_asked_for(headers, now=now)
    return asked if asked is not None and asked <= MAX_RETRY_AFTER else None


def wait_asked_for(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return what `Retry-After` asks for [s], be it believable or not; None for nonsense.

    Source:
        RFC 9110, 10.2.3: seconds or a date. The service documents no such header; proxies and
        gateways send it, some in milliseconds as `retry-after-ms`.
    """
    milliseconds = _to_seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _to_seconds(value)
    if seconds is not None:
        return seconds
    until = _to_timestamp(value)
    if until is None:
        return None
    sent_at = _to_timestamp(headers.get("date", ""))
    return max(0.0, until - (now if sent_at is None else sent_at))


def _to_seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def _to_timestamp(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
