"""Who arrives when: dates each request and asks the limit of its key."""

import asyncio
import random

from sd3async._clock import Clock
from sd3async.emulator.faults import chance
from sd3async.emulator.journal import Visit
from sd3async.emulator.limits import Gate, Verdict, WindowMeter, build_limit
from sd3async.emulator.settings import Settings
from sd3async.emulator.timers import Timers

__all__ = ["Arrivals"]


class Arrivals:
    """Stamps requests, after a delay that models the network, and judges them.

    A request whose client goes away meanwhile is stamped all the same: its bytes are on their
    way, and a server counts them.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._meters: dict[str, WindowMeter] = {}
        self._timers = Timers(clock)

    def expect(self, visit: Visit, number: int, key: str) -> "asyncio.Future[Verdict]":
        """Date a request now, or when its delay is over; the verdict follows."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def stamp() -> None:
            found = self._stamp(visit, key)
            if not verdict.done():
                verdict.set_result(found)

        jitter = self._settings.arrival_jitter
        if jitter > 0:
            rng = random.Random(chance(self._settings.seed, number, "arrival"))
            self._timers.after(rng.uniform(0.0, jitter), stamp)
        else:
            stamp()
        return verdict

    def _stamp(self, visit: Visit, key: str) -> Verdict:
        now = self._clock.monotonic()
        visit.note(at=now)
        self._meter(key).note(now)
        return self.gate(key).judge(now)

    def _meter(self, key: str) -> WindowMeter:
        return self._meters.setdefault(key, WindowMeter(self._settings.period))

    def gate(self, key: str) -> Gate:
        """Return the limit and lock-out of a key."""
        gate = self._gates.get(key)
        if gate is None:
            chosen = self._settings
            limit = chosen.limit and build_limit(
                chosen.limit, chosen.max_requests, chosen.period, chosen.phase
            )
            gate = Gate(limit or None, chosen.lockout, chosen.lockout_extends)
            self._gates[key] = gate
        return gate

    def fullest_window(self) -> int:
        """Return the most requests of one key, refused ones included, in any `period`."""
        return max((meter.fullest for meter in list(self._meters.values())), default=0)

    def clear(self) -> None:
        """Forget stamps and lock-outs, and let nothing on its way be stamped."""
        self._timers.clear()
        self._gates.clear()
        self._meters.clear()
