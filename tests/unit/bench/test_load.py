"""Closed and open loops against made-up services, in virtual time."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sd3async import CoreRequest, PaymentRequiredError
from sd3async._percentiles import percentile
from sd3async.bench.load import UNFINISHED, CreditCap, Load
from sd3async.bench.samples import Run
from sd3async.bench.scenario import Scenario
from sd3async.bench.target import Target, Trace
from sd3async.emulator.virtual_time import LoopClock
from sd3async.models.base import GenerationRequest


class Service:
    """Answers after a delay that depends on the time; counts who is inside."""

    def __init__(self, delay: Callable[[float], float]) -> None:
        self._delay = delay
        self.calls = 0
        self.inside = 0
        self.most_inside = 0

    async def __call__(self, request: GenerationRequest, trace: Trace, /) -> None:
        self.calls += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        now = asyncio.get_running_loop().time()
        trace.granted_at = now
        try:
            await asyncio.sleep(self._delay(now))
            trace.credits = request.credits
        finally:
            self.inside -= 1


def requests() -> Iterator[GenerationRequest]:
    return (CoreRequest(f"prompt {number}") for number in itertools.count())


async def load(target: Target, budget: CreditCap | None = None, **scenario: Any) -> Run:
    clock = LoopClock()
    found = Load(
        Scenario(**scenario),
        target,
        requests(),
        clock=clock,
        origin=clock.monotonic(),
        budget=budget,
    )
    await found.run()
    assert found.in_flight == 0
    return found.result(1)


async def test_a_closed_loop_keeps_exactly_its_callers_busy() -> None:
    """Four callers that are ever five measure another concurrency than they report."""
    service = Service(lambda _: 0.5)
    found = await load(service, concurrency=4, duration=10.0)

    assert service.most_inside == 4
    assert len(found.samples) == 80
    assert (found.measured_from, found.measured_until) == (0.0, 10.0)


async def test_an_open_loop_starts_on_time_whatever_the_service_does() -> None:
    """A generator that waits for a slow service measures a kinder load."""
    service = Service(lambda _: 30.0)
    found = await load(service, rate=2.0, duration=10.0)
    starts = sorted(sample.started for sample in found.samples)

    assert starts == pytest.approx([step / 2 for step in range(20)])
    assert service.most_inside == 20


def one_at_a_time_with_a_stall() -> Target:
    """Return a service that takes 20 ms a request, and does nothing between 4 s and 6 s."""
    begin = asyncio.get_running_loop().time()
    free_at = 0.0

    async def stalling(_request: GenerationRequest, _trace: Trace, /) -> None:
        nonlocal free_at
        now = asyncio.get_running_loop().time() - begin
        served_at = max(now, free_at)
        free_at = (6.0 if 4.0 <= served_at < 6.0 else served_at) + 0.02
        await asyncio.sleep(free_at - now)

    return stalling


async def test_a_stall_shows_in_the_percentiles_of_an_open_loop() -> None:
    """Coordinated omission: a two-second stall must hurt everybody who was due during it.

    A lone caller meets it once in 300 requests, and its p99 knows nothing of it.
    """
    opened = await load(one_at_a_time_with_a_stall(), rate=40.0, duration=8.0)
    responses = sorted(sample.response for sample in opened.samples)
    closed = await load(one_at_a_time_with_a_stall(), concurrency=1, duration=8.0)
    naive = sorted(sample.ended - sample.started for sample in closed.samples)

    assert naive[-1] > 1.9
    assert percentile(responses, 90) > 1.0
    assert percentile(responses, 99) > 1.9
    assert percentile(naive, 99) < 0.03


async def test_a_held_up_generator_owns_its_delay() -> None:
    """If the loop itself blocks, the lost time belongs to the response time, not to nobody."""
    calls = 0

    async def blocking(_request: GenerationRequest, _trace: Trace, /) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            # Stands for work that blocks the loop: time passes and nothing else runs.
            asyncio.get_running_loop().jump(1.0)  # type: ignore[attr-defined]  # virtual time
        await asyncio.sleep(0)

    found = await load(blocking, rate=10.0, duration=1.0)
    late = [sample.part("late") for sample in found.samples]

    assert len(found.samples) == 10
    assert max(late) == pytest.approx(0.9)
    assert all(sample.response >= sample.part("late") for sample in found.samples)


async def test_the_warm_up_is_marked_and_does_not_use_up_the_requests() -> None:
    """`requests=5` means five measured ones."""
    found = await load(Service(lambda _: 1.0), concurrency=1, requests=5, warmup=3.0)
    marks = [sample.warmup for sample in found.samples]

    assert marks == [True] * 3 + [False] * 5
    assert found.measured_until == pytest.approx(8.0)


async def test_whichever_bound_comes_first_ends_the_load() -> None:
    """With both bounds set, neither may be ignored."""
    by_count = await load(Service(lambda _: 1.0), concurrency=1, requests=3, duration=100.0)
    by_time = await load(Service(lambda _: 1.0), concurrency=1, requests=100, duration=3.0)

    assert len(by_count.samples) == 3
    assert len(by_time.samples) == 3


async def test_callers_join_one_after_the_other_during_a_ramp() -> None:
    """A ramp that starts everybody at once is none."""
    found = await load(Service(lambda _: 100.0), concurrency=4, requests=4, ramp=8.0, drain=200)
    starts = sorted(sample.started for sample in found.samples)

    assert starts == pytest.approx([0.0, 2.0, 4.0, 6.0])


async def test_a_service_that_never_answers_is_left_after_the_drain() -> None:
    """A benchmark that hangs for ever reports nothing."""
    found = await load(Service(lambda _: 1e9), concurrency=2, duration=5.0, drain=7.0)

    assert [sample.error for sample in found.samples] == [UNFINISHED] * 2
    assert found.samples[0].ended == pytest.approx(12.0)


async def test_failures_are_results() -> None:
    """An error that ended the run would hide how often it happens."""

    async def failing(_request: GenerationRequest, _trace: Trace, /) -> None:
        await asyncio.sleep(1.0)
        raise RuntimeError("no")

    found = await load(failing, concurrency=1, requests=3)

    assert [sample.error for sample in found.samples] == ["RuntimeError: no"] * 3


async def test_an_account_without_credits_ends_the_load() -> None:
    """Every further request would fail the same way."""

    async def refusing(_request: GenerationRequest, _trace: Trace, /) -> None:
        await asyncio.sleep(1.0)
        raise PaymentRequiredError("no credits", status=402)

    found = await load(refusing, concurrency=1, duration=100.0)

    assert len(found.samples) == 1
    assert found.stopped_by == "PaymentRequiredError 402"


async def test_the_cap_counts_what_is_under_way() -> None:
    """Ten callers with credits for four requests must send four, not ten."""
    service = Service(lambda _: 1.0)
    budget = CreditCap(12.5)
    found = await load(service, budget, concurrency=10, duration=60.0)

    assert service.calls == 4
    assert budget.spent == 12.0
    assert budget.is_exhausted
    assert "12.5 credits" in found.stopped_by


async def test_what_may_have_been_charged_counts_against_the_cap() -> None:
    """A broken answer may be on the bill; a cap that forgets it is none."""

    async def broken(_request: GenerationRequest, trace: Trace, /) -> None:
        await asyncio.sleep(1.0)
        trace.unknown_charges = 1
        raise ConnectionResetError("reset")

    budget = CreditCap(9.0)
    await load(broken, budget, concurrency=1, duration=60.0)

    assert budget.spent == 9.0


async def test_an_interruption_leaves_the_samples() -> None:
    """Ctrl-C after an hour must not cost the hour."""
    clock = LoopClock()
    running = Load(
        Scenario(concurrency=2, duration=1000.0),
        Service(lambda _: 1.0),
        requests(),
        clock=clock,
        origin=0.0,
    )
    task = asyncio.create_task(running.run())
    await asyncio.sleep(2.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = running.result(1)

    assert [sample.error for sample in found.samples] == [""] * 4 + [UNFINISHED] * 2
    assert found.stopped_by == "an interruption"


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 1},
        {"concurrency": 1, "rate": 1.0, "duration": 1},
        {"concurrency": 0, "duration": 1},
        {"concurrency": 1},
        {"concurrency": 1, "duration": 0},
        {"concurrency": 1, "requests": 0},
        {"concurrency": 1, "duration": 1, "warmup": -1},
        {"rate": 0.0, "duration": 1},
        {"rate": 1.0, "duration": 1, "arrival": "weekly"},
    ],
    ids=str,
)
def test_a_load_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """A run of an hour is the wrong place to find a typing error."""
    with pytest.raises(ValueError, match=":"):
        Scenario(**wrong)
