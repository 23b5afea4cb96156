"""One item, from the queue to its end: intent, request, image, done."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import attrs

from sd3async._clock import Clock
from sd3async._threads import in_thread
from sd3async.bulk.errors import storage_error
from sd3async.bulk.keeping.disk import DiskSpace
from sd3async.bulk.keeping.ledger import Delivery, Ledger, QueuedItem, Shelf
from sd3async.bulk.records import State
from sd3async.bulk.sending.accounts import Accounts
from sd3async.bulk.sending.health import ServiceHealth
from sd3async.bulk.status import StopReason
from sd3async.client import SD3Client
from sd3async.errors import (
    APIError,
    AuthenticationError,
    ConnectFailedError,
    InvalidRequestError,
    PaymentRequiredError,
    SD3Error,
)
from sd3async.models.base import GenerationRequest
from sd3async.models.requests import request_from_dict
from sd3async.models.results import GeneratedImage, Outcome, PendingImage
from sd3async.retry import is_retryable
from sd3async.telemetry import Done, Event, PermitGranted, PutOff, Retried

_MAX_ERROR_CHARS = 2_000
_GONE = 404  # what was begun is kept for 24 hours, and for the key that began it


class Halt(Exception):  # noqa: N818  # not an error: an order to the run
    """The whole run has to stop.

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
        shared_by: How many further items end with it, because they share its image.
        problem: What is wrong all the same: what is known of it stands in the ledger alone.
    """

    outcome: Outcome
    shared_by: int
    problem: Exception | None = None


@attrs.frozen(kw_only=True)
class Means:
    """What all flights of a run have in common.

    Attributes:
        client: Sends the requests, none again that may have been paid: whether to pay a second
            time is for the ledger and the cap to say.
        ledger: Told of each step.
        shelf: Where the images go.
        disk: Told how large they are.
        accounts: Where images and money are booked.
        health: Whether the service is simply wrong.
        deadline: For each item, from its admission [s]; None is for ever.
        holds: Whether items that are possibly paid are held for review, not sent again.
        clock: Time.
    """

    client: SD3Client
    ledger: Ledger
    shelf: Shelf
    disk: DiskSpace
    accounts: Accounts
    health: ServiceHealth = attrs.field(factory=ServiceHealth)
    deadline: float | None
    holds: bool
    clock: Clock


class _Seal:
    """Notes what an image is when it is whole, and keeps what went wrong with that for later.

    The image itself comes first: a note that cannot be written must not undo it.

    Attributes:
        image: The image, once it is whole.
        delivery: What is known of it.
        problem: Why that could not be written down, if it could not.
    """

    def __init__(self, shelf: Shelf, item: QueuedItem) -> None:
        self._shelf = shelf
        self._item = item
        self.image: GeneratedImage | None = None
        self.delivery: Delivery | None = None
        self.problem: Exception | None = None

    def __call__(self, image: GeneratedImage, part: Path) -> None:
        self.image = image
        try:
            self.delivery = self._shelf.describe(image, part)
            self._shelf.seal(self._item, image, self.delivery)
        except Exception as error:  # noqa: BLE001  # raised when the image is safe
            self.problem = error


class Flight:
    """One item on its way.

    A run must know which requests are with the server, for those may be paid and have to land, and
    which only wait, for those can be taken back: the client's own events tell.

    Args:
        item: The item.
        means: What it shares with the others.
        on_permit: Called when it no longer waits for its first permit; perhaps more than once.

    Attributes:
        task: What takes it through; set by who begins it.
        reserved: What is set aside for it [credits].
    """

    def __init__(self, item: QueuedItem, means: Means, on_permit: Callable[[], object]) -> None:
        self.item = item
        self.task: asyncio.Task[Landed] | None = None
        self._means = means
        self._on_permit = on_permit
        self._pending = None if item.started is None else PendingImage.from_dict(item.started)
        self.reserved = 0.0 if self._pending else item.price
        self._ends_at: float | None = None
        self._is_stopping = False
        self._is_marked = False  # as sent, in the ledger
        self._is_aloft = False  # with the server, as far as we can tell, or landed
        self._attempts = 0  # of the calls that ended, and are not booked yet
        self._unknown = 0  # those of them that may have been paid

    async def fly(self) -> Landed:
        """Take the item to its end.

        Returns:
            What came of it, durably.

        Raises:
            Halt: The key, the money or the disk is at its end; the item is to be sent again.
        """
        try:
            return await self._generate()
        except BaseException:
            if self._is_aloft and self._pending is None:
                # It stays marked as sent: what became of it is found out later.
                self._means.accounts.possibly_paid(1, self.item.price)
            else:
                self._give_back()
            raise

    def stop(self) -> None:
        """Take it back, unless it is with the server; it is not sent again then."""
        self._is_stopping = True
        if self.task is not None and not self._is_aloft:
            self.task.cancel()

    async def _generate(self) -> Landed:
        means, number = self._means, self.item.number
        try:
            request = await self._prepare()
        except InvalidRequestError as error:
            return await self._fail(None, error)
        path = await means.shelf.place_for(number, request.output_format)
        if means.deadline is not None:
            self._ends_at = means.clock.monotonic() + means.deadline
        tries = 0
        while True:
            tries += 1
            seal = _Seal(means.shelf, self.item)
            try:
                image = await self._call(request, path, seal)
            except SD3Error as error:
                if self._is_outage(error):
                    tries = 0  # nothing was sent, and the next one would meet the same
                elif seal.image is not None and path.is_file():
                    return await self._keep(seal.image, seal)  # it got its name at its deadline
                else:
                    if self._pending is None:
                        self._check_service(request, error)
                    if not self._may_try_again(error, tries):
                        return await self._fail(request, error)
                self._give_back()
                means.accounts.retried()
                self._is_aloft = False
            except OSError as error:
                self._is_aloft = True  # answered and paid, but not kept
                raise Halt("storage", storage_error(means.shelf.path, error)) from error
            else:
                means.health.served(request)
                return await self._keep(image, seal)
            await means.clock.sleep(self._backoff(tries))

    async def _prepare(self) -> GenerationRequest:
        fields = self._means.shelf.resolve(self.item.fields)
        if fields is self.item.fields:  # no image in it: nothing to read
            return request_from_dict(fields)
        return await in_thread(request_from_dict, fields)

    async def _call(self, request: GenerationRequest, path: Path, seal: _Seal) -> GeneratedImage:
        left = None if self._ends_at is None else self._ends_at - self._means.clock.monotonic()
        # Not kept: it knows this flight, and neither is to be left to the garbage collector.
        client = self._means.client.with_options(
            observers=(*self._means.client.observers, self._note)
        )
        try:
            if self._pending is not None:
                pending = attrs.evolve(self._pending, request=request)
                return await client.result(pending, to=path, on_whole=seal, deadline=left)
            return await client.generate(
                request,
                to=path,
                on_whole=seal,
                on_attempt=self._mark,
                on_started=self._started,
                deadline=left,
            )
        except (AuthenticationError, PaymentRequiredError) as error:
            raise Halt("payment", error) from error
        except InvalidRequestError as error:
            if error.field == "to" and isinstance(error.__cause__, OSError):
                cause = storage_error(self._means.shelf.path, error.__cause__)
                raise Halt("storage", cause) from error
            raise

    async def _mark(self) -> None:
        """Make durable that the request is about to be sent, if the ledger does not say so."""
        if not self._is_marked:
            await self._means.ledger.sent(self.item.number, self._means.clock.time())
            self._is_marked = True

    async def _started(self, pending: PendingImage) -> None:
        """Make durable what the service has begun: from now on it is fetched, not sent again."""
        self._pending = pending
        self._means.accounts.started(self.reserved, self.item.price)
        self.reserved = 0.0
        await self._means.ledger.started(self.item.number, pending.to_dict())

    async def _keep(self, image: GeneratedImage, seal: _Seal) -> Landed:
        means, number = self._means, self.item.number
        if seal.delivery is None:
            raise seal.problem or RuntimeError("an image that was not seen whole")
        attempts, _ = self._unbooked()
        shared_by = await means.ledger.done(
            number, seal.delivery, attempts=attempts, at=means.clock.time()
        )
        means.disk.note(image.size)
        self._end_start()
        means.accounts.delivered(1 + shared_by, seal.delivery.credits)
        outcome = Outcome(index=number, request=image.request, image=image)
        return Landed(outcome, shared_by, problem=seal.problem)

    async def _fail(self, request: GenerationRequest | None, error: SD3Error) -> Landed:
        means, item = self._means, self.item
        attempts, unknown = self._unbooked()
        if self._pending is not None:
            unknown += await self._give_up_start(error)
        state: State = "unknown" if unknown and means.holds else "failed"
        shared_by = await means.ledger.ended(
            item.number,
            state,
            str(error)[:_MAX_ERROR_CHARS],
            attempts=attempts,
            unknown=unknown,
            at=means.clock.time(),
        )
        means.accounts.possibly_paid(unknown, item.price)
        means.accounts.failed(1 + shared_by, are_held=state == "unknown")
        outcome = Outcome(index=item.number, request=request or item.fields, error=error)
        return Landed(outcome, shared_by)

    def _end_start(self) -> None:
        if self._pending is not None:
            self._pending = None
            self._means.accounts.fetched(self.item.price)

    async def _give_up_start(self, error: SD3Error) -> bool:
        """Let go of what was begun; return whether that may have been paid for nothing.

        What may still be there is noted on: it is fetched when the item is tried again.
        """
        self._end_start()
        is_free = isinstance(error, APIError) and not error.may_be_charged
        if is_free or (isinstance(error, APIError) and error.status == _GONE):
            await self._means.ledger.started(self.item.number, None)
        return not is_free

    def _may_try_again(self, error: SD3Error, tries: int) -> bool:
        """Whether to fetch again what was begun, or send again what was possibly paid.

        Raises:
            Halt: It should be sent, but not in this run.
        """
        if tries >= self._means.client.retry.attempts or self._is_late():
            return False
        if not is_retryable(error):
            return False
        if self._pending is not None:
            return True
        if self._means.holds or not self._unknown:
            return False
        if self._is_stopping or not self._means.accounts.fits(self.item.price):
            self._is_aloft = False
            raise Halt("budget")
        return True

    def _check_service(self, request: GenerationRequest, error: SD3Error) -> None:
        """Take a failure for the service's when it is one of many in a row.

        Raises:
            Halt: It is. The item has not failed, and is sent again by the next run.
        """
        if self._means.health.is_hopeless(request, error):
            # What may have been paid and is to be held stays marked as sent, and is found so.
            self._is_aloft = self._means.holds and self._unknown > 0
            raise Halt("service", error)

    def _is_outage(self, error: SD3Error) -> bool:
        """Whether to sit an outage out: a night's job must not fail for an hour without network.

        Raises:
            Halt: The service was never reached, so that a wrong address is more likely.
        """
        if not isinstance(error, ConnectFailedError):
            self._means.health.was_reached = True
            return False
        if not self._means.health.was_reached:
            raise Halt("unreachable", error)
        return not self._is_late()

    def _is_late(self) -> bool:
        return self._ends_at is not None and self._ends_at <= self._means.clock.monotonic()

    def _backoff(self, tries: int) -> float:
        policy = self._means.client.retry
        if tries == 0:
            return policy.max_wait
        return random.uniform(0.0, min(policy.max_wait, policy.wait * 2 ** (tries - 1)))

    def _note(self, event: Event) -> None:
        """Take in what the client tells of this item's call."""
        if isinstance(event, PermitGranted):
            self._is_aloft = True
            self._on_permit()
        elif self._pending is not None:
            pass  # it is looked for, and neither sent nor paid
        elif isinstance(event, PutOff):
            self._give_back()  # so that it is no doubt if the program dies in the wait
        elif isinstance(event, Retried):
            self._is_aloft = False
            if not event.may_be_charged:
                self._give_back()
            self._means.accounts.retried()
            if self._is_stopping:
                self.stop()
        elif isinstance(event, Done):
            self._attempts += event.attempts
            self._unknown += event.unknown_charges
            # What succeeded, or was cut off on its way, is not to be taken back.
            self._is_aloft = not event.problem or event.unknown_charges > 0

    def _give_back(self) -> None:
        """Write down the attempts that ended, for an item that has not.

        The ledger writes in order: before the next attempt is marked as sent, this is durable.
        """
        attempts, unknown = self._unbooked()
        self._is_marked = False
        self._means.accounts.possibly_paid(unknown, self.item.price)
        self._means.ledger.returned(self.item.number, attempts=attempts, unknown=unknown)

    def _unbooked(self) -> tuple[int, int]:
        """Return attempts and possibly paid ones since the last booking, and begin anew."""
        unbooked = self._attempts, self._unknown
        self._attempts = self._unknown = 0
        return unbooked
