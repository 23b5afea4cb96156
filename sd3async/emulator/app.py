"""The service: one request in, one answer out."""

import asyncio
import email.utils
import math
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Literal, NoReturn, TypeVar

import attrs
from aiohttp import web
from PIL import Image

from sd3async._clock import Clock
from sd3async.emulator.answers import Answer, Refusal, error_answer, to_json
from sd3async.emulator.api_table import ENDPOINTS, NOT_EMULATED, Endpoint
from sd3async.emulator.arrivals import Arrivals
from sd3async.emulator.checks import Strictness, examine
from sd3async.emulator.delivery import deliver, invite, leave, stall, vanish
from sd3async.emulator.faults import Ending, Fault, chance
from sd3async.emulator.form import Form, read_form
from sd3async.emulator.images import Picture, render, render_from
from sd3async.emulator.journal import Journal, Visit, key_id
from sd3async.emulator.ledger import Ledger
from sd3async.emulator.limits import Verdict
from sd3async.emulator.orders import (
    Order,
    error_of,
    fault_answer,
    image_answer,
    order_from,
    packed,
    spoilt,
)
from sd3async.emulator.payloads import label, payload_of_size
from sd3async.emulator.settings import Settings
from sd3async.emulator.uploads import UndecodableImageError, decode, read_facts

__all__ = ["Service"]

T = TypeVar("T")

BALANCE_PATH = "/v1/user/balance"
MAX_SEED = 4294967294
_NOT_TOLD = frozenset({"authorization", "proxy-authorization", "cookie"})


def _key(request: web.Request) -> str:
    value = request.headers.get("Authorization", "").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value


def _below(prefix: str, path: str) -> str:
    """Return a path without the prefix; empty, which no route is, when it lies elsewhere."""
    return path.removeprefix(prefix) if path.startswith(prefix) else ""


def _told_headers(request: web.Request) -> dict[str, str]:
    names = dict.fromkeys(name.lower() for name in request.headers)
    told = (name for name in names if name not in _NOT_TOLD)
    return {name: ", ".join(request.headers.getall(name)) for name in told}


@attrs.frozen(eq=False)
class Turn:
    """One request on its way through.

    Attributes:
        request: As aiohttp gives it.
        visit: Its line in the journal.
        key: The key it carries; may be empty.
        path: Without the emulator's prefix.
        headers: What may be told of its headers, by lower-case name.
        number: 1 for the first request.
        request_id: 32 hexadecimal digits.
        began: When its head had arrived [s].
    """

    request: web.Request
    visit: Visit
    key: str
    path: str
    headers: Mapping[str, str]
    number: int
    request_id: str
    began: float


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
        self._stale: dict[web.RequestHandler, Ending] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what has happened: journal, books, limits and lock-outs."""
        self.journal = Journal(self._settings.journal_limit)
        self.ledger = Ledger(self._settings.credits)
        self.arrivals = Arrivals(self._settings, self._clock)

    async def close(self) -> None:
        """Break off whatever is in flight, and take nothing more in."""
        self._closing = True
        self.arrivals.clear()
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
        number, key, now = self.ledger.requests, _key(request), self._clock.monotonic()
        request_id = f"{self._chance(number, 'id'):016x}{self._chance(number, 'more id'):016x}"
        headers = _told_headers(request)
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
        path = _below(self._settings.prefix, request.path)
        self.journal.add(visit)
        return Turn(request, visit, key, path, headers, number, request_id, now)

    def _chance(self, number: int, purpose: str) -> int:
        return chance(self._settings.seed, number, purpose)

    async def _serve(self, turn: Turn) -> web.StreamResponse:
        if (ending := self._stale.pop(turn.request.protocol, None)) is not None:
            turn.visit.note(fault="stale")
            await vanish(turn.request, reset=ending == "reset")
        try:
            if turn.path in ENDPOINTS and turn.request.method == "POST":
                return await self._generate(turn, ENDPOINTS[turn.path])
            if self._settings.counts == "all":
                self._refuse_excess(await self.arrivals.expect(turn.visit, turn.number, turn.key))
            return await self._send(turn, self._small_answer(turn))
        except Refusal as refusal:
            return await self._send(turn, error_answer(refusal, turn.request_id))

    def _small_answer(self, turn: Turn) -> Answer:
        if turn.path == BALANCE_PATH and turn.request.method == "GET":
            return self._balance(turn)
        if turn.path in ENDPOINTS or turn.path == BALANCE_PATH:
            what = f"{turn.request.method} {turn.path}: wrong method"
            allowed = "GET" if turn.path == BALANCE_PATH else "POST"
            raise Refusal(405, "method_not_allowed", [what], {"Allow": allowed})
        if turn.path.startswith(NOT_EMULATED):
            what = f"{turn.path}: documented, but the emulator does not have it"
            raise Refusal(501, "not_emulated", [what])
        raise Refusal(404, "not_found", [f"{turn.request.path}: no such path"])

    def _balance(self, turn: Turn) -> Answer:
        if not self._knows(turn.key):
            words = "missing authorization header" if not turn.key else "Incorrect API key provided"
            body = {"id": turn.request_id, "message": words, "name": "unauthorized"}
            return Answer(401, to_json(body), error_name="unauthorized")
        return Answer(200, to_json({"credits": self.ledger.credits_left(turn.key)}))

    async def _generate(self, turn: Turn, endpoint: Endpoint) -> web.StreamResponse:
        chosen = self._settings
        judged = None
        if chosen.stamp == "head" and chosen.counts != "valid":
            judged = self.arrivals.expect(turn.visit, turn.number, turn.key)
            if chosen.early_refusal:
                self._refuse_excess(await judged)
        fault = self._strike(turn, prompt=None)
        if fault is not None and fault.kind == "early":
            return await self._send(turn, error_of(fault, turn.request_id), fault)
        if fault is not None:
            await stall(fault.seconds, self._clock)
        self._invite(turn)
        async with read_form(
            turn.request, strict=chosen.strict, to_the_end=not chosen.early_refusal
        ) as form:
            turn.visit.note(
                fields=form.fields,
                parts=tuple(form.parts),
                body_size=turn.request.content.total_bytes,
            )
            if chosen.counts != "valid":
                judged = judged or self.arrivals.expect(turn.visit, turn.number, turn.key)
                self._refuse_excess(await judged)
            order, upload = await self._accept(turn, endpoint, form)
        return await self._fulfil(turn, order, upload, fault)

    def _invite(self, turn: Turn) -> None:
        expectation = turn.headers.get("expect", "").lower()
        if expectation not in ("", "100-continue"):
            raise Refusal.with_status(417)
        if expectation and self._settings.says_continue:
            invite(turn.request)

    def _strike(self, turn: Turn, *, prompt: str | None) -> Fault | None:
        draw = self._chance(turn.number, "fault") / 2**64
        fault = self._settings.faults.strike(turn.path, prompt, draw)
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
        self, turn: Turn, endpoint: Endpoint, form: Form
    ) -> tuple[Order, Image.Image | None]:
        if form.refusal is not None:
            raise form.refusal
        chosen = self._settings
        strictness = Strictness(
            chosen.strict,
            chosen.unknown_fields or ("reject" if chosen.strict else "ignore"),
            chosen.models,
            chosen.turbo_negative_prompt,
        )
        findings = examine(endpoint, form, turn.headers, strictness)
        turn.visit.note(ignored=findings.ignored)
        if findings.problems:
            raise Refusal.bad_request(*findings.problems)
        if not self._knows(turn.key):
            raise Refusal.standard(401)
        if chosen.counts == "valid":
            self._refuse_excess(await self.arrivals.expect(turn.visit, turn.number, turn.key))
        return await self._order(turn, endpoint, form, as_json=findings.as_json)

    def _knows(self, key: str) -> bool:
        return bool(key) and (self._settings.keys is None or key in self._settings.keys)

    async def _order(
        self, turn: Turn, endpoint: Endpoint, form: Form, *, as_json: bool
    ) -> tuple[Order, Image.Image | None]:
        stream = form.files.get("image") if endpoint.image else None
        facts = stream and read_facts(stream)
        order = order_from(
            endpoint,
            form.fields,
            as_json=as_json,
            random_seed=self._chance(turn.number, "seed") % MAX_SEED + 1,
            upload=(facts.width, facts.height) if facts else None,
        )
        if stream is None or self._settings.image_bytes is not None:
            return order, None
        try:
            return order, await self._in_thread(decode, stream, order.picture.size)
        except UndecodableImageError:
            raise Refusal.bad_request("image: could not be decoded") from None

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def _fulfil(
        self, turn: Turn, order: Order, upload: Image.Image | None, fault: Fault | None
    ) -> web.StreamResponse:
        if not self.ledger.suffices(turn.key, order.price):
            raise Refusal.standard(402)
        fault = fault or self._strike(turn, prompt=order.picture.prompt)
        if fault is not None and fault.kind == "rate_limited":
            self._strike_with_429(turn, fault)
        if fault is None or fault.paid:
            self.ledger.book(turn.key, order.price)
            turn.visit.note(charged=order.price)
        return await self._deliver(turn, order, upload, fault)

    def _strike_with_429(self, turn: Turn, fault: Fault) -> NoReturn:
        seconds = self._settings.lockout if fault.retry_after is None else fault.retry_after
        if fault.lock_out:
            self.arrivals.gate(turn.key).lock(self._clock.monotonic(), seconds)
        told: Literal["seconds", "date"] = "date" if fault.as_date else "seconds"
        raise self._rate_limited(seconds, None if fault.retry_after is None else told)

    async def _deliver(
        self, turn: Turn, order: Order, upload: Image.Image | None, fault: Fault | None
    ) -> web.StreamResponse:
        if fault is None:
            answer = image_answer(order, await self._draw(turn, order.picture, upload))
            await self._think(turn)
            return await self._send(turn, answer)
        if fault.kind in ("reset", "hang_up"):
            await self._think(turn)
            await vanish(turn.request, reset=fault.kind == "reset")
        order = spoilt(order, fault)
        answer = fault_answer(order, fault, turn.request_id) or image_answer(
            order, await self._draw(turn, order.picture, upload)
        )
        if fault.kind == "gzip":
            answer = await self._in_thread(packed, answer, fault.padding)
        await self._think(turn)
        if fault.kind == "stall":
            await stall(fault.seconds, self._clock)
        if fault.kind == "stale":
            self._stale[turn.request.protocol] = fault.then
        return await self._send(turn, answer, fault)

    async def _draw(self, turn: Turn, picture: Picture, upload: Image.Image | None) -> bytes:
        if self._settings.image_bytes is not None:
            return payload_of_size(picture, self._settings.image_bytes)
        if upload is None:
            data = await self._in_thread(render, picture)
        else:
            data = await self._in_thread(render_from, picture, upload)
        return label(data, picture.output_format, turn.request_id)

    async def _think(self, turn: Turn) -> None:
        rng = random.Random(self._chance(turn.number, "latency"))
        ready_at = turn.began + self._settings.latency.sample(rng)
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
