"""Connections, loops, pools, variants: who opens what, and who closes it."""

import asyncio
import gc
import logging
import weakref
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sd3async import (
    AuthenticationError,
    CoreRequest,
    PaymentRequiredError,
    RateLimit,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    RetryPolicy,
    SD3Client,
    SD3Error,
    Timeouts,
    UpscaleCreativeRequest,
)
from sd3async.emulator import Emulator, Fault, Uniform
from sd3async.emulator.virtual_time import LoopClock
from sd3async.limiter import Permit
from sd3async.telemetry import (
    Answered,
    AttemptSent,
    Done,
    Event,
    Frozen,
    PermitGranted,
    Queued,
    Retried,
)
from support.pictures import padded_picture, picture
from support.servers import serve

KEY = "sk-test0123456789abcdef"


async def test_nothing_is_opened_before_the_first_request(start: Any) -> None:
    """A client made at import time must not need a loop."""
    emulator, _ = await start()
    client = SD3Client(KEY, base_url=emulator.url)

    assert repr(client).startswith("SD3Client(base_url='http://127.0.0.1:")
    await client.core("a")
    await client.aclose()
    await client.core("b")  # opens again
    await client.aclose()
    assert len(emulator.requests) == 2


def run_in_new_loop(main: Coroutine[Any, Any, Any]) -> None:
    """Run as `asyncio.run` does; in real time, for the emulator is in another thread."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main)


def test_one_client_serves_several_loops_in_a_row(sd3_emulator_factory: Callable[..., Any]) -> None:
    """Scripts and notebooks call `asyncio.run` more than once; nothing may stay open behind."""
    emulator = sd3_emulator_factory(image_bytes=2_000)
    client = SD3Client(KEY, base_url=emulator.url)

    async def two_calls() -> None:
        await asyncio.gather(client.core("a"), client.sd3("b"))

    for _ in range(3):
        run_in_new_loop(two_calls())
    assert emulator.paid == 6


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_calls_of_a_loop_that_died_take_nothing_from_the_next(
    sd3_emulator_factory: Callable[..., Any],
) -> None:
    """Thrown away later, they gave back slots that were not theirs: more calls at once than allowed."""
    emulator = sd3_emulator_factory(image_bytes=2_000, latency=0.3)
    client = SD3Client(KEY, base_url=emulator.url, max_in_flight=1)

    async def begin() -> list[asyncio.Task[Any]]:
        abandoned = [asyncio.create_task(client.core("a")) for _ in range(2)]
        await asyncio.sleep(0.1)
        return abandoned

    async def two_at_once() -> float:
        await client.core("b")
        abandoned.clear()
        gc.collect()
        images = await asyncio.gather(client.core("c"), client.core("d"))
        return max(image.timings.slot_wait for image in images)

    loop = asyncio.SelectorEventLoop()
    abandoned = loop.run_until_complete(begin())
    loop.close()
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(two_at_once()) >= 0.3


def test_a_client_in_use_refuses_a_second_loop(sd3_emulator_factory: Callable[..., Any]) -> None:
    """Sharing connections between running loops corrupts them silently."""
    emulator = sd3_emulator_factory(image_bytes=2_000)
    client = SD3Client(KEY, base_url=emulator.url)

    async def main() -> None:
        await client.core("a")
        with pytest.raises(RuntimeError, match="make one client for each"):
            await asyncio.to_thread(run_in_new_loop, client.core("b"))

    run_in_new_loop(main())


async def test_a_session_that_was_passed_in_stays_open(start: Any) -> None:
    """Whoever opens a session closes it."""
    emulator, _ = await start()
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with SD3Client(KEY, base_url=emulator.url, session=session) as client:
            await client.core("a")
        assert not session.closed
        assert client.max_in_flight == 100


async def test_a_given_sessions_own_strictness_does_not_hide_errors(start: Any) -> None:
    """A session with raise_for_status would turn every error into aiohttp's."""
    emulator, _ = await start(faults=[Fault.status(402)])
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        client = SD3Client(KEY, base_url=emulator.url, session=session)
        with pytest.raises(PaymentRequiredError):
            await client.core("a")


async def test_what_a_middleware_sends_again_is_counted(start: Any) -> None:
    """It took the place of the first sending, which the server had counted: 14 in a window of 10."""

    async def twice(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        (await handler(request)).release()
        await asyncio.sleep(0.5)
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=[twice]) as session:
        emulator, client = await start(
            max_requests=10, rate_limit=RateLimit(10), client={"session": session}
        )
        await asyncio.gather(*(client.core("a") for _ in range(20)))

    assert (len(emulator.requests), emulator.refused) == (40, 0)


async def test_nothing_but_the_client_looks_for_a_result_again(start: Any) -> None:
    """aiohttp repeats a GET that meets a dying connection: no policy, history or event knew of it."""
    events: list[Event] = []
    emulator, client = await start(client={"observers": [events.append]})
    emulator.faults.script([None, Fault.reset(), Fault.reset()], path="results")
    pending = await client.start(UpscaleCreativeRequest(picture(), "a fox"))
    await client.result(pending)
    events.clear()
    image = await client.result(pending)

    looks = [visit for visit in emulator.requests if visit.method == "GET"]
    kinds = Counter(type(event) for event in events)
    assert len(looks) == 1 + 3
    assert kinds[PermitGranted] == kinds[AttemptSent] == 3
    assert kinds[Retried] == 2
    assert image.finish_reason == "SUCCESS"


async def test_a_look_that_may_not_be_repeated_is_not(start: Any) -> None:
    """`RetryPolicy(attempts=1)` means one request at the server, over a kept connection too."""
    emulator, client = await start(retry=RetryPolicy(attempts=1))
    emulator.faults.script([None, Fault.reset()], path="results")
    pending = await client.start(UpscaleCreativeRequest(picture(), "a fox"))
    await client.result(pending)
    with pytest.raises(ResponseReadError) as caught:
        await client.result(pending)

    assert len(emulator.requests) == 1 + 2
    assert caught.value.pending == pending


@pytest.mark.parametrize("is_sent", [True, False])
async def test_an_error_of_a_middleware_tells_the_doubt_it_leaves(
    start: Any, is_sent: bool
) -> None:
    """The server may have booked the image by then, and nobody was told."""
    events: list[Event] = []

    async def fail(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if is_sent:
            await handler(request)
        raise KeyError("mine")

    async with aiohttp.ClientSession(middlewares=[fail]) as session:
        emulator, client = await start(client={"session": session, "observers": [events.append]})
        with pytest.raises(KeyError):
            await client.core("a")

    (end,) = [event for event in events if isinstance(event, Done)]
    assert emulator.paid == end.unknown_charges == is_sent


async def test_a_call_that_ends_in_the_line_has_made_no_attempt(start: Any) -> None:
    """Attempts are requests; one that was never granted is none."""
    heard: list[Event] = []
    _, client = await start(rate_limit=RateLimit(1), client={"observers": [heard.append]})
    await client.core("a")
    with pytest.raises(RequestTimeoutError):
        async with asyncio.timeout(5):
            await client.core("b", deadline=4)
    waiting = asyncio.create_task(client.core("c"))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert [event.attempts for event in heard if isinstance(event, Done)] == [1, 0, 0]


async def test_variants_share_connections_and_limiter(start: Any) -> None:
    """A stricter timeout for one call must not buy a second allowance."""
    emulator, client = await start(client={"client_id": "shop"})
    variant = client.with_options(
        retry=RetryPolicy(attempts=1), timeouts=Timeouts(read=5), client_user_id="anna"
    )
    await client.core("a")
    await variant.core("b")

    assert client.limiter_state().in_window == variant.limiter_state().in_window == 2
    first, second = [request.headers for request in emulator.requests]
    assert (first["stability-client-id"], second["stability-client-id"]) == ("shop", "shop")
    assert "stability-client-user-id" not in first
    assert second["stability-client-user-id"] == "anna"


async def test_a_variant_may_have_observers_of_its_own(start: Any) -> None:
    """One part of a program may watch its own calls."""
    heard: list[Event] = []
    _, client = await start()
    await client.core("a")
    await client.with_options(observers=[heard.append]).core("b")

    assert {event.call for event in heard} == {2}


async def test_observers_are_told_the_story_of_a_call(start: Any) -> None:
    """Queued, granted, sent, answered, retried, frozen, done: in this order, with facts."""
    heard: list[Event] = []
    _, client = await start(
        faults=[Fault.status(500), Fault.rate_limited()],
        client={"observers": [heard.append]},
    )
    image = await client.core("a secret prompt")

    assert [type(event) for event in heard] == [
        Queued,
        PermitGranted, AttemptSent, Answered, Retried,
        PermitGranted, AttemptSent, Frozen, Answered, Retried,
        PermitGranted, AttemptSent, Answered, Done,
    ]  # fmt: skip
    statuses = [event.status for event in heard if isinstance(event, Answered)]
    assert statuses == [500, 429, 200]
    done = heard[-1]
    assert isinstance(done, Done)
    assert (done.attempts, done.credits, done.endpoint) == (3, 3.0, "core")
    assert done.seconds == pytest.approx(image.timings.total)
    assert [event.at for event in heard] == sorted(event.at for event in heard)
    assert "secret" not in repr(heard)


async def test_trace_configs_are_passed_through(start: Any) -> None:
    """aiohttp's own tracing sees what the observers do not, such as name look-ups."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def note(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    trace.on_request_start.append(note)
    _, client = await start(client={"trace_configs": [trace]})
    await client.core("a")

    assert seen == ["/v2beta/stable-image/generate/core"]


async def test_timings_add_up(start: Any) -> None:
    """Whoever tunes concurrency must see where the time goes."""
    _, client = await start(latency=4.0, faults=[Fault.rate_limited(retry_after=20)])
    image = await client.core("a")

    times = image.timings
    assert times.limiter_wait == pytest.approx(20.5, abs=0.3)
    assert times.headers == pytest.approx(4.0, abs=0.2)
    parts = times.slot_wait + times.limiter_wait + times.connect + times.headers + times.body
    assert parts <= times.total + 1e-6


async def test_a_key_without_credits_leaves_the_pool_and_the_call_goes_on(start: Any) -> None:
    """A refusal is free, so another key can take over."""
    emulator, client = await start(
        keys=["sk-good"], client={"api_key": ["sk-bad", "sk-good"], "max_in_flight": 10}
    )
    images = await asyncio.gather(*(client.core(f"p{number}") for number in range(10)))

    assert len(images) == 10
    assert client.limiter_state(0).retired
    refused = [request for request in emulator.requests if request.status == 401]
    assert 1 <= len(refused) <= 5


async def test_a_key_that_is_gone_does_not_use_up_an_attempt(start: Any) -> None:
    """The request was not at fault."""
    _, client = await start(
        faults=[Fault.status(401), Fault.status(500)],
        retry=RetryPolicy(attempts=2),
        client={"api_key": ["sk-a", "sk-b"]},
    )

    assert (await client.core("a")).attempts == 3


async def test_how_long_images_take_says_nothing_about_the_way(start: Any) -> None:
    """A delay bound learnt from them would be seconds, and the limit half lost."""
    _, client = await start(latency=Uniform(0.5, 9.0), client={"max_in_flight": 20})
    await asyncio.gather(*(client.core("a") for _ in range(20)))

    assert client.limiter_state().delay_bound == RateLimit().delay_bound


async def test_an_attempt_is_told_as_sent_once_though_its_answer_comes_first(start: Any) -> None:
    """The answer to an upload may come before its last byte is out."""
    heard: list[Event] = []
    _, client = await start(
        faults=[Fault.early(429, then="close", retry_after=1)], client={"observers": [heard.append]}
    )
    await client.sd3("a", image=padded_picture(5_000_000), strength=0.5)

    told = [type(event) for event in heard if isinstance(event, AttemptSent | Answered)]
    assert told == [AttemptSent, Answered] * 2


async def test_a_call_cut_off_before_its_instant_leaves_no_doubt(start: Any) -> None:
    """It has its permit and its connection, and not one byte has left."""
    heard: list[Event] = []
    emulator, client = await start(rate_limit=RateLimit(1), client={"observers": [heard.append]})
    await client.core("a")
    call = asyncio.create_task(client.core("b"))
    await asyncio.sleep(client.estimated_wait() - 0.1)
    call.cancel()
    await asyncio.wait([call])

    done = heard[-1]
    assert isinstance(done, Done)
    assert (done.attempts, done.unknown_charges) == (1, 0)
    assert len(emulator.requests) == 1


async def test_a_call_cancelled_at_its_very_instant_sends_nothing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation takes some turns of the loop to arrive where the bytes are written."""
    told: list[Event] = []
    _, plain = await start()
    client = plain.with_options(observers=[told.append])
    is_ready = Permit.ready

    async def cancelled_when_ready(permit: Permit) -> None:
        await is_ready(permit)
        call.cancel()

    monkeypatch.setattr(Permit, "ready", cancelled_when_ready)
    call = asyncio.create_task(client.core("a"))
    await asyncio.wait([call])

    assert call.cancelled()
    assert [type(event) for event in told] == [Queued, Done]
    assert isinstance(told[-1], Done)
    assert told[-1].unknown_charges == 0


async def test_the_last_key_is_never_given_up(start: Any) -> None:
    """The account may be topped up while the service runs."""
    _, client = await start(faults=[Fault.status(402), Fault.status(401), None])
    with pytest.raises(PaymentRequiredError):
        await client.core("a")
    with pytest.raises(AuthenticationError):
        await client.core("a")

    assert (await client.core("a")).attempts == 1


async def test_a_pool_has_a_limit_for_each_key(start: Any) -> None:
    """Three keys may send three times as much."""
    emulator, client = await start(limit="log", client={"api_key": ["sk-a", "sk-b", "sk-c"]})
    await asyncio.gather(*(client.core("a") for _ in range(450)))

    assert emulator.refused == 0
    assert asyncio.get_running_loop().time() < 5
    assert client.ceiling == 45.0


async def test_a_frozen_key_of_a_pool_holds_nobody_up(start: Any) -> None:
    """Only the key that was refused is shut out."""
    _, client = await start(faults=[Fault.rate_limited()], client={"api_key": ["sk-a", "sk-b"]})
    await client.core("a")

    assert asyncio.get_running_loop().time() < 5
    assert client.frozen_for == 0.0
    assert (client.limiter_state(0).frozen_until is None) != (
        client.limiter_state(1).frozen_until is None
    )


async def test_one_429_stops_every_task_of_the_key(start: Any) -> None:
    """Each further request during the lock-out may extend it."""
    emulator, client = await start(
        limit="log", lockout_extends=True, faults={Fault.rate_limited(): 0.02}, seed=3,
        client={"max_in_flight": 50},
    )  # fmt: skip
    await asyncio.gather(*(client.core(f"p{number}") for number in range(200)))

    assert emulator.paid == 200
    assert 0 < emulator.refused < 60


async def test_a_429_freezes_the_key_before_its_body_is_read() -> None:
    """While an error body dribbles in, other tasks would be sent into the lock-out."""
    arrivals: list[float] = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        arrivals.append(asyncio.get_running_loop().time())
        await request.read()
        response = web.StreamResponse(status=429, headers={"content-length": "10"})
        await response.prepare(request)
        await asyncio.sleep(20)
        await response.write(b"0123456789")
        return response

    policy = RetryPolicy(attempts=1)
    async with (
        serve(refuse) as url,
        SD3Client(KEY, base_url=url, clock=LoopClock(), retry=policy) as client,
    ):
        first = asyncio.create_task(client.core("a"))
        await asyncio.sleep(5)
        with pytest.raises(RequestTimeoutError):
            await client.core("b", deadline=10)
        with pytest.raises(RateLimitError):
            await first

    assert len(arrivals) == 1


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_the_key_is_never_logged(
    start: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """Logs are shared more freely than keys."""
    monkeypatch.setenv("SD3ASYNC_LOG", logging.getLevelName(level))
    caplog.set_level(logging.DEBUG)
    _, client = await start(
        faults=[Fault.status(500), Fault.rate_limited()], keys=[KEY], client={"api_key": KEY}
    )
    await client.core("a secret prompt")
    _, stranger = await start(keys=["sk-other"], retry=RetryPolicy(attempts=2))
    with pytest.raises(SD3Error) as caught:
        await stranger.core("a secret prompt")

    text = caplog.text + str(caught.value) + repr(caught.value) + repr(client) + repr(stranger)
    assert "retried" in caplog.text
    for secret in (KEY, KEY[:9], KEY[-6:], "secret prompt"):
        assert secret not in text
    logging.getLogger("sd3async").setLevel(logging.NOTSET)


ECHOES = {
    "error": b'{"error": "the key %s is not known here"}',
    "other JSON": b'{"authorization": "Bearer %s"}',
    "page": b"<html><title>Bearer %s</title></html>",
    "text": b"%s",
    "nothing": b"",
    "reason": b'{"finish_reason": "%s", "image": "' + b64encode(picture()) + b'"}',
}


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("echo", ECHOES)
async def test_a_key_that_is_echoed_is_struck_out(echo: str, status: int) -> None:
    """Gateways take keys of any form, and what they say of them is kept in errors and events."""
    key = "a-gateways-own"
    events: list[Event] = []
    body = ECHOES[echo].replace(b"%s", key.encode())
    headers = {"x-request-id": key, "content-type": key}

    async def respond(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    async with (
        serve(respond) as url,
        SD3Client(key, base_url=url, clock=LoopClock(), observers=[events.append]) as client,
    ):
        with pytest.raises(SD3Error) as caught:
            await client.core("a")

    assert len(events) > 3
    assert key not in f"{caught.value} {caught.value!r} {vars(caught.value)} {events}".lower()


async def test_what_observers_hear_agrees_with_the_server(start: Any) -> None:
    """Money and counts in the final table are those the server booked."""
    events: list[Event] = []
    emulator, client = await start(
        faults={Fault.status(500): 0.1, Fault.reset(): 0.1}, seed=5,
        client={"observers": [events.append]},
    )  # fmt: skip
    await asyncio.gather(*(client.core("a") for _ in range(60)))

    ends = [event for event in events if isinstance(event, Done)]
    spent = sum(end.credits for end in ends)
    assert len(ends) == 60
    assert sum(isinstance(event, AttemptSent) for event in events) == len(emulator.requests)
    assert spent == 180.0
    assert spent + 3 * sum(end.unknown_charges for end in ends) == emulator.credits_used


async def test_the_connection_slot_is_held_before_the_permit(start: Any) -> None:
    """A permit that waits for a connection arrives in the wrong window."""
    heard: list[PermitGranted] = []

    def note(event: Event) -> None:
        if isinstance(event, PermitGranted):
            heard.append(event)

    _, client = await start(latency=3.0, client={"max_in_flight": 2, "observers": [note]})
    await asyncio.gather(*(client.core("a") for _ in range(6)))

    grants = [round(event.at) for event in heard]
    assert grants == [0, 0, 3, 3, 6, 6]


async def test_a_bad_connection_pool_leaves_no_file_open(start: Any, tmp_path: Path) -> None:
    """Every attempt opens its source; every attempt must close it."""
    from support.pictures import picture

    path = tmp_path / "a.png"
    path.write_bytes(picture())
    _, client = await start(faults={Fault.reset(): 0.5}, seed=1, retry=RetryPolicy(attempts=9))
    before = len(list(Path("/proc/self/fd").iterdir()))
    await asyncio.gather(*(client.sd3("a", image=path, strength=0.5) for _ in range(20)))
    await client.aclose()
    await asyncio.sleep(1)

    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize("fault", [None, Fault.status(500)])
async def test_a_call_leaves_nothing_to_the_garbage_collector(
    start: Any, fault: Fault | None
) -> None:
    """What a call held would stay in memory until then: its request, with an image to upload."""
    _, client = await start(faults=[None, fault])
    await client.core("warms up")
    gc.collect()
    gc.disable()
    try:
        request = CoreRequest("a")
        is_alive = weakref.ref(request)
        await client.generate(request)
        del request
        assert not is_alive()
    finally:
        gc.enable()


async def test_closing_gives_the_connections_back(start: Any) -> None:
    """A session that nobody closes holds its sockets until the loop ends."""
    emulator, _ = await start()
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with SD3Client(KEY, base_url=emulator.url, clock=LoopClock()) as client:
        await client.core("a")
        during = len(list(Path("/proc/self/fd").iterdir()))
    await asyncio.sleep(1)  # the server takes note

    assert len(list(Path("/proc/self/fd").iterdir())) == before < during


async def test_the_balance_keeps_to_the_clients_timeouts() -> None:
    """A balance that never comes must not stop a job from beginning."""

    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(1_000)
        return web.Response()

    async with serve(never) as url:
        client = SD3Client(
            KEY,
            base_url=url,
            clock=LoopClock(),
            retry=RetryPolicy(attempts=1),
            timeouts=Timeouts(read=7),
        )
        with pytest.raises(RequestTimeoutError) as caught:
            await client.balance()
        await client.aclose()

        assert asyncio.get_running_loop().time() == pytest.approx(7.0, abs=0.5)
    assert [past.may_be_charged for past in caught.value.history] == [False]


async def test_an_emulator_that_is_gone_is_a_clean_error() -> None:
    """A stopped server must not look like a bug in the client."""
    async with Emulator(image_bytes=2_000, strict=True) as emulator:
        client = SD3Client(
            KEY, base_url=emulator.url, clock=LoopClock(), retry=RetryPolicy(attempts=1)
        )
        await client.core("a")
    with pytest.raises(SD3Error):
        await client.core("b")
    await client.aclose()
