"""How strict servers count: written apart from the limiter, from their definitions.

Each function takes the server's own stamps [s] and tells the most it ever counted, the request
just arrived included. A server with that many allowed never answers 429.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

ROUNDING = 1e-9


def most_in_log(stamps: Sequence[float], period: float) -> int:
    """Return the most stamps in any closed interval as long as the period."""
    ordered = sorted(stamps)
    return max(
        (
            arrived - bisect_left(ordered, stamp - period) + 1
            for arrived, stamp in enumerate(ordered)
        ),
        default=0,
    )


def most_in_fixed_windows(stamps: Sequence[float], period: float, phases: int = 64) -> int:
    """Return the most stamps between two multiples of the period, over many phases."""
    most = 0
    for phase in range(phases):
        shift = period * phase / phases
        windows = Counter(math.floor((stamp - shift) / period) for stamp in stamps)
        most = max(most, *windows.values()) if windows else most
    return most


def most_taken_from_bucket(stamps: Sequence[float], limit: int, period: float) -> float:
    """Return the most tokens ever missing from a bucket that refills `limit` in a period."""
    missing = most = 0.0
    before = -math.inf
    for stamp in sorted(stamps):
        missing = max(0.0, missing - (stamp - before) * limit / period) + 1
        most = max(most, missing)
        before = stamp
    return most - ROUNDING


def most_in_counter(stamps: Sequence[float], period: float) -> float:
    """Return the most that a two-window counter ever counts, at the worst phase of all.

    The count is the stamps of the window so far, plus those of the window before weighted by how
    much of it the last period still overlaps. For each arrival the window may have begun at any
    instant of the last period; the count only jumps up where an edge meets a stamp.
    """
    ordered = sorted(stamps)
    most = 0.0
    for now in ordered:
        edges = [now, *ordered, *(stamp + period for stamp in ordered)]
        arrived = bisect_right(ordered, now)
        for start in edges:
            if now - period < start <= now:
                first = bisect_left(ordered, start)
                before = first - bisect_left(ordered, start - period)
                overlap = 1 - (now - start) / period
                most = max(most, arrived - first + before * overlap)
    return most - ROUNDING
