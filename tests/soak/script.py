"""What goes wrong, and when: one random event every second, the same for the same seed."""

import random
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

import attrs

from sd3async.emulator import Fault

Kind: TypeAlias = Literal[
    "fault",  # of one request
    "bad spell",  # some seconds in which every third request fails
    "lock-out",  # a 429 that shuts the key out, as if another program had used it
    "kill",
    "terminate",  # one signal: what is in flight lands
    "break off",  # and a second one soon after
    "cancel",  # the caller's own task
    "server down",
    "disk full",
    "clock step",
    "verify",  # somebody looks at the folder meanwhile
    "intruder",  # somebody starts the job a second time
]

KINDS: tuple[Kind, ...] = get_args(Kind)

_WEIGHTS: Mapping[Kind, float] = {
    "fault": 84.0,
    "bad spell": 1.0,
    "lock-out": 0.3,
    "kill": 1.6,
    "terminate": 0.6,
    "break off": 0.5,
    "cancel": 0.4,
    "server down": 0.7,
    "disk full": 0.4,
    "clock step": 9.0,
    "verify": 0.3,
    "intruder": 1.2,
}

FAULTS: tuple[Callable[[random.Random], Fault], ...] = (
    lambda _: Fault.status(500),
    lambda _: Fault.status(502),
    lambda _: Fault.status(503, retry_after=2.0),
    lambda _: Fault.status(504),
    lambda _: Fault.status(504, paid=True),
    lambda _: Fault.status(524, paid=True),
    lambda _: Fault.from_gateway(),
    lambda rng: Fault.reset(paid=rng.random() < 0.5),
    lambda rng: Fault.hang_up(paid=rng.random() < 0.5),
    lambda rng: Fault.truncated(rng.random()),
    lambda rng: Fault.truncated(rng.random(), length="cut"),
    lambda rng: Fault.truncated(rng.random(), length="none"),
    lambda rng: Fault.slow(rng.uniform(1.0, 30.0)),
    lambda rng: Fault.stall(rng.uniform(1.0, 90.0)),
    lambda _: Fault.stall(),
    lambda _: Fault.empty(),
    lambda _: Fault.html(),
    lambda _: Fault.no_image(),
    lambda _: Fault.disguised(),
    lambda _: Fault.filtered(),
    lambda _: Fault.gzip(),
    lambda _: Fault.interim(),
    lambda rng: Fault.stale("close" if rng.random() < 0.5 else "reset"),
    lambda _: Fault.early(503, then="close", page=True),
    lambda _: Fault.early(503, then="reset"),
)

SPELL: Mapping[Fault, float] = {
    Fault.status(500): 0.1,
    Fault.status(504, paid=True): 0.1,
    Fault.reset(): 0.1,
    Fault.truncated(0.6): 0.1,
}


@attrs.frozen
class Event:
    """What goes wrong in one second.

    Attributes:
        at: When [s].
        kind: What.
        seed: For what else there is to draw.
    """

    at: float
    kind: Kind
    seed: int


def draw(seed: int, seconds: int) -> list[Event]:
    """Draw one event for each second; every kind comes at least once.

    Args:
        seed: Decides everything.
        seconds: How many; at least one for each kind.
    """
    rng = random.Random(seed)
    kinds = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=seconds)
    for kind, second in zip(KINDS, rng.sample(range(seconds), len(KINDS)), strict=True):
        kinds[second] = kind
    return [
        Event(second + rng.random(), kind, rng.getrandbits(32)) for second, kind in enumerate(kinds)
    ]
