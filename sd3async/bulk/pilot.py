"""One item, from the queue to its end: intent, request, image, sidecar, done."""

import random
from pathlib import Path

import attrs

from sd3async._clock import Clock
from sd3async._threads import in_thread
from sd3async.bulk.budget import Budget
from sd3async.bulk.disk import DiskSpace
from sd3async.bulk.errors import storage_error
from sd3async.bulk.flights import Flight, watch
from sd3async.bulk.folder import JobFolder
from sd3async.bulk.journal import Delivery, Journal, QueuedItem
from sd3async.bulk.records import State
from sd3async.bulk.stats import Counters, StopReason
from sd3async.bulk.streaks import Streaks
from sd3async.client import SD3Client
from sd3async.errors import (
    AuthenticationError,
    ConnectFailedError,
    InvalidRequestError,
    PaymentRequiredError,
    SD3Error,
)
from sd3async.models.requests import GenerationRequest, request_from_dict
from sd3async.models.results import GeneratedImage, Outcome
from sd3async.retry import is_retryable

_MAX_ERROR_CHARS = 2_000


class Halt(Exception):  # noqa: N818  # not an error: an order to the runner
    """The whole job has to stop.

    Args:
        reason: Why.
        error: What was met.
    """

    def __init__(self, reason: StopReason, error: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason
        self.error = error


@attrs.frozen
class Landed:
    """An item that has ended.

    Attributes:
        outcome: What came of it.
        number: The item.
        shared_by: How many further items end with it, because they share its image.
    """

    outcome: Outcome
    number: int
    shared_by: int


class _Seal:
    """Writes an image's sidecar when the image is whole, and keeps what went wrong for later.

    The image itself comes first: a sidecar that cannot be written must not undo it.
    """

    def __init__(self, folder: JobFolder, item: QueuedItem) -> None:
        self._folder = folder
        self._names = {"index": item.number, "id": item.id, "tags": item.tags}
        self._result: Delivery | Exception | None = None

    def __call__(self, image: GeneratedImage, part: Path) -> None:
        try:
            self._result = self._folder.seal(self._names, image, part)
        except Exception as error:  # noqa: BLE001  # raised by `delivery`
            self._result = error

    def delivery(self) -> Delivery:
        """Return what is on the disk.

        Raises:
            StorageError: The sidecar could not be written.
        """
        if isinstance(self._result, Exception):
            raise self._result
        assert self._result is not None  # it was called, or there would be no image
        return self._result


class Pilot:
    """Takes items through, one call of `fly` for each.

    Args:
        client: The caller's client.
        journal: Open.
        folder: Claimed.
        budget: What may be spent.
        disk: Told how large the images are.
        counters: Kept up to date.
        deadline: For each item, from its admission [s]; None is for ever.
        hold_unknown: Keep items that are perhaps paid for review, instead of sending them again.
        clock: Time.

    Attributes:
        is_stopping: Whether items that could be tried again are to be given back instead.
    """

    def __init__(
        self,
        client: SD3Client,
        *,
        journal: Journal,
        folder: JobFolder,
        budget: Budget,
        disk: DiskSpace,
        counters: Counters,
        deadline: float | None,
        hold_unknown: bool,
        clock: Clock,
    ) -> None:
        self._policy = client.retry
        # Whether to pay a second time is for the journal and the budget to say, not for the call.
        self._client = client.with_options(
            retry=attrs.evolve(client.retry, on_unknown="raise"),
            observers=(*client.observers, watch),
        )
        self._journal = journal
        self._folder = folder
        self._budget = budget
        self._disk = disk
        self._counters = counters
        self._deadline = deadline
        self._hold_unknown = hold_unknown
        self._clock = clock
        self._was_reached = False
        self._streaks = Streaks()
        self.is_stopping = False

    async def fly(self, flight: Flight) -> Landed:
        """Take one item to its end.

        Args:
            flight: The item.

        Returns:
            What came of it, durably.

        Raises:
            Halt: The key, the money or the disk is at its end; the item is to be sent again.
        """
        try:
            return await self._generate(flight)
        except BaseException:
            if flight.is_aloft:  # it stays marked as sent: what became of it is found out later
                self._counters.possibly_paid += 1
            else:
                self._give_back(flight)
            raise

    async def _generate(self, flight: Flight) -> Landed:
        item = flight.item
        try:
            request = await self._prepare(flight)
        except InvalidRequestError as error:
            return await self._end(flight, None, error)
        path = await self._room_for(item.number, request.output_format)
        await self._journal.sent(item.number, self._clock.time())
        ends_at = None if self._deadline is None else self._clock.monotonic() + self._deadline
        tries = 0
        while True:
            tries += 1
            seal = _Seal(self._folder, item)
            try:
                image = await self._call(request, path, seal, ends_at)
            except SD3Error as error:
                if self._is_outage(error, ends_at):
                    tries = 0  # nothing was sent, and the next one would meet the same
                elif not self._may_pay_again(flight, error, tries, ends_at):
                    self._check_service(flight, request, error)
                    return await self._end(flight, request, error)
                self._note_try(flight)
            except OSError as error:
                flight.is_aloft = True  # answered and paid, but not kept
                raise Halt("storage", storage_error(self._folder.path, error)) from error
            else:
                self._streaks.succeeded(request)
                return await self._keep(flight, image, seal.delivery())
            await self._clock.sleep(self._backoff(tries))

    async def _prepare(self, flight: Flight) -> GenerationRequest:
        fields = self._folder.resolve(flight.item.fields)
        if "image" in fields:
            return await in_thread(request_from_dict, fields)
        return request_from_dict(fields)

    async def _room_for(self, number: int, output_format: str) -> Path:
        name = self._folder.image_name(number, output_format)
        if self._folder.has_room(name):
            return self._folder.path / name
        return await in_thread(self._folder.make_room, name)

    async def _call(
        self, request: GenerationRequest, path: Path, seal: "_Seal", ends_at: float | None
    ) -> GeneratedImage:
        left = None if ends_at is None else ends_at - self._clock.monotonic()
        try:
            return await self._client.generate(request, to=path, on_whole=seal, deadline=left)
        except (AuthenticationError, PaymentRequiredError) as error:
            raise Halt("payment", error) from error
        except InvalidRequestError as error:
            if error.field == "to" and isinstance(error.__cause__, OSError):
                cause = storage_error(self._folder.path, error.__cause__)
                raise Halt("storage", cause) from error
            raise

    async def _keep(self, flight: Flight, image: GeneratedImage, delivery: Delivery) -> Landed:
        item = flight.item
        attempts, _ = flight.book()
        shared_by = await self._journal.done(
            item.number, delivery, attempts=attempts, at=self._clock.time()
        )
        self._was_reached = True
        self._disk.note(image.size)
        flight.spent = delivery.credits
        self._counters.done += 1 + shared_by
        self._counters.credits_spent += delivery.credits
        outcome = Outcome(index=item.number, request=image.request, image=image)
        return Landed(outcome, item.number, shared_by)

    async def _end(
        self, flight: Flight, request: GenerationRequest | None, error: SD3Error
    ) -> Landed:
        item = flight.item
        attempts, unknown = flight.book()
        state: State = "unknown" if unknown and self._hold_unknown else "failed"
        shared_by = await self._journal.ended(
            item.number,
            state,
            str(error)[:_MAX_ERROR_CHARS],
            attempts=attempts,
            unknown=unknown,
            at=self._clock.time(),
        )
        flight.spent = unknown * item.price
        self._counters.possibly_paid += unknown
        if state == "failed":
            self._counters.failed += 1 + shared_by
        else:
            self._counters.unknown += 1 + shared_by
        outcome = Outcome(index=item.number, request=request or item.fields, error=error)
        return Landed(outcome, item.number, shared_by)

    def _may_pay_again(
        self, flight: Flight, error: SD3Error, tries: int, ends_at: float | None
    ) -> bool:
        """Whether to send again what may have been paid without an image.

        Raises:
            Halt: It should be, but not in this run.
        """
        is_spent = tries >= self._policy.attempts or self._is_late(ends_at)
        if self._hold_unknown or not flight.unknown_charges or is_spent or not is_retryable(error):
            return False
        if self.is_stopping or not self._budget.fits(flight.item.price):
            flight.is_aloft = False
            raise Halt("budget")
        return True

    def _check_service(self, flight: Flight, request: GenerationRequest, error: SD3Error) -> None:
        """Take a failure for the service's when it is one of many in a row.

        Raises:
            Halt: It is. The item has not failed, and is sent again by the next run.
        """
        if self._streaks.is_hopeless(request, error):
            # What may have been paid and is to be held stays marked as sent, and is found so.
            flight.is_aloft = self._hold_unknown and flight.unknown_charges > 0
            raise Halt("service", error)

    def _is_outage(self, error: SD3Error, ends_at: float | None) -> bool:
        """Whether to sit an outage out: a night's job must not fail for an hour without network.

        Raises:
            Halt: The service was never reached, so that a wrong address is more likely.
        """
        if not isinstance(error, ConnectFailedError):
            self._was_reached = True
            return False
        if not self._was_reached:
            raise Halt("unreachable", error)
        return not self._is_late(ends_at)

    def _is_late(self, ends_at: float | None) -> bool:
        return ends_at is not None and ends_at <= self._clock.monotonic()

    def _note_try(self, flight: Flight) -> None:
        """Write down a call that failed, before the item is sent again."""
        attempts, unknown = flight.book()
        self._journal.returned(flight.item.number, "sent", attempts=attempts, unknown=unknown)
        self._budget.settle(0.0, unknown * flight.item.price)
        self._counters.possibly_paid += unknown
        self._counters.retried += 1
        flight.is_aloft = False

    def _give_back(self, flight: Flight) -> None:
        attempts, unknown = flight.book()
        self._journal.returned(flight.item.number, "pending", attempts=attempts, unknown=unknown)
        flight.spent = unknown * flight.item.price
        self._counters.possibly_paid += unknown

    def _backoff(self, tries: int) -> float:
        if tries == 0:
            return self._policy.max_wait
        return random.uniform(0.0, min(self._policy.max_wait, self._policy.wait * 2 ** (tries - 1)))
