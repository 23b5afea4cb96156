"""A session: scenarios, each some times, one file of raw results."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

import attrs

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async.bench.knee import KneeSearch
from sd3async.bench.load import CreditCap, Load
from sd3async.bench.resources import Meter
from sd3async.bench.samples import Header, Run, write_header, write_knee, write_run
from sd3async.bench.scenario import Scenario
from sd3async.bench.stats import summarize
from sd3async.bench.target import Target
from sd3async.bench.workload import Workload
from sd3async.limiter import RateLimit

Display = Callable[[Load, str], AbstractContextManager[object]]
"""Shows a load while it runs; the words say which one it is."""


def _no_display(_load: Load, _words: str) -> AbstractContextManager[object]:
    return nullcontext()


class Bench:
    """Runs scenarios one after the other and keeps what they give.

    Args:
        header: Written first.
        file: Gets the raw results, run by run.
        target: What is measured.
        workload: What is asked for.
        clock: The target's own clock.
        budget: What may be spent, over all runs.
        cooldown: Pause between two runs [s], so that each finds the limiter as the first did.
        display: Shows each run.
    """

    def __init__(
        self,
        header: Header,
        file: TextIO,
        target: Target,
        workload: Workload,
        *,
        clock: Clock = SYSTEM_CLOCK,
        budget: CreditCap | None = None,
        cooldown: float = 0.0,
        display: Display = _no_display,
    ) -> None:
        self.header = header
        self.runs: list[Run] = []
        self._file = file
        self._target = target
        self._workload = workload
        self._clock = clock
        self._budget = CreditCap() if budget is None else budget
        self._cooldown = cooldown
        self._display = display
        self._origin = clock.monotonic()
        write_header(file, header)

    async def run(self, scenarios: Sequence[Scenario], *, repeats: int = 1) -> None:
        """Run every scenario, then every one again: a drift of the service then hits them alike.

        Args:
            scenarios: What to run.
            repeats: How many times each.
        """
        for repeat in range(1, repeats + 1):
            for scenario in scenarios:
                run = await self._run_once(scenario, repeat, of=repeats)
                if run.stopped_by:
                    return

    async def find_knee(self, scenario: Scenario, search: KneeSearch) -> None:
        """Run a closed loop with as many callers as the search asks for.

        An objective counts as kept when 95 % of the requests meet it.

        Args:
            scenario: A closed loop; its concurrency is replaced.
            search: The search.
        """
        while (callers := search.next()) is not None:
            run = await self._run_once(attrs.evolve(scenario, concurrency=callers), 1, of=1)
            if run.stopped_by:
                break
            metrics = summarize(run, self.header).metrics
            search.tell(
                callers,
                metrics.get("throughput", 0.0),
                keeps_slo=metrics.get("slo_share", 1.0) >= 0.95,
            )
        knee = search.knee()
        if knee is not None:
            write_knee(self._file, knee)

    async def _run_once(self, scenario: Scenario, repeat: int, *, of: int) -> Run:
        if self.runs:
            await self._clock.sleep(self._cooldown)
        seed = self.header.seed + repeat - 1
        load = Load(
            scenario,
            self._target,
            self._workload.requests(seed),
            clock=self._clock,
            origin=self._origin,
            budget=self._budget,
            seed=seed,
        )
        words = scenario.name if of == 1 else f"{scenario.name}, {repeat} of {of}"
        meter = Meter(self._clock)
        try:
            async with meter:
                with self._display(load, words):
                    await load.run()
        finally:
            run = attrs.evolve(load.result(repeat), usage=meter.usage())
            self.runs.append(run)
            write_run(self._file, run)
        return run


def most_requests(scenario: Scenario, limit: RateLimit, *, keys: int = 1) -> float:
    """Return how many requests a scenario sends at most; infinite when nothing bounds them.

    Args:
        scenario: What is to be run.
        limit: The client's, for each key.
        keys: How many keys there are.
    """
    ceiling = limit.ceiling * keys
    seconds = scenario.warmup + (math.inf if scenario.duration is None else scenario.duration)
    if scenario.rate is not None:
        by_time = scenario.rate * seconds
    else:
        # An idle limiter lets a period's worth go at once, whatever the lasting rate.
        by_time = ceiling * (seconds + limit.period)
    if scenario.requests is None:
        return by_time
    pace = ceiling if scenario.rate is None else scenario.rate
    before = pace * scenario.warmup if scenario.warmup else 0.0
    return min(by_time, scenario.requests + before)
