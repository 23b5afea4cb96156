"""Images over time, in at most some hundred buckets however long the job ran."""

from collections import Counter
from typing import Any

import attrs

_MOST_BUCKETS = 120
_MOST_SPELLS = 20
_PAUSE = 600.0
"""[s] a longer silence is a pause between runs and is left out; a lock-out (60 s) never is."""

_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_HOUR = 3600


@attrs.frozen
class Spell:
    """A stretch of work without a long pause.

    Attributes:
        start: When its first bucket begins [s since the epoch].
        done: Images that ended in each bucket.
        failed: Failures that ended in each bucket.
    """

    start: int
    done: list[int]
    failed: list[int]


@attrs.frozen
class Timeline:
    """When the items of a job ended.

    Attributes:
        bucket: Width of each bucket [s].
        spells: In order of time.
    """

    bucket: int
    spells: list[Spell]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return attrs.asdict(self)


class TimelineCounter:
    """Counts the items that ended in each second; one entry for each such second."""

    def __init__(self) -> None:
        self._done: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()

    def add(self, finished_at: float, *, done: bool) -> None:
        """Count one item.

        Args:
            finished_at: When it ended [s since the epoch].
            done: Whether with an image.
        """
        (self._done if done else self._failed)[int(finished_at)] += 1

    def timeline(self) -> Timeline:
        """Return the counts in buckets of a round width."""
        stretches = _stretches(sorted(self._done.keys() | self._failed.keys()))
        seconds = sum(last - first + 1 for first, last in stretches)
        bucket = _round_width(seconds / _MOST_BUCKETS)
        return Timeline(bucket, [self._spell(first, last, bucket) for first, last in stretches])

    def _spell(self, first: int, last: int, bucket: int) -> Spell:
        buckets = (last - first) // bucket + 1
        spell = Spell(first, [0] * buckets, [0] * buckets)
        for second in range(first, last + 1):
            spell.done[(second - first) // bucket] += self._done[second]
            spell.failed[(second - first) // bucket] += self._failed[second]
        return spell


def _stretches(seconds: list[int]) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    for second in seconds:
        if stretches and second - stretches[-1][1] <= _PAUSE:
            stretches[-1] = (stretches[-1][0], second)
        else:
            stretches.append((second, second))
    if len(stretches) > _MOST_SPELLS:
        return [(stretches[0][0], stretches[-1][1])]
    return stretches


def _round_width(least: float) -> int:
    for width in _WIDTHS:
        if width >= least:
            return width
    return _HOUR * (int(least) // _HOUR + 1)
