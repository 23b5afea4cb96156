"""When requests should start in an open loop: pure, seeded schedules."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import attrs

Arrival: TypeAlias = Literal["constant", "poisson", "gamma"]
ARRIVALS: tuple[Arrival, ...] = get_args(Arrival)


@attrs.frozen(kw_only=True)
class Schedule:
    """Instants at which requests should start, whatever becomes of them.

    Attributes:
        rate: Mean rate [requests/s], above 0.
        arrival: `constant` is evenly spaced, `poisson` is what many independent users look
            like, `gamma` is burstier or smoother than that.
        burstiness: For `gamma`, the shape of the gaps' distribution, above 0: their squared
            coefficient of variation is 1 / `burstiness`. 1 is Poisson, less is burstier, more
            is smoother.
        ramp: How long the rate grows evenly from 0 to `rate` [s].
        seed: The same seed gives the same instants.

    Raises:
        ValueError: A value is out of bounds.
    """

    rate: float
    arrival: Arrival = "constant"
    burstiness: float = 1.0
    ramp: float = 0.0
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        """Check the bounds."""
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate: is {self.rate}; requests/s above 0 are needed")
        if self.arrival not in ARRIVALS:
            raise ValueError(f"arrival: is {self.arrival!r}; allowed are {', '.join(ARRIVALS)}")
        if not 0 < self.burstiness < math.inf:
            raise ValueError(f"burstiness: is {self.burstiness}; a number above 0 is needed")
        if not 0 <= self.ramp < math.inf:
            raise ValueError(f"ramp: is {self.ramp}; 0 or more seconds are needed")

    def starts(self) -> Iterator[float]:
        """Yield the intended starts [s from the beginning], ascending and endless."""
        for count in itertools.accumulate(self._unit_gaps()):
            yield self._instant_of(count)

    def _unit_gaps(self) -> Iterator[float]:
        """Yield gaps with a mean of 1; an even schedule begins at once."""
        if self.arrival == "constant":
            yield 0.0
            yield from itertools.repeat(1.0)
        shape = self.burstiness if self.arrival == "gamma" else 1.0
        rng = random.Random(self.seed)  # arrivals, not secrets
        while True:
            yield rng.gammavariate(shape, 1.0 / shape)

    def _instant_of(self, count: float) -> float:
        """Return when `count` requests should have started.

        It inverts the integral of the rate, so that a ramp keeps the arrivals' character.
        """
        during_ramp = self.rate * self.ramp / 2
        if count < during_ramp:
            return math.sqrt(2 * count * self.ramp / self.rate)
        return count / self.rate + self.ramp / 2
