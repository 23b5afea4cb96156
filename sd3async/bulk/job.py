"""Bulk jobs: a source of requests in, a folder of images out, safe against every kind of end."""

import asyncio
import functools
import math
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, get_args

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async._threads import in_thread, outlast
from sd3async.bulk.budget import Budget
from sd3async.bulk.disk import DiskSpace
from sd3async.bulk.errors import FolderError, ManifestError
from sd3async.bulk.folder import JobFolder, read_out
from sd3async.bulk.intake import Terms, recover, take_in
from sd3async.bulk.items import Defaults
from sd3async.bulk.journal import Journal, read_records
from sd3async.bulk.manifest import Shape
from sd3async.bulk.pilot import Pilot
from sd3async.bulk.records import DOLLARS_PER_CREDIT, EMULATOR, ItemRecord, JobSummary
from sd3async.bulk.runner import Runner
from sd3async.bulk.sources import LineSource, Source, as_line_source
from sd3async.bulk.stats import Counters, JobStats, StopReason
from sd3async.bulk.stock import note_missing
from sd3async.client import SD3Client
from sd3async.config import read_deadline
from sd3async.errors import SD3Error
from sd3async.models.fields import AT_LEAST_ONE, Choice, Duration, Number
from sd3async.models.results import Outcome

if TYPE_CHECKING:
    from sd3async.bulk.report import ExportFormat

# The balance is nice to know, never worth a wait.
_BALANCE_DEADLINE = 10.0  # [s] before the first request, which would wait as well
_LAST_BALANCE_DEADLINE = 2.0  # [s] after the last image, for the answer alone
_AT_ONCE = 0.1  # [s]

OnUnknown = Literal["retry", "hold"]

_ON_UNKNOWN = Choice(get_args(OnUnknown))
_CREDITS = Number(0, words="a number of credits, 0 or more,")


class BulkJob:
    """A durable job: every image that was paid for is on disk, whatever ends the program.

    The journal in the job's folder knows each item. A new job on the same folder goes on where
    the last one ended: done items are never sent again, identical requests with a fixed seed are
    generated once, and what was on its way in a crash is adopted if its image is there, and
    counted as possibly paid if not.

        async with BulkJob(client, "prompts.jsonl", out="images") as job:
            async for outcome in job:
                ...

    Entering takes the whole source in and validates every line before anything is sent. Leaving
    lands what is with the server, and writes `results.jsonl` and the reports; leaving by a
    cancellation breaks it off instead.

    Args:
        client: The client; its limiter paces the job and its retry policy holds for each item.
        source: The path of a manifest (JSON Lines, CSV or plain text), an open binary stream of
            one, or an iterable or async iterable of prompts, request values or mappings of
            fields. None goes on with what the journal holds.
        out: The job's folder; made when it is missing. One that holds other things, and no job,
            is refused.
        defaults: What lines do not say, and how often each is repeated.
        shape: Shape of the manifest's lines; None goes by its name, then by its first line.
        concurrency: Most items on their way at once, 1 or more. Default: the client's
            `max_in_flight`.
        max_credits: Most to spend over all runs of the job [credits]: what is in flight and what
            was possibly paid count as spent.
        deadline: For each item, from its admission: seconds or a `timedelta`; None is for ever.
        on_unknown: What to do with an item that may have been paid without an image: `retry`
            sends it again, `hold` keeps it for review.
        retry_failed: Send items again that failed in an earlier run.
        remake_missing: Make images again, and pay for them again, that earlier runs had left and
            that are gone or empty since.
        skip_invalid: Record bad lines and go on, instead of refusing the manifest.
        force: Work in a folder that holds other things.
        emulated: Whether the client speaks to an emulator: its images are then marked as such, and
            the job goes on with any emulator and with no service.
        reports: Whether to write the reports as well as `results.jsonl` at the end.
        formats: What to write besides, for other tools: `webdataset`, `parquet`.
        on_lines: Called now and then, while the source is taken in, with the lines read so far.
        clock: Time, for tests.

    Raises:
        InvalidRequestError: An option is out of bounds.

    Attributes:
        summary: What came of the job, once it has been left; None before.
    """

    def __init__(
        self,
        client: SD3Client,
        source: Source | None = None,
        *,
        out: str | Path,
        defaults: Defaults | None = None,
        shape: Shape | None = None,
        concurrency: int | None = None,
        max_credits: float | None = None,
        deadline: Duration | None = None,
        on_unknown: OnUnknown = "retry",
        retry_failed: bool = False,
        remake_missing: bool = False,
        skip_invalid: bool = False,
        force: bool = False,
        emulated: bool = False,
        reports: bool = True,
        formats: "Sequence[ExportFormat]" = (),
        on_lines: Callable[[int], object] = lambda _: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        width = client.max_in_flight
        if concurrency is not None:
            width = AT_LEAST_ONE.plain("concurrency", concurrency)
        if max_credits is not None:
            max_credits = _CREDITS.plain("max_credits", max_credits)
        self._client = client
        self._source: LineSource | None = None if source is None else as_line_source(source, shape)
        self._width = width
        self._max_credits = max_credits
        self._deadline = read_deadline(deadline)
        self._holds = _ON_UNKNOWN.plain("on_unknown", on_unknown) == "hold"
        self._terms = Terms(
            defaults=Defaults() if defaults is None else defaults,
            holds=self._holds,
            retry_failed=retry_failed,
            remake_missing=remake_missing,
            skip_invalid=skip_invalid,
            on_lines=on_lines,
        )
        self._force = force
        self._reports = reports
        self._formats = _checked(formats) if formats else ()
        self._clock = clock
        self._service = EMULATOR if emulated else client.base_url
        self._folder = JobFolder(read_out(out), self._service)
        self._journal = Journal(self._folder.journal)
        self._counters = Counters()
        self._budget = Budget(max_credits)
        self._disk = DiskSpace(self.out, clock)
        self._runner: Runner | None = None
        self._outcomes: AsyncGenerator[Outcome] | None = None
        self._is_abandoned = threading.Event()
        self._started_at = 0.0
        self._balance_before: float | None = None
        self._is_emulated = emulated
        self._freezes_before = 0
        self._runs, self._worked = 1, 0.0
        self.summary: JobSummary | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(out={str(self.out)!r})"

    @property
    def out(self) -> Path:
        """The job's folder."""
        return self._folder.path

    @property
    def stats(self) -> JobStats:
        """The numbers now. May be read from any thread."""
        return self._counters.snapshot(
            in_flight=0 if self._runner is None else self._runner.in_flight,
            credits_reserved=self._budget.reserved,
            frozen=self._client.freezes - self._freezes_before,
        )

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run ended before everything was sent; None when it did not."""
        return None if self._runner is None else self._runner.stop_reason

    @property
    def failure(self) -> BaseException | None:
        """The error behind `stop_reason`, when there is one."""
        return None if self._runner is None else self._runner.failure

    def records(self) -> Iterator[ItemRecord]:
        """Read every item from the journal, in the manifest's order, a row at a time. Blocks."""
        return read_records(self._folder.journal)

    def stop(self) -> None:
        """Admit nothing more and take back what only waits; what is with the server lands."""
        if self._runner is not None:
            self._runner.stop("interrupted")

    def cancel(self) -> None:
        """Break off everything; what is with the server counts as possibly paid."""
        if self._runner is not None:
            self._runner.cancel()

    async def run(self) -> JobStats:
        """Run to the end, for programs that want the files and not the outcomes.

        Returns:
            The numbers at the end.

        Raises:
            StorageError: The disk or the journal failed; what was done stays usable.
            JobError: Something else happened that should not; it is written to `error.log`.
        """
        async for _ in self:
            pass
        return self.stats

    def __aiter__(self) -> AsyncGenerator[Outcome]:
        if self._runner is None:
            raise RuntimeError("the job has not been entered: use `async with BulkJob(…) as job`")
        if self._outcomes is None:
            self._outcomes = self._runner.outcomes()
        return self._outcomes

    async def __aenter__(self) -> Self:
        """Take the source in. Nothing is sent yet.

        Raises:
            ManifestError: The source has bad lines.
            JobLockedError: Another process is at work in the folder.
            FolderError: The folder belongs to something else.
            StorageError: The folder or the journal cannot be used.
        """
        self._started_at = self._clock.time()
        self._freezes_before = self._client.freezes
        claim = functools.partial(self._folder.claim, force=self._force)
        await in_thread(claim, dispose=lambda _: self._folder.release())
        try:
            await self._journal.store.open()
            await self._journal.note("process", str(os.getpid()))
            await self._take_in()
        except BaseException as error:
            await self._put_away(is_refused=isinstance(error, ManifestError | FolderError))
            raise
        self._runner = self._make_runner()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if isinstance(exc, asyncio.CancelledError):
                self.cancel()
            if self._outcomes is not None:
                await self._outcomes.aclose()
            if exc is None or isinstance(exc, Exception):
                await self._finish(may_fail=exc is not None)
        finally:
            await self._put_away()

    async def _put_away(self, *, is_refused: bool = False) -> None:
        """Close the journal and let go of the folder, through every cancellation.

        Args:
            is_refused: Whether nothing was taken in, so that a new journal can go.
        """

        async def put_away() -> None:
            forget = False
            try:
                forget = is_refused and await self._journal.is_empty()
            finally:
                try:
                    await self._journal.store.aclose()
                finally:
                    await in_thread(functools.partial(self._folder.release, forget=forget))

        work = asyncio.create_task(put_away())
        cancelled = await outlast(work)
        work.result()
        if cancelled is not None:
            raise cancelled

    async def _take_in(self) -> None:
        await self._journal.end_run()  # before what the last one left gets newer instants
        intake = await take_in(
            self._journal, self._folder, self._source, self._terms, at=self._clock.time()
        )
        await self._journal.begin_run(self._started_at)
        self._counters.begin(intake)
        self._budget.spent = intake.totals.credits + intake.totals.unknown_credits
        self._disk.note(await self._journal.largest())

    async def _begin(self) -> None:
        if self._client.frozen_for == 0:
            self._balance_before = await self._balance(_BALANCE_DEADLINE)

    def _make_runner(self) -> Runner:
        pilot = Pilot(
            self._client,
            journal=self._journal,
            folder=self._folder,
            budget=self._budget,
            disk=self._disk,
            counters=self._counters,
            deadline=self._deadline,
            hold_unknown=self._holds,
            clock=self._clock,
        )
        return Runner(
            pilot,
            journal=self._journal,
            budget=self._budget,
            disk=self._disk,
            counters=self._counters,
            concurrency=self._width,
            begin=self._begin,
            explain=self._folder.log_error,
        )

    async def _last_balance(self) -> float | None:
        """Return what is left on the account, unless the question would have to wait in line."""
        if self._balance_before is None or self._client.estimated_wait() > _AT_ONCE:
            return None
        return await self._balance(_LAST_BALANCE_DEADLINE)

    async def _balance(self, deadline: float) -> float | None:
        try:
            return await self._client.balance(deadline=deadline)
        except SD3Error:  # gateways often have none
            return None

    async def _finish(self, *, may_fail: bool) -> None:
        """Settle what was cut off, count, and write the results."""
        if self.stop_reason in ("room", "storage"):
            may_fail = True
        # Where something has failed already, that says more than what follows from it.
        forgiving = suppress(SD3Error, OSError) if may_fail else nullcontext()
        with forgiving:
            await self._journal.store.submit(lambda db: note_missing(db, self._folder))
            await recover(self._journal, self._folder, hold=self._holds, at=self._clock.time())
            self._counters.take(await self._journal.totals())
            self._is_emulated |= await self._journal.meta("emulated") is not None
            self._runs, self._worked = await self._journal.end_run(self._clock.time())
        self.summary = self._sum_up(await self._last_balance())
        with forgiving:
            await self._in_leavable_thread(self._write_results, self.summary)

    async def _in_leavable_thread(
        self, function: Callable[[JobSummary], object], summary: JobSummary
    ) -> None:
        """Run what may take minutes, but not for long after a cancellation."""
        job = asyncio.create_task(in_thread(function, summary))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            self._is_abandoned.set()
            await asyncio.wait([job])
            if not job.cancelled():
                job.exception()  # seen: it was told to stop by one
            raise

    def _write_results(self, summary: JobSummary) -> None:
        self._folder.write_results(self._records_until_abandoned())
        if self._reports:
            from sd3async.bulk.report import write_reports

            write_reports(self.out, self._records_until_abandoned, summary)
        if self.stop_reason in ("room", "storage"):
            return  # shards are the images once more
        for name in self._formats:
            from sd3async.bulk.report import export

            export(self.out, self._records_until_abandoned, name)

    def _records_until_abandoned(self) -> Iterator[ItemRecord]:
        for record in self.records():
            if self._is_abandoned.is_set():
                raise SD3Error("the reports were called off")
            yield record

    def _sum_up(self, balance_after: float | None) -> JobSummary:
        stats = self.stats
        ceiling = self._client.ceiling
        return JobSummary(
            name=self.out.name,
            manifest="the journal" if self._source is None else self._source.name,
            started_at=self._started_at,
            finished_at=self._clock.time(),
            runs=self._runs,
            seconds=self._worked,
            total=stats.total,
            done=stats.done,
            failed=stats.failed,
            invalid=stats.invalid,
            unknown=stats.unknown,
            missing=stats.missing,
            held=stats.held,
            credits_spent=stats.credits_spent,
            dollars=stats.credits_spent * DOLLARS_PER_CREDIT,
            ceiling=ceiling if math.isfinite(ceiling) else None,
            retried=stats.retried,
            frozen=stats.frozen,
            possibly_paid=stats.possibly_paid,
            balance_before=self._balance_before,
            balance_after=balance_after,
            base_url=self._client.base_url,
            service=self._service,
            emulated=self._is_emulated,
        )


def _checked(formats: "Sequence[ExportFormat]") -> "tuple[ExportFormat, ...]":
    from sd3async.bulk.report import check_formats  # the reports take time to import

    return check_formats(formats)
