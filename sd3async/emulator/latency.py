"""How long the emulated service thinks: distributions of seconds."""

import math
import random
from typing import Protocol

import attrs

__all__ = ["Constant", "Exponential", "Latency", "LogNormal", "Uniform"]


class Latency(Protocol):
    """A distribution of durations."""

    def sample(self, rng: random.Random) -> float:
        """Draw one duration [s]."""
        ...


@attrs.frozen
class Constant:
    """Always the same.

    Attributes:
        seconds: The duration [s].
    """

    seconds: float = attrs.field(validator=attrs.validators.ge(0.0))

    def sample(self, rng: random.Random) -> float:
        """Return the duration [s]."""
        return self.seconds


@attrs.frozen
class Uniform:
    """Any duration between two bounds, all equally likely.

    Attributes:
        low: The shortest [s].
        high: The longest [s].
    """

    low: float = attrs.field(validator=attrs.validators.ge(0.0))
    high: float = attrs.field(validator=attrs.validators.ge(0.0))

    def sample(self, rng: random.Random) -> float:
        """Draw one duration [s]."""
        return rng.uniform(self.low, self.high)


@attrs.frozen
class LogNormal:
    """Mostly near the median, with a long tail: the usual look of a service.

    Attributes:
        median: Half of the durations are shorter [s].
        sigma: Standard deviation of the logarithm; 0.5 puts 1 % above 3.2 times the median.
        longest: No duration exceeds this [s].
    """

    median: float = attrs.field(validator=attrs.validators.gt(0.0))
    sigma: float = attrs.field(default=0.5, validator=attrs.validators.ge(0.0))
    longest: float = math.inf

    def sample(self, rng: random.Random) -> float:
        """Draw one duration [s]."""
        return min(self.longest, rng.lognormvariate(math.log(self.median), self.sigma))


@attrs.frozen
class Exponential:
    """A minimum plus an exponential tail.

    Attributes:
        mean: Mean of the tail [s].
        minimum: Added to each [s].
    """

    mean: float = attrs.field(validator=attrs.validators.gt(0.0))
    minimum: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))

    def sample(self, rng: random.Random) -> float:
        """Draw one duration [s]."""
        return self.minimum + rng.expovariate(1.0 / self.mean)


def as_latency(value: "float | Latency") -> Latency:
    """Return a distribution: a number stands for that many seconds each time."""
    return Constant(float(value)) if isinstance(value, int | float) else value
