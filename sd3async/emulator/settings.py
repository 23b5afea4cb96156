"""Everything about the emulator that can be set."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import attrs

from sd3async._clock import Clock
from sd3async.emulator.checks import UnknownFields
from sd3async.emulator.faults import Ending, FaultPlan, as_fault_plan
from sd3async.emulator.latency import Constant, Latency, as_latency
from sd3async.emulator.limits import LimitModel

__all__ = ["Settings"]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _is_loopback(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if value not in LOOPBACK:
        raise ValueError(
            f"{attribute.name}: the emulator listens on loopback only "
            f"({', '.join(sorted(LOOPBACK))}), not on {value!r}"
        )


def _not_negative(_: object, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{attribute.name}: must be >= 0, got {value!r}")


def _positive(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name}: must be > 0, got {value!r}")


def _one_of(*choices: object) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value not in choices:
            raise ValueError(f"{attribute.name}: must be one of {choices}, got {value!r}")

    return check


def _as_ending(early: Ending | bool | None) -> Ending | None:
    if isinstance(early, bool):
        return "read" if early else None
    if early not in ("read", "close", "reset", None):
        raise ValueError(f"early_refusal: must be a bool, read, close or reset, got {early!r}")
    return early


@attrs.define(kw_only=True, eq=False)
class Settings:
    """The emulator's settings.

    Most may be changed while it runs; those of the limit and the balance need a `reset` then.

    Attributes:
        host: Loopback address to listen on.
        port: Port, or 0 for any free one.
        prefix: Path before every route, such as "/sd" for a gateway.
        limit: How the server counts: sliding "log", "fixed" windows, sliding "counter", token
            "bucket", or None for no limit. Each key is counted on its own.
        max_requests: Requests allowed in `period`.
        period: Length of the window [s].
        phase: When windows of the "fixed" and "counter" models begin [s].
        lockout: How long a key is shut out for one request too many [s].
        lockout_extends: Whether a request during the lock-out starts it again.
        counts: Which requests the limit counts: "all", only posts to "generations", or only
            those that are "valid".
        retry_after: Whether a 429 says how long, in "seconds", as a "date", or not at all.
        stamp: Whether a request is dated when its "head" or its "body" has arrived.
        arrival_jitter: Longest delay added before a request is dated, each drawn evenly from
            zero up: a model of the network [s].
        early_refusal: Whether 413 and 429 are answered before the body has been read, and what
            becomes of a connection whose body has not all arrived by then: "read" on (which True
            stands for), "close" it, or "reset" it; see `Fault.early`. None or False: not early.
        says_continue: Whether `Expect: 100-continue` is heeded once the body is wanted; many
            servers never do.
        latency: How long a generation takes: seconds, or a distribution of them.
        result_latency: How long a started generation takes; its start is answered at once. None
            does as `latency` says.
        result_lifetime: How long a finished result is kept [s].
        results_limit: How many started generations are kept; the oldest goes first.
        result_field: The name under which a result in JSON holds its image: the documents say
            "image", two clients that work read "result".
        start_status: What a start is answered with, 200 or 202.
        start_charge: When a started generation is booked: at its "start", or at its "end".
        hasty_polls: What becomes of requests for a result that follow each other within 10 s:
            "ignore" tells of them in the journal, "refuse" answers them with 429.
        faults: What goes wrong: a script, or probabilities by fault; see `FaultPlan`.
        seed: Decides everything random here, and the seeds of requests that name none.
        credits: Balance of the account that all keys share, or of each key on its own as a
            mapping; 402 when it does not suffice. None: never runs out.
        keys: Accepted keys, or None for any.
        strict: Whether to refuse with 400 what the service lets pass and no client needs: fields
            that an endpoint does not have, `accept` values that are not documented, a multipart
            preamble or epilogue. Otherwise the journal tells of it (`ignored`).
        unknown_fields: Whether to "reject" or "ignore" fields that an endpoint does not have;
            None does as `strict` says.
        models: Accepted names of sd3 models, or None for all that the table has.
        turbo_negative_prompt: Whether sd3-large-turbo takes a negative prompt.
        image_bytes: None draws pictures; a number sends quick payloads of about that length,
            and uploads are checked but not decoded.
        journal_limit: How many requests the journal keeps.
        clock: Time; by default the loop's when that is virtual, else the system's.
    """

    host: str = attrs.field(default="127.0.0.1", validator=_is_loopback)
    port: int = 0
    prefix: str = ""
    limit: LimitModel | None = attrs.field(
        default="log", validator=_one_of("log", "fixed", "counter", "bucket", None)
    )
    max_requests: int = attrs.field(default=150, validator=_positive)
    period: float = attrs.field(default=10.0, validator=_positive)
    phase: float = 0.0
    lockout: float = attrs.field(default=60.0, validator=_not_negative)
    lockout_extends: bool = False
    counts: Literal["all", "generations", "valid"] = attrs.field(
        default="all", validator=_one_of("all", "generations", "valid")
    )
    retry_after: Literal["seconds", "date"] | None = attrs.field(
        default=None, validator=_one_of("seconds", "date", None)
    )
    stamp: Literal["head", "body"] = attrs.field(default="head", validator=_one_of("head", "body"))
    arrival_jitter: float = attrs.field(default=0.0, validator=_not_negative)
    early_refusal: Ending | None = attrs.field(default=None, converter=_as_ending)
    says_continue: bool = True
    latency: Latency = attrs.field(default=Constant(0.0), converter=as_latency)
    result_latency: Latency | None = attrs.field(
        default=None, converter=attrs.converters.optional(as_latency)
    )
    result_lifetime: float = attrs.field(default=24 * 3600.0, validator=_not_negative)
    results_limit: int = attrs.field(default=10_000, validator=_positive)
    result_field: Literal["image", "result"] = attrs.field(
        default="image", validator=_one_of("image", "result")
    )
    start_status: Literal[200, 202] = attrs.field(default=200, validator=_one_of(200, 202))
    start_charge: Literal["start", "end"] = attrs.field(
        default="start", validator=_one_of("start", "end")
    )
    hasty_polls: Literal["ignore", "refuse"] = attrs.field(
        default="ignore", validator=_one_of("ignore", "refuse")
    )
    faults: FaultPlan = attrs.field(factory=FaultPlan, converter=as_fault_plan)
    seed: int = 0
    credits: float | Mapping[str, float] | None = None
    keys: Collection[str] | None = None
    strict: bool = False
    unknown_fields: UnknownFields | None = attrs.field(
        default=None, validator=_one_of("reject", "ignore", None)
    )
    models: Collection[str] | None = None
    turbo_negative_prompt: bool = True
    image_bytes: int | None = attrs.field(default=None, validator=_not_negative)
    journal_limit: int = attrs.field(default=10_000, validator=_positive)
    clock: Clock | None = None
