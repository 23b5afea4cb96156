"""What was seen, kept raw: one JSON line for each request, so that no run is repeated for a column.

The first line of a file is a header; a line that ends a run follows the run's samples. Every
instant is in seconds since the session began.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import attrs

from sd3async.bench.knee import Knee
from sd3async.bench.scenario import Scenario

SCHEMA = 1
_DIGITS = 6  # microseconds: finer than anything asyncio can promise

PARTS = ("late", "slot_wait", "limiter_wait", "connect", "send", "headers", "body", "rest")
"""Where a request's time goes, in order; together they are its response time.

`late` is the generator's own delay; `rest` is earlier attempts and their backoff, and reading an
upload's header.
"""


@attrs.frozen(kw_only=True)
class Header:
    """What a session was run with. It never holds a key.

    Attributes:
        created: When the session began, ISO 8601 in UTC.
        command: The command line.
        versions: Of Python and of the packages that matter.
        machine: The computer.
        base_url: Who was called.
        seed: Of arrivals, prompts and seeds.
        keys: How many keys were used.
        limit: The client's rate limit for each key (`max_requests`, `period`, …), or None
            when it was off.
        max_in_flight: The client's connection slots.
        workload: What was asked for.
        slo: Longest response time that counts as good [s], or None.
        schema: Version of the file's form.
    """

    created: str
    command: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    base_url: str
    seed: int
    keys: int
    limit: Mapping[str, Any] | None
    max_in_flight: int
    workload: Mapping[str, Any]
    slo: float | None = None
    schema: int = SCHEMA

    @property
    def ceiling(self) -> float | None:
        """Requests a second that the limit allows over all keys, or None without a limit."""
        if self.limit is None:
            return None
        return float(self.keys * self.limit["max_requests"] / self.limit["period"])


@attrs.frozen(kw_only=True)
class Sample:
    """One request.

    The parts are those of its last attempt; None where it did not come so far.

    Attributes:
        intended: When it was due; response times count from here.
        started: When the client was called.
        ended: When the call ended.
        warmup: Whether it was due before measuring began.
        endpoint: Which endpoint.
        error: What it failed with, such as `RateLimitError 429`; empty on success;
            `unfinished` when it was cut off at the end.
        status: HTTP status of the last answer, or None when there was none.
        slot_wait: Waiting for a connection slot [s].
        limiter_wait: Waiting for the rate limit, over all attempts [s].
        connect: From the last permit to the first byte written [s].
        send: Writing the body [s].
        headers: From the last byte written to the answer's head [s].
        body: From the answer's head to its last byte [s].
        service: From the last permit to the end: what the service and the network took [s].
        attempts: How many attempts were made.
        refused: How many were answered with 429.
        sends: Key and instant of every attempt that reached the wire.
        sent_bytes: Length of the request's body [bytes].
        received_bytes: Length of the image [bytes].
        credits: Documented price of what was delivered [credits].
        unknown_charges: Failed attempts that may have been charged.
    """

    intended: float
    started: float
    ended: float
    warmup: bool = False
    endpoint: str = ""
    error: str = ""
    status: int | None = None
    slot_wait: float = 0.0
    limiter_wait: float = 0.0
    connect: float | None = None
    send: float | None = None
    headers: float | None = None
    body: float | None = None
    service: float | None = None
    attempts: int = 0
    refused: int = 0
    sends: tuple[tuple[int, float], ...] = ()
    sent_bytes: int = 0
    received_bytes: int = 0
    credits: float = 0.0
    unknown_charges: int = 0

    @property
    def ok(self) -> bool:
        """Whether there was an image."""
        return not self.error

    @property
    def response(self) -> float:
        """From the instant it was due to its end [s]."""
        return self.ended - self.intended

    def part(self, name: str) -> float:
        """Return one of `PARTS` [s]; 0 where it did not come so far.

        Args:
            name: Which.
        """
        if name == "late":
            return self.started - self.intended
        if name == "rest":
            known = (self.part(part) for part in PARTS if part != "rest")
            return max(0.0, self.response - sum(known))
        return float(getattr(self, name) or 0.0)


@attrs.frozen(kw_only=True)
class Usage:
    """What a run cost the client's process.

    Attributes:
        wall: How long it lasted [s, real time].
        cpu: Processor time of this process [s].
        peak_rss: Most memory held at once [bytes], or None when the system does not say.
        lag_p99: How late the event loop ran, 99th percentile [s].
        lag_max: The worst of it [s].
    """

    wall: float
    cpu: float
    peak_rss: int | None
    lag_p99: float
    lag_max: float


@attrs.frozen(kw_only=True)
class Run:
    """One scenario, once.

    Attributes:
        scenario: What was run.
        repeat: 1 for the first time.
        measured_from: When measuring began, after the warm-up.
        measured_until: When it ended: the planned end, or the last request's.
        usage: What it cost, or None when the run was broken off.
        stopped_by: Why it ended early, in words; empty when it ran its course.
        samples: Its requests, in the order of their ends.
    """

    scenario: Scenario
    repeat: int
    measured_from: float
    measured_until: float
    usage: Usage | None = None
    stopped_by: str = ""
    samples: tuple[Sample, ...] = attrs.field(default=(), repr=False)


@attrs.frozen(kw_only=True)
class Session:
    """A whole file of results.

    Attributes:
        header: What it was run with.
        runs: What was seen.
        knee: What a search found, or None.
    """

    header: Header
    runs: tuple[Run, ...]
    knee: Knee | None = None


class ResultsError(ValueError):
    """A file does not hold results that can be read."""


def write_header(file: TextIO, header: Header) -> None:
    """Write the first line.

    Args:
        file: Open for writing text.
        header: What to write.
    """
    _write(file, {"kind": "header", **attrs.asdict(header)})


def write_run(file: TextIO, run: Run) -> None:
    """Write a run's samples and the line that ends it, and flush.

    Args:
        file: Open for writing text.
        run: What to write.
    """
    name = {"scenario": run.scenario.name, "repeat": run.repeat}
    for sample in run.samples:
        _write(file, {"kind": "sample", **name, **attrs.asdict(sample)})
    end = attrs.asdict(run, filter=lambda attribute, _: attribute.name != "samples")
    _write(file, {"kind": "run", **end})
    file.flush()


def write_knee(file: TextIO, knee: Knee) -> None:
    """Write what a search found, and flush.

    Args:
        file: Open for writing text.
        knee: What to write.
    """
    _write(file, {"kind": "knee", **attrs.asdict(knee)})
    file.flush()


def read_session(path: str | Path) -> Session:
    """Read results.

    Args:
        path: A file written by `write_header` and `write_run`. A last line that was cut short
            is left out, and so are samples of a run that has no end.

    Raises:
        ResultsError: No such results, or of another schema.
        OSError: It cannot be read.
    """
    with Path(path).open(encoding="utf-8") as file:
        return parse_session(file, name=str(path))


def parse_session(lines: Iterable[str], *, name: str = "results") -> Session:
    """Read results from lines; see `read_session`.

    Args:
        lines: The lines.
        name: Stands for them in an error.
    """
    header: Header | None = None
    runs: list[Run] = []
    samples: list[Sample] = []
    knee: Knee | None = None
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            fields: dict[str, Any] = json.loads(line)
            kind = fields.pop("kind")
            if kind == "header":
                header = _as_header(fields)
            elif kind == "sample":
                samples.append(_as_sample(fields))
            elif kind == "run":
                runs.append(_as_run(fields, samples))
                samples = []
            elif kind == "knee":
                knee = Knee(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(f"{name}, line {number}: not a line of results: {error}") from error
    if header is None:
        raise ResultsError(f"{name}: holds no header, so it is no file of results")
    return Session(header=header, runs=tuple(runs), knee=knee)


def _write(file: TextIO, fields: Mapping[str, Any]) -> None:
    # ASCII alone: some readers take U+2028 and its like, which JSON leaves in, for line ends.
    file.write(json.dumps(_rounded(fields), separators=(",", ":")) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _as_header(fields: dict[str, Any]) -> Header:
    if fields.get("schema") != SCHEMA:
        raise ValueError(f"schema {fields.get('schema')!r} is not {SCHEMA}, the one known here")
    return Header(**fields)


def _as_sample(fields: dict[str, Any]) -> Sample:
    del fields["scenario"], fields["repeat"]
    fields["sends"] = tuple((int(key), float(at)) for key, at in fields["sends"])
    return Sample(**fields)


def _as_run(fields: dict[str, Any], samples: list[Sample]) -> Run:
    usage = fields.pop("usage")
    return Run(
        scenario=Scenario(**fields.pop("scenario")),
        **fields,
        usage=None if usage is None else Usage(**usage),
        samples=tuple(samples),
    )
