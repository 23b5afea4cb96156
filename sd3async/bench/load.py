"""Run one scenario: start requests as it says, stop by itself, keep what was seen.

Latency counts from the instant a request was due. A generator that is held up, be it by a slow
service, a full pool or a busy loop, thus shows the delay instead of hiding it.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import suppress

import attrs

from sd3async._clock import Clock
from sd3async.bench.samples import Run, Sample
from sd3async.bench.scenario import Scenario
from sd3async.bench.target import Target, Trace, name_of
from sd3async.errors import AuthenticationError, PaymentRequiredError
from sd3async.models.base import GenerationRequest

UNFINISHED = "unfinished"
"""The `error` of a request that was cut off at the end."""
_TRACED = (attrs.fields_dict(Sample).keys() & attrs.fields_dict(Trace).keys()) - {"sends"}


class CreditCap:
    """Credits that may be spent. Prices are set aside before a request is sent.

    Args:
        cap: The most that may be spent [credits]; infinity for no cap.
    """

    def __init__(self, cap: float = math.inf) -> None:
        self.cap = cap
        self.spent = 0.0
        self.is_exhausted = False
        self._set_aside = 0.0

    def set_aside(self, price: float) -> bool:
        """Reserve the price of a request.

        Args:
            price: Its documented price [credits].

        Returns:
            Whether the cap allows it.
        """
        if self.spent + self._set_aside + price > self.cap:
            self.is_exhausted = True
            return False
        self._set_aside += price
        return True

    def settle(self, price: float, charged: float) -> None:
        """Replace what was set aside by what was charged.

        Args:
            price: What was set aside [credits].
            charged: What was, or may have been, charged [credits].
        """
        self._set_aside -= price
        self.spent += charged


@attrs.define
class _Supply:
    """Hands out requests until the scenario ends."""

    scenario: Scenario
    requests: Iterator[GenerationRequest]
    budget: CreditCap
    measure_from: float
    stop_at: float
    stopped_by: str = ""
    is_over: asyncio.Event = attrs.field(factory=asyncio.Event)
    _measured: int = 0

    def take(self, due: float) -> tuple[GenerationRequest, bool] | None:
        """Return the next request and whether it belongs to the warm-up, or None at the end.

        Args:
            due: When it is due.
        """
        if self.is_over.is_set() or due >= self.stop_at or self._measured == self.scenario.requests:
            self.is_over.set()
            return None
        request = next(self.requests)
        if not self.budget.set_aside(request.credits):
            self.stop(f"the cap of {self.budget.cap:g} credits")
            return None
        is_warmup = due < self.measure_from
        self._measured += not is_warmup
        return request, is_warmup

    def stop(self, reason: str) -> None:
        """End early."""
        self.stopped_by = self.stopped_by or reason
        self.is_over.set()


class Load:
    """One scenario against one target.

    Args:
        scenario: What to run.
        target: What to measure.
        requests: What to ask for, without end.
        clock: The target's own clock.
        origin: The instant that the samples count from, on that clock [s].
        budget: What may be spent.
        seed: Of random arrivals.
    """

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        requests: Iterator[GenerationRequest],
        *,
        clock: Clock,
        origin: float,
        budget: CreditCap | None = None,
        seed: int = 0,
    ) -> None:
        self.scenario = scenario
        self.ended = 0
        self.failed = 0
        self.credits = 0.0
        self.samples: list[Sample] = []
        self._target = target
        self._clock = clock
        self._origin = origin
        self._seed = seed
        self._budget = CreditCap() if budget is None else budget
        self._begin = begin = clock.monotonic()
        measure_from = begin + scenario.warmup
        self._supply = _Supply(
            scenario,
            requests,
            self._budget,
            measure_from=measure_from,
            stop_at=math.inf if scenario.duration is None else measure_from + scenario.duration,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests, or callers, under way."""
        return len(self._tasks)

    @property
    def stopped_by(self) -> str:
        """Why it ended early, in words; empty when it ran its course."""
        return self._supply.stopped_by

    async def run(self) -> None:
        """Run to the end. Cancelling it leaves the samples so far."""
        try:
            async with asyncio.TaskGroup() as group:
                cutter = group.create_task(self._cut_off_after_drain())
                if self.scenario.concurrency is not None:
                    self._start_callers(group, self.scenario.concurrency)
                else:
                    await self._start_as_scheduled(group)
                while self._tasks:
                    await asyncio.wait(self._tasks)
                cutter.cancel()
        except asyncio.CancelledError:
            self._supply.stop("an interruption")
            raise

    def result(self, repeat: int) -> Run:
        """Return what was seen so far.

        Args:
            repeat: Which time this was, from 1.
        """
        planned_end = self._supply.stop_at
        last_end = max((sample.ended for sample in self.samples), default=0.0)
        measured_from = self._supply.measure_from - self._origin
        is_whole = math.isfinite(planned_end) and not self.stopped_by
        measured_until = planned_end - self._origin if is_whole else last_end
        return Run(
            scenario=self.scenario,
            repeat=repeat,
            measured_from=measured_from,
            measured_until=max(measured_from, measured_until),
            stopped_by=self.stopped_by,
            samples=tuple(self.samples),
        )

    def _start_callers(self, group: asyncio.TaskGroup, callers: int) -> None:
        for number in range(callers):
            self._watch(group.create_task(self._call_again_and_again(number / callers)))

    async def _call_again_and_again(self, share_of_ramp: float) -> None:
        """Be one caller of a closed loop: a request is due when the one before has ended."""
        await self._clock.sleep(share_of_ramp * self.scenario.ramp)
        while (job := self._supply.take(now := self._clock.monotonic())) is not None:
            await self._request(*job, due=now)

    async def _start_as_scheduled(self, group: asyncio.TaskGroup) -> None:
        """Start the requests of an open loop when they are due, or at once when that is past."""
        for offset in self.scenario.schedule(seed=self._seed).starts():
            due = self._begin + offset
            if due < self._supply.stop_at:
                await self._clock.sleep(due - self._clock.monotonic())
            job = self._supply.take(due)
            if job is None:
                return
            self._watch(group.create_task(self._request(*job, due=due)))

    def _watch(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut_off_after_drain(self) -> None:
        """Cancel what is still under way some time after the last start."""
        # Callers notice by themselves that time is up; a schedule goes on until all that was due
        # has been started, however late: leaving out the latest ones would hide the delay.
        left = self._supply.stop_at - self._clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(left if math.isfinite(left) else None):
                await self._supply.is_over.wait()
        await self._clock.sleep(self.scenario.drain)
        for task in self._tasks:
            task.cancel()

    async def _request(self, request: GenerationRequest, is_warmup: bool, *, due: float) -> None:
        trace = Trace()
        started = self._clock.monotonic()
        error = UNFINISHED
        try:
            await self._target(request, trace)
            error = ""
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is a result
            error = name_of(problem)
            if isinstance(problem, AuthenticationError | PaymentRequiredError):
                self._supply.stop(error)
        finally:
            self._keep(request, trace, error, due=due, started=started, is_warmup=is_warmup)

    def _keep(
        self,
        request: GenerationRequest,
        trace: Trace,
        error: str,
        *,
        due: float,
        started: float,
        is_warmup: bool,
    ) -> None:
        ended = self._clock.monotonic()
        self.ended += 1
        self.failed += bool(error)
        self.credits += trace.credits
        may_cost = trace.credits + trace.unknown_charges * request.credits
        self._budget.settle(request.credits, may_cost)
        self.samples.append(
            Sample(
                intended=due - self._origin,
                started=started - self._origin,
                ended=ended - self._origin,
                warmup=is_warmup,
                endpoint=request.endpoint,
                error=error,
                service=None if trace.granted_at is None else ended - trace.granted_at,
                sends=tuple((key, at - self._origin) for key, at in trace.sends),
                **{name: getattr(trace, name) for name in _TRACED},
            )
        )
