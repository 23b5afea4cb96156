"""One run of a job: items are admitted in order, fly at the same time, and land in the ledger.

Admission is bounded three times: by `concurrency`, so that memory does not grow with the job; by
how many may wait for their first permit, so that room and money are set aside for little more than
what is with the server; and by what the caller has not yet taken of the outcomes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import attrs

from sd3async._threads import outlast
from sd3async.bulk.errors import StorageError
from sd3async.bulk.keeping.ledger import QueuedItem
from sd3async.bulk.sending.flight import Flight, Halt, Landed, Means
from sd3async.bulk.status import StopReason
from sd3async.models.results import Outcome

# Enough for the limiter never to run dry while items are prepared.
_MOST_WAITING = 16

_PAGE = 256


class Run:
    """Sends what the ledger's queue holds.

    Args:
        means: What all flights have in common.
        concurrency: Most items on their way at once.
        is_careful: Whether to send one at a time until an image has been kept.

    Attributes:
        stop_reason: Why it ended before everything was sent; None when it did not.
        failure: The error behind that, when there is one.
    """

    def __init__(self, means: Means, *, concurrency: int, is_careful: bool = False) -> None:
        self._means = means
        self._is_careful = is_careful
        self._workers = asyncio.Semaphore(concurrency)
        self._waiting = asyncio.Semaphore(min(_MOST_WAITING, concurrency))
        self._untaken = asyncio.Semaphore(2 * concurrency)
        self._landed: asyncio.Queue[Landed | None] = asyncio.Queue()
        self._flights: dict[asyncio.Task[Landed], Flight] = {}
        self._a_flight_ended = asyncio.Event()
        self._admission: asyncio.Task[None] | None = None
        self.stop_reason: StopReason | None = None
        self.failure: BaseException | None = None

    async def outcomes(self) -> AsyncGenerator[Outcome]:
        """Run, and yield what comes of each item as soon as it is durable.

        Raises:
            StorageError: The disk or the ledger failed; nothing more was sent.
            JobError: Something happened that should not.
        """
        self._admission = admission = asyncio.create_task(self._admit())
        admission.add_done_callback(lambda _: self._landed.put_nowait(None))
        try:
            while not admission.done() or self._flights or not self._landed.empty():
                landed = await self._landed.get()
                if landed is None:
                    continue
                self._untaken.release()
                yield landed.outcome
                async for outcome in self._sharing(landed):
                    yield outcome
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            await self.land()
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
        if self._admission is not None:
            self._admission.cancel()
        for flight in self._flights.values():
            flight.stop()

    def interrupt(self) -> None:
        """Stop because somebody wants it, unless everything has ended anyway."""
        is_over = self._admission is not None and self._admission.done() and not self._flights
        if not is_over:
            self.stop("interrupted")

    def cancel(self) -> None:
        """Break off everything; what is with the server is possibly paid."""
        self.interrupt()
        for task in self._flights:
            task.cancel()

    async def _admit(self) -> None:
        """Send off one item after the other, as disk, money and the caller allow."""
        if self.stop_reason is not None:
            return
        async for item in self._queued():
            await self._untaken.acquire()
            await self._workers.acquire()
            await self._waiting.acquire()
            price = 0.0 if item.started else item.price  # what was begun is set aside as that
            if not await self._has_disk() or not await self._has_money(price):
                return
            self._begin(item)
            if self._is_careful:
                await self._see_it_land()

    async def _see_it_land(self) -> None:
        """Wait for a flight that is alone in the air."""
        before = self._means.accounts.stats.done
        while self._flights:
            self._a_flight_ended.clear()
            await self._a_flight_ended.wait()
        self._is_careful = self._means.accounts.stats.done == before

    async def _queued(self) -> AsyncIterator[QueuedItem]:
        last: QueuedItem | None = None
        while page := await self._means.ledger.queue(last, _PAGE):
            for item in page:
                yield item
            last = page[-1]

    async def _has_disk(self) -> bool:
        """Wait until the disk has room for one more image, or surely never will."""
        disk, items = self._means.disk, self._means.accounts.stats.total
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

    async def _has_money(self, price: float) -> bool:
        """Wait until the price fits under the cap, or surely never will."""
        while not self._means.accounts.fits(price):
            if not self._flights:
                self.stop_reason = self.stop_reason or "budget"
                return False
            self._a_flight_ended.clear()
            await self._a_flight_ended.wait()
        return True

    def _begin(self, item: QueuedItem) -> None:
        wait = _Once(self._waiting)
        flight = Flight(item, self._means, wait.release)
        self._means.accounts.began(flight.reserved)
        flight.task = task = asyncio.create_task(flight.fly())
        self._flights[task] = flight
        task.add_done_callback(lambda _: wait.release())
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Landed]") -> None:
        flight = self._flights.pop(task)
        self._means.accounts.left(flight.reserved)
        self._workers.release()
        self._a_flight_ended.set()
        error = None if task.cancelled() else task.exception()
        landed = None if error or task.cancelled() else task.result()
        error = error or (landed.problem if landed else None)
        if isinstance(error, Halt):
            self.stop(error.reason, error.error)
        elif error is not None:
            self._stop_for(error)
        # Without a landing, too: the reader looks whether that was the last flight.
        self._landed.put_nowait(landed)

    def _stop_for(self, error: BaseException) -> None:
        """Stop for what came out of a task that should have dealt with it."""
        if isinstance(error, StorageError):
            self.stop("storage", error)
        else:
            self.stop("error", self._means.shelf.log_error(error))

    async def _sharing(self, landed: Landed) -> AsyncIterator[Outcome]:
        """Yield the outcomes of the items that share an image, a page at a time."""
        number, after = landed.outcome.index, -1
        while landed.shared_by:
            page = await self._means.ledger.linked(number, after, _PAGE)
            if not page:
                return
            for sharing in page:
                yield attrs.evolve(landed.outcome, index=sharing)
            after = page[-1]

    async def land(self) -> None:
        """Admit nothing more, and wait until nothing is on its way.

        When cancelled, break everything off, and wait for that through every further cancellation:
        who leaves closes the ledger behind it.
        """
        if self._admission is not None and not self._admission.done():
            self.stop("interrupted")
        while pending := [task for task in (self._admission, *self._flights) if task is not None]:
            if all(task.done() for task in pending):
                return
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError:
                self.cancel()
                await outlast(*pending)
                raise


class _Once:
    """A place that is given back once, whoever says so first."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def release(self) -> None:
        """Give it back."""
        if self._places is not None:
            self._places.release()
            self._places = None
