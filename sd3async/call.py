"""One call from start to finish: a slot, then attempts, each with a permit of its own."""

import asyncio
import math
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs
import tenacity

from sd3async._clock import Clock
from sd3async.config import Timeouts
from sd3async.endpoints import Service
from sd3async.errors import (
    PROXY_FAILURES,
    APIError,
    AuthenticationError,
    FailedAttempt,
    NotEnoughTimeError,
    PaymentRequiredError,
    RateLimitError,
    RequestTimeoutError,
    SD3Error,
    error_class,
)
from sd3async.exchange import Exchange
from sd3async.limiter import Limiter, Permit, PermitLostError
from sd3async.models.results import Timings
from sd3async.retry import RetryPolicy, problem_of
from sd3async.telemetry import (
    Announcer,
    Answered,
    AttemptSent,
    Done,
    Event,
    PermitGranted,
    PutOff,
    Queued,
    Retried,
)
from sd3async.transport import Answer, Transport
from sd3async.wire import read_error, read_request_id, read_retry_after

T = TypeVar("T")

_NOT_REPLAYABLE = (
    "not retried: the image is a stream that cannot be replayed; "
    "pass bytes, a path, or a callable that returns a fresh stream"
)


@attrs.frozen(kw_only=True)
class Options:
    """What a client and its variants may differ in.

    Attributes:
        retry: When to try again.
        timeouts: For each attempt.
        announce: Tells the observers.
        headers: Headers that tell the service who is calling.
        max_image_bytes: The largest image to take in [bytes].
    """

    retry: RetryPolicy
    timeouts: Timeouts
    announce: Announcer
    headers: dict[str, str]
    max_image_bytes: int


class Lender(Protocol):
    """What the session manager lends to its calls."""

    clock: Clock
    headers: tuple[dict[str, str], ...]
    keys: tuple[str, ...]
    limiter: Limiter
    service: Service
    slots: asyncio.Semaphore
    transport: Transport

    def estimated_wait(self, *, retry: bool) -> float:
        """Return how long a call waits for leave to be sent [s]."""
        ...


class Call(Generic[T]):
    """One call of the client.

    Args:
        exchange: What is sent, and how the answer is read.
        session: Keys, limiter, connections.
        options: Those of the client or variant that makes the call.
        number: Counted from 1 for each client, for observers.
        deadline: How long it may take in all, waiting included [s]; None is for ever.

    Attributes:
        clock: Time.
        secrets: Keys, which are struck out of whatever the service says.
        attempts: Requests sent, or begun to be.
        unknown_charges: How many of them may have been charged though no image came of it.
        history: What those that failed met.
        over: Done when the call is, however it ended.
    """

    def __init__(
        self,
        exchange: Exchange[T],
        session: Lender,
        options: Options,
        *,
        number: int,
        deadline: float | None,
    ) -> None:
        self.clock = session.clock
        self.secrets = session.keys
        self.attempts = 0
        self.unknown_charges = 0
        self.history: list[FailedAttempt] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exchange = exchange
        self._session = session
        self._options = options
        self._deadline = deadline
        self._number = number
        self._began = self.clock.monotonic()
        self._doing = "while waiting for a connection slot"
        self._end: SD3Error | None = None
        self._uncounted = 0  # attempts that `RetryPolicy.attempts` does not count
        self._lockouts = 0
        self._has_another_key = False
        self._slot_wait = 0.0
        self._limiter_wait = 0.0
        self._attempt: _Attempt | None = None

    async def run(self) -> T:
        """Make the call.

        Raises:
            SD3Error: What the last attempt met, with the history of all.
            OSError: The disk failed.
        """
        self.tell(Queued, self._began)
        self._task = asyncio.current_task()
        self._cancellations = self._cancelled_so_far()
        self._scope = asyncio.timeout(self._deadline)
        try:
            async with self._scope:
                self._check_time(retry=False)
                async with self._session.slots:
                    self._slot_wait = self.clock.monotonic() - self._began
                    self._doing = "while preparing what to send"
                    async with self._exchange:
                        result = await self._attempts()
        except BaseException as error:
            ended = self._ended(error)
            self._done(0.0, ended)
            if ended is error:
                raise
            raise ended from error
        self._done(self._exchange.credits)
        return result

    def end(self, error: SD3Error) -> None:
        """End it from outside, with an error, unless it is ending already."""
        if not self._scope.expired():
            self._end = error
            self._scope.reschedule(0)

    def end_if_late(self) -> None:
        """End it if it is known to get no permit before its deadline."""
        if self._attempt is None:
            try:
                self._check_time(retry=True)
            except NotEnoughTimeError as error:
                self.end(error)

    async def permit(self, *, retry: bool, key: int | None = None) -> Permit:
        """Wait for leave to send one request, with one key or with any that will do."""
        key = self._exchange.key if key is None else key
        return await self._session.limiter.acquire(
            retry=retry, key=key, is_upload=self._exchange.is_upload
        )

    def granted(self, permit: Permit) -> None:
        """Note, and tell, that an attempt's instant has come."""
        self._limiter_wait += permit.waited
        self.tell(
            PermitGranted,
            permit.instant,
            attempt=self.attempts,
            key=permit.key,
            waited=permit.waited,
        )

    @property
    def is_cancelled(self) -> bool:
        """Whether it is to end, though its task has yet to hear of it."""
        return self._cancelled_so_far() > self._cancellations

    @property
    def key(self) -> int:
        """The place of the key that is being used."""
        assert self._attempt is not None
        return self._attempt.permit.key

    def timings(self) -> Timings:
        """Return where the time went, up to now."""
        now = self.clock.monotonic()
        attempt = self._attempt
        assert attempt is not None
        return Timings(
            slot_wait=self._slot_wait,
            limiter_wait=self._limiter_wait,
            connect=attempt.connected_at - attempt.began,
            headers=attempt.round_trip,
            body=now - attempt.answered_at,
            total=now - self._began,
        )

    async def _attempts(self) -> T:
        attempts = tenacity.AsyncRetrying(
            sleep=self.clock.sleep,
            retry=tenacity.retry_if_exception(self._wants_another),
            wait=self._wait,
            stop=lambda state: state.upcoming_sleep > self._time_left(),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    return await self._try()
        finally:
            # It holds itself by this, and with it all of the call, until garbage is collected.
            vars(attempts).pop("_retry_state", None)
        raise AssertionError("tenacity tries until something is returned or raised")

    async def _try(self) -> T:
        is_retry = self.attempts > 0
        self._check_time(retry=is_retry)
        number, began = self.attempts + 1, self.clock.monotonic()
        self._attempt = None
        try:
            while True:
                self._doing = "while waiting for the rate limit"
                permit = await self.permit(retry=is_retry)
                self.attempts = number
                with _Attempt(self, permit) as self._attempt:
                    try:
                        await self._exchange.about_to_send()
                        return await self._send(self._attempt)
                    except PermitLostError:  # nothing was sent: connecting took too long, or a 429
                        self._attempt, is_retry = None, True
                        if not self.is_cancelled:
                            self.tell(PutOff, self.clock.monotonic(), attempt=number)
        except Exception as error:
            self._failed(error, self.clock.monotonic() - began)
            raise
        except asyncio.CancelledError:
            if self._attempt is not None and self._attempt.is_begun:
                seconds = self.clock.monotonic() - began
                self._note("cut off", seconds, may_be_charged=self._attempt.is_doubtful)
            raise

    async def _send(self, attempt: "_Attempt") -> T:
        self._doing = "while waiting for the answer"
        headers = self._session.headers[attempt.permit.key] | self._options.headers
        message = self._exchange.message(self._session.service.base_url, headers)
        attempt.size = message.body.length
        with await self._session.transport.send(
            message, timeouts=self._options.timeouts, watch=attempt
        ) as answer:
            self._answered(attempt, answer)
            if not 200 <= answer.status < 300:
                raise await self._refusal(answer)
            return await self._exchange.read(answer, self)

    def _answered(self, attempt: "_Attempt", answer: Answer) -> None:
        """Note, and tell, that an answer's head is there.

        A 429 freezes the key here, before its body is read: every moment counts in which other
        tasks could still be sent into the lock-out.
        """
        attempt.answered(answer.status)
        self._doing = "while the answer arrived"
        if error_class(answer.status) is RateLimitError:
            attempt.permit.refused(read_retry_after(answer.headers, now=self.clock.time()))
        if not self._exchange.is_generation or 300 <= answer.status < 500:
            # An answer that needed no generation says how long the way is.
            self._session.limiter.observe_round_trip(attempt.permit.key, attempt.round_trip)
        if self._options.announce:
            self.tell(
                Answered,
                attempt.answered_at,
                attempt=self.attempts,
                status=answer.status,
                request_id=read_request_id(answer.headers, self.secrets),
                seconds=attempt.round_trip,
            )

    async def _refusal(self, answer: Answer) -> APIError:
        error = read_error(
            answer.status,
            answer.headers,
            await answer.read_error_body(),
            secrets=self.secrets,
            now=self.clock.time(),
        )
        self._exchange.explain(error)
        return error

    def _failed(self, error: Exception, seconds: float) -> None:
        is_refusal = isinstance(error, RateLimitError)
        self._lockouts += is_refusal
        is_key_gone = isinstance(error, AuthenticationError | PaymentRequiredError)
        if is_key_gone and self._attempt is not None:
            self._has_another_key = self._session.limiter.retire(self._attempt.permit.key)
        self._uncounted += is_refusal or is_key_gone
        if isinstance(error, SD3Error):
            error.may_be_charged &= self._exchange.is_generation
            is_doubtful = error.may_be_charged
        else:  # the disk's, or of a middleware of the caller's
            is_doubtful = self._attempt is not None and self._attempt.is_doubtful
        self._note(problem_of(error), seconds, may_be_charged=is_doubtful)

    def _note(self, problem: str, seconds: float, *, may_be_charged: bool) -> None:
        may_be_charged = may_be_charged and self._exchange.credits > 0
        self.unknown_charges += may_be_charged
        self.history.append(FailedAttempt(self.attempts, problem, seconds, may_be_charged))

    def _wants_another(self, error: BaseException) -> bool:
        if not isinstance(error, SD3Error):
            return False
        if isinstance(error, AuthenticationError | PaymentRequiredError):
            wanted = self._has_another_key and self._exchange.key is None
        else:
            wanted = self._options.retry.allows_another(
                error, attempts=self.attempts - self._uncounted, lockouts=self._lockouts
            )
        if wanted and not self._exchange.is_replayable and self._attempt and self._attempt.is_begun:
            error.note = _NOT_REPLAYABLE
            return False
        return wanted

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitError | AuthenticationError | PaymentRequiredError):
            return 0.0  # the limiter holds back whoever was refused, and so does a key that is gone
        if isinstance(error, APIError) and error.retry_after is not None:
            return error.retry_after
        policy = self._options.retry
        return tenacity.wait_random_exponential(policy.wait, policy.max_wait)(state)

    def _before_sleep(self, state: tenacity.RetryCallState) -> None:
        self._doing = "between two attempts"
        failed = self.history[-1]
        self.tell(
            Retried,
            self.clock.monotonic(),
            attempt=failed.number,
            problem=failed.problem,
            wait=state.upcoming_sleep,
            may_be_charged=failed.may_be_charged,
        )

    def _cancelled_so_far(self) -> int:
        return self._task.cancelling() if self._task is not None else 0

    def _time_left(self) -> float:
        if self._deadline is None:
            return math.inf
        return self._began + self._deadline - self.clock.monotonic()

    def _check_time(self, *, retry: bool) -> None:
        """Give up at once when the rate limit is known to hold the call past its deadline.

        Raises:
            NotEnoughTimeError: It does.
        """
        left = self._time_left()
        if left < math.inf and (wait := self._session.estimated_wait(retry=retry)) > left:
            raise NotEnoughTimeError(
                f"the rate limit holds this call for about {wait:.1f} s more, and its deadline "
                f"of {self._deadline:g} s leaves {max(0.0, left):.1f} s",
                wait=wait,
            )

    def _ended(self, error: BaseException) -> BaseException:
        """Return what to raise for what was caught."""
        if isinstance(error, TimeoutError) and self._scope.expired():
            trouble = self._session.limiter.trouble if not self._attempt else ""
            error = self._end or RequestTimeoutError(
                f"the deadline of {self._deadline:g} s passed {self._doing}"
                + (f": {trouble}" if trouble else "")
            )
        if isinstance(error, SD3Error):
            error.history = tuple(self.history)
            error.may_be_charged = self.unknown_charges > 0
        return error

    def _done(self, credits_spent: float, error: BaseException | None = None) -> None:
        now = self.clock.monotonic()
        self.tell(
            Done,
            now,
            attempts=self.attempts,
            seconds=now - self._began,
            credits=credits_spent,
            problem=problem_of(error) if error is not None else "",
            unknown_charges=self.unknown_charges,
        )
        self._attempt = None  # it knows its call: neither is left to the garbage collector

    def tell(self, event: type[Event], at: float, **facts: object) -> None:
        """Tell the observers of an event."""
        announce = self._options.announce
        if announce:  # nobody listens to most calls, and values cost time to make
            announce(event(at=at, call=self._number, endpoint=self._exchange.endpoint, **facts))


class _Attempt:
    """One attempt under way, as the transport tells of it."""

    def __init__(self, call: Call[Any], permit: Permit) -> None:
        self._call = call
        self._clock = call.clock
        self._is_sent = False
        self._status = 0
        self.permit = permit
        self.size = 0
        self.is_begun = self.is_whole = False
        self.began = self._clock.monotonic()
        self.connected_at = self.last_written_at = self.answered_at = self.began

    @property
    def round_trip(self) -> float:
        """From the last byte written to the answer's head [s]."""
        return self.answered_at - self.last_written_at

    @property
    def is_doubtful(self) -> bool:
        """Whether the server may be at work on it, or have booked it."""
        return self.is_whole and (self._status < 300 or self._status in PROXY_FAILURES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.permit.close()

    async def ready(self) -> None:
        """Wait for the permit's instant, now that the connection stands."""
        if self.is_begun:  # a middleware of the caller's sends again: one more that is counted
            self.permit.close()
            self.permit = await self._call.permit(retry=True, key=self.permit.key)
        self.connected_at = self._clock.monotonic()
        await self.permit.ready()
        if self._call.is_cancelled:  # aiohttp writes in a task of its own, which hears of it last
            raise PermitLostError
        self._call.granted(self.permit)

    def whole(self) -> None:
        """Note that the last piece goes out."""
        self.is_whole = True

    def written(self, *, more: bool) -> None:
        """Note that a piece is being, or was, written."""
        self.is_begun = True
        self.permit.written(more=more)
        self.last_written_at = self._clock.monotonic()
        if not more:
            self._sent()

    def answered(self, status: int) -> None:
        """Note that the answer's head is there."""
        self._status = status
        self.permit.answered()
        self.answered_at = self._clock.monotonic()
        self._sent()

    def _sent(self) -> None:
        if not self._is_sent:
            self._is_sent = True
            self._call.tell(
                AttemptSent, self.last_written_at, attempt=self._call.attempts, size=self.size
            )
