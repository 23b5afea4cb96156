"""Made-up results of the load generator, for the tests of what reads them."""

from collections.abc import Iterable
from typing import Any

from sd3async.bench.samples import Header, Run, Sample, Session, Usage
from sd3async.bench.scenario import Scenario

LIMIT: dict[str, Any] = {"max_requests": 150, "period": 10.0, "shape": "paced", "delay_bound": 0.22}


def header(**changes: Any) -> Header:
    """Return a header; keywords replace its fields."""
    fields: dict[str, Any] = {
        "created": "2026-01-01T00:00:00+00:00",
        "command": "sd3async bench --emulator",
        "versions": {"python": "CPython 3.11", "sd3async": "0", "aiohttp": "3", "loop": "asyncio"},
        "machine": {"cpus": 2, "processor": "a processor", "architecture": "x86_64"},
        "base_url": "http://127.0.0.1:1",
        "seed": 0,
        "keys": 1,
        "limit": LIMIT,
        "max_in_flight": 300,
        "workload": {"mix": {"sd3": 1.0}, "upload_bytes": 0},
    }
    return Header(**fields | changes)


def sample(intended: float = 0.0, response: float = 1.0, **changes: Any) -> Sample:
    """Return a request that was started when due and took its time at the service."""
    fields: dict[str, Any] = {
        "intended": intended,
        "started": intended,
        "ended": intended + response,
        "endpoint": "sd3",
        "status": 200,
        "headers": response,
        "service": response,
        "attempts": 1,
        "sends": ((0, intended),),
        "credits": 6.5,
    }
    return Sample(**fields | changes)


def run(samples: Iterable[Sample], **changes: Any) -> Run:
    """Return a run of one caller over ten seconds; keywords replace its fields."""
    fields: dict[str, Any] = {
        "scenario": Scenario(concurrency=1, duration=10.0),
        "repeat": 1,
        "measured_from": 0.0,
        "measured_until": 10.0,
        "usage": Usage(wall=10.0, cpu=0.1, peak_rss=50_000_000, lag_p99=0.001, lag_max=0.002),
    }
    return Run(**fields | changes, samples=tuple(samples))


def session(*runs: Run, **changes: Any) -> Session:
    """Return a session of these runs; keywords replace fields of its header."""
    return Session(header=header(**changes), runs=runs)
