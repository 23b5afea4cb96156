"""What happens, told to observers as frozen values.

An observer is any callable that takes an `Event`. It runs in the event loop, so it should be
quick; one that raises is reported once and does no harm. No event holds a key, a prompt or the
bytes of an image.
"""

import logging
import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

log = logging.getLogger("sd3async")


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        at: When, on the client's monotonic clock [s].
        call: The call it belongs to, counted from 1 for each client; 0 for none.
        endpoint: The call's endpoint; empty for none.
    """

    at: float
    call: int = 0
    endpoint: str = ""


@attrs.frozen(kw_only=True)
class Queued(Event):
    """A call began; it now waits for a connection slot and for the limiter."""


@attrs.frozen(kw_only=True)
class PermitGranted(Event):
    """The limiter let an attempt go.

    Attributes:
        attempt: 1 for the first.
        key: The key's place in the pool, from 0.
        waited: Time in the limiter's queue [s].
    """

    attempt: int
    key: int
    waited: float


@attrs.frozen(kw_only=True)
class AttemptSent(Event):
    """An attempt's last byte was written.

    Attributes:
        attempt: 1 for the first.
        size: Length of the body [bytes].
    """

    attempt: int
    size: int


@attrs.frozen(kw_only=True)
class Answered(Event):
    """The head of an answer arrived.

    Attributes:
        attempt: 1 for the first.
        status: HTTP status.
        request_id: The service's own id of the request, or None.
        seconds: Since the last byte was written [s].
    """

    attempt: int
    status: int
    request_id: str | None
    seconds: float


@attrs.frozen(kw_only=True)
class Frozen(Event):
    """A 429 stopped a key.

    Attributes:
        key: The key's place in the pool, from 0.
        seconds: For how long [s].
    """

    key: int
    seconds: float


@attrs.frozen(kw_only=True)
class PutOff(Event):
    """An attempt was not sent after all, and waits again: a 429, or its turn, passed it by.

    Attributes:
        attempt: The attempt, which keeps its number.
    """

    attempt: int


@attrs.frozen(kw_only=True)
class Retried(Event):
    """An attempt failed and another will be made.

    Attributes:
        attempt: The attempt that failed.
        problem: What it met, in words.
        wait: Backoff before the next attempt, without the limiter's wait [s].
        may_be_charged: Whether the failed attempt may have been charged.
    """

    attempt: int
    problem: str
    wait: float
    may_be_charged: bool


@attrs.frozen(kw_only=True)
class Started(Event):
    """The service has begun a generation, and will be paid for it.

    Attributes:
        id: By which the image is fetched, with the same key: `SD3Client.result`.
        key: The key's place in the pool, from 0.
    """

    id: str
    key: int


@attrs.frozen(kw_only=True)
class Done(Event):
    """A call ended.

    Attributes:
        attempts: How many attempts it took.
        seconds: The whole call [s].
        credits: The documented price of what was delivered [credits]; 0 on failure.
        problem: What it failed with, in words; empty on success.
        unknown_charges: Failed attempts that may have been charged.
    """

    attempts: int
    seconds: float
    credits: float = 0.0
    problem: str = ""
    unknown_charges: int = 0


Observer: TypeAlias = Callable[[Event], object]


class Announcer:
    """Tells every observer; immune to what they raise.

    Args:
        observers: Whom to tell.

    Attributes:
        observers: Who is told.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.observers = tuple(observers)
        self._broken: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.observers)

    def __call__(self, event: Event) -> None:
        """Tell of an event."""
        for observer in self.observers:
            try:
                observer(event)
            except Exception:  # whatever an observer does, the paid call goes on
                if id(observer) not in self._broken:
                    self._broken.add(id(observer))
                    log.exception("an observer failed; further failures of it are not reported")


_LEVELS: dict[type[Event], int] = {
    Frozen: logging.WARNING,
    Retried: logging.INFO,
    Started: logging.INFO,  # its id is all that is needed to fetch what is paid
}


def log_event(event: Event) -> None:
    """Write an event to the logger `sd3async`: an observer.

    Args:
        event: A `Frozen` is a warning, a `Retried` or `Started` an info, the rest is for debugging.
    """
    level = _LEVELS.get(type(event), logging.DEBUG)
    if log.isEnabledFor(level):
        facts = attrs.asdict(event)
        words = " ".join(f"{name}={value}" for name, value in facts.items() if name != "at")
        log.log(level, "%s %s", type(event).__name__.lower(), words)


def observers_from_environment() -> tuple[Observer, ...]:
    """Return the logging observer if `$SD3ASYNC_LOG` asks for it.

    `SD3ASYNC_LOG=debug` (or any level's name) sets the logger's level, and gives it a handler
    on stderr when the program has set up no logging of its own.
    """
    name = os.environ.get("SD3ASYNC_LOG", "").strip().upper()
    level = logging.getLevelNamesMapping().get(name)
    if level is None:
        return ()
    log.setLevel(level)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        log.addHandler(handler)
    return (log_event,)
