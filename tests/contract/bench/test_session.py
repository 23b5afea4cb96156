"""Sessions against the emulator: what is reported is what the server saw."""

import io
from typing import Any

import pytest

from sd3async import RateLimit, RetryPolicy, SD3Client
from sd3async.bench import surroundings
from sd3async.bench.bottleneck import judge
from sd3async.bench.knee import KneeSearch
from sd3async.bench.runner import Bench
from sd3async.bench.samples import PARTS, Session, parse_session
from sd3async.bench.scenario import Scenario
from sd3async.bench.stats import ScenarioSummary, summarize_scenarios
from sd3async.bench.target import ClientTarget
from sd3async.bench.workload import Workload
from sd3async.emulator import Constant, Emulator, Fault
from sd3async.emulator.virtual_time import LoopClock
from support.sessions import header

LIMIT = RateLimit(max_requests=10, period=2.0, delay_bound=0.05)
UNLIMITED = RateLimit.unlimited()


async def measure(
    *scenarios: Scenario,
    client_limit: RateLimit = UNLIMITED,
    retry: RetryPolicy | None = None,
    search: KneeSearch | None = None,
    workload: Workload | None = None,
    repeats: int = 1,
    max_in_flight: int = 300,
    slo: float | None = None,
    **emulated: Any,
) -> tuple[Session, Emulator]:
    """Run scenarios through a real client, and read the results back from their lines."""
    emulated = {
        "limit": None,
        "latency": Constant(0.5),
        "image_bytes": 2_000,
        "strict": True,
        **emulated,
    }
    if not client_limit.is_unlimited:
        served = {"max_requests": client_limit.max_requests, "period": client_limit.period}
        emulated |= {"limit": "log", **served}
    clock, file, work = LoopClock(), io.StringIO(), workload or Workload()
    async with (
        Emulator(**emulated) as emulator,
        SD3Client(
            "sk-bench-test",
            base_url=emulator.url,
            rate_limit=client_limit,
            retry=retry,
            max_in_flight=max_in_flight,
            clock=clock,
        ) as client,
    ):
        head = header(
            base_url=emulator.url,
            limit=surroundings.limit(client_limit),
            max_in_flight=max_in_flight,
            workload=surroundings.workload(work),
            slo=slo,
        )
        cooldown = 0.0 if client_limit.is_unlimited else 5.0
        bench = Bench(head, file, ClientTarget(client), work, clock=clock, cooldown=cooldown)
        if search is None:
            await bench.run(scenarios, repeats=repeats)
        else:
            await bench.find_knee(scenarios[0], search)
    return parse_session(io.StringIO(file.getvalue())), emulator


def summaries(session: Session) -> list[ScenarioSummary]:
    return summarize_scenarios(session.header, session.runs)


async def test_a_sweep_reports_what_the_server_saw() -> None:
    """Requests, credits and refusals must agree with the server's own books."""
    session, emulator = await measure(
        Scenario(concurrency=1, duration=5.0), Scenario(concurrency=4, duration=5.0)
    )
    one, four = summaries(session)
    samples = [sample for run in session.runs for sample in run.samples]

    assert len(samples) == emulator.paid == emulator.stats.requests
    assert sum(sample.credits for sample in samples) == emulator.credits_used
    assert one.median("throughput") == pytest.approx(2.0, rel=0.06)
    assert four.median("throughput") == pytest.approx(8.0, rel=0.06)
    assert one.median("ideal") == pytest.approx(2.0, rel=0.06)
    assert four.median("response_p99") == pytest.approx(0.5, abs=0.05)


async def test_sends_are_the_servers_arrivals() -> None:
    """The rate against the ceiling is drawn from the client's writes: they must be the arrivals."""
    session, emulator = await measure(Scenario(rate=10.0, duration=3.0))
    sends = sorted(at for run in session.runs for sample in run.samples for _, at in sample.sends)
    arrivals = sorted(seen.at for seen in emulator.requests)
    offset = arrivals[0] - sends[0]

    assert len(sends) == len(arrivals) == 30
    assert [at + offset for at in sends] == pytest.approx(arrivals, abs=0.01)


async def test_an_overloaded_limiter_is_named_and_its_wait_is_in_the_response_time() -> None:
    """Twice the limit offered: the service is as quick as ever, and the line grows."""
    session, emulator = await measure(
        Scenario(rate=10.0, duration=8.0, warmup=5.0), client_limit=LIMIT
    )
    (found,) = summaries(session)
    verdict = judge(found, session.header)

    assert emulator.refused == 0
    assert (found.median("worst_window") or 99) <= 10
    assert (found.median("ceiling_share") or 0) > 0.8
    assert found.median("service_p99") == pytest.approx(0.5, abs=0.05)
    assert (found.median("response_p99") or 0) > 10.0
    assert found.parts["limiter_wait"] > 3.0
    assert verdict.bound == "limiter"


async def test_a_small_pool_is_named() -> None:
    """Ten callers through two slots wait for a slot, and that must not look like the service."""
    session, emulator = await measure(Scenario(concurrency=10, duration=5.0), max_in_flight=2)
    (found,) = summaries(session)

    assert emulator.stats.requests > 0
    assert found.parts["slot_wait"] > found.parts["headers"]
    assert judge(found, session.header).bound == "pool"


async def test_refusals_are_counted_without_the_limiter() -> None:
    """Whoever switches the limiter off wants to see what it costs."""
    session, emulator = await measure(
        Scenario(concurrency=20, requests=40),
        retry=RetryPolicy(attempts=1),
        limit="log",
        max_requests=10,
        period=2.0,
    )
    (found,) = summaries(session)

    assert emulator.refused == 30
    assert found.median("refused") == 30
    assert found.errors == {"RateLimitError 429": 30}
    assert found.median("worst_window") is None


async def test_retries_count_every_attempt_and_end_in_the_response_time() -> None:
    """A request that was repaired by a retry is slow, not failed, and cost two sends."""
    faults = [Fault.status(500), Fault.parse("reset")]
    session, emulator = await measure(Scenario(concurrency=1, requests=3), faults=faults)
    (found,) = summaries(session)
    samples = session.runs[0].samples

    assert [sample.attempts for sample in samples] == [3, 1, 1]
    assert [len(sample.sends) for sample in samples] == [3, 1, 1]
    assert emulator.stats.requests == 5
    assert (found.median("retries"), found.median("unknown_charges")) == (2, 1)
    assert samples[0].part("rest") > 0
    assert samples[0].service == pytest.approx(0.5, abs=0.1)


async def test_failed_requests_keep_what_is_known_of_them() -> None:
    """How long a failure took, and how far it got, is half of what there is to learn."""
    faults = [Fault.status(500), Fault.parse("reset"), Fault.parse("truncated")]
    session, _ = await measure(
        Scenario(concurrency=1, requests=3), retry=RetryPolicy(attempts=1), faults=faults
    )
    refused, reset, truncated = session.runs[0].samples

    assert (refused.error, refused.status) == ("ServerError 500", 500)
    assert refused.headers is not None
    assert (reset.error, reset.status) == ("ResponseReadError", None)
    assert truncated.status == 200
    assert [sample.unknown_charges for sample in session.runs[0].samples] == [0, 1, 1]
    assert all(len(sample.sends) == 1 for sample in session.runs[0].samples)


async def test_the_parts_of_a_clean_request_leave_nothing_over() -> None:
    """Time in `rest` without a retry would be time that nobody can explain."""
    session, _ = await measure(Scenario(concurrency=3, requests=12))
    for sample in session.runs[0].samples:
        assert sum(sample.part(name) for name in PARTS) == pytest.approx(sample.response)
        assert sample.part("rest") < 0.01
        assert sample.part("headers") == pytest.approx(0.5, abs=0.05)


async def test_a_mix_with_uploads_arrives_as_mixed() -> None:
    """Each endpoint gets its share, and the pictures are as large as asked for."""
    workload = Workload(mix={"sd3": 1, "core": 1, "ultra": 1}, upload_bytes=40_000)
    session, emulator = await measure(Scenario(concurrency=4, requests=30), workload=workload)
    pictures = [part.size for seen in emulator.requests for part in seen.parts if part.filename]
    paths = {seen.path.rsplit("/", 1)[-1] for seen in emulator.requests}

    assert session.runs[0].samples[0].ok
    assert paths == {"sd3", "core", "ultra"}
    assert set(pictures) == {40_000}


async def test_repeats_alternate_and_differ_only_by_their_seed() -> None:
    """A service that slows down over time must not make the last scenario look worst."""
    session, _ = await measure(
        Scenario(concurrency=1, requests=2), Scenario(concurrency=2, requests=2), repeats=2
    )

    assert [(run.scenario.concurrency, run.repeat) for run in session.runs] == [
        (1, 1),
        (2, 1),
        (1, 2),
        (2, 2),
    ]
    assert all(spread.runs == 2 for spread in summaries(session)[0].metrics.values())


async def test_the_knee_of_a_limited_service_is_rate_times_latency() -> None:
    """5/s at one second: five callers get it all, and a sixth only waits."""
    session, emulator = await measure(
        Scenario(concurrency=1, duration=8.0, warmup=5.0),
        search=KneeSearch(most=64),
        client_limit=LIMIT,
        latency=Constant(1.0),
    )

    assert emulator.refused == 0
    assert session.knee is not None
    assert session.knee.because == "plateau"
    assert session.knee.concurrency in (5, 6)
    assert session.knee.throughput == pytest.approx(4.5, rel=0.1)


async def test_an_objective_gives_goodput() -> None:
    """Half of the answers within the objective is half the goodput, at full throughput."""
    faults = [Fault.parse("slow:3") if n % 2 else None for n in range(10)]
    session, _ = await measure(
        Scenario(concurrency=10, requests=10), slo=1.0, faults=faults, image_bytes=200_000
    )
    (found,) = summaries(session)

    assert found.median("slo_share") == 0.5
    assert found.median("goodput") == pytest.approx((found.median("throughput") or 0) / 2)
