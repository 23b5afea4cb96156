"""How a job is to be done: one frozen value for everyone who asks for one."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import attrs

from sd3async.config import read_deadline
from sd3async.models.fields import AT_LEAST_ONE, MAX_SEED, Choice, Duration, Number, refuse
from sd3async.models.requests import ENDPOINT

Shape: TypeAlias = Literal["jsonl", "csv", "text"]
OnUnknown: TypeAlias = Literal["retry", "hold"]
ExportFormat: TypeAlias = Literal["webdataset", "parquet"]

SHAPES: tuple[Shape, ...] = get_args(Shape)

_FORMAT = Choice(get_args(ExportFormat))
_LIBRARIES: dict[str, str] = {"webdataset": "webdataset", "parquet": "pyarrow"}
_CREDITS = Number(0, words="a number of credits, 0 or more,")


@attrs.frozen(kw_only=True)
class Defaults:
    """What lines that do not say otherwise are given.

    Attributes:
        endpoint: Its name, such as `sd3` or `upscale.fast`.
        fields: Values by the API's own names. One that a line's endpoint does not have, or that
            does not go with a line's image, is left out for that line.
        seed_start: Seed of a line's first variation; the next ones count up from it. None
            leaves seeds to the service.
        repeat: Variations of each line, 1 or more. A line with a seed of its own counts up from
            that.
        keep_columns: Keep what a line says beyond its request, for the results, instead of
            refusing the line. What is a field of another endpoint is refused all the same.
    """

    endpoint: str = attrs.field(default="sd3", validator=ENDPOINT)
    fields: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    seed_start: int | None = attrs.field(default=None, validator=Number(1, MAX_SEED, whole=True))
    repeat: int = attrs.field(default=1, validator=AT_LEAST_ONE)
    keep_columns: bool = False

    def fingerprint(self) -> str:
        """Return a text that differs when any default does."""
        return json.dumps(attrs.asdict(self), sort_keys=True, default=str)


def _nobody(_: int) -> None:
    pass


def _to_formats(formats: "Sequence[ExportFormat]") -> "tuple[ExportFormat, ...]":
    if isinstance(formats, str):
        raise refuse("formats", f"is {formats!r}; a list of names is needed, such as [{formats!r}]")
    for name in formats:
        library = _LIBRARIES[_FORMAT.plain("formats", name)]
        if find_spec(library) is None:  # told before anything is paid for
            raise refuse("formats", f"{name} needs {library}: pip install 'sd3async[{name}]'")
    return tuple(dict.fromkeys(formats))


@attrs.frozen(kw_only=True)
class JobOptions:
    """How a job is to be done.

    Attributes:
        defaults: What lines do not say, and how often each is repeated.
        shape: Shape of the manifest's lines: `jsonl`, `csv` or `text`; None goes by its name, then
            by its first line.
        concurrency: Most items on their way at once, 1 or more; None is the client's
            `max_in_flight`.
        max_credits: Most to spend over all runs of the job [credits]: what is in flight and what
            was possibly paid count as spent; None is no cap.
        deadline: For each item, from its admission: seconds or a `timedelta`; None is for ever.
        on_unknown: What to do with an item that may have been paid without an image: `retry`
            sends it again, `hold` keeps it for review.
        retry_failed: Send items again that failed in an earlier run.
        remake_missing: Make images again, and pay for them again, that earlier runs had left and
            that are gone or empty since.
        skip_invalid: Record bad lines and go on, instead of refusing the manifest.
        force: Work in a folder that holds other things.
        emulated: Whether the client speaks to an emulator: its images are then marked as such, and
            the job goes on with any emulator and with no service.
        reports: Whether to write the reports as well as `results.jsonl` at the end.
        formats: What to write besides, for other tools: `webdataset`, `parquet`.
        on_lines: Called now and then, while the source is taken in, with the lines read so far.

    Raises:
        InvalidRequestError: A value is out of bounds, or the library of a format not installed.
    """

    defaults: Defaults = attrs.field(factory=Defaults)
    shape: Shape | None = None
    concurrency: int | None = attrs.field(default=None, validator=AT_LEAST_ONE)
    max_credits: float | None = attrs.field(default=None, validator=_CREDITS)
    deadline: float | None = attrs.field(default=None, converter=read_deadline)
    on_unknown: OnUnknown = attrs.field(default="retry", validator=Choice(get_args(OnUnknown)))
    retry_failed: bool = False
    remake_missing: bool = False
    skip_invalid: bool = False
    force: bool = False
    emulated: bool = False
    reports: bool = True
    formats: tuple[ExportFormat, ...] = attrs.field(default=(), converter=_to_formats)
    on_lines: Callable[[int], object] = attrs.field(default=_nobody, eq=False, repr=False)

    @property
    def holds(self) -> bool:
        """Whether what is possibly paid is held for review, instead of being sent again."""
        return self.on_unknown == "hold"


class GivenOptions(TypedDict, total=False):
    """The options as keywords: those of `JobOptions`, which says what each is."""

    defaults: Defaults
    shape: Shape | None
    concurrency: int | None
    max_credits: float | None
    deadline: Duration | None
    on_unknown: OnUnknown
    retry_failed: bool
    remake_missing: bool
    skip_invalid: bool
    force: bool
    emulated: bool
    reports: bool
    formats: Sequence[ExportFormat]
    on_lines: Callable[[int], object]
