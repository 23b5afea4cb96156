"""Many requests at once, in memory that does not grow with their number.

A fixed number of workers pull from one source, so that there are never more tasks, requests or
finished images than workers, however long the source is.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sized
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from operator import attrgetter
from typing import TypeAlias, cast

from sd3async._threads import outlast
from sd3async.client import SD3Client
from sd3async.config import is_callback
from sd3async.errors import SD3Error
from sd3async.models.base import GenerationRequest
from sd3async.models.fields import AT_LEAST_ONE, refuse
from sd3async.models.generate import SD3Request
from sd3async.models.requests import check_requests, request_from_dict
from sd3async.models.results import Outcome

RequestLike: TypeAlias = str | GenerationRequest | Mapping[str, object]
Requests: TypeAlias = Iterable[RequestLike] | AsyncIterable[RequestLike]

Listener: TypeAlias = Callable[[Outcome], object]

_BY_INDEX = attrgetter("index")


async def gather_generations(
    client: SD3Client,
    requests: Requests,
    *,
    concurrency: int | None = None,
    fail_fast: bool = False,
    on_outcome: Listener | None = None,
    progress: bool = False,
) -> list[Outcome]:
    """Generate many images concurrently and return what came of each, in input order.

    One failure never costs another's result. The list holds every image's bytes: for more than
    memory holds, use `iter_generations`, or a bulk job.

    What was paid is never lost with an error: whatever is raised once the first request is under
    way, a `CancelledError` too, has an attribute `outcomes`, the list of what has come so far, in
    input order. (`asyncio.timeout` raises a `TimeoutError` whose `__cause__` has it.) Cancelling
    cancels everything in flight and leaves nothing behind.

    Args:
        client: The client; its limiter paces the whole.
        requests: Prompts (generated with `sd3`), request values or mappings of fields, from any
            iterable or async iterable; pulled lazily. When it raises, what was pulled before is
            awaited first.
        concurrency: Most requests under way at once, 1 or more. Default: the client's
            `max_in_flight`.
        fail_fast: Raise the first error, after cancelling everything in flight.
        on_outcome: Called with each outcome as it is there, in the event loop; awaited if it is
            async, and the next one is not taken before it is done. When it raises, nothing more is
            begun, and what is under way is awaited first.
        progress: Draw a progress bar on stderr (extra `sd3async[progress]`).

    Returns:
        One outcome for each request, in input order.

    Raises:
        InvalidRequestError: `concurrency` is below 1, or `requests` would be taken apart into
            something else than requests; nothing was sent.
        SD3Error: The first error, with `fail_fast`.
        Exception: What `requests` or `on_outcome` raised.
    """
    fan = _FanOut(client, requests, concurrency)
    if on_outcome is not None and not is_callback(on_outcome, may_be_async=True):
        raise refuse("on_outcome", "must be a callable, and no generator, which would never run")
    outcomes: list[Outcome] = []
    try:
        with _progress_bar(fan, outcomes, requests) if progress else nullcontext():
            await fan.collect(outcomes, on_outcome, fail_fast)
    except BaseException as error:
        fan.hand_over(error, outcomes)
        raise
    return sorted(outcomes, key=_BY_INDEX)


def iter_generations(
    client: SD3Client,
    requests: Requests,
    *,
    concurrency: int | None = None,
    ordered: bool = False,
) -> AsyncGenerator[Outcome]:
    """Generate many images concurrently and yield what comes of each as it is there.

    Memory is that of `concurrency` requests at any length of the source: no new one is pulled
    while twice as many are under way or wait to be taken. Leaving the loop early cancels what is
    in flight once the generator is closed; `contextlib.aclosing` does that at once.

    Args:
        client: The client; its limiter paces the whole.
        requests: Prompts (generated with `sd3`), request values or mappings of fields, from any
            iterable or async iterable; pulled lazily.
        concurrency: Most requests under way at once, 1 or more. Default: the client's
            `max_in_flight`.
        ordered: Yield in input order: early ones wait for late ones, in memory.

    Returns:
        An async generator of one outcome for each request. An error of the source itself is
        raised from it, after the outcomes of all that was pulled before. A `CancelledError` has
        what was there and not yet taken as its `outcomes`.

    Raises:
        InvalidRequestError: `concurrency` is below 1, or `requests` would be taken apart into
            something else than requests.
    """
    return _FanOut(client, requests, concurrency).outcomes(ordered=ordered)


class _FanOut:
    """One run over a source of requests."""

    def __init__(self, client: SD3Client, requests: Requests, concurrency: int | None) -> None:
        if not callable(getattr(client, "generate", None)):
            raise refuse("client", f"is {type(client).__name__}; an SD3Client is needed")
        check_requests("requests", requests)
        width = client.max_in_flight
        if concurrency is not None:
            width = AT_LEAST_ONE.plain("concurrency", concurrency)
        self.client = client
        self._requests = requests
        self._workers = asyncio.Semaphore(width)
        self._room = asyncio.Semaphore(2 * width)  # pulled, and not yet taken by the caller
        self._there: dict[int, Outcome] = {}  # by their index, and not yet taken by the caller
        self._news = asyncio.Event()  # something has ended
        self._is_stopped = False
        self.tasks: set[asyncio.Task[None]] = set()

    async def outcomes(self, *, ordered: bool) -> AsyncGenerator[Outcome]:
        """Yield what comes of each request."""
        self._feeder = asyncio.create_task(self._feed())
        self._feeder.add_done_callback(lambda _: self._news.set())
        following = 0
        try:
            try:
                while self._there or self.tasks or not self._feeder.done():
                    index = following if ordered else next(iter(self._there), following)
                    if index in self._there:
                        following += 1
                        self._room.release()
                        yield self._there.pop(index)
                    else:
                        await self._news.wait()
                        self._news.clear()
                if not self._is_stopped:
                    await self._feeder  # an error of the source is raised after all the rest
            finally:
                await self._end()
        except (Exception, asyncio.CancelledError) as error:
            self.hand_over(error)
            raise

    async def collect(self, into: list[Outcome], tell: Listener | None, fail_fast: bool) -> None:
        """Take what comes of each request and tell of it."""
        async with aclosing(self.outcomes(ordered=False)) as stream:
            try:
                async for outcome in stream:
                    into.append(outcome)
                    told = None if tell is None else tell(outcome)
                    if inspect.isawaitable(told):
                        await told
                    if fail_fast:
                        outcome.unwrap()
            except Exception:
                if not fail_fast:
                    self.stop()
                    async for outcome in stream:  # what is under way may be paid already
                        into.append(outcome)  # noqa: PERF401  # one by one, lest any be lost
                raise

    def stop(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._is_stopped = True
        self._feeder.cancel()

    def hand_over(self, error: BaseException, taken: Iterable[Outcome] = ()) -> None:
        """Add what was taken, and what was not yet, to what an error carries, a frozen one too."""
        carried = [*vars(error).get("outcomes", ()), *taken, *self._there.values()]
        self._there.clear()
        vars(error)["outcomes"] = sorted(carried, key=_BY_INDEX)

    async def _end(self) -> None:
        """Cancel everything, and wait until each has put its things away, whatever cancels us."""
        self.stop()
        for task in self.tasks:
            task.cancel()
        cancelled = await outlast(self._feeder, *self.tasks)
        if not self._feeder.cancelled():
            self._feeder.exception()  # or the loop would report it as forgotten
        if cancelled is not None:
            raise cancelled

    async def _feed(self) -> None:
        """Begin one request after the other, as room allows."""
        index = 0
        async with aclosing(_items(self._requests)) as items:
            await self._room.acquire()
            async for item in items:
                await self._workers.acquire()
                if self._is_stopped:  # and the source went on when it was cancelled
                    return
                task = asyncio.create_task(self._generate(index, item))
                self.tasks.add(task)
                task.add_done_callback(partial(self._ended, index, item))
                index += 1
                await self._room.acquire()

    async def _generate(self, index: int, item: object) -> None:
        request = item
        try:
            request = _as_request(index, item)
            image = await self.client.generate(request)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # costs no other's
            self._failed(index, request, error)
        else:
            self._there[index] = Outcome(index=index, request=request, image=image)

    def _ended(self, index: int, item: object, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._workers.release()
        if task.cancelled():  # before it began
            self._failed(index, item, asyncio.CancelledError())
        self._news.set()

    def _failed(self, index: int, request: object, error: BaseException) -> None:
        if not isinstance(error, Exception):
            error = SD3Error(
                "cancelled while it was under way",
                pending=(pending := vars(error).get("pending")),
                may_be_charged=pending is not None,
            )
        self._there[index] = Outcome(index=index, request=request, error=error)


def _as_request(index: int, item: object) -> GenerationRequest:
    if isinstance(item, str):
        return SD3Request(item)
    if isinstance(item, GenerationRequest):
        return item
    if isinstance(item, Mapping):
        return request_from_dict(cast("Mapping[str, object]", item))
    problem = f"item {index} is {type(item).__name__}; a prompt, a request or a mapping is needed"
    raise refuse("requests", problem)


async def _items(requests: Requests) -> AsyncGenerator[object]:
    if isinstance(requests, AsyncIterable):
        async for item in requests:
            yield item
    else:
        for item in requests:
            yield item


def _progress_bar(
    fan: _FanOut, outcomes: list[Outcome], requests: Requests
) -> AbstractContextManager[object]:
    try:
        from sd3async import progress
    except ModuleNotFoundError as error:
        raise refuse("progress", "needs rich; pip install 'sd3async[progress]'") from error

    total = len(requests) if isinstance(requests, Sized) else None

    def read() -> progress.Snapshot:
        images = [outcome.image for outcome in outcomes if outcome.image is not None]
        return progress.Snapshot(
            total=total,
            done=len(images),
            failed=len(outcomes) - len(images),
            in_flight=len(fan.tasks),
            credits=sum(image.credits for image in images),
            usage=progress.Usage.of(fan.client),
            frozen_for=fan.client.frozen_for,
        )

    return progress.display(read)
