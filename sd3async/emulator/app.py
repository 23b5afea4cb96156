"""The service: one request in, one answer out."""

import asyncio
import email.utils
import math
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Literal, NoReturn, TypeVar

import attrs
from aiohttp import web

from sd3async._clock import Clock
from sd3async.emulator.accept import read_accept
from sd3async.emulator.answers import Answer, Refusal, error_answer, to_json
from sd3async.emulator.api_table import ENGINES, Endpoint
from sd3async.emulator.arrivals import Arrivals
from sd3async.emulator.checks import header_problems
from sd3async.emulator.delivery import deliver, invite, leave, stall, vanish
from sd3async.emulator.faults import RESULTS_PATH, Ending, Fault, chance
from sd3async.emulator.form import Form, read_form
from sd3async.emulator.images import Picture, blurred_file, render
from sd3async.emulator.intake import Intake, Uploads, strictness_of
from sd3async.emulator.journal import Journal, Visit, key_id
from sd3async.emulator.latency import Latency
from sd3async.emulator.ledger import Ledger
from sd3async.emulator.limits import Verdict
from sd3async.emulator.orders import (
    FILTERED,
    Order,
    error_of,
    fault_answer,
    image_answer,
    in_progress_answer,
    packed,
    spoilt,
    started_answer,
)
from sd3async.emulator.payloads import label, payload_of_size
from sd3async.emulator.results import Generation, Results, check_id
from sd3async.emulator.retouch import render_with
from sd3async.emulator.routes import Reading, Route, find_route, is_v1
from sd3async.emulator.settings import Settings
from sd3async.emulator.timers import Timers
from sd3async.emulator.turn import Turn, below, key_of, told_headers
from sd3async.emulator.v1 import account, check_engine, unauthorized

__all__ = ["Service"]

T = TypeVar("T")

MAX_SEED = 4294967294


class Service:
    """Answers requests by the table, the settings and the clock.

    Args:
        settings: Read anew for each request.
        clock: Time.
        pool: Threads that draw.
    """

    def __init__(self, settings: Settings, clock: Clock, pool: Executor) -> None:
        self._settings = settings
        self._clock = clock
        self._pool = pool
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._timers = Timers(clock)
        self._stale: dict[web.RequestHandler, Ending] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what has happened: journal, books, results, limits and lock-outs."""
        chosen = self._settings
        self.journal = Journal(chosen.journal_limit)
        self.ledger = Ledger(chosen.credits)
        self.results = Results(chosen.results_limit, chosen.result_lifetime)
        self._timers.clear()
        self.arrivals = Arrivals(self._settings, self._clock)

    async def close(self) -> None:
        """Break off whatever is in flight, and take nothing more in."""
        self._closing = True
        self.arrivals.clear()
        self._timers.clear()
        tasks = list(self._in_flight)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request. The connection's end cancels this, and so does `close`."""
        if self._closing:
            if request.transport is not None:
                request.transport.abort()  # an upload that goes on would hold the close up
            return web.Response()
        task = asyncio.current_task()
        assert task is not None
        self._in_flight.add(task)
        turn = self._begin(request)
        try:
            return await self._serve(turn)
        except asyncio.CancelledError:
            self._note_disconnection(turn)
            raise
        except ConnectionError:
            self._note_disconnection(turn)
            return web.Response()  # nobody reads it; raised, it would be logged as our failure
        finally:
            self._in_flight.discard(task)

    def _note_disconnection(self, turn: Turn) -> None:
        if not turn.visit.seen.finished:
            self.ledger.disconnected += 1
            turn.visit.note(disconnected=True)

    def _begin(self, request: web.Request) -> Turn:
        self.ledger.requests += 1
        number, key, now = self.ledger.requests, key_of(request), self._clock.monotonic()
        request_id = f"{self._chance(number, 'id'):016x}{self._chance(number, 'more id'):016x}"
        headers = told_headers(request)
        visit = Visit(
            number=number,
            at=now,
            key_id=key_id(key),
            method=request.method,
            path=request.path,
            headers=headers,
            content_length=request.content_length,
            chunked="chunked" in headers.get("transfer-encoding", ""),
            request_id=request_id,
        )
        path = below(self._settings.prefix, request.path)
        self.journal.add(visit)
        return Turn(request, visit, key, path, headers, number, request_id, now)

    def _chance(self, number: int, purpose: str) -> int:
        return chance(self._settings.seed, number, purpose)

    async def _serve(self, turn: Turn) -> web.StreamResponse:
        if (ending := self._stale.pop(turn.request.protocol, None)) is not None:
            turn.visit.note(fault="stale")
            await vanish(turn.request, reset=ending == "reset")
        try:
            return await self._follow(turn)
        except Refusal as refusal:
            answer = error_answer(refusal, turn.request_id, is_v1=is_v1(turn.path))
            return await self._send(turn, answer)

    async def _follow(self, turn: Turn) -> web.StreamResponse:
        try:
            route = find_route(turn.request.method, turn.path, turn.request.path)
        except Refusal as refusal:
            await self._admit_small(turn)
            if is_v1(turn.path) and refusal.status == 404:  # v1 looks at the key first
                self._check_key(turn)
            raise
        if route.endpoint is not None:
            return await self._generate(turn, route, route.endpoint)
        if route.result is not None:
            return await self._poll(turn, route.result)
        await self._admit_small(turn)
        self._check_key(turn)
        return await self._send(turn, self._read(turn, route.reading))

    async def _admit_small(self, turn: Turn) -> None:
        if self._settings.counts == "all":
            self._refuse_excess(await self.arrivals.expect(turn.visit, turn.number, turn.key))

    def _read(self, turn: Turn, reading: Reading | None) -> Answer:
        if reading == "engines":
            return Answer(200, to_json(list(ENGINES)))
        if reading == "account":
            return Answer(200, to_json(account(key_id(turn.key))))
        return Answer(200, to_json({"credits": self.ledger.credits_left(turn.key)}))

    async def _poll(self, turn: Turn, generation_id: str) -> web.StreamResponse:
        self.ledger.polls += 1
        turn.visit.note(generation_id=generation_id)
        await self._admit_small(turn)
        if (fault := self._strike(turn, RESULTS_PATH, prompt=None)) is not None:
            if fault.kind == "early":
                return await self._send(turn, error_of(fault, turn.request_id), fault)
            await stall(fault.seconds, self._clock)
        check_id(generation_id)
        if problems := header_problems("result", turn.headers, strictness_of(self._settings)):
            raise Refusal.bad_request(*problems)
        self._check_key(turn)
        now = self._clock.monotonic()
        generation = self.results.find(generation_id, turn.key, now)
        if self._settings.counts == "valid":
            self._refuse_excess(await self.arrivals.expect(turn.visit, turn.number, turn.key))
        self._judge_haste(turn, generation.hurry(now))
        fault = fault or self._strike(turn, RESULTS_PATH, prompt="")
        if fault is not None and fault.kind == "rate_limited":
            self._strike_with_429(turn, fault)
        as_json = read_accept(turn.headers.get("accept", "")).as_json
        order = attrs.evolve(
            generation.order,
            shape="json" if as_json else "bytes",
            image_field=self._settings.result_field,
        )

        async def answer(order: Order) -> Answer:
            generation.asked_at = now
            if now < generation.ready_at:
                return in_progress_answer(generation_id)
            if generation.failure is not None:
                return error_of(generation.failure, turn.request_id)
            data = generation.data
            if order.reason == FILTERED != generation.order.reason:
                data = await self._in_thread(blurred_file, data, order.picture.output_format)
            return image_answer(order, [data])

        return await self._deliver(turn, order, answer, fault)

    def _judge_haste(self, turn: Turn, passed: float | None) -> None:
        if passed is None:
            return
        turn.visit.note(ignored=(f"poll: {passed:.3g} s after the last one",))
        if self._settings.hasty_polls == "refuse":
            raise self._rate_limited(0.0, None)

    def _check_key(self, turn: Turn) -> None:
        key, accepted = turn.key, self._settings.keys
        if not key or (accepted is not None and key not in accepted):
            raise unauthorized(key) if is_v1(turn.path) else Refusal.standard(401)

    async def _generate(self, turn: Turn, route: Route, endpoint: Endpoint) -> web.StreamResponse:
        chosen = self._settings
        judged = None
        if chosen.stamp == "head" and chosen.counts != "valid":
            judged = self.arrivals.expect(turn.visit, turn.number, turn.key)
            if chosen.early_refusal:
                self._refuse_excess(await judged)
        fault = self._strike(turn, turn.path, prompt=None)
        if fault is not None and fault.kind == "early":
            answer = error_of(fault, turn.request_id, is_v1=endpoint.is_v1)
            return await self._send(turn, answer, fault)
        if fault is not None:
            await stall(fault.seconds, self._clock)
        self._invite(turn)
        async with read_form(
            turn.request,
            strict=chosen.strict,
            to_the_end=not chosen.early_refusal,
            body=endpoint.body,
        ) as form:
            turn.visit.note(
                fields=form.fields,
                parts=tuple(form.parts),
                body_size=turn.request.content.total_bytes,
            )
            if chosen.counts != "valid":
                judged = judged or self.arrivals.expect(turn.visit, turn.number, turn.key)
                self._refuse_excess(await judged)
            order, uploads = await self._accept(turn, route, endpoint, form)
        return await self._fulfil(turn, order, uploads, fault)

    def _invite(self, turn: Turn) -> None:
        expectation = turn.headers.get("expect", "").lower()
        if expectation not in ("", "100-continue"):
            raise Refusal.with_status(417)
        if expectation and self._settings.says_continue:
            invite(turn.request)

    def _strike(self, turn: Turn, path: str, *, prompt: str | None) -> Fault | None:
        draw = self._chance(turn.number, "fault") / 2**64
        fault = self._settings.faults.strike(path, prompt, draw)
        if fault is not None:
            turn.visit.note(fault=fault.kind)
            self.ledger.faults[fault.kind] += 1
        return fault

    def _refuse_excess(self, verdict: Verdict) -> None:
        if not verdict.admitted:
            raise self._rate_limited(verdict.remaining, self._settings.retry_after)

    def _rate_limited(self, remaining: float, told: Literal["seconds", "date"] | None) -> Refusal:
        headers: dict[str, str] = {}
        if told == "seconds":
            headers["Retry-After"] = str(math.ceil(remaining))
        elif told == "date":
            now = self._clock.time()
            until = math.ceil(now + remaining)
            headers["Retry-After"] = email.utils.formatdate(until, usegmt=True)
            headers["Date"] = email.utils.formatdate(now, usegmt=True)  # by the same clock
        chosen = self._settings
        return Refusal.rate_limited(chosen.max_requests, chosen.period, chosen.lockout, headers)

    async def _accept(
        self, turn: Turn, route: Route, endpoint: Endpoint, form: Form
    ) -> tuple[Order, Uploads]:
        if endpoint.is_v1:  # which looks at the key and the engine first
            self._check_key(turn)
            check_engine(route.engine)
        if form.refusal is not None:
            raise form.refusal
        intake = Intake(endpoint, form)
        findings = intake.examine(turn.headers, strictness_of(self._settings))
        turn.visit.note(ignored=findings.ignored)
        if findings.problems:
            raise Refusal(400, findings.name, findings.problems)
        self._check_key(turn)
        if self._settings.counts == "valid":
            self._refuse_excess(await self.arrivals.expect(turn.visit, turn.number, turn.key))
        seed = self._chance(turn.number, "seed") % MAX_SEED + 1
        order = intake.order(route.engine, as_json=findings.as_json, random_seed=seed)
        if self._settings.image_bytes is not None:
            return order, {}
        return order, await self._in_thread(intake.decode, order.picture)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def _fulfil(
        self, turn: Turn, order: Order, uploads: Uploads, fault: Fault | None
    ) -> web.StreamResponse:
        if not self.ledger.suffices(turn.key, order.price):
            raise Refusal.standard(402)
        fault = fault or self._strike(turn, turn.path, prompt=order.picture.prompt)
        if fault is not None and fault.kind == "rate_limited":
            self._strike_with_429(turn, fault)
        is_paid = fault is None or fault.paid
        if order.shape == "started":
            ready_in = self._sample(turn, self._settings.result_latency)
            at_the_end = self._settings.start_charge == "end"
            if is_paid:
                self._book(turn, order.price, after=ready_in if at_the_end else 0.0)

            async def start(order: Order) -> Answer:
                return await self._start(turn, order, uploads, fault, ready_in)

            return await self._deliver(turn, order, start, fault)
        if is_paid:
            self._book(turn, order.price)

        async def finish(order: Order) -> Answer:
            images = [await self._draw(turn, picture, uploads) for picture in order.pictures]
            return image_answer(order, images)

        return await self._deliver(turn, order, finish, fault, thinks=True)

    def _book(self, turn: Turn, price: float, *, after: float = 0.0) -> None:
        def book() -> None:
            self.ledger.book(turn.key, price)
            turn.visit.note(charged=price)

        self._timers.after(after, book)

    async def _start(
        self, turn: Turn, order: Order, uploads: Uploads, fault: Fault | None, ready_in: float
    ) -> Answer:
        fails = fault is not None and fault.kind == "failed"
        data = b"" if fails else await self._draw(turn, order.picture, uploads)
        generation_id = "".join(
            f"{self._chance(turn.number, f'generation {part}'):016x}" for part in range(4)
        )
        ready_at = self._clock.monotonic() + ready_in
        self.results.add(
            generation_id, Generation(turn.key, order, data, ready_at, fault if fails else None)
        )
        self.ledger.started += 1
        turn.visit.note(generation_id=generation_id, seed=order.picture.seed)
        return started_answer(generation_id, self._settings.start_status)

    def _strike_with_429(self, turn: Turn, fault: Fault) -> NoReturn:
        seconds = self._settings.lockout if fault.retry_after is None else fault.retry_after
        if fault.lock_out:
            self.arrivals.gate(turn.key).lock(self._clock.monotonic(), seconds)
        told: Literal["seconds", "date"] = "date" if fault.as_date else "seconds"
        raise self._rate_limited(seconds, None if fault.retry_after is None else told)

    async def _deliver(
        self,
        turn: Turn,
        order: Order,
        make: Callable[[Order], Awaitable[Answer]],
        fault: Fault | None,
        *,
        thinks: bool = False,
    ) -> web.StreamResponse:
        if fault is None:
            answer = await make(order)
            await self._think(turn, thinks=thinks)
            return await self._send(turn, answer)
        if fault.kind in ("reset", "hang_up"):
            await self._think(turn, thinks=thinks)
            await vanish(turn.request, reset=fault.kind == "reset")
        order = spoilt(order, fault)
        begins = fault.kind == "failed" and order.shape == "started"
        instead = None if begins else fault_answer(order, fault, turn.request_id)
        answer = await make(order) if instead is None else instead
        if fault.kind == "gzip":
            answer = await self._in_thread(packed, answer, fault.padding)
        await self._think(turn, thinks=thinks)
        if fault.kind == "stall":
            await stall(fault.seconds, self._clock)
        if fault.kind == "stale":
            self._stale[turn.request.protocol] = fault.then
        return await self._send(turn, answer, fault)

    async def _draw(self, turn: Turn, picture: Picture, uploads: Uploads) -> bytes:
        if self._settings.image_bytes is not None:
            return payload_of_size(picture, self._settings.image_bytes)
        if uploads:
            data = await self._in_thread(render_with, picture, uploads)
        else:
            data = await self._in_thread(render, picture)
        return label(data, picture.output_format, turn.request_id)

    def _sample(self, turn: Turn, latency: Latency | None) -> float:
        rng = random.Random(self._chance(turn.number, "latency"))
        return (latency or self._settings.latency).sample(rng)

    async def _think(self, turn: Turn, *, thinks: bool) -> None:
        if not thinks:
            return
        ready_at = turn.began + self._sample(turn, None)
        if (wait := ready_at - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)

    async def _send(
        self, turn: Turn, answer: Answer, fault: Fault | None = None
    ) -> web.StreamResponse:
        self.ledger.by_status[answer.status] += 1
        turn.visit.note(status=answer.status, error_name=answer.error_name, seed=answer.seed)
        own = {"x-request-id": turn.request_id, "x-emulator": "sd3async"}
        labelled = attrs.evolve(answer, headers={**own, **answer.headers})
        ending = self._ending(turn, fault)
        is_last = ending in ("close", "reset")
        response = await deliver(turn.request, labelled, fault, self._clock, is_last=is_last)
        turn.visit.note(finished=True, answered_at=self._clock.monotonic())
        await leave(turn.request, ending)
        return response

    def _ending(self, turn: Turn, fault: Fault | None) -> Ending | None:
        if fault is not None and fault.kind == "early":
            return fault.then
        body_is_there = turn.request.content.is_eof()
        return None if body_is_there else self._settings.early_refusal
