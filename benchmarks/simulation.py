"""A service and its network in virtual time: an hour passes in a second, and nothing is random twice.

The service counts with one of the emulator's four models, locks a key out after one request too
many, and stamps a request some time after it was sent. There are no sockets; what is measured is
the limiters' judgement, not anybody's speed.
"""

import asyncio
import importlib
import random
from collections.abc import Coroutine, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import attrs

from benchmarks.recipes import LOCKOUT, PERIOD, RECIPES, REQUESTS, Recipe
from sd3async.bench.stats import worst_window
from sd3async.emulator.limits import Gate, LimitModel, build_limit
from sd3async.emulator.virtual_time import SocketlessLoop

_PHASE = 3.7  # [s] when windows begin: no client knows
_SERVICE = (2.0, 6.0)  # [s] a generation takes
_WAY_BACK = 0.02  # [s] of an answer
_ATTEMPTS = 10  # of clients that do not wait out a lock-out together
_LONGEST_BACKOFF = 60.0  # [s]
_TICK = 1e-6  # [s]
_SETTLED = 2 * REQUESTS  # accepted requests before the lasting rate is looked at


class _LoopTime:
    """`time`, as a module that is to believe in virtual time sees it."""

    @staticmethod
    def time() -> float:
        return 1e9 + asyncio.get_running_loop().time()

    @staticmethod
    def monotonic_ns() -> int:
        return int(asyncio.get_running_loop().time() * 1e9)


def _loop() -> SocketlessLoop:
    return SocketlessLoop(pass_takes=_TICK)


def run_jumping(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in virtual time; limits and pyrate-limiter believe in it too."""
    with _peers_believe(), asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(main)


@contextmanager
def _peers_believe() -> Generator[None]:
    with ExitStack() as stack:
        for module, name, virtual in (
            ("limits.aio.storage.memory", "time", _LoopTime),
            ("pyrate_limiter.clocks", "monotonic_ns", _LoopTime.monotonic_ns),
        ):
            with suppress(ModuleNotFoundError):  # then it is not under test either
                imported = importlib.import_module(module)
                stack.enter_context(mock.patch.object(imported, name, virtual))
        yield


@attrs.define
class _Service:
    """One key at the server."""

    gate: Gate
    jitter: float
    dice: random.Random
    stamps: list[float] = attrs.field(factory=list[float])
    accepted: list[float] = attrs.field(factory=list[float])
    landed: list[float] = attrs.field(factory=list[float])
    refusals: int = 0

    async def ask(self) -> bool:
        """Send one request; whether an image came back."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.dice.uniform(0, self.jitter))
        now = loop.time()
        self.stamps.append(now)
        admitted = self.gate.judge(now).admitted
        if admitted:
            self.accepted.append(now)
            await asyncio.sleep(self.dice.uniform(*_SERVICE))
            self.landed.append(loop.time())
        else:
            self.refusals += 1
        await asyncio.sleep(_WAY_BACK)
        return admitted


@attrs.frozen(kw_only=True)
class Case:
    """What came of one limiter at one server.

    Attributes:
        delivered: Images.
        refusals: 429s.
        worst_window: The most requests that the server saw in any period.
        steady_share: Lasting rate of accepted requests over the ceiling; None when too few were.
        makespan: Time from the first request to the last accepted one, over the least possible.
    """

    delivered: int
    refusals: int
    worst_window: int
    steady_share: float | None
    makespan: float


def simulate(*, recipe: str, model: LimitModel, jitter: float, requests: int, seed: int) -> Case:
    """Send requests through a limiter to a server, in virtual time.

    Args:
        recipe: Name of the limiter.
        model: How the server counts.
        jitter: Longest delay from sending to the server's stamp [s].
        requests: How many images are wanted.
        seed: Decides delays, service times and backoffs.
    """
    gate = Gate(build_limit(model, REQUESTS, PERIOD, _PHASE), LOCKOUT, extends=False)
    service = _Service(gate, jitter, random.Random(seed))

    async def main() -> None:
        limiter = RECIPES[recipe]()
        await asyncio.gather(*(_generate(limiter, service) for _ in range(requests)))

    run_jumping(main())
    least = (-(-requests // REQUESTS) - 1) * PERIOD
    return Case(
        delivered=len(service.accepted),
        refusals=service.refusals,
        worst_window=worst_window(service.stamps, PERIOD),
        steady_share=steady_share(service.accepted),
        makespan=(service.accepted[-1] - service.stamps[0]) / least,
    )


async def _generate(limiter: Recipe, service: _Service) -> None:
    attempt = 1
    while True:
        ticket = await limiter.admit(retry=attempt > 1)
        ticket.written()
        admitted = await service.ask()
        ticket.answered(refused=not admitted)
        if admitted:
            return
        if not limiter.waits_out_lockouts:
            if attempt == _ATTEMPTS:
                return
            longest = min(_LONGEST_BACKOFF, 2.0 ** (attempt - 1))
            await asyncio.sleep(service.dice.uniform(0, longest))
        attempt += 1


def steady_share(accepted: list[float]) -> float | None:
    """Return the lasting rate over the ceiling.

    It is taken between two requests whose numbers are multiples of the limit, so that a limiter
    that goes in bursts is measured from burst to burst, and one that goes evenly like any other.

    Args:
        accepted: Instants of the requests that the server accepted, ascending [s].
    """
    last = (len(accepted) - 1) // REQUESTS * REQUESTS
    if last <= _SETTLED:
        return None
    rate = (last - _SETTLED) / (accepted[last] - accepted[_SETTLED])
    return rate / (REQUESTS / PERIOD)
