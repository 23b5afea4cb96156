"""Bulk jobs: a source of requests in, a folder of images out, safe against every kind of end."""

import asyncio
import functools
import math
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, nullcontext, suppress
from pathlib import Path
from types import AsyncGeneratorType, TracebackType
from typing import Self, Unpack, cast

import attrs

from sd3async._clock import SYSTEM_CLOCK, Clock
from sd3async._threads import in_thread, outlast
from sd3async.bulk.errors import FolderError, ManifestError
from sd3async.bulk.intake import take_in
from sd3async.bulk.intake.sources import LineSource, Source, as_line_source
from sd3async.bulk.keeping.disk import DiskSpace
from sd3async.bulk.keeping.folder import JobFolder, read_out
from sd3async.bulk.keeping.journal import Journal, read_records
from sd3async.bulk.keeping.recovery import recover
from sd3async.bulk.keeping.stock import note_missing
from sd3async.bulk.options import GivenOptions, JobOptions
from sd3async.bulk.records import EMULATOR, ItemRecord, JobSummary
from sd3async.bulk.sending.accounts import Accounts
from sd3async.bulk.sending.flight import Means
from sd3async.bulk.sending.run import Run
from sd3async.bulk.status import JobStats, StopReason
from sd3async.client import SD3Client
from sd3async.errors import SD3Error
from sd3async.models.results import Outcome

# The balance is nice to know, never worth a wait.
_BALANCE_DEADLINE = 10.0  # [s] before the first request, which would wait as well
_LAST_BALANCE_DEADLINE = 2.0  # [s] after the last image, for the answer alone
_AT_ONCE = 0.1  # [s]


class BulkJob:
    """A durable job: every image that was paid for is on disk, whatever ends the program.

    The journal in the job's folder knows each item. A new job on the same folder goes on where
    the last one ended: done items are never sent again, identical requests with a fixed seed are
    generated once, and what was on its way in a crash is adopted if its image is there, and
    counted as possibly paid if not.

        async with BulkJob(client, "prompts.jsonl", out="images", max_credits=500) as job:
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
        options: How it is to be done.
        clock: Time, for tests.
        **changes: Single options by name, in place of those of `options`: see `JobOptions`.

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
        options: JobOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **changes: Unpack[GivenOptions],
    ) -> None:
        self._client = client
        self._options = options = attrs.evolve(options or JobOptions(), **changes)
        self._source: LineSource | None = (
            None if source is None else as_line_source(source, options.shape)
        )
        self._clock = clock
        self._service = EMULATOR if options.emulated else client.base_url
        self._folder = JobFolder(read_out(out), self._service)
        self._journal = Journal(self._folder.journal)
        self._disk = DiskSpace(self.out, clock)
        self._accounts = Accounts(JobStats(), options.max_credits)
        self._run: Run | None = None
        self._outcomes: AsyncGenerator[Outcome] | None = None
        self._asking: asyncio.Task[float | None] | None = None
        self._is_abandoned = threading.Event()
        self._is_careful = False
        self._was_entered = self._was_stopped = False
        self._started_at = 0.0
        self._balance_before: float | None = None
        self._freezes_before = 0
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
        frozen = self._client.freezes - self._freezes_before
        return attrs.evolve(self._accounts.stats, frozen=frozen)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run ended before everything was sent; None when it did not."""
        return None if self._run is None else self._run.stop_reason

    @property
    def failure(self) -> BaseException | None:
        """The error behind `stop_reason`, when there is one."""
        return None if self._run is None else self._run.failure

    def records(self) -> Iterator[ItemRecord]:
        """Read every item from the journal, in the manifest's order, a row at a time. Blocks."""
        return read_records(self._folder.journal)

    def stop(self) -> None:
        """Admit nothing more and take back what only waits; what is with the server lands.

        A job that is not yet entered will send nothing; one that has sent everything stays so.
        """
        self._was_stopped = True
        if self._run is not None:
            self._run.interrupt()
        if self._asking is not None:
            self._asking.cancel()

    def cancel(self) -> None:
        """Break off everything; what is with the server counts as possibly paid."""
        self.stop()
        if self._run is not None:
            self._run.cancel()

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
        if self._outcomes is None:
            self._outcomes = self._send(self._entered())
        return self._outcomes

    def _entered(self) -> Run:
        if self._run is None:
            raise RuntimeError("the job has not been entered: use `async with BulkJob(…) as job`")
        return self._run

    async def __aenter__(self) -> Self:
        """Take the source in. Nothing is sent yet.

        Raises:
            ManifestError: The source has bad lines.
            JobLockedError: Another process is at work in the folder.
            FolderError: The folder belongs to something else.
            StorageError: The folder or the journal cannot be used.
        """
        if self._was_entered:
            raise RuntimeError(
                "a job is entered once: make another BulkJob to go on with its folder"
            )
        self._was_entered = True
        self._started_at = self._clock.time()
        self._freezes_before = self._client.freezes
        claim = functools.partial(self._folder.claim, force=self._options.force)
        await in_thread(claim, dispose=lambda _: self._folder.release())
        try:
            await self._journal.store.open()
            await self._journal.note("process", str(os.getpid()))
            await self._take_in()
        except BaseException as error:
            await self._put_away(is_refused=isinstance(error, ManifestError | FolderError))
            raise
        self._run = self._prepare_run()
        if self._was_stopped:
            self._run.interrupt()
        return self

    async def _take_in(self) -> None:
        await self._journal.end_run()  # before what the last one left gets newer instants
        self._accounts.stats = await take_in(
            self._journal, self._folder, self._source, self._options, at=self._clock.time()
        )
        await self._journal.begin_run(self._started_at)
        # What refused images then, such as a quota, the disk does not tell.
        self._is_careful = await self._journal.meta("stop_reason") == "storage"
        self._disk.note(await self._journal.largest())

    def _prepare_run(self) -> Run:
        never_twice = attrs.evolve(self._client.retry, on_unknown="raise")
        means = Means(
            client=self._client.with_options(retry=never_twice),
            ledger=self._journal,
            shelf=self._folder,
            disk=self._disk,
            accounts=self._accounts,
            deadline=self._options.deadline,
            holds=self._options.holds,
            clock=self._clock,
        )
        return Run(
            means,
            concurrency=self._options.concurrency or self._client.max_in_flight,
            is_careful=self._is_careful,
        )

    async def _send(self, run: Run) -> AsyncGenerator[Outcome]:
        if run.stop_reason is None and self._client.frozen_for == 0:
            self._balance_before = await self._first_balance()
        async with aclosing(run.outcomes()) as outcomes:
            async for outcome in outcomes:
                yield outcome

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
                await self._end(self._outcomes)
            if exc is None or isinstance(exc, Exception):
                await self._finish(may_fail=exc is not None)
        finally:
            await self._put_away()

    async def _end(self, outcomes: AsyncGenerator[Outcome]) -> None:
        """Land what is in flight, though another task may be waiting for the outcomes."""
        generator = cast("AsyncGeneratorType[Outcome, None]", outcomes)
        while generator.ag_running:
            self.stop()
            await self._entered().land()
            await asyncio.sleep(0)  # that task hears of it, and takes what is left
        await outcomes.aclose()

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

    async def _finish(self, *, may_fail: bool) -> None:
        """Settle what was cut off, count, and write the results."""
        if self.stop_reason in ("room", "storage"):
            may_fail = True
        runs, worked, is_emulated = 1, 0.0, self._options.emulated
        # Where something has failed already, that says more than what follows from it.
        forgiving = suppress(SD3Error, OSError) if may_fail else nullcontext()
        with forgiving:
            await self._journal.store.submit(lambda db: note_missing(db, self._folder))
            at = self._clock.time()
            await recover(self._journal, self._folder, holds=self._options.holds, at=at)
            self._accounts.recounted(await self._journal.count())
            is_emulated |= await self._journal.meta("emulated") is not None
            await self._journal.note("stop_reason", self.stop_reason or "")
            runs, worked = await self._journal.end_run(self._clock.time())
        ceiling = self._client.ceiling
        self.summary = JobSummary(
            **attrs.asdict(self.stats),
            name=self.out.name,
            manifest="the journal" if self._source is None else self._source.name,
            base_url=self._client.base_url,
            service=self._service,
            emulated=is_emulated,
            ceiling=ceiling if math.isfinite(ceiling) else None,
            started_at=self._started_at,
            finished_at=self._clock.time(),
            runs=runs,
            seconds=worked,
            balance_before=self._balance_before,
            balance_after=await self._last_balance(),
        )
        with forgiving:
            await self._write_out(self.summary)

    async def _first_balance(self) -> float | None:
        """Return what is on the account, unless `stop` calls the question off."""
        self._asking = asking = asyncio.create_task(self._balance(_BALANCE_DEADLINE))
        try:
            await asyncio.wait([asking])
        except asyncio.CancelledError:
            asking.cancel()
            await asyncio.wait([asking])
            raise
        return None if asking.cancelled() else asking.result()

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

    async def _write_out(self, summary: JobSummary) -> None:
        """Write the results, which may take minutes, but not for long after a cancellation."""
        from sd3async.bulk import report  # it takes time to import

        # Shards are the images once more: not on a full disk.
        formats = () if self.stop_reason in ("room", "storage") else self._options.formats
        write = functools.partial(
            report.write_out,
            self.out,
            self.records,
            summary,
            reports=self._options.reports,
            formats=formats,
            is_called_off=self._is_abandoned.is_set,
        )
        writing = asyncio.create_task(in_thread(self._folder.on_disk, write))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            self._is_abandoned.set()
            await asyncio.wait([writing])
            if not writing.cancelled():
                writing.exception()  # seen: it was told to stop by one
            raise
