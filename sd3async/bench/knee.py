"""Find the knee: the least concurrency that gets (nearly) all the throughput there is."""

from typing import Literal, TypeAlias

import attrs

_GAIN_THAT_COUNTS = 1.1  # doubling the callers must bring 10 % more, else the plateau is reached
_NEARLY_ALL = 0.95  # of the plateau
_FINE_ENOUGH = 0.1  # of the answer: a closer one would be noise


Reason: TypeAlias = Literal["plateau", "slo", "limit"]


@attrs.frozen
class Knee:
    """What a search found.

    Attributes:
        concurrency: The least number of callers with at least 95 % of the best throughput; or
            the most that keep the objective, when that is fewer.
        throughput: What was delivered with it [1/s].
        because: `plateau`, `slo` (more callers break the objective) or `limit` (the search was
            not allowed to go on).
    """

    concurrency: int
    throughput: float
    because: Reason


@attrs.define
class KneeSearch:
    """Asks for measurements, one after the other: doubles, then halves the interval.

    Attributes:
        most: The most callers to try; 1 or more.
    """

    most: int = 256
    _seen: dict[int, tuple[float, bool]] = attrs.field(factory=dict[int, tuple[float, bool]])
    _because: Reason | None = None

    def next(self) -> int | None:
        """Return how many callers to measure with, or None when the knee is known."""
        if self._because is None:
            return self._next_doubling()
        low, high = self._bracket()
        return None if high - low <= max(1.0, _FINE_ENOUGH * low) else (low + high) // 2

    def tell(self, concurrency: int, throughput: float, *, keeps_slo: bool = True) -> None:
        """Take in a measurement.

        Args:
            concurrency: What `next` returned.
            throughput: What was delivered [1/s].
            keeps_slo: Whether the objective was kept.
        """
        before = max((value for value, _ in self._seen.values()), default=0.0)
        self._seen[concurrency] = (throughput, keeps_slo)
        if self._because is None:
            self._because = self._reason_to_stop_doubling(concurrency, throughput, before)

    def knee(self) -> Knee | None:
        """Return what was found; None when nothing was measured or nothing keeps the objective."""
        good = {callers: value for callers, (value, keeps) in self._seen.items() if keeps}
        if not good:
            return None
        enough = max(good.values()) * _NEARLY_ALL
        callers = min(callers for callers, value in good.items() if value >= enough)
        because = "plateau" if callers < max(good) else self._because
        return Knee(callers, good[callers], because or "limit")

    def _reason_to_stop_doubling(
        self, callers: int, throughput: float, before: float
    ) -> Reason | None:
        if self._breaks_slo():
            return "slo"
        if throughput < before * _GAIN_THAT_COUNTS:
            return "plateau"
        return "limit" if callers >= self.most else None

    def _next_doubling(self) -> int:
        return min(self.most, 2 * max(self._seen)) if self._seen else 1

    def _breaks_slo(self) -> bool:
        return any(not keeps for _, keeps in self._seen.values())

    def _bracket(self) -> tuple[int, int]:
        """Return the most callers known to be too few, and the fewest known to be enough."""
        if self._breaks_slo():
            low = max((callers for callers, (_, keeps) in self._seen.items() if keeps), default=0)
            high = min(callers for callers, (_, keeps) in self._seen.items() if not keeps)
            return low, high
        enough = max(value for value, _ in self._seen.values()) * _NEARLY_ALL
        high = min(callers for callers, (value, _) in self._seen.items() if value >= enough)
        low = max((callers for callers in self._seen if callers < high), default=0)
        return low, high
