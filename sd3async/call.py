"""One call, start to finish: a slot, then attempts, each with a permit of its own.

A call outlives its attempts: it keeps their history, decides with the retry policy whether there
is another, and tells the observers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from sd3async._clock import Clock
from sd3async.errors import (
    APIError,
    AuthenticationError,
    FailedAttempt,
    PaymentRequiredError,
    RateLimitError,
    RequestTimeoutError,
    SD3Error,
    error_class,
)
from sd3async.limiter import Limiter, Permit
from sd3async.models.results import Timings
from sd3async.retry import RetryPolicy, problem_of
from sd3async.telemetry import (
    Announcer,
    Answered,
    AttemptSent,
    Done,
    Event,
    PermitGranted,
    Queued,
    Retried,
)
from sd3async.transport import Answer
from sd3async.wire import read_retry_after

T = TypeVar("T")

_NOT_REPLAYABLE = (
    "not retried: the image is a stream that cannot be replayed; "
    "pass bytes, a path, or a callable that returns a fresh stream"
)


class Attempt:
    """One attempt under way, and the instants that matter to the limiter and the timings.

    Args:
        number: 1 for the first.
        permit: The permit it runs on.
        clock: Where instants come from.
    """

    def __init__(self, number: int, permit: Permit, clock: Clock) -> None:
        self.number = number
        self.permit = permit
        self._clock = clock
        self.granted_at = clock.monotonic()
        self.first_written_at: float | None = None
        self.last_written_at = self.granted_at
        self.answered_at = self.granted_at

    @property
    def key(self) -> int:
        """The key's place in the pool."""
        return self.permit.key

    @property
    def is_sent(self) -> bool:
        """Whether a byte of it may have left."""
        return self.first_written_at is not None

    def written(self) -> None:
        """Note that a piece is being, or was, written."""
        self.permit.written()
        self.last_written_at = self._clock.monotonic()
        if self.first_written_at is None:
            self.first_written_at = self.last_written_at

    def answered(self) -> None:
        """Note that the answer's head is there."""
        self.permit.answered()
        self.answered_at = self._clock.monotonic()

    @property
    def round_trip(self) -> float:
        """From the last byte written to the answer's head [s]."""
        return self.answered_at - self.last_written_at


class KeyPool:
    """The keys of a client, and which of them still work.

    A lone key is never given up: its account may be topped up while the program runs.

    Args:
        keys: How many there are.
        limiter: Their limiter.
    """

    def __init__(self, keys: int, limiter: Limiter) -> None:
        self._limiter = limiter
        self._live = set(range(keys))

    def give_up(self, key: int, error: APIError) -> bool:
        """Take a key out, unless it is the last.

        Args:
            key: Its place in the pool.
            error: Why: a 401 or a 402.

        Returns:
            Whether another key is left to try.
        """
        if self._live <= {key}:
            return False
        if key in self._live:
            self._live.remove(key)
            self._limiter.retire(key, error)
        return True


@attrs.define(kw_only=True)
class Call(Generic[T]):
    """One call of the client.

    Attributes:
        number: Counted from 1 for each client.
        endpoint: For the observers.
        send: Makes one attempt.
        is_replayable: Whether `send` can be called again after it has begun to send.
        costs_credits: Whether a lost answer may have been charged.
        limiter: Grants the permits.
        pool: The keys.
        slots: Connection slots; one is held from before the first permit to the end, so that a
            permit never waits for a connection.
        policy: When to try again.
        clock: Time.
        announce: Tells the observers.
    """

    number: int
    endpoint: str
    send: Callable[[Attempt], Awaitable[T]]
    is_replayable: bool = True
    costs_credits: bool = True
    limiter: Limiter
    pool: KeyPool
    slots: asyncio.Semaphore
    policy: RetryPolicy
    clock: Clock
    announce: Announcer

    history: list[FailedAttempt] = attrs.field(factory=list[FailedAttempt], init=False)
    attempts: int = attrs.field(default=0, init=False)
    unknown_charges: int = attrs.field(default=0, init=False)
    _uncounted: int = attrs.field(default=0, init=False)
    _lockouts: int = attrs.field(default=0, init=False)
    _has_another_key: bool = attrs.field(default=False, init=False)
    _stage: str = attrs.field(default="while waiting for a connection slot", init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _slot_wait: float = attrs.field(default=0.0, init=False)
    _limiter_wait: float = attrs.field(default=0.0, init=False)

    async def run(self, deadline: float | None) -> T:
        """Make the call.

        Args:
            deadline: How long it may take in all, waiting included [s]; None is for ever.

        Raises:
            SD3Error: What the last attempt met, with the history of all.
            RequestTimeoutError: The deadline passed.
        """
        self._began = self.clock.monotonic()
        self._tell(Queued, self._began)
        scope = asyncio.timeout(deadline)
        try:
            async with scope, self.slots:
                self._slot_wait = self.clock.monotonic() - self._began
                return await self._attempts()
        except SD3Error as error:
            error.history = tuple(self.history)
            error.may_be_charged = self.unknown_charges > 0
            raise
        except TimeoutError as error:
            late = RequestTimeoutError(f"the deadline of {deadline:g} s passed {self._stage}")
            late.history = tuple(self.history)
            late.may_be_charged = self.unknown_charges > 0
            raise late from error

    def done(self, *, credits_spent: float = 0.0, error: BaseException | None = None) -> None:
        """Tell that the call has ended."""
        now = self.clock.monotonic()
        problem = ""
        if error is not None:
            problem = problem_of(error) if isinstance(error, SD3Error) else type(error).__name__
        self._tell(
            Done,
            now,
            attempts=self.attempts,
            seconds=now - self._began,
            credits=credits_spent,
            problem=problem,
            unknown_charges=self.unknown_charges,
        )

    def timings(self, attempt: Attempt) -> Timings:
        """Return where the time went, up to now.

        Args:
            attempt: The one that succeeded.
        """
        now = self.clock.monotonic()
        first_written = attempt.first_written_at or attempt.granted_at
        return Timings(
            slot_wait=self._slot_wait,
            limiter_wait=self._limiter_wait,
            connect=first_written - attempt.granted_at,
            headers=attempt.round_trip,
            body=now - attempt.answered_at,
            total=now - self._began,
        )

    def sent(self, attempt: Attempt, size: int) -> None:
        """Tell that an attempt's last byte was written."""
        self._tell(AttemptSent, attempt.last_written_at, attempt=attempt.number, size=size)

    def answered(self, attempt: Attempt, answer: Answer) -> None:
        """Note, and tell, that an answer's head is there.

        A 429 freezes the key here, before its body is read: every moment counts in which other
        tasks could still be sent into the lock-out.
        """
        attempt.answered()
        if error_class(answer.status) is RateLimitError:
            retry_after = read_retry_after(answer.headers, now=self.clock.time())
            attempt.permit.refused(retry_after)
        self._stage = "while the answer arrived"
        self._tell(
            Answered,
            attempt.answered_at,
            attempt=attempt.number,
            status=answer.status,
            request_id=answer.headers.get("x-request-id"),
            seconds=attempt.round_trip,
        )

    async def _attempts(self) -> T:
        """Make the first attempt, and let tenacity make the rest if it fails.

        tenacity's set-up costs as much as a fifth of a small request, and most calls succeed at
        once: so it is told of the first failure instead of meeting it.
        """
        try:
            return await self._attempt()
        except (SD3Error, OSError) as error:
            if not self._wants_another(error):
                raise
            first: list[Exception] = [error]

        # Here, not at the top: tenacity is slow to import, and most programs never fail.
        from sd3async.backoff import retrying

        async def attempt() -> T:
            if first:
                raise first.pop()
            return await self._attempt()

        again = retrying(
            self.policy,
            sleep=self.clock.sleep,
            wants_another=self._wants_another,
            before_sleep=self._before_sleep,
        )
        return await again(attempt)

    async def _attempt(self) -> T:
        self.attempts += 1
        began = self.clock.monotonic()
        attempt: Attempt | None = None
        self._stage = "while waiting for the rate limit"
        try:
            with await self.limiter.acquire(retry=self.attempts > 1) as permit:
                attempt = self._granted(permit)
                return await self.send(attempt)
        except (SD3Error, OSError) as error:
            self._failed(attempt, error, self.clock.monotonic() - began)
            raise
        except asyncio.CancelledError:
            if self.costs_credits and attempt is not None and attempt.is_sent:
                # Nobody will read the answer, but the server may be at work on it.
                seconds = self.clock.monotonic() - began
                self.unknown_charges += 1
                self.history.append(FailedAttempt(self.attempts, "cut off", seconds, True))
            raise

    def _granted(self, permit: Permit) -> Attempt:
        self._limiter_wait += permit.waited
        self._stage = "while waiting for the answer"
        attempt = Attempt(self.attempts, permit, self.clock)
        self._tell(
            PermitGranted,
            attempt.granted_at,
            attempt=attempt.number,
            key=permit.key,
            waited=permit.waited,
        )
        return attempt

    def _failed(self, attempt: Attempt | None, error: Exception, seconds: float) -> None:
        is_unknown = self.costs_credits and isinstance(error, SD3Error) and error.may_be_charged
        self.unknown_charges += is_unknown
        if isinstance(error, RateLimitError):
            self._lockouts += 1
            self._uncounted += 1
        problem = problem_of(error) if isinstance(error, SD3Error) else str(error)
        self.history.append(FailedAttempt(self.attempts, problem, seconds, is_unknown))
        if isinstance(error, AuthenticationError | PaymentRequiredError) and attempt is not None:
            self._key_failed(attempt.key, error)

    def _key_failed(self, key: int, error: APIError) -> None:
        self._has_another_key = self.pool.give_up(key, error)
        self._uncounted += 1

    def _wants_another(self, error: BaseException) -> bool:
        if isinstance(error, AuthenticationError | PaymentRequiredError):
            wanted = self._has_another_key
        else:
            wanted = self.policy.allows_another(
                error, attempts=self.attempts - self._uncounted, lockouts=self._lockouts
            )
        if wanted and not self.is_replayable and isinstance(error, SD3Error):
            error.note = _NOT_REPLAYABLE
            return False
        return wanted

    def _before_sleep(self, wait: float) -> None:
        self._stage = "between two attempts"
        failed = self.history[-1]
        self._tell(
            Retried,
            self.clock.monotonic(),
            attempt=failed.number,
            problem=failed.problem,
            wait=wait,
            may_be_charged=failed.may_be_charged,
        )

    def _tell(self, event: type[Event], at: float, **facts: object) -> None:
        if self.announce:  # nobody listens to most calls, and values cost time to make
            self.announce(event(at=at, call=self.number, endpoint=self.endpoint, **facts))
