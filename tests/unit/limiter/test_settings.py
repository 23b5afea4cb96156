"""`RateLimit`: what it accepts, and how it says no."""

import math
from typing import Any

import pytest

from sd3async.limiter import RateLimit


def test_the_defaults_are_the_documented_limit() -> None:
    """150 requests in 10 s and a lock-out of 60 s are the service's own words."""
    limit = RateLimit()

    assert (limit.max_requests, limit.period, limit.lockout) == (150, 10.0, 60.0)
    assert limit.ceiling == 15.0
    assert not limit.is_unlimited


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_requests", 0),
        ("max_requests", True),
        ("max_requests", 1.5),
        ("period", 0),
        ("period", math.nan),
        ("period", "10"),
        ("lockout", -1),
        ("lockout", math.inf),
        ("delay_bound", -0.1),
        ("delay_bound", True),
        ("max_rate", 0),
        ("shape", "square"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(field: str, value: Any) -> None:
    """A limit that makes no sense must not become a limiter that hangs or never holds."""
    with pytest.raises(ValueError, match=rf"^{field}: .*{value!r}"):
        RateLimit(**{field: value})


def test_unlimited_says_so() -> None:
    """Benchmarks that switch the limit off must be recognizable as such."""
    assert RateLimit.unlimited().is_unlimited
    assert RateLimit.unlimited().ceiling == math.inf
