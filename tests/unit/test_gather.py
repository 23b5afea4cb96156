"""Many at once, with a client that counts what it was paid for: nothing of that is ever lost."""

import asyncio
import csv
import gc
import importlib
import io
import pickle
import re
import tempfile
from collections import UserDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async import (
    GeneratedImage,
    GenerationRequest,
    InvalidRequestError,
    Outcome,
    SD3Error,
    SD3Request,
    UltraRequest,
    gather_generations,
    iter_generations,
)
from sd3async.bulk.intake.sources import as_line_source

FOR_EVER = 10**9

pa: Any = importlib.import_module("pyarrow")  # it has no types


def image_of(request: GenerationRequest) -> GeneratedImage:
    return GeneratedImage(
        data=b"x",
        content_type="image/png",
        size=1,
        seed=None,
        finish_reason="SUCCESS",
        request_id=None,
        request=request,
        credits=request.credits,
    )


class Till:
    """A client that takes a few passes of the loop for each image and books it when it returns."""

    max_in_flight = 4

    def __init__(self, passes: list[int] | None = None, failing: frozenset[int] = frozenset()):
        self._passes = passes or [3]
        self.failing = failing
        self.begun = 0
        self.cut_off = 0
        self.paid: list[GeneratedImage] = []

    async def generate(self, request: GenerationRequest) -> GeneratedImage:
        number = self.begun
        self.begun += 1
        try:
            await passes(self._passes[number % len(self._passes)])
        except asyncio.CancelledError:
            self.cut_off += 1
            await passes(2)  # putting things away takes a while
            raise
        if number in self.failing:
            raise SD3Error(f"number {number}")
        image = image_of(request)
        self.paid.append(image)
        return image


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def images(outcomes: list[Outcome]) -> list[GeneratedImage]:
    return [outcome.image for outcome in outcomes if outcome.image is not None]


def outcomes_of(error: BaseException) -> list[Outcome]:
    found: list[Outcome] = vars(error)["outcomes"]
    return found


async def broken_after(count: int, error: BaseException) -> AsyncIterator[str]:
    for number in range(count):
        yield f"p{number}"
    raise error


@attrs.frozen
class FrozenError(Exception):
    words: str


class SlottedError(Exception):
    __slots__ = ("words",)


@pytest.mark.parametrize(
    "error", [LookupError("gone"), FrozenError("gone"), SlottedError("gone"), SD3Error("gone")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_what_was_paid_comes_with_the_sources_error(error: Exception) -> None:
    """A database that goes away after 30 rows must not cost 30 images."""
    till: Any = Till()
    with pytest.raises(type(error)) as caught:
        await gather_generations(till, broken_after(6, error))

    assert caught.value is error
    assert [outcome.index for outcome in outcomes_of(error)] == list(range(6))
    assert images(outcomes_of(error)) == till.paid
    assert till.cut_off == 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_was_paid_comes_with_the_callbacks_error(is_async: bool) -> None:
    """A full disk under the callback must cost neither its image nor those under way."""
    till: Any = Till([2, 4, 6])

    def save(outcome: Outcome) -> None:
        if outcome.index == 1:
            raise OSError("the disk is full")

    async def save_later(outcome: Outcome) -> None:
        await asyncio.sleep(0)
        save(outcome)

    on_outcome = save_later if is_async else save
    with pytest.raises(OSError, match="disk is full") as caught:
        await gather_generations(till, ["a"] * 50, on_outcome=on_outcome)

    assert len(images(outcomes_of(caught.value))) == len(till.paid) == till.begun < 50
    assert outcomes_of(caught.value)[1].image is not None
    assert till.cut_off == 0


async def test_what_was_paid_comes_with_a_fail_fast_error() -> None:
    """The caller asked for the first error, not for the loss of what came before it."""
    till: Any = Till([5, 1, 1, 1], failing=frozenset({3}))
    with pytest.raises(SD3Error, match="number 3") as caught:
        await gather_generations(till, ["a"] * 50, fail_fast=True)

    handed_over = outcomes_of(caught.value)
    assert len(images(handed_over)) == len(till.paid) >= 2
    assert [outcome.error for outcome in handed_over if outcome.index == 3] == [caught.value]
    again = pickle.loads(pickle.dumps(caught.value))  # it leads back to itself
    assert len(images(again.outcomes)) == len(till.paid)


async def test_what_was_paid_comes_with_a_cancellation() -> None:
    """Ctrl-C, or a time-out around it all, must not cost what is there already."""
    till: Any = Till([1, 1, 1, FOR_EVER])
    run = asyncio.create_task(gather_generations(till, ["a"] * 12))
    await passes(20)
    run.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await run

    handed_over = outcomes_of(caught.value)
    assert len(images(handed_over)) == len(till.paid) > 0
    (cut_off, *_) = [outcome for outcome in handed_over if not outcome.ok]
    assert "cancelled while it was under way" in str(cut_off.error)


async def test_what_was_paid_comes_with_a_time_out() -> None:
    """`asyncio.timeout` makes an error of its own, whose cause is the cancellation."""
    till: Any = Till([1, 1, 1, FOR_EVER])
    scope = asyncio.timeout(None)

    async def run_out() -> None:
        await passes(20)
        scope.reschedule(asyncio.get_running_loop().time())

    later = asyncio.create_task(run_out())
    with pytest.raises(TimeoutError) as caught:
        async with scope:
            await gather_generations(till, ["a"] * 12)
    await later

    assert caught.value.__cause__ is not None
    assert len(images(outcomes_of(caught.value.__cause__))) == len(till.paid) > 0


async def test_a_source_that_gathers_itself_hands_over_both() -> None:
    """Edits of images that are generated on the way: both runs were paid."""
    till: Any = Till()

    async def edits() -> AsyncIterator[str]:
        yield "outer"
        await gather_generations(till, broken_after(2, LookupError("gone")))

    with pytest.raises(LookupError) as caught:
        await gather_generations(till, edits())

    assert len(images(outcomes_of(caught.value))) == len(till.paid) == 3


async def test_an_async_callback_is_awaited_in_turn() -> None:
    """A coroutine that nobody awaits saves nothing, and warns when it is too late."""
    heard: list[int] = []
    at_work = 0

    async def save(outcome: Outcome) -> None:
        nonlocal at_work
        assert at_work == 0
        at_work += 1
        await asyncio.sleep(0)
        at_work -= 1
        heard.append(outcome.index)

    till: Any = Till()
    await gather_generations(till, ["a"] * 9, on_outcome=save)
    await gather_generations(till, ["a"], on_outcome=lambda outcome: save(outcome))

    assert sorted(heard) == [0, *range(9)]


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_cancelled_reader_gets_what_it_had_not_taken(ordered: bool) -> None:
    """In order, many wait for a slow first one, and all of them are paid."""
    till: Any = Till([FOR_EVER if ordered else 1, 1, 1, FOR_EVER])
    taken: list[Outcome] = []

    async def read() -> None:
        async for outcome in iter_generations(till, ["a"] * 20, ordered=ordered):
            taken.append(outcome)  # noqa: PERF401  # one by one, lest any be lost

    reading = asyncio.create_task(read())
    await passes(30)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await reading

    assert len(till.paid) >= 2
    assert len(images(taken + outcomes_of(caught.value))) == len(till.paid)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_request_that_is_cancelled_from_outside_holds_up_no_other(ordered: bool) -> None:
    """A library that cancels the task it runs in takes one image, not those behind it."""

    class Cancelling(Till):
        async def generate(self, request: GenerationRequest) -> GeneratedImage:
            if request.prompt == "bad":
                raise asyncio.CancelledError
            return await super().generate(request)

    till: Any = Cancelling()
    stream = iter_generations(till, ["a", "bad", "c"], ordered=ordered)
    outcomes = sorted([outcome async for outcome in stream], key=lambda outcome: outcome.index)

    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert "cancelled" in str(outcomes[1].error)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_request_that_is_cancelled_before_it_began_holds_up_no_other(ordered: bool) -> None:
    """Those behind it would be paid, and never handed over."""
    others = asyncio.all_tasks()

    def source() -> Iterator[str]:
        yield "never"
        for task in asyncio.all_tasks() - others - {asyncio.current_task()}:
            task.cancel()
        yield from ["b", "c"]

    till: Any = Till()
    async with asyncio.timeout(5.0):
        stream = iter_generations(till, source(), ordered=ordered)
        outcomes = sorted([outcome async for outcome in stream], key=lambda outcome: outcome.index)

    assert [outcome.ok for outcome in outcomes] == [False, True, True]
    assert "cancelled" in str(outcomes[0].error)


async def test_a_source_that_is_cancelled_from_outside_does_not_end_quietly() -> None:
    """Half a list that looks whole is worse than an error."""
    till: Any = Till()
    with pytest.raises(asyncio.CancelledError) as caught:
        await gather_generations(till, broken_after(3, asyncio.CancelledError()))

    assert len(images(outcomes_of(caught.value))) == 3


async def test_an_error_of_a_source_that_is_being_ended_is_not_reported_as_forgotten() -> None:
    """A log would tell of a task that nobody outside knows."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    till: Any = Till()

    async def source() -> AsyncIterator[str]:
        yield "a"
        try:
            await passes(FOR_EVER)
        finally:
            raise ValueError("the connection is gone already")

    async with aclosing(iter_generations(till, source())) as stream:
        await anext(stream)
    gc.collect()

    assert reported == []


@attrs.frozen
class Trouble:
    """What goes wrong in one run, and when."""

    requests: int
    passes: list[int]
    failing: frozenset[int]
    source_breaks_after: int | None
    source_passes: int
    callback_breaks_at: int | None
    callback_passes: int | None
    cancelled_at: tuple[int, ...]
    fail_fast: bool
    concurrency: int


troubles = st.builds(
    Trouble,
    requests=st.integers(0, 12),
    passes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    failing=st.frozensets(st.integers(0, 11), max_size=3),
    source_breaks_after=st.none() | st.integers(0, 12),
    source_passes=st.integers(0, 3),
    callback_breaks_at=st.none() | st.integers(0, 11),
    callback_passes=st.none() | st.integers(0, 3),
    cancelled_at=st.lists(st.integers(0, 12), max_size=3).map(tuple),
    fail_fast=st.booleans(),
    concurrency=st.integers(1, 5),
)


async def run_through(trouble: Trouble) -> None:
    till: Any = Till(trouble.passes, trouble.failing)
    told: list[int] = []

    async def source() -> AsyncIterator[str]:
        for number in range(trouble.requests):
            await passes(trouble.source_passes)
            if number == trouble.source_breaks_after:
                raise LookupError("the source")
            yield f"p{number}"

    def tell(outcome: Outcome) -> None:
        told.append(outcome.index)
        if len(told) - 1 == trouble.callback_breaks_at:
            raise OSError("the callback")

    async def tell_later(outcome: Outcome) -> None:
        await passes(trouble.callback_passes or 0)
        tell(outcome)

    run = asyncio.create_task(
        gather_generations(
            till,
            source(),
            concurrency=trouble.concurrency,
            fail_fast=trouble.fail_fast,
            on_outcome=tell if trouble.callback_passes is None else tell_later,
        )
    )
    for wait in trouble.cancelled_at:
        await passes(wait)
        run.cancel()
    error: BaseException | None = None
    try:
        outcomes = await run
    except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001
        # A run that was cancelled before it took its first step had nothing to hand over.
        outcomes, error = vars(raised).get("outcomes", []), raised

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(images(outcomes)) == len(till.paid)
    assert [outcome.index for outcome in outcomes] == sorted({o.index for o in outcomes})
    assert len(outcomes) >= till.begun
    if not trouble.fail_fast and not isinstance(error, asyncio.CancelledError):
        assert till.cut_off == 0
    if error is None:
        assert len(outcomes) == trouble.requests


@given(troubles)
def test_whatever_goes_wrong_nothing_paid_is_lost(trouble: Trouble) -> None:
    """Failing requests, sources and callbacks, and up to three cancellations, at any instant."""
    asyncio.run(run_through(trouble))


class Frame:
    """As a DataFrame is, to those who iterate over it."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = list(columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


CONTAINERS: dict[str, tuple[Callable[[], Any], str]] = {
    "one request": (lambda: SD3Request("a"), "a single SD3Request; pass an iterable"),
    "fields": (lambda: {"prompt": "a", "seed": 7}, r"a single dict; pass .* \[fields\]"),
    "other fields": (lambda: UserDict(prompt="a"), "a single UserDict; pass a list of mappings"),
    "a table": (lambda: Frame(prompt=["a"], seed=[7]), r"Frame; .*frame\.to_dict\('records'\)"),
    "an Arrow table": (
        lambda: pa.table({"prompt": ["a"]}),
        "a single Table; pass a list of mappings",
    ),
    "bytes": (lambda: b"a cat", "a single bytes; pass an iterable of prompts"),
    "a bytearray": (lambda: bytearray(b"a cat"), "a single bytearray; pass an iterable"),
    "a memoryview": (lambda: memoryview(b"a cat"), "a single memoryview; pass an iterable"),
    "a CSV reader": (lambda: csv.reader(["prompt,seed", "a,7"]), r"csv\.DictReader\(file\)\]"),
    "a client": (Till, "a single Till; pass an iterable of prompts"),
    "a function": (lambda: CONTAINERS.get, "pass an iterable of prompts"),
    "a number": (lambda: 5, "a single int; pass an iterable of prompts"),
}


@pytest.mark.parametrize(("make", "words"), CONTAINERS.values(), ids=CONTAINERS)
async def test_a_container_that_would_be_taken_apart_is_refused(
    make: Callable[[], Any], words: str
) -> None:
    """Its column names would be prompts, generated and paid: "prompt" and "seed"."""
    till: Any = Till()
    with pytest.raises(InvalidRequestError, match=f"^requests: is .*{words}"):
        await gather_generations(till, make())
    with pytest.raises(InvalidRequestError, match=f"^requests: is .*{words}"):
        iter_generations(till, make())
    with pytest.raises(InvalidRequestError, match=f"^source: is .*{words}"):
        as_line_source(make())

    assert till.begun == 0


OPEN_FILES: dict[str, Callable[[], Any]] = {
    "text": lambda: io.StringIO("prompt,seed\na,7\n"),
    "binary": lambda: io.BytesIO(b"prompt,seed\na,7\n"),
    "a temporary one": lambda: tempfile.NamedTemporaryFile("w+"),  # noqa: SIM115
    "an async one": lambda: SimpleNamespace(readline=asyncio.sleep, __aiter__=None),
}


@pytest.mark.parametrize("make", OPEN_FILES.values(), ids=OPEN_FILES)
async def test_an_open_file_is_refused(make: Callable[[], Any]) -> None:
    """Its first line is a header, and every other has its line break in the prompt."""
    till: Any = Till()
    file = make()
    with pytest.raises(InvalidRequestError, match=r"\[line\.strip\(\) for line in file\], or for"):
        await gather_generations(till, file)
    if isinstance(file, io.BytesIO):
        as_line_source(file)  # a job reads manifests
    else:
        with pytest.raises(InvalidRequestError, match="no binary stream; open the file with 'rb'"):
            as_line_source(file)
        getattr(file, "close", bool)()

    assert till.begun == 0


@pytest.mark.parametrize("make", [csv.reader, iter], ids=["a reader", "an open file"])
async def test_the_way_to_pass_a_csv_is_one_that_works(make: Callable[[Any], Any]) -> None:
    """Every cell of a CSV is text, and a seed that is text is refused: no row would be drawn."""
    till: Any = Till()
    file = io.StringIO("prompt,seed\na,7\nb,8\n")
    with pytest.raises(InvalidRequestError) as caught:
        await gather_generations(till, make(file))
    advice = re.search(r"\[\{.*DictReader\(file\)\]", str(caught.value))
    assert advice
    outcomes = await gather_generations(till, eval(advice[0], {"csv": csv, "file": file}))

    requests = [outcome.unwrap().request for outcome in outcomes]
    assert requests == [SD3Request("a", seed=7), SD3Request("b", seed=8)]


GOOD: dict[str, Callable[[], Any]] = {
    "mappings": lambda: [{"prompt": "a", "seed": np.int64(7)}, {"prompt": "b"}],
    "rows of a CSV": lambda: csv.DictReader(["prompt", "a", "b"]),
    "rows of a table": lambda: pa.table({"prompt": ["a", "b"], "seed": [7, None]}).to_pylist(),
    "an array": lambda: np.array(["a", "b"]),
    "values": {1: "a", 2: "b"}.values,
    "a mix": lambda: ("a", {"prompt": "b", "endpoint": "ultra"}),
    "lines of a file": lambda: (line.strip() for line in io.StringIO("a\nb\n")),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
async def test_what_gives_requests_is_taken(make: Callable[[], Any]) -> None:
    """A gather and a job understand the same sources."""
    till: Any = Till()
    outcomes = await gather_generations(till, make())
    async with as_line_source(make()) as source:
        lines: list[Any] = await source.read()

    requests = [outcome.unwrap().request for outcome in outcomes]
    assert [request.prompt for request in requests] == ["a", "b"]
    assert [line.fields["prompt"] for line in lines] == ["a", "b"]


async def test_a_mapping_is_the_request_it_describes() -> None:
    """The row of a manifest is the same request wherever it is given."""
    till: Any = Till()
    rows: list[Any] = [
        {"endpoint": "ultra", "prompt": "a", "seed": 7.0},
        {"promt": "a"},
        {"prompt": "a", "seed": "7"},
        ("a", 7),
    ]
    outcomes = await gather_generations(till, rows)

    assert outcomes[0].unwrap().request == UltraRequest("a", seed=7)
    assert "promt: is no field of sd3" in str(outcomes[1].error)
    assert "seed: is '7'; a whole number" in str(outcomes[2].error)
    assert "item 3 is tuple; a prompt, a request or a mapping" in str(outcomes[3].error)
    assert till.begun == 1


def _saves_nothing(_: Outcome) -> Iterator[None]:
    yield


class _SavesNothing:
    __call__ = staticmethod(_saves_nothing)


async def _never_saves(_: int, __: Outcome) -> AsyncIterator[None]:
    yield


async def test_wrong_arguments_cost_nothing() -> None:
    """Mixed up, or of the wrong kind: one sentence each, before the source is touched."""
    till = Till()
    gather: Any = gather_generations
    for arguments, options, words in (
        ((["a"], till), {}, "client: is list; an SD3Client"),
        ((till, ["a"]), {"on_outcome": 5}, "on_outcome: must be a callable"),
        ((till, ["a"]), {"on_outcome": _saves_nothing}, "on_outcome: must be .* no generator"),
        ((till, ["a"]), {"on_outcome": _SavesNothing()}, "on_outcome: must be .* no generator"),
        (
            (till, ["a"]),
            {"on_outcome": partial(_never_saves, 1)},
            "on_outcome: must be .* no generator",
        ),
        ((till, ["a"]), {"concurrency": 2.5}, "concurrency: is 2.5; a whole number of at least 1"),
        ((till, ["a"]), {"concurrency": True}, "concurrency: is True"),
        ((till, ["a"]), {"concurrency": "4"}, "concurrency: is '4'"),
    ):
        with pytest.raises(InvalidRequestError, match=words):
            await gather(*arguments, **options)

    assert till.begun == 0


async def test_the_callers_source_is_left_where_it_stood() -> None:
    """Whoever stops early may go on with the rest."""
    till: Any = Till()
    source = iter(f"p{number}" for number in range(100))
    async with aclosing(iter_generations(till, source, concurrency=2)) as stream:
        await anext(stream)

    assert next(source) in ("p3", "p4", "p5")  # closing it would have ended it


async def test_a_source_that_ignores_its_end_begins_nothing_more() -> None:
    """Code that catches too much must not go on spending."""
    till: Any = Till()

    async def stubborn() -> AsyncIterator[str]:
        yield "a"
        try:
            await passes(FOR_EVER)
        except asyncio.CancelledError:
            yield "b"

    def fail(_: Outcome) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        await gather_generations(till, stubborn(), on_outcome=fail)

    assert till.begun == 1


async def test_a_cancellation_while_it_closes_is_not_swallowed() -> None:
    """A task that has been told to end must not go on to its next line."""
    till: Any = Till([1, FOR_EVER])

    async def read() -> None:
        async with aclosing(iter_generations(till, ["a"] * 9)) as stream:
            await anext(stream)
        await passes(FOR_EVER)

    reading = asyncio.create_task(read())
    while not till.cut_off:  # noqa: ASYNC110  # it is closing for a few passes only
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(reading, 5)

    assert asyncio.all_tasks() == {asyncio.current_task()}
