"""Trouble on demand: what can go wrong, by a script or by chance.

A fault strikes where a generation would begin, so it never hides a malformed request, and a
script is used up only by requests that would have been served.
"""

import collections
import hashlib
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Literal, TypeAlias, cast

import attrs

__all__ = ["Fault", "FaultPlan", "FaultSource", "as_fault_plan", "chance"]

Kind: TypeAlias = Literal[
    "status",
    "gateway",
    "rate_limited",
    "reset",
    "hang_up",
    "truncated",
    "slow",
    "empty",
    "html",
    "no_image",
    "stall",
    "filtered",
]
Gateway: TypeAlias = Literal["new-api", "one-api", "v-api", "302.ai"]

PROXY_STATUSES = frozenset({502, 503, 504})


@attrs.frozen
class Fault:
    """One thing that goes wrong. A value, comparable and hashable; the class methods make it.

    Attributes:
        kind: What happens.
        paid: Whether the generation is booked all the same.
        code: HTTP status, where it matters.
        page: Whether an error status comes as a proxy's HTML page.
        keep: Share of the body that arrives, in [0, 1).
        seconds: How long it takes [s], or None for ever.
        retry_after: What the `Retry-After` header says [s], or None for no header.
        as_date: Whether that header holds a date.
        lock_out: Whether a 429 shuts the key out.
        gateway: Whose error shape is copied.
    """

    kind: Kind
    paid: bool = False
    code: int = 200
    page: bool = False
    keep: float = attrs.field(
        default=0.0, validator=[attrs.validators.ge(0.0), attrs.validators.lt(1.0)]
    )
    seconds: float | None = None
    retry_after: float | None = None
    as_date: bool = False
    lock_out: bool = False
    gateway: Gateway = "new-api"

    @classmethod
    def status(cls, code: int, *, page: bool | None = None, paid: bool = False) -> "Fault":
        """Answer with an error status: the documented JSON, or a proxy's HTML page.

        Args:
            code: HTTP status, 400 or more; 429 comes without a lock-out.
            page: Send the page; None sends it for 502, 503 and 504.
            paid: Book the generation all the same.
        """
        if code == HTTPStatus.TOO_MANY_REQUESTS:
            return cls.rate_limited(lock_out=False)
        page = code in PROXY_STATUSES if page is None else page
        return cls("status", code=code, page=page, paid=paid)

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Return the fault that a word stands for, as used on command lines.

        Args:
            text: A status such as "500" ("429" locks the key out), or one of "gateway",
                "reset", "hang_up", "truncated", "slow", "empty", "html", "no_image", "stall",
                "filtered"; "slow:3" and "stall:3" take seconds [s].

        Raises:
            ValueError: The word stands for no fault.
        """
        word, _, seconds = text.partition(":")
        if word == "429":
            return cls.rate_limited()
        if word.isdecimal() and 400 <= int(word) <= 599:
            return cls.status(int(word))
        if word in _TIMED_WORDS:
            return _TIMED_WORDS[word](float(seconds or 1.0))
        if word in _PLAIN_WORDS and not seconds:
            return _PLAIN_WORDS[word]()
        known = ", ".join(sorted([*_PLAIN_WORDS, *_TIMED_WORDS]))
        raise ValueError(f"fault: {text!r} is neither a status (400-599) nor one of {known}")

    @classmethod
    def from_gateway(cls, gateway: Gateway = "new-api", code: int = 500) -> "Fault":
        """Answer with a reseller's own error JSON, which is not the service's."""
        return cls("gateway", code=code, gateway=gateway)

    @classmethod
    def rate_limited(
        cls, *, retry_after: float | None = None, as_date: bool = False, lock_out: bool = True
    ) -> "Fault":
        """Answer 429 although the limit was kept, as when another program uses the key.

        Args:
            retry_after: Seconds that the `Retry-After` header asks for; None leaves it out.
            as_date: Write that header as an HTTP date.
            lock_out: Really shut the key out, for `retry_after` or else the usual time.
        """
        return cls(
            "rate_limited", code=429, retry_after=retry_after, as_date=as_date, lock_out=lock_out
        )

    @classmethod
    def reset(cls, *, paid: bool = True) -> "Fault":
        """Reset the connection (RST) instead of answering."""
        return cls("reset", paid=paid)

    @classmethod
    def hang_up(cls, *, paid: bool = True) -> "Fault":
        """Close the connection properly (FIN) instead of answering."""
        return cls("hang_up", paid=paid)

    @classmethod
    def truncated(cls, keep: float = 0.5, *, paid: bool = True) -> "Fault":
        """Promise the whole body, send the share `keep` of it and close."""
        return cls("truncated", keep=keep, paid=paid)

    @classmethod
    def slow(cls, seconds: float, *, paid: bool = True) -> "Fault":
        """Let the body drip, evenly over `seconds` [s]."""
        return cls("slow", seconds=seconds, paid=paid)

    @classmethod
    def empty(cls, *, paid: bool = True) -> "Fault":
        """Answer 200 with an image's headers and no byte of it."""
        return cls("empty", paid=paid)

    @classmethod
    def html(cls, *, paid: bool = False) -> "Fault":
        """Answer 200 with a web page."""
        return cls("html", paid=paid)

    @classmethod
    def no_image(cls, *, paid: bool = True) -> "Fault":
        """Answer 200 with JSON that lacks the image."""
        return cls("no_image", paid=paid)

    @classmethod
    def stall(cls, seconds: float | None = None, *, paid: bool = True) -> "Fault":
        """Keep silent for `seconds` [s] before the answer; None: until the client gives up."""
        return cls("stall", seconds=seconds, paid=paid)

    @classmethod
    def filtered(cls, *, paid: bool = True) -> "Fault":
        """Answer 200 with a blurred image and the finish reason CONTENT_FILTERED."""
        return cls("filtered", paid=paid)


_PLAIN_WORDS: Mapping[str, Callable[[], Fault]] = {
    "gateway": Fault.from_gateway,
    "reset": Fault.reset,
    "hang_up": Fault.hang_up,
    "truncated": Fault.truncated,
    "empty": Fault.empty,
    "html": Fault.html,
    "no_image": Fault.no_image,
    "filtered": Fault.filtered,
}
_TIMED_WORDS: Mapping[str, Callable[[float], Fault]] = {"slow": Fault.slow, "stall": Fault.stall}

FaultSource: TypeAlias = "Mapping[Fault, float] | Iterable[Fault | None] | FaultPlan"


@attrs.define
class _Script:
    rest: collections.deque[Fault | None]
    prompt: str | None
    path: str | None

    def concerns(self, path: str, prompt: str) -> bool:
        return (self.prompt is None or self.prompt == prompt) and (
            self.path is None or path.endswith(self.path)
        )


class FaultPlan:
    """Decides which request meets which fault: scripts first, then chance.

    Args:
        source: A mapping of faults to probabilities, or a script for the first requests.

    Raises:
        ValueError: The probabilities are negative or add up to more than 1.
    """

    def __init__(self, source: "Mapping[Fault, float] | Iterable[Fault | None]" = ()) -> None:
        self._scripts: list[_Script] = []
        self._odds: dict[Fault, float] = {}
        if isinstance(source, Mapping):
            self.by_chance(cast("Mapping[Fault, float]", source))
        else:
            self.script(source)

    def script(
        self, faults: Iterable[Fault | None], *, prompt: str | None = None, path: str | None = None
    ) -> None:
        """Queue faults for the next requests, one each, in order; None lets one pass.

        Args:
            faults: What the requests meet.
            prompt: Only requests with exactly this prompt take from the script.
            path: Only requests whose path ends so take from it, such as "core".
        """
        queue = collections.deque(faults)
        if queue:
            self._scripts.append(_Script(queue, prompt, path))

    def by_chance(self, odds: Mapping[Fault, float]) -> None:
        """Set the probability of each fault, for requests that no script concerns.

        Raises:
            ValueError: The probabilities are negative or add up to more than 1.
        """
        if min(odds.values(), default=0.0) < 0 or sum(odds.values()) > 1.0 + 1e-9:
            raise ValueError("faults: probabilities must be >= 0 and add up to at most 1")
        self._odds = dict(odds)

    def clear(self) -> None:
        """Forget scripts and probabilities."""
        self._scripts.clear()
        self._odds.clear()

    def strike(self, path: str, prompt: str, draw: float) -> Fault | None:
        """Return what a request meets, using up the script that concerns it.

        Args:
            path: Path of the URL.
            prompt: The request's prompt.
            draw: A number in [0, 1) that stands for chance.
        """
        for script in self._scripts:
            if script.concerns(path, prompt):
                fault = script.rest.popleft()
                if not script.rest:
                    self._scripts.remove(script)
                return fault
        for fault, probability in self._odds.items():
            if draw < probability:
                return fault
            draw -= probability
        return None


def as_fault_plan(source: FaultSource) -> FaultPlan:
    """Return `source` itself when it is a plan, else a plan made from it."""
    return source if isinstance(source, FaultPlan) else FaultPlan(source)


def chance(seed: int, number: int, purpose: str) -> int:
    """Return 64 bits that look random and depend on the arguments alone.

    Args:
        seed: The emulator's seed.
        number: The request's number.
        purpose: What the bits are for, so that uses do not correlate.
    """
    digest = hashlib.blake2b(f"{seed}/{number}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
