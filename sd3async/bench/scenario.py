"""One load: how many callers or how many starts a second, for how long."""

import math
from typing import Any

import attrs

from sd3async.bench.arrivals import ARRIVALS, Arrival, Schedule


@attrs.frozen(kw_only=True)
class Scenario:
    """A closed loop of callers, or an open loop of starts; exactly one of the two.

    In a closed loop each caller sends its next request when the last one has ended, so that a
    slow service slows the load. In an open loop requests start when they are due, whatever the
    service does.

    Attributes:
        concurrency: Callers of a closed loop; 1 or more.
        rate: Starts of an open loop [1/s]; above 0.
        arrival: How an open loop's starts are spread.
        burstiness: For `gamma` arrivals; see `Schedule`.
        duration: How long requests are started and measured, after the warm-up [s].
        requests: How many requests are measured; whichever bound comes first ends the load.
        warmup: Requests due before this are sent and recorded, but not counted [s].
        ramp: How long it takes to reach the whole load [s].
        drain: How long to wait for what is under way at the end, before it is cut off [s].

    Raises:
        ValueError: A value is out of bounds, or none ends the load.
    """

    concurrency: int | None = None
    rate: float | None = None
    arrival: Arrival = "constant"
    burstiness: float = 1.0
    duration: float | None = None
    requests: int | None = None
    warmup: float = 0.0
    ramp: float = 0.0
    drain: float = 120.0

    def __attrs_post_init__(self) -> None:
        """Check the bounds."""
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("concurrency or rate: give one of them")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency: is {self.concurrency}; 1 or more is needed")
        if self.arrival not in ARRIVALS:
            raise ValueError(f"arrival: is {self.arrival!r}; allowed are {', '.join(ARRIVALS)}")
        if self.rate is not None:
            self.schedule(seed=0)  # holds rate and burstiness to their bounds
        if self.duration is None and self.requests is None:
            raise ValueError("duration or requests: one of them must end the load")
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise ValueError(f"duration: is {self.duration}; seconds above 0 are needed")
        if self.requests is not None and self.requests < 1:
            raise ValueError(f"requests: is {self.requests}; 1 or more is needed")
        for name in ("warmup", "ramp", "drain"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: is {value}; 0 or more seconds are needed")

    @property
    def name(self) -> str:
        """A short name, the same for the same load in another session."""
        if self.concurrency is not None:
            return f"{self.concurrency} caller{'s' if self.concurrency > 1 else ''}"
        shape = f"gamma({self.burstiness:g})" if self.arrival == "gamma" else self.arrival
        return f"{self.rate:g}/s {shape}"

    @property
    def load(self) -> float:
        """Callers, or starts a second: what a plot has on its axis."""
        return float(self.concurrency or self.rate or 0.0)

    def schedule(self, *, seed: int) -> Schedule:
        """Return the starts of an open loop.

        Args:
            seed: Of the random ones.
        """
        return Schedule(
            rate=self.rate or 0.0,
            arrival=self.arrival,
            burstiness=self.burstiness,
            ramp=self.ramp,
            seed=seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return attrs.asdict(self)
