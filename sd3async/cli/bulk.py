"""`sd3async bulk`: a durable job over a file of prompts."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import click

from sd3async import config
from sd3async.bulk import BulkJob, Defaults, JobError, JobLockedError, JobOptions, StorageError
from sd3async.bulk.intake.sources import Source
from sd3async.bulk.keeping.verify import verify as verify_job
from sd3async.bulk.options import SHAPES
from sd3async.bulk.plan import plan
from sd3async.bulk.records import EMULATOR
from sd3async.cli import exits
from sd3async.cli.bulk_words import (
    ENDS,
    Patience,
    plan_words,
    table_of,
    tell_changes,
    verify_words,
)
from sd3async.cli.fields import field_options, given_fields, of_prompts
from sd3async.cli.options import (
    Finite,
    check_server,
    client_from_options,
    json_option,
    print_json,
    server_options,
)
from sd3async.client import SD3Client
from sd3async.limiter import RateLimit
from sd3async.models.requests import REQUEST_TYPES
from sd3async.progress import Snapshot, Usage, display, stderr_console

FORMATS = ("files", "webdataset", "parquet")

_SLOWEST_RATE = 0.0001  # [requests/s] one in three hours

_EXIT_CODES = {
    "interrupted": exits.INTERRUPTED,
    "budget": exits.OUT_OF_CREDITS,
    "payment": exits.OUT_OF_CREDITS,
    "room": exits.SOME_FAILED,
    "storage": exits.SOME_FAILED,
    "unreachable": exits.SOME_FAILED,
    "service": exits.SOME_FAILED,
    "error": exits.SOME_FAILED,
}


@attrs.frozen(kw_only=True)
class _Order:
    """What the command line asks for.

    Attributes:
        source: The manifest.
        out: The job's folder.
        options: How the job is to be done.
        rate: Fastest rate for each key [requests/s], or None.
        base_url: Where the API is served, or None.
        emulator: Whether to use the embedded emulator.
        as_json: Whether to print one JSON object.
    """

    source: Source
    out: str
    options: JobOptions
    rate: float | None
    base_url: str | None
    emulator: bool
    as_json: bool

    @property
    def service(self) -> str:
        """The service that the job belongs to."""
        if self.emulator:
            return EMULATOR
        return config.read_service(self.base_url, allow_insecure_http=True).base_url

    @property
    def rate_limit(self) -> RateLimit:
        """The limit of each key."""
        return RateLimit(max_rate=self.rate)


@click.command()
@click.argument("manifest", type=click.Path(dir_okay=False, allow_dash=True), required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Folder of the job: images, journal, results. The same command again resumes it.",
)
@click.option("--force", is_flag=True, help="Work in a folder that holds other things as well.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent and cost; send nothing.")
@click.option(
    "--max-credits",
    type=Finite(min=0),
    metavar="C",
    help="Most to spend over all runs; what is in flight counts as spent.",
)
@click.option("--retry-failed", is_flag=True, help="Send items again that failed earlier.")
@click.option(
    "--remake-missing", is_flag=True, help="Make images again, and pay again, that are gone."
)
@click.option(
    "--on-unknown",
    type=click.Choice(["retry", "hold"]),
    default="retry",
    show_default=True,
    help="What to do with items that may have been paid without an image.",
)
@click.option("--skip-invalid", is_flag=True, help="Record bad lines and go on.")
@click.option(
    "--concurrency", type=click.IntRange(1), metavar="N", help="Most requests under way at once."
)
@click.option(
    "--rate",
    type=Finite(min=_SLOWEST_RATE),
    metavar="R",
    help="Send no faster, for each key [requests/s].",
)
@click.option(
    "--deadline",
    type=Finite(min=0, min_open=True),
    metavar="SECONDS",
    help="Give an item up after so long, waiting and retries included.",
)
@click.option(
    "--endpoint",
    type=click.Choice(list(REQUEST_TYPES)),
    default="sd3",
    show_default=True,
    help="For lines that name none.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Variations of each line.",
)
@click.option(
    "--seed-start",
    type=int,
    metavar="S",
    help="Seeds of a line's variations: S, S+1, …  [default: the service picks]",
)
@click.option(
    "--manifest-format",
    "shape",
    type=click.Choice(SHAPES),
    help="Shape of the manifest.  [default: by its name, then by its first line]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    default=["files"],
    show_default=True,
    help="Write the results as tar shards or as a table besides the files; repeatable.",
)
@click.option(
    "--keep-columns",
    is_flag=True,
    help="Keep what lines say beyond their request, for the results, instead of refusing it.",
)
@click.option(
    "--report/--no-report", "reports", default=True, help="Write report.json and the gallery."
)
@click.option(
    "--verify",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Only check every image of the job in DIR: size, SHA-256, and whether it decodes.",
)
@field_options(of_prompts().values())
@server_options
@json_option
def bulk(
    *, manifest: str | None, dry_run: bool, verify: str | None, out: str | None, **options: Any
) -> None:
    r"""Generate an image for each line of MANIFEST (- reads stdin), durably.

    MANIFEST is JSON Lines (a request's fields, and id, tags, priority), CSV with a header, or
    plain text with a prompt on each line. Further options are defaults for lines that do not say
    otherwise.

    \b
    sd3async bulk prompts.txt --out images --dry-run
    sd3async bulk prompts.jsonl --out images --max-credits 500
    sd3async bulk --verify images

    Ctrl-C lets what is in flight land; a second one breaks it off.
    """
    if verify is not None:
        if manifest is not None or out is not None:
            raise click.UsageError("--verify DIR takes neither a manifest nor --out")
        raise click.exceptions.Exit(_verify(verify, as_json=options["as_json"]))
    for name, value in (("MANIFEST", manifest), ("--out", out)):
        if value is None:
            raise click.UsageError(f"{name} is missing")
    order = _order(str(manifest), options | {"out": out})
    try:
        code = _print_plan(order) if dry_run else _run(order)
    except JobLockedError as error:
        code = exits.BAD_USAGE
        exits.tell_end(error, str(error), code, as_json=order.as_json)
    raise click.exceptions.Exit(code)


def _order(manifest: str, given: dict[str, Any]) -> _Order:
    fields = given_fields(given)
    if "seed" in fields:
        raise click.UsageError("--seed would make every image alike; --seed-start counts up")
    defaults = Defaults(
        endpoint=given["endpoint"],
        fields=fields,
        seed_start=given["seed_start"],
        repeat=given["repeat"],
        keep_columns=given["keep_columns"],
    )
    named = {name: given[name] for name in attrs.fields_dict(JobOptions) if name in given}
    named["formats"] = [name for name in given["formats"] if name != "files"]
    options = JobOptions(
        **named, defaults=defaults, emulated=given["emulator"], on_lines=Patience()
    )
    return _Order(
        source=_stdin() if manifest == "-" else Path(manifest),
        out=given["out"],
        options=options,
        **{name: given[name] for name in ("rate", "base_url", "emulator", "as_json")},
    )


def _verify(folder: str, *, as_json: bool) -> int:
    found = verify_job(folder)
    if as_json:
        print_json(attrs.asdict(found) | {"out": folder})
    else:
        for flaw in found.flaws:
            click.echo(f"{flaw.file}: {flaw.problem}")
        for words in verify_words(found):
            exits.say(words)
    return exits.SOME_FAILED if found.flaws else exits.ALL_DONE


def _stdin() -> BinaryIO:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # it was closed by the shell
        raise click.UsageError("MANIFEST is -, but standard input is closed")
    try:
        # A stream of its own: the interpreter closes sys.stdin in the end, and dies of that when
        # a read that was left behind still holds it.
        return open(sys.stdin.fileno(), "rb", closefd=False)  # for the whole run
    except UnsupportedOperation:  # it was replaced by one without a descriptor
        return sys.stdin.buffer


def _print_plan(order: _Order) -> int:
    keys = 1 if order.emulator else len(_keys_if_any())
    planned = exits.run(
        plan(
            order.source,
            out=order.out,
            options=order.options,
            service=order.service,
            rate_limit=order.rate_limit,
            keys=keys,
        )
    )
    if order.as_json:
        price = {"credits": planned.credits, "dollars": planned.dollars}
        print_json(attrs.asdict(planned) | price | {"dry_run": True})
    else:
        for words in plan_words(planned, order.options.max_credits):
            click.echo(words)
    return exits.ALL_DONE


def _keys_if_any() -> tuple[str, ...]:
    """Return the keys of the environment; a plan needs none, and assumes one then."""
    try:
        return config.read_keys(None)
    except ValueError:
        return ("",)


def _run(order: _Order) -> int:
    check_server(base_url=order.base_url, emulator=order.emulator)
    job, code = exits.run(_work(order))
    _tell(job, order, code)
    return code


async def _work(order: _Order) -> tuple[BulkJob, int]:
    async with (
        client_from_options(
            base_url=order.base_url,
            emulator=order.emulator,
            rate_limit=order.rate_limit,
            max_in_flight=order.options.concurrency,
        ) as client,
        BulkJob(client, order.source, out=order.out, options=order.options) as job,
    ):
        tell_changes(job.stats)
        with _graceful(job), _progress(client, job):
            try:
                await job.run()
            except (StorageError, JobError):
                if job.stop_reason not in ("storage", "error"):
                    raise
        if order.options.reports or order.options.formats:
            exits.say("writing the reports")
    return job, _exit_code(job)


@contextmanager
def _graceful(job: BulkJob) -> Generator[None]:
    """Land what is in flight on the first signal, and break it off on the second."""

    def on_signal(count: int) -> None:
        if count > 1:
            job.cancel()
            return
        exits.say("stopping: what is in flight may land; again to break it off")
        job.stop()

    with exits.handling_signals(on_signal):
        yield


@contextmanager
def _progress(client: SD3Client, job: BulkJob) -> Generator[None]:
    before = job.stats

    def read() -> Snapshot:
        stats = job.stats
        return Snapshot(
            done=stats.done - stats.resumed,
            failed=stats.failed + stats.unknown - before.failed - before.unknown,
            in_flight=stats.in_flight,
            total=before.unsent,
            credits=stats.credits_spent,
            usage=Usage.of(client),
            frozen_for=client.frozen_for,
        )

    with display(read):
        yield


def _exit_code(job: BulkJob) -> int:
    if job.stop_reason is not None:
        return _EXIT_CODES[job.stop_reason]
    stats = job.stats
    is_short = stats.failed or stats.unknown or stats.missing
    return exits.SOME_FAILED if is_short else exits.ALL_DONE


def _tell(job: BulkJob, order: _Order, code: int) -> None:
    summary = job.summary
    assert summary is not None  # the job has been left
    if order.as_json:
        failure = None if job.failure is None else str(job.failure)
        ends = {"exit_code": code, "stop_reason": job.stop_reason, "failure": failure}
        print_json(summary.to_dict() | ends | {"out": str(job.out)})
        return
    stderr_console(highlight=False).print(table_of(job))
    if job.stop_reason is not None:
        words = ENDS[job.stop_reason]
        exits.say(words if job.failure is None else f"{words}: {job.failure}")
    written = job.out / ("index.html" if order.options.reports else "results.jsonl")
    if written.exists():  # a full disk has no room for it either
        exits.echo_result(written)
