"""Trouble on demand: what can go wrong, by a script or by chance.

A fault strikes where a generation would begin, so it never hides a malformed request, and a
script is used up only by requests that would have been served. "early" and "unread" are the
exception: they strike before the body is read, whatever it holds.
"""

import collections
import hashlib
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Literal, TypeAlias, cast

import attrs

__all__ = ["RESULTS_PATH", "Fault", "FaultPlan", "FaultSource", "as_fault_plan", "chance"]

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
    "finish_reason",
    "disguised",
    "redirect",
    "gzip",
    "interim",
    "stale",
    "early",
    "unread",
    "failed",
]
Ending: TypeAlias = Literal["read", "close", "reset"]
Length: TypeAlias = Literal["whole", "cut", "none"]
Gateway: TypeAlias = Literal["new-api", "one-api", "v-api", "302.ai"]

RESULTS_PATH = "/results"  # what requests for a result are called, whichever id they name
PROXY_STATUSES = frozenset({502, 503, 504, *range(520, 525), 529})
BEFORE_THE_BODY = frozenset({"early", "unread"})


def _check_keep(fault: "Fault", _: object, keep: float) -> None:
    whole = fault.length == "none" and keep == 1.0
    if not (0.0 <= keep < 1.0 or whole):
        raise ValueError(f'keep: must be in [0, 1), or 1 with length="none", got {keep!r}')


@attrs.frozen
class Fault:
    """One thing that goes wrong. A value, comparable and hashable; the class methods make it.

    Attributes:
        kind: What happens.
        paid: Whether the generation is booked all the same.
        code: HTTP status, where it matters.
        page: Whether an error status comes as a proxy's HTML page.
        keep: Share of the body that arrives, in [0, 1); 1 too when no length is told.
        length: Which length the answer tells: of the "whole" body, of what is left after the
            "cut", or "none", as HTTP/1.0 does, so that the connection's end is the body's.
        seconds: How long it takes [s], or None for ever.
        retry_after: What the `Retry-After` header says [s], or None for no header.
        as_date: Whether that header holds a date.
        lock_out: Whether a 429 shuts the key out.
        gateway: Whose error shape is copied.
        then: What becomes of a connection whose body has not been read.
        reason: The finish reason.
        location: Where a redirection points.
        padding: Bytes added before the body is packed.
        codes: Statuses of interim answers.
    """

    kind: Kind
    paid: bool = False
    code: int = 200
    page: bool = False
    keep: float = attrs.field(default=0.0, validator=_check_keep)
    length: Length = "whole"
    seconds: float | None = None
    retry_after: float | None = None
    as_date: bool = False
    lock_out: bool = False
    gateway: Gateway = "new-api"
    then: Ending = "reset"
    reason: str = ""
    location: str = ""
    padding: int = 0
    codes: tuple[int, ...] = ()

    @classmethod
    def status(
        cls,
        code: int,
        *,
        page: bool | None = None,
        paid: bool = False,
        retry_after: float | None = None,
    ) -> "Fault":
        """Answer with an error status: the documented JSON, or a proxy's HTML page.

        Args:
            code: HTTP status, 400 or more; 429 comes without a lock-out.
            page: Send the page; None sends it for 502, 503, 504, 520 to 524 and 529.
            paid: Book the generation all the same, as when a proxy gives up on a service that
                goes on.
            retry_after: Seconds that the `Retry-After` header asks for; None leaves it out.
        """
        if code == HTTPStatus.TOO_MANY_REQUESTS:
            return cls.rate_limited(lock_out=False, retry_after=retry_after)
        page = code in PROXY_STATUSES if page is None else page
        return cls("status", code=code, page=page, paid=paid, retry_after=retry_after)

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Return the fault that a word stands for, as used on command lines.

        Args:
            text: A status such as "500" ("429" locks the key out), or the name of another fault
                with its defaults; "slow:3", "stall:3" and "unread:3" take seconds [s],
                "504:paid" books the generation, "early:413" takes a status.

        Raises:
            ValueError: The word stands for no fault.
        """
        word, _, detail = text.partition(":")
        if text == "429":
            return cls.rate_limited()
        if _is_status(word) and word != "429" and detail in ("", "paid"):
            return cls.status(int(word), paid=detail == "paid")
        if word == "early" and _is_status(detail):
            return cls.early(int(detail))
        if word in _TIMED_WORDS:
            return _TIMED_WORDS[word](float(detail or 1.0))
        if word in _PLAIN_WORDS and not detail:
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
    def truncated(
        cls, keep: float = 0.5, *, length: Length = "whole", paid: bool = True
    ) -> "Fault":
        """Send the share `keep` of the body and no more.

        Args:
            keep: The share.
            length: "whole" promises all of it and closes; "cut" promises what is sent, so that
                nothing but the image's own end tells; "none" promises nothing, as an HTTP/1.0
                server does, and closes: with `keep=1.0` that is a good answer.
            paid: Book the generation.
        """
        return cls("truncated", keep=keep, length=length, paid=paid)

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

    @classmethod
    def finish_reason(cls, reason: str = "ERROR", *, paid: bool = False) -> "Fault":
        """Answer 200 with an image and another finish reason; v1 documents ERROR."""
        return cls("finish_reason", reason=reason, paid=paid)

    @classmethod
    def disguised(cls, code: int = 500, *, paid: bool = False) -> "Fault":
        """Answer 200 with the error body of status `code`."""
        return cls("disguised", code=code, paid=paid)

    @classmethod
    def failed(cls, code: int = 500) -> "Fault":
        """Begin a generation well and let it fail: its result is an error, and nothing is booked.

        Where the image comes at once this is the same as `status`.

        Args:
            code: HTTP status of the result, once it would be ready.
        """
        return cls("failed", code=code)

    @classmethod
    def redirect(cls, location: str, code: int = 307) -> "Fault":
        """Answer with a redirection."""
        return cls("redirect", location=location, code=code)

    @classmethod
    def gzip(cls, padding: int = 0, *, paid: bool = True) -> "Fault":
        """Pack the answer, asked or not.

        Args:
            padding: Zeros (blanks in JSON) added before [bytes]: a thousandth of them is sent.
            paid: Book the generation.
        """
        return cls("gzip", padding=padding, paid=paid)

    @classmethod
    def interim(cls, *codes: int) -> "Fault":
        """Send interim answers before the real one; by default 100 and 103."""
        return cls("interim", codes=codes or (100, 103), paid=True)

    @classmethod
    def stale(cls, then: Literal["close", "reset"] = "close") -> "Fault":
        """Answer well, and end the connection just as its next request arrives."""
        return cls("stale", then=then, paid=True)

    @classmethod
    def early(
        cls,
        code: int = 429,
        *,
        then: Ending = "reset",
        page: bool = False,
        retry_after: float | None = None,
    ) -> "Fault":
        """Answer before the body is read.

        Args:
            code: HTTP status; a 429 comes without a lock-out.
            then: "reset" the connection (RST), as HAProxy does; "close" it (FIN) and throw away
                what still comes, as nginx does; or "read" on to the body's end and keep it.
            page: Send a proxy's HTML page instead of the documented JSON.
            retry_after: Seconds that the `Retry-After` header asks for; None leaves it out.
        """
        return cls("early", code=code, then=then, page=page, retry_after=retry_after)

    @classmethod
    def unread(cls, seconds: float | None = None) -> "Fault":
        """Read nothing of the body for `seconds` [s], then go on as usual; None: never.

        Some 100 kB leave the client all the same, and what the kernels hold on the way (on
        loopback a few MB). A server that does not read a larger body cannot see the client leave:
        never means until the emulator closes.
        """
        return cls("unread", seconds=seconds, paid=True)


def _is_status(word: str) -> bool:
    return word.isdecimal() and 400 <= int(word) <= 599


_PLAIN_WORDS: Mapping[str, Callable[[], Fault]] = {
    "gateway": Fault.from_gateway,
    "reset": Fault.reset,
    "hang_up": Fault.hang_up,
    "truncated": Fault.truncated,
    "empty": Fault.empty,
    "html": Fault.html,
    "no_image": Fault.no_image,
    "filtered": Fault.filtered,
    "finish_reason": Fault.finish_reason,
    "disguised": Fault.disguised,
    "gzip": Fault.gzip,
    "interim": Fault.interim,
    "stale": Fault.stale,
    "early": Fault.early,
    "failed": Fault.failed,
}
_TIMED_WORDS: Mapping[str, Callable[[float], Fault]] = {
    "slow": Fault.slow,
    "stall": Fault.stall,
    "unread": Fault.unread,
}

FaultSource: TypeAlias = "Mapping[Fault, float] | Iterable[Fault | None] | FaultPlan"


@attrs.define
class _Script:
    rest: collections.deque[Fault | None]
    prompt: str | None
    path: str | None

    def concerns(self, path: str, prompt: str | None) -> bool:
        if self.path is None and path.endswith(RESULTS_PATH):
            return False
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

        "early" and "unread" are met by the next request whose head arrives when their turn has
        come.

        Args:
            faults: What the requests meet.
            prompt: Only requests with exactly this prompt take from the script.
            path: Only requests whose path ends so take from it, such as "core" or
                "upscale/creative"; "results" are the requests for a result, which no other script
                concerns.

        Raises:
            ValueError: The faults strike before the prompt is known.
        """
        queue = collections.deque(faults)
        if prompt is not None and any(map(_is_early, queue)):
            raise ValueError("prompt: nobody knows it before the body is read")
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

    @property
    def unmet(self) -> tuple[Fault, ...]:
        """What scripts still hold: faults that no request has met."""
        return tuple(fault for script in self._scripts for fault in script.rest if fault)

    def strike(self, path: str, prompt: str | None, draw: float) -> Fault | None:
        """Return what a request meets, using up the script that concerns it.

        Asked twice: before the body is read, and once the request is known to be good. A fault
        that belongs to the other time stays in its script.

        Args:
            path: Path of the URL.
            prompt: The request's prompt, or None before the body is read.
            draw: A number in [0, 1) that stands for chance, the same both times.
        """
        early = prompt is None
        for script in self._scripts:
            if script.concerns(path, prompt):
                if _is_early(script.rest[0]) != early:
                    return None
                fault = script.rest.popleft()
                if not script.rest:
                    self._scripts.remove(script)
                return fault
        for fault, probability in self._odds.items():
            if draw < probability:
                return fault if _is_early(fault) == early else None
            draw -= probability
        return None


def _is_early(fault: Fault | None) -> bool:
    return fault is not None and fault.kind in BEFORE_THE_BODY


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
