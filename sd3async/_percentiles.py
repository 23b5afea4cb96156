"""Percentiles by nearest rank: always a value that was really seen."""

import math
from collections.abc import Sequence

PERCENTILES = (50, 90, 95, 99)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many of all do not exceed.

    Args:
        ascending: The values, in order; at least one.
        percent: 0 to 100.

    Raises:
        ValueError: There is no value, or `percent` is out of bounds.
    """
    if not ascending:
        raise ValueError("a percentile of no values does not exist")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent: is {percent}; 0 to 100 is needed")
    # Dividing last keeps whole ranks whole: 0.95 * 20 is a hair above 19.
    rank = math.ceil(percent * len(ascending) / 100)
    return ascending[max(0, rank - 1)]
