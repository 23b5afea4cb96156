"""What `bench run` is to do, from its options; and whether it may, where it costs money."""

import math
import os
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click

from sd3async import config
from sd3async.bench.runner import most_requests
from sd3async.bench.scenario import Scenario
from sd3async.bench.workload import PROMPTS, Workload
from sd3async.cli.bench_options import RunOptions
from sd3async.cli.emulator import faults_from_words, latency_from_text
from sd3async.cli.exits import say
from sd3async.endpoints import DOLLARS_PER_CREDIT, find_service
from sd3async.limiter import RateLimit
from sd3async.retry import RetryPolicy

DEFAULT_SWEEP = [1, 4, 16, 64]
DEFAULT_DURATION = 15.0  # [s]
_WARMUP_SHARE = 0.2  # of the duration
_PERIODS_REMEMBERED = 2
_DEFAULT_SLOTS = config.DEFAULT_MAX_IN_FLIGHT


@attrs.frozen(kw_only=True)
class Plan:
    """A session to be.

    Attributes:
        told: What `bench run` was told.
        scenarios: What to run; with a search, the one whose concurrency it varies.
        workload: What to ask for.
        limit: The client's, for each key.
        retry: The client's.
        max_in_flight: The client's connection slots.
        cooldown: Pause between two runs [s].
    """

    told: RunOptions
    scenarios: tuple[Scenario, ...]
    workload: Workload
    limit: RateLimit
    retry: RetryPolicy
    max_in_flight: int
    cooldown: float

    def most_credits(self, keys: int) -> float:
        """Return what the session costs at most, by documented prices; infinite if unbounded.

        Args:
            keys: How many keys the client has.
        """
        requests = sum(most_requests(item, self.limit, keys=keys) for item in self.scenarios)
        rounds = self.told.repeat
        if self.told.find_knee:
            rounds = 2 * math.ceil(math.log2(self.told.most) + 1)  # up, then halving back
        return requests * rounds * self.workload.mean_price


def plan_of(options: RunOptions) -> Plan:
    """Return the plan that the options describe.

    Args:
        options: What `bench run` was told.

    Raises:
        click.UsageError: They contradict each other, or a value is out of bounds.
    """
    try:
        limit = _limit_of(options)
        scenarios = _scenarios_of(options, limit)
        searched = options.most if options.find_knee else 1
        callers = max(searched, *(item.concurrency or 1 for item in scenarios))
        return Plan(
            told=options,
            scenarios=scenarios,
            workload=_workload_of(options),
            limit=limit,
            retry=RetryPolicy(attempts=options.attempts),
            max_in_flight=options.max_in_flight or max(_DEFAULT_SLOTS, callers),
            cooldown=_cooldown_of(options, scenarios[0], limit),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def emulator_of(options: RunOptions) -> dict[str, Any]:
    """Return the settings of the emulator that the options describe; see `emulator_process`.

    Args:
        options: What `bench run` was told; the server counts as the client's limit says.

    Raises:
        click.UsageError: A value means nothing.
    """
    counts = options.emulator_limit or ("none" if options.no_limit else "log")
    max_requests, period = options.limit
    try:
        latency_from_text(options.emulator_latency)
        faults_from_words(options.emulator_fault)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return {
        "latency": options.emulator_latency,
        "faults": options.emulator_fault,
        "image_bytes": options.emulator_image_size,
        "limit": None if counts == "none" else counts,
        "max_requests": max_requests,
        "period": period,
        "seed": options.seed,
    }


def check_spending(plan: Plan, *, base_url: str, keys: int) -> None:
    """Say what the session costs, and see that this is wanted. Loopback costs nothing.

    Args:
        plan: The session.
        base_url: Who is called.
        keys: How many keys the client has.

    Raises:
        click.UsageError: It was not asked for in so many words, or it must not be at all.
    """
    host = urlsplit(base_url).hostname or ""
    if plan.limit.is_unlimited and f".{host}".endswith(".stability.ai"):
        raise click.UsageError(
            "--no-limit would have the official service lock the key out; it is for gateways and "
            "the emulator"
        )
    if config.is_loopback(host):
        return
    most = plan.most_credits(keys)
    price = plan.workload.mean_price
    bound = (
        "nothing but the cap bounds how many"
        if math.isinf(most)
        else f"{_credits(most)} at most without retries"
    )
    say(f"{host} charges about {price:g} credits for each image; {bound}")
    if not plan.told.yes or plan.told.max_credits is None:
        raise click.UsageError(
            "this spends credits: give --yes and --max-credits N, or measure with --emulator"
        )
    say(f"the cap is {_credits(plan.told.max_credits)}")


def resolve_base_url(base_url: str | None) -> str:
    """Return where the client will call.

    Args:
        base_url: The value of `--base-url`.
    """
    wanted = base_url or os.environ.get("STABILITY_BASE_URL") or "official"
    return find_service(wanted).base_url


def _credits(count: float) -> str:
    return f"{count:,.0f} credits (${count * DOLLARS_PER_CREDIT:,.2f})"


def _limit_of(options: RunOptions) -> RateLimit:
    if options.no_limit:
        return RateLimit.unlimited()
    max_requests, period = options.limit
    return RateLimit(max_requests=max_requests, period=period, shape=options.shape)


def _cooldown_of(options: RunOptions, scenario: Scenario, limit: RateLimit) -> float:
    if options.cooldown is not None:
        return options.cooldown
    remembered = _memory_of(limit)
    return 0.0 if scenario.warmup >= remembered else remembered


def _memory_of(limit: RateLimit) -> float:
    """Return how long a limiter remembers what it let go [s].

    Its first burst and the pause after it are over by then, and so is what the run before left.
    """
    return 0.0 if limit.is_unlimited else _PERIODS_REMEMBERED * limit.period


def _scenarios_of(options: RunOptions, limit: RateLimit) -> tuple[Scenario, ...]:
    duration, requests = options.duration, options.requests
    if duration is None and requests is None:
        duration = DEFAULT_DURATION
    warmup = options.warmup
    if warmup is None:
        lasting = max(_WARMUP_SHARE * (duration or 0.0), _memory_of(limit))
        warmup = 0.0 if duration is None else lasting
    scenario = partial(
        Scenario,
        duration=duration,
        requests=requests,
        warmup=warmup,
        ramp=options.ramp,
        drain=options.drain,
    )
    concurrency, rates = options.concurrency or [], options.rate or []
    if options.find_knee:
        if concurrency or rates:
            raise ValueError(
                "--find-knee picks the concurrency itself; leave out --concurrency and --rate"
            )
        return (scenario(concurrency=1),)
    if not concurrency and not rates:
        concurrency = DEFAULT_SWEEP
    closed = [scenario(concurrency=callers) for callers in concurrency]
    opened = [
        scenario(rate=rate, arrival=options.arrival, burstiness=options.burstiness)
        for rate in rates
    ]
    return (*closed, *opened)


def _workload_of(options: RunOptions) -> Workload:
    path: Path | None = options.prompts
    prompts = PROMPTS if path is None else _read_prompts(path)
    return Workload(
        mix=options.mix,
        prompts=prompts,
        model=options.model,
        output_format=options.output_format,
        upload_bytes=options.upload_size,
    )


def _read_prompts(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise ValueError(f"--prompts: {path} holds no prompt")
    return prompts
