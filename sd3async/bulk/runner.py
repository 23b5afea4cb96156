"""One run of a job: items are admitted in order, fly at the same time, and land in the journal.

Admission is bounded three times: by `concurrency`, so that memory does not grow with the job; by
a short line before the rate limiter, so that few items are marked as sent that are not; and by
what the caller has not yet taken of the outcomes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import attrs

from sd3async.bulk.budget import Budget
from sd3async.bulk.disk import DiskSpace
from sd3async.bulk.errors import BulkError, StorageError
from sd3async.bulk.flights import Flight, current_flight
from sd3async.bulk.journal import QUEUE_START, Journal, QueuedItem
from sd3async.bulk.pilot import Halt, Landed, Pilot
from sd3async.bulk.stats import Counters, StopReason
from sd3async.models.results import Outcome

# Enough for the limiter never to run dry while intents are written, and few enough that a crash
# finds hardly a row marked as sent whose request had not left.
_LINE_LENGTH = 16

_PAGE = 256


class Runner:
    """Sends what the journal's queue holds.

    Args:
        pilot: Takes one item from the queue to its end.
        journal: Open.
        budget: What may be spent.
        disk: Where the images go.
        counters: Kept up to date.
        concurrency: Most items on their way at once.
        begin: Awaited before anything is sent; called off by `stop`.
        explain: Makes a sentence of an error that nobody expected.
    """

    def __init__(
        self,
        pilot: Pilot,
        *,
        journal: Journal,
        budget: Budget,
        disk: DiskSpace,
        counters: Counters,
        concurrency: int,
        begin: Callable[[], Awaitable[None]],
        explain: Callable[[BaseException], BulkError],
    ) -> None:
        self._pilot = pilot
        self._begin = begin
        self._explain = explain
        self._journal = journal
        self._budget = budget
        self._disk = disk
        self._counters = counters
        self._workers = asyncio.Semaphore(concurrency)
        self._line = asyncio.Semaphore(min(_LINE_LENGTH, concurrency))
        self._room = asyncio.Semaphore(2 * concurrency)
        self._landed: asyncio.Queue[Landed | None] = asyncio.Queue()
        self._flights: dict[asyncio.Task[None], Flight] = {}
        self._a_flight_ended = asyncio.Event()
        self._admission: asyncio.Task[None] | None = None
        self.stop_reason: StopReason | None = None
        self.failure: BaseException | None = None

    @property
    def in_flight(self) -> int:
        """Items on their way."""
        return len(self._flights)

    async def outcomes(self) -> AsyncGenerator[Outcome]:
        """Run, and yield what comes of each item as soon as it is durable.

        Raises:
            StorageError: The disk or the journal failed; nothing more was sent.
            JobError: Something happened that should not.
        """
        self._admission = admission = asyncio.create_task(self._admit())
        admission.add_done_callback(lambda _: self._landed.put_nowait(None))
        try:
            while not admission.done() or self._flights or not self._landed.empty():
                landed = await self._landed.get()
                if landed is None:
                    continue
                self._room.release()
                yield landed.outcome
                async for outcome in self._sharing(landed):
                    yield outcome
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            await self._land()
        if not admission.cancelled() and (error := admission.exception()) is not None:
            self._stop_for(error)
        if self.stop_reason in ("storage", "error") and self.failure is not None:
            raise self.failure

    def stop(self, reason: StopReason, failure: BaseException | None = None) -> None:
        """Admit nothing more, and take back what only waits; what is with the server lands.

        Args:
            reason: Why; the first one stays.
            failure: The error behind it.
        """
        if self.stop_reason is None:
            self.stop_reason = reason
            self.failure = failure
        self._pilot.is_stopping = True
        if self._admission is not None:
            self._admission.cancel()
        for flight in self._flights.values():
            flight.take_back()

    def cancel(self) -> None:
        """Break off everything; what is with the server is possibly paid."""
        self.stop("interrupted")
        for task in self._flights:
            task.cancel()

    async def _land(self) -> None:
        """Wait until nothing is on its way. When cancelled, break everything off."""
        if self._admission is not None and not self._admission.done():
            self.stop("interrupted")
        while pending := {task for task in (self._admission, *self._flights) if task is not None}:
            if all(task.done() for task in pending):
                return
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError:
                self.cancel()
                await asyncio.wait(pending)
                raise

    async def _admit(self) -> None:
        """Send off one item after the other, as room allows."""
        if self._pilot.is_stopping:
            return
        await self._begin()
        async for item in self._queued():
            await self._room.acquire()
            await self._workers.acquire()
            await self._line.acquire()
            if not await self._keepable():
                return
            if not await self._affordable(item.price):
                self.stop_reason = self.stop_reason or "budget"
                return
            self._budget.reserve(item.price)
            flight = Flight(item, self._line.release, self._on_grounded)
            flight.task = task = asyncio.create_task(self._fly(flight))
            self._flights[task] = flight
            task.add_done_callback(self._on_ended)

    async def _queued(self) -> AsyncIterator[QueuedItem]:
        place = QUEUE_START
        while page := await self._journal.queue(place, _PAGE):
            for item in page:
                yield item
            place = page[-1].place

    async def _keepable(self) -> bool:
        """Wait until the disk has room for one more image, or surely never will."""
        disk, items = self._disk, self._counters.total
        while not disk.is_known or disk.shortage(items):
            self._a_flight_ended.clear()
            in_flight = len(self._flights)
            await disk.look(in_flight)
            if not (shortage := disk.shortage(items)):
                break
            if not in_flight:
                self.stop_reason, self.failure = "room", StorageError(shortage)
                return False
            await self._a_flight_ended.wait()
        disk.begin_one()
        return True

    async def _affordable(self, price: float) -> bool:
        """Wait until the price fits under the cap, or surely never will."""
        while not self._budget.fits(price):
            if not self._flights:
                return False
            self._a_flight_ended.clear()
            await self._a_flight_ended.wait()
        return True

    def _on_grounded(self, flight: Flight) -> None:
        self._counters.retried += 1
        if self.stop_reason is not None:
            flight.take_back()

    def _on_ended(self, task: "asyncio.Task[None]") -> None:
        flight = self._flights.pop(task)
        flight.leave_line()
        self._budget.settle(flight.item.price, flight.spent)
        self._workers.release()
        self._a_flight_ended.set()
        self._landed.put_nowait(None)  # the reader looks again whether that was the last
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop_for(error)

    def _stop_for(self, error: BaseException) -> None:
        """Stop for what came out of a task that should have dealt with it."""
        if isinstance(error, StorageError):
            self.stop("storage", error)
        else:
            self.stop("error", self._explain(error))

    async def _sharing(self, landed: Landed) -> AsyncIterator[Outcome]:
        """Yield the outcomes of the items that share an image, a page at a time."""
        after = -1
        while landed.shared_by:
            page = await self._journal.linked(landed.number, after, _PAGE)
            if not page:
                return
            for number in page:
                yield attrs.evolve(landed.outcome, index=number)
            after = page[-1]

    async def _fly(self, flight: Flight) -> None:
        current_flight.set(flight)
        try:
            landed = await self._pilot.fly(flight)
        except Halt as halt:
            self.stop(halt.reason, halt.error)
        else:
            self._landed.put_nowait(landed)
