"""What the server may be counting right now, whatever its algorithm and its phase.

Pure bookkeeping: instants go in, an instant comes out; no clock, no event loop.

Each request is known by its *stamp*: the latest instant at which the server can count it. One that
is still going out may be counted at any time: it is *held*, and weighs one until it is out. A server evaluates what it has counted in one of these ways:

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

Of a large limit, stamps are rounded up to a grid: a later stamp is always safe, and neither the
work nor the memory grows with the limit.
"""

import math
from bisect import bisect_left

CLOCK_MARGIN = 0.01
"""Added to the period [s]: the server's clock may run faster than ours, and rounds."""

_GRID = 150
"""Marks in a period, for limits above this: a request is then held half a mark longer."""


class Window:
    """The requests of one key that the server may still be counting.

    Args:
        period: The server's window [s].
        limit: Requests it allows in one; stamps of a large one are rounded.
        any_phase: Satisfy a two-window counter of any phase; otherwise only the log.
    """

    __slots__ = (
        "_answer",
        "_any_phase",
        "_counts",
        "_grain",
        "_held",
        "_memory",
        "_span",
        "_times",
        "_total",
    )

    def __init__(self, period: float, limit: int, *, any_phase: bool) -> None:
        self._span = period + CLOCK_MARGIN
        self._grain = period / _GRID if limit > _GRID else 0.0
        self._any_phase = any_phase
        self._memory = 2 * self._span if any_phase else self._span
        self._times: list[float] = []  # ascending, each once
        self._counts: list[int] = []  # of the requests stamped at each
        self._total = 0
        self._held: dict[int, float] = {}  # by number: until when, should nobody say more
        self._answer: tuple[int, float] | None = None  # for a limit, until something changes

    def __len__(self) -> int:
        """The requests that weigh anything."""
        return self._total + len(self._held)

    def dump(self) -> tuple[list[float], list[int], dict[int, float]]:
        """Return the stamps, how many requests have each, and until when which are held."""
        return self._times, self._counts, self._held

    def load(self, times: list[float], counts: list[int], held: dict[int, float]) -> None:
        """Take over what `dump` returned."""
        self._times, self._counts, self._held = times, counts, held
        self._total = sum(counts)
        self._answer = None

    def add(self, stamp: float, count: int = 1) -> None:
        """Count requests by their stamp."""
        stamp = self._rounded(stamp)
        index = bisect_left(self._times, stamp)
        if index < len(self._times) and self._times[index] == stamp:
            self._counts[index] += count
        else:
            self._times.insert(index, stamp)
            self._counts.insert(index, count)
        self._total += count
        self._answer = None

    def remove(self, stamp: float) -> None:
        """Take a stamp back, unless it is forgotten already."""
        stamp = self._rounded(stamp)
        index = bisect_left(self._times, stamp)
        if index < len(self._times) and self._times[index] == stamp:
            self._counts[index] -= 1
            if not self._counts[index]:
                del self._times[index], self._counts[index]
            self._total -= 1
            self._answer = None

    def hold(self, number: int, until: float = math.inf) -> None:
        """Count a request that is going out, or go on holding it.

        Args:
            number: Its own.
            until: It counts as stamped then if it is neither released nor held anew before: whoever
                sends it may die.
        """
        if number not in self._held:
            self._answer = None
        self._held[number] = until

    def release(self, number: int) -> bool:
        """Stop holding a request; whether it was held."""
        self._answer = None
        return self._held.pop(number, None) is not None

    def forget(self, now: float) -> None:
        """Drop the stamps that no server can still be counting at `now`, and overdue holds."""
        if self._times and self._times[0] < now - self._memory:
            old = bisect_left(self._times, now - self._memory)
            self._total -= sum(self._counts[:old])
            del self._times[:old], self._counts[:old]
            self._answer = None
        if self._held:
            for number in [number for number, until in self._held.items() if until <= now]:
                self.add(self._held.pop(number))

    def count_since(self, instant: float) -> int:
        """Return how many requests may have been stamped at `instant` or later."""
        return sum(self._counts[bisect_left(self._times, instant) :]) + len(self._held)

    def eases_at(self, now: float) -> float:
        """Return when the oldest of the last period leaves it, or a period from now."""
        oldest = bisect_left(self._times, now - self._span)
        return self._span + (self._times[oldest] if oldest < len(self._times) else now)

    def opens_at(self, limit: int) -> float:
        """Return the instant from which one more request is safe.

        Time alone does not change the answer, only what is counted does.

        Args:
            limit: Requests allowed in a period.

        Returns:
            The instant; minus infinity when it is safe at any time, plus infinity when no amount
            of waiting helps because too many are still going out.
        """
        room = limit - 1 - len(self._held)  # what the others may weigh beside one more
        if self._total <= room:
            return -math.inf
        if room < 0:
            return math.inf
        if self._answer is None or self._answer[0] != limit:
            crowded = self._total - room
            opens_at = self._log_opens_at(crowded)
            if self._any_phase:
                opens_at = self._every_counter_opens_at(crowded, opens_at)
            self._answer = limit, opens_at
        return self._answer[1]

    def _rounded(self, stamp: float) -> float:
        return math.ceil(stamp / self._grain) * self._grain if self._grain else stamp

    def _log_opens_at(self, crowded: int) -> float:
        index = 0
        while (crowded := crowded - self._counts[index]) > 0:
            index += 1
        return self._times[index] + self._span

    def _every_counter_opens_at(self, crowded: int, opens_at: float) -> float:
        """Return the instant from which counters of every phase accept one more.

        Below, "so many of the requests" are counted in the order of their stamps.

        Args:
            crowded: How many requests there are beyond what may stay. A counter whose two windows
                hold none of the first so many has room at any time.
            opens_at: The instant from which the log accepts; it covers the counters whose window
                begins on the stamp of one of those.
        """
        times, counts, span = self._times, self._counts, self._span

        # Windows that begin on a stamp: all but `earlier` requests are after, and `earlier` but
        # for the first `gone` are before.
        earlier = gone = oldest = 0
        for start, count in zip(times, counts, strict=True):
            if earlier >= crowded:
                while times[oldest] < start - span:
                    gone += counts[oldest]
                    oldest += 1
                if gone >= crowded:
                    break
                instant = start + span - span * (earlier - crowded) / (earlier - gone)
                if instant > opens_at:
                    opens_at = instant
            earlier += count

        # Windows that begin a period after a stamp: all but `earlier` are after, and `earlier`
        # but for the first `gone` are before.
        earlier = gone = newest = 0
        total_times = len(times)
        for time, count in zip(times, counts, strict=True):
            if gone >= crowded:
                break
            start = time + span
            while newest < total_times and times[newest] < start:
                earlier += counts[newest]
                newest += 1
            # With no more than are crowded, such a window stays shut to its end.
            instant = start + span - span * max(0, earlier - crowded) / (earlier - gone)
            if instant > opens_at:
                opens_at = instant
            gone += count

        return opens_at
