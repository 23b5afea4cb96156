"""Many requests at once, in memory that does not grow with their number.

A fixed number of workers pull from one source, so that there are never more tasks, requests or
finished images than workers, however long the source is.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Sized,
)
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import TypeAlias

from sd3async.client import SD3Client
from sd3async.models.fields import refuse
from sd3async.models.requests import GenerationRequest, SD3Request
from sd3async.models.results import Outcome

Requests: TypeAlias = Iterable[str | GenerationRequest] | AsyncIterable[str | GenerationRequest]


async def gather_generations(
    client: SD3Client,
    requests: Requests,
    *,
    concurrency: int | None = None,
    fail_fast: bool = False,
    on_outcome: Callable[[Outcome], object] | None = None,
    progress: bool = False,
) -> list[Outcome]:
    """Generate many images concurrently and return what came of each, in input order.

    One failure never costs another's result. Cancelling cancels everything in flight and leaves
    nothing behind. The list holds every image's bytes: for more than memory holds, use
    `iter_generations`, or a bulk job.

    Args:
        client: The client; its limiter paces the whole.
        requests: Prompts (generated with `sd3`) or request values, from any iterable or async
            iterable; pulled lazily.
        concurrency: Most requests under way at once, 1 or more. Default: the client's
            `max_in_flight`.
        fail_fast: Raise the first error, after cancelling everything in flight.
        on_outcome: Called with each outcome as it is there, in the event loop.
        progress: Draw a progress bar on stderr (extra `sd3async[progress]`).

    Returns:
        One outcome for each request, in input order.

    Raises:
        InvalidRequestError: `concurrency` is below 1, or `requests` is a lone string.
        SD3Error: The first error, with `fail_fast`.
    """
    outcomes: list[Outcome] = []
    fan = _FanOut(client, requests, concurrency)
    stream = fan.outcomes(ordered=False)
    with _progress_bar(fan, requests) if progress else nullcontext():
        async with aclosing(stream):
            async for outcome in stream:
                outcomes.append(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
                if fail_fast:
                    outcome.unwrap()
    outcomes.sort(key=lambda outcome: outcome.index)
    return outcomes


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
        requests: Prompts (generated with `sd3`) or request values, from any iterable or async
            iterable; pulled lazily.
        concurrency: Most requests under way at once, 1 or more. Default: the client's
            `max_in_flight`.
        ordered: Yield in input order: early ones wait for late ones, in memory.

    Returns:
        An async generator of one outcome for each request. An error of the source itself is
        raised from it, after the outcomes of all that was pulled before.

    Raises:
        InvalidRequestError: `concurrency` is below 1, or `requests` is a lone string.
    """
    return _FanOut(client, requests, concurrency).outcomes(ordered=ordered)


class _FanOut:
    """One run over a source of requests."""

    def __init__(self, client: SD3Client, requests: Requests, concurrency: int | None) -> None:
        if isinstance(requests, str | GenerationRequest):
            raise refuse("requests", "is a single one; pass an iterable of them, such as a list")
        width = client.max_in_flight if concurrency is None else concurrency
        if width < 1:
            raise refuse("concurrency", f"is {width}; 1 or more is needed")
        self.client = client
        self._requests = requests
        self._workers = asyncio.Semaphore(width)
        self._room = asyncio.Semaphore(2 * width)  # pulled, and not yet taken by the caller
        self._ready: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.done = 0
        self.failed = 0
        self.credits = 0.0

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._tasks)

    async def outcomes(self, *, ordered: bool) -> AsyncGenerator[Outcome]:
        """Yield what comes of each request."""
        feeder = asyncio.create_task(self._feed())
        early: dict[int, Outcome] = {}
        following = 0
        try:
            while not feeder.done() or self._tasks or not self._ready.empty():
                outcome = await self._ready.get()
                if outcome is None:
                    continue
                if not ordered:
                    self._room.release()
                    yield outcome
                    continue
                early[outcome.index] = outcome
                while following in early:
                    self._room.release()
                    yield early.pop(following)
                    following += 1
            feeder.result()
        finally:
            await _cancel({feeder, *self._tasks})

    async def _feed(self) -> None:
        """Begin one request after the other, as room allows."""
        try:
            source = _aiter(self._requests)
            index = 0
            while True:
                await self._room.acquire()
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
                await self._workers.acquire()
                task = asyncio.create_task(self._generate(index, item))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                index += 1
        finally:
            self._ready.put_nowait(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._workers.release()
        self._ready.put_nowait(None)  # the reader looks again whether that was the last

    async def _generate(self, index: int, item: object) -> None:
        request = item
        try:
            request = _as_request(index, item)
            image = await self.client.generate(request)
        except Exception as error:  # noqa: BLE001  # one failure never costs another's result
            self.failed += 1
            self._ready.put_nowait(Outcome(index=index, request=request, error=error))
        else:
            self.done += 1
            self.credits += image.credits
            self._ready.put_nowait(Outcome(index=index, request=request, image=image))


def _as_request(index: int, item: object) -> GenerationRequest:
    if isinstance(item, str):
        return SD3Request(item)
    if isinstance(item, GenerationRequest):
        return item
    kind = type(item).__name__
    raise refuse("requests", f"item {index} is {kind}; a prompt or a request is needed")


async def _aiter(requests: Requests) -> AsyncIterator[str | GenerationRequest]:
    if isinstance(requests, AsyncIterable):
        async for item in requests:
            yield item
    else:
        for item in requests:
            yield item


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until each has put its things away."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _progress_bar(fan: _FanOut, requests: Requests) -> AbstractContextManager[object]:
    try:
        from sd3async import progress
    except ModuleNotFoundError as error:
        raise refuse("progress", "needs rich; pip install 'sd3async[progress]'") from error

    total = len(requests) if isinstance(requests, Sized) else None

    def read() -> progress.Snapshot:
        return progress.Snapshot.of(
            fan.client,
            total=total,
            done=fan.done,
            failed=fan.failed,
            in_flight=fan.in_flight,
            credits=fan.credits,
        )

    return progress.display(read)
