"""What the server may be counting right now, whatever its algorithm and its phase.

Pure bookkeeping: instants go in, an instant comes out; no clock, no event loop.

Each request is known by its *stamp*: the latest instant at which the server can count it. One that
is still going out may be counted at any time; its stamp is infinite, and it weighs one until it is
out. A server evaluates what it has counted in one of these ways:

- *log*: how many stamps are younger than a period;
- *fixed windows*: how many since the last multiple of the period, whatever its phase;
- *token bucket*: a log that never holds more than the limit never empties it;
- *two-window counter*: how many since the window began, plus those of the window before, times
  the share of it that still overlaps the last period. When the window began is not known.

Let a counter's window begin at `start`, and one more request arrive at `t` in it. With `after`
stamps since `start` and `before` in the period up to `start`, it is accepted if

    after + before * (1 - (t - start) / period) + 1 <= limit,

that is, from some `t` on. The worst `start` lies on a stamp or one period after a stamp, because
between those nothing changes but `t - start`. So the instant from which *every* counter accepts is
a maximum over at most twice as many starts as there are stamps. A start at `t` itself is the log;
the log implies the fixed windows and the bucket.
"""

import math
from bisect import bisect_left, insort

CLOCK_MARGIN = 0.01
"""Added to the period [s]: the server's clock may run faster than ours, and rounds."""


class Window:
    """The requests of one key that the server may still be counting.

    Args:
        period: The server's window [s].
        any_phase: Satisfy a two-window counter of any phase; otherwise only the log.
    """

    __slots__ = ("_answer", "_any_phase", "_memory", "_open_ended", "_span", "_stamps")

    def __init__(self, period: float, *, any_phase: bool) -> None:
        self._span = period + CLOCK_MARGIN
        self._any_phase = any_phase
        self._memory = 2 * self._span if any_phase else self._span
        self._stamps: list[float] = []  # ascending and finite; equal ones are interchangeable
        self._open_ended = 0
        self._answer: tuple[int, float] | None = None  # for a limit, until something changes

    def __len__(self) -> int:
        """The requests that weigh anything."""
        return len(self._stamps) + self._open_ended

    def add(self, stamp: float) -> None:
        """Count a request by its stamp."""
        if stamp == math.inf:
            self._open_ended += 1
        else:
            insort(self._stamps, stamp)
        self._answer = None

    def remove(self, stamp: float) -> None:
        """Take a stamp back, unless it is forgotten already."""
        if stamp == math.inf:
            self._open_ended -= 1
            self._answer = None
            return
        index = bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            del self._stamps[index]
            self._answer = None

    def forget(self, now: float) -> None:
        """Drop the stamps that no server can still be counting at `now`."""
        stamps = self._stamps
        if stamps and stamps[0] < now - self._memory:
            del stamps[: bisect_left(stamps, now - self._memory)]

    def count_since(self, instant: float) -> int:
        """Return how many requests may have been stamped at `instant` or later."""
        return len(self._stamps) - bisect_left(self._stamps, instant) + self._open_ended

    def eases_at(self, now: float) -> float:
        """Return when the oldest of the last period leaves it, or a period from now."""
        oldest = bisect_left(self._stamps, now - self._span)
        return self._span + (self._stamps[oldest] if oldest < len(self._stamps) else now)

    def opens_at(self, limit: int) -> float:
        """Return the instant from which one more request is safe.

        Time alone does not change the answer, only `add` and `remove` do.

        Args:
            limit: Requests allowed in a period.

        Returns:
            The instant; minus infinity when it is safe at any time, plus infinity when no amount
            of waiting helps because too many are still going out.
        """
        room = limit - 1 - self._open_ended  # what the others may weigh beside one more
        if len(self._stamps) <= room:
            return -math.inf
        if room < 0:
            return math.inf
        if self._answer is None or self._answer[0] != limit:
            crowded = len(self._stamps) - room
            opens_at = self._stamps[crowded - 1] + self._span  # by the log
            if self._any_phase:
                opens_at = self._every_counter_opens_at(crowded, opens_at)
            self._answer = limit, opens_at
        return self._answer[1]

    def _every_counter_opens_at(self, crowded: int, opens_at: float) -> float:
        """Return the instant from which counters of every phase accept one more.

        Args:
            crowded: How many stamps there are beyond what may stay. A counter whose two windows
                hold only stamps of this index and up has room at any time.
            opens_at: The instant from which the log accepts; it covers the counters whose window
                begins on a stamp below `crowded`.
        """
        stamps, span, total = self._stamps, self._span, len(self._stamps)

        # Windows that begin on a stamp: those of `index` and up are after, `first` to it before.
        first = 0
        for index in range(crowded, total):
            start = stamps[index]
            while stamps[first] < start - span:
                first += 1
            if first >= crowded:
                break
            instant = start + span - span * (index - crowded) / (index - first)
            if instant > opens_at:
                opens_at = instant

        # Windows that begin a period after a stamp: `after` and up are after, `index` to it before.
        after = crowded  # fewer make no difference: such a window stays shut to its end
        for index in range(crowded):
            start = stamps[index] + span
            while after < total and stamps[after] < start:
                after += 1
            instant = start + span - span * (after - crowded) / (after - index)
            if instant > opens_at:
                opens_at = instant

        return opens_at
