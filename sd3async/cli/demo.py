"""`sd3async demo`: a whole bulk job against the embedded emulator, trouble and all."""

import itertools
import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from rich.console import Console
from rich.table import Table

from sd3async._files import write_atomically
from sd3async._threads import in_thread
from sd3async.bulk import BulkJob, JobStats, JobSummary
from sd3async.cli.demo_scenes import Entry, from_images, from_text
from sd3async.cli.exits import ALL_DONE, SOME_FAILED, Interrupted, echo_result, run, say
from sd3async.cli.options import EMULATED_KEY, json_option, print_json
from sd3async.client import SD3Client
from sd3async.limiter import RateLimit
from sd3async.progress import Snapshot, Usage, display
from sd3async.retry import CUT_OFF, RetryPolicy
from sd3async.telemetry import Done, Event, Frozen, Retried

if TYPE_CHECKING:
    from sd3async.emulator import Fault, Stats

DEFAULT_OUT = "sd3async-demo"
DEFAULT_COUNT = 30
_ORIGINALS = 4  # the images that image-to-image starts from
_CONCURRENCY = 12
_LOCKOUT = 3.0  # [s] the service's is 60: nobody wants to watch that
_MEDIAN_LATENCY = 0.8  # [s] the service takes several
_LONGEST_LATENCY = 2.5  # [s]
_DEADLINE = 60.0  # [s] for each image


@attrs.frozen(kw_only=True)
class Result:
    """What the demo did.

    Attributes:
        out: The job's folder.
        summary: What the job says of itself.
        server: What the server counted.
        limit: The limit both keep to.
        seconds: From the first request to the finished reports [s].
    """

    out: Path
    summary: JobSummary
    server: "Stats"
    limit: RateLimit
    seconds: float

    @property
    def gallery(self) -> Path:
        """The page to look at."""
        return self.out / "index.html"

    @property
    def rate(self) -> float:
        """Images delivered per second."""
        return self.summary.done / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for programs."""
        summary = self.summary
        return {
            "emulated": True,
            "out": str(self.out),
            "gallery": str(self.gallery),
            "total": summary.total,
            "done": summary.done,
            "failed": summary.total - summary.done,
            "retried": summary.retried,
            "frozen": summary.frozen,
            "injected": dict(self.server.faults),
            "requests": self.server.requests,
            "refused": self.server.refused,
            "rate": self.rate,
            "ceiling": self.limit.ceiling,
            "max_in_any_window": self.server.max_in_any_window,
            "credits": summary.credits_spent,
            "possibly_paid": summary.possibly_paid,
            "seconds": self.seconds,
        }


@click.command()
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Where everything goes; a new or empty folder.  [default: {DEFAULT_OUT}]",
)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=2 * _ORIGINALS),
    default=DEFAULT_COUNT,
    show_default=True,
    help="How many images to generate.",
)
@json_option
def demo(*, out: Path | None, count: int, as_json: bool) -> int:
    """Run a whole job without a key and without cost, and leave a gallery to look at.

    A real bulk job, through the real client and over real HTTP, against an emulator of the
    service in this process: three endpoints, text-to-image and image-to-image, with errors, a
    lock-out and a truncated answer thrown in. Images are drawn by chance, not by a model.
    """
    folder = _free_folder(out)
    say(
        f"emulated: {count} images from a server in this process; it keeps the service's limit, "
        f"150 requests in 10 s, and locks out for {_LOCKOUT:g} s instead of 60 s"
    )
    try:
        result = run(_run(folder, count))
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was done is in {folder}") from None
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(_table(result))
        echo_result(f"Images, report and gallery: {result.gallery}")
    return ALL_DONE if result.summary.done == count else SOME_FAILED


def _free_folder(out: Path | None) -> Path:
    if out is None:
        names = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        return next(path for name in names if _is_free(path := Path(DEFAULT_OUT + name)))
    if not _is_free(out):
        raise click.UsageError(f"--out: {out} is not empty; the demo wants a folder of its own")
    return out


def _is_free(path: Path) -> bool:
    return not path.exists() or not any(path.iterdir())


async def _run(out: Path, count: int) -> Result:
    from sd3async.emulator import Emulator, LogNormal

    limit, progress = RateLimit(lockout=_LOCKOUT), _Progress(count)
    latency = LogNormal(_MEDIAN_LATENCY, 0.4, _LONGEST_LATENCY)
    async with (
        Emulator(lockout=_LOCKOUT, latency=latency) as server,
        SD3Client(
            EMULATED_KEY,
            base_url=server.url,
            rate_limit=limit,
            share="process",
            retry=RetryPolicy(wait=0.4, max_wait=2.0),
            observers=[progress.tell],
        ) as client,
    ):
        began = time.monotonic()
        with progress.shown(client):
            entries = list(itertools.islice(from_text(), _ORIGINALS))
            files, _ = await _job(client, out, entries, progress, reports=False)
            entries += _rest(files, count)
            server.faults.script(_trouble(count - _ORIGINALS))
            _, summary = await _job(client, out, entries, progress, reports=True)
        seconds = time.monotonic() - began
        return Result(out=out, summary=summary, server=server.stats, limit=limit, seconds=seconds)


def _rest(files: list[str], count: int) -> list[Entry]:
    """Return what comes after the originals, of which some start from their images."""
    rest = count - _ORIGINALS
    of_images = max(1, rest // 4)
    texts = itertools.islice(from_text(), _ORIGINALS, _ORIGINALS + rest - of_images)
    images = itertools.islice(from_images(files), of_images)
    return [*texts, *images]


def _trouble(count: int) -> "list[Fault | None]":
    """Return what the requests of the second run meet, in order of arrival."""
    from sd3async.emulator import Fault

    script: list[Fault | None] = [None] * count
    faults = (Fault.status(500), Fault.truncated(), Fault.rate_limited(), Fault.status(502))
    for share, fault in zip((0.15, 0.35, 0.55, 0.8), faults, strict=True):
        script[int(share * count)] = fault
    return script


async def _job(
    client: SD3Client, out: Path, entries: list[Entry], progress: "_Progress", *, reports: bool
) -> tuple[list[str], JobSummary]:
    """Write the manifest and run the job on it.

    The second time the manifest has grown: what the first run did is not sent again.

    Returns:
        The files of this run's images, relative to `out`, and the job's own summary.
    """
    manifest = out / "manifest.jsonl"
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    await in_thread(lambda: out.mkdir(parents=True, exist_ok=True))
    await in_thread(write_atomically, manifest, lines.encode())
    async with BulkJob(
        client,
        manifest,
        out=out,
        emulated=True,
        force=True,  # it holds the manifest, and nothing else
        concurrency=_CONCURRENCY,
        deadline=_DEADLINE,
        reports=reports,
    ) as job:
        progress.follow(job)
        images = [outcome.image async for outcome in job if outcome.image is not None]
    if job.summary is None:
        raise RuntimeError("a job that was left has a summary")
    paths = sorted(image.path for image in images if image.path is not None)
    return [path.relative_to(job.out).as_posix() for path in paths], job.summary


class _Progress:
    """Draws how far the job is, and tells of trouble as it happens."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._job: BulkJob | None = None
        self._say: Callable[[str], None] = say

    def follow(self, job: BulkJob) -> None:
        """Show this job from now on."""
        self._job = job

    @contextmanager
    def shown(self, client: SD3Client) -> Generator[None]:
        """Draw while the block runs."""
        with display(lambda: self._read(client)) as self._say:
            yield

    def _read(self, client: SD3Client) -> Snapshot:
        stats = JobStats() if self._job is None else self._job.stats
        return Snapshot(
            total=self._total,
            done=stats.done,
            failed=stats.failed,
            in_flight=stats.in_flight,
            credits=stats.credits_spent,
            usage=Usage.of(client),
            frozen_for=client.frozen_for,
        )

    def tell(self, event: Event) -> None:
        """Put an event into words: an observer of the client."""
        if isinstance(event, Frozen):
            self._say(f"429: the key is locked out for {event.seconds:g} s, every request waits")
        elif isinstance(event, Retried) and event.wait > 0:
            self._say(f"{event.endpoint}: {_bare(event.problem)}; again in {event.wait:.1f} s")
        elif isinstance(event, Done) and event.unknown_charges:
            again = "" if event.problem == CUT_OFF else ", and sent again"
            self._say(f"{event.endpoint}: {_bare(event.problem)}; possibly paid{again}")


def _bare(problem: str) -> str:
    return problem.rstrip(".")


_FAULT_WORDS = {
    "status": "5xx",
    "rate_limited": "429",
    "truncated": "truncated answer",
}


def _table(result: Result) -> Table:
    summary, server = result.summary, result.server
    injected = ", ".join(f"{_FAULT_WORDS[kind]} x{n}" for kind, n in server.faults.items())
    rows = [
        ("done", f"{summary.done} of {summary.total}", "images, whole and on disk"),
        ("failed", f"{summary.total - summary.done}", ""),
        ("retried", f"{summary.retried}", f"injected: {injected}"),
        ("frozen", f"{summary.frozen}", f"lock-outs of {_LOCKOUT:g} s after a 429, sat out"),
        (
            "rate",
            f"{result.rate:.1f}/s",
            f"of {result.limit.ceiling:g}/s allowed; fullest {result.limit.period:g} s at the "
            f"server: {server.max_in_any_window} of {result.limit.max_requests} requests",
        ),
        ("credits", f"{summary.credits_spent:g}", "what the service would charge; here nothing"),
        ("possibly paid", f"{summary.possibly_paid}", "answers that broke off on the way"),
        ("time", f"{result.seconds:.1f} s", ""),
    ]
    table = Table(title="sd3async demo (emulated)", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    return table
