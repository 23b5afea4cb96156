"""One call, start to finish."""

import asyncio
import base64
import errno
import hashlib
import io
import itertools
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from sd3async import (
    APIError,
    ConnectFailedError,
    ContentFilteredError,
    CoreRequest,
    GeneratedImage,
    InvalidRequestError,
    NotEnoughTimeError,
    PaymentRequiredError,
    RateLimit,
    RateLimitError,
    RequestTimeoutError,
    ResponseReadError,
    RetryPolicy,
    SD3Client,
    SD3Error,
    ServerError,
    Timeouts,
    TransportError,
    UltraRequest,
    UnexpectedResponseError,
)
from sd3async._files import PartFile
from sd3async.emulator import Emulator, Fault
from sd3async.emulator.virtual_time import LoopClock
from sd3async.telemetry import Event, Retried
from support.pictures import IMAGE_KINDS, OneWayStream, picture
from support.servers import serve, serve_bytes

PICTURE = picture(200, 100)


async def test_a_prompt_becomes_an_image(start: Any) -> None:
    """The shortest use of all."""
    emulator, client = await start(image_bytes=None)
    image = await client.sd3("a lighthouse", seed=7, aspect_ratio="3:2")

    assert image.to_pil().size == (1216, 832)
    assert (image.seed, image.finish_reason, image.credits) == (7, "SUCCESS", 6.5)
    assert (image.content_type, image.size) == ("image/png", len(image.data))
    assert (image.attempts, image.unknown_charges) == (1, 0)
    [request] = emulator.requests
    assert image.request_id == request.request_id


async def test_the_three_endpoints_get_their_own_fields(start: Any) -> None:
    """Every field that is set arrives, with its own value and at its own path."""
    emulator, client = await start()
    shared = {"negative_prompt": "fog", "seed": 0, "output_format": "webp", "style_preset": "anime"}
    await client.ultra("a", aspect_ratio="21:9", **shared)
    await client.core("b", aspect_ratio="9:21", **shared)
    await client.sd3("c", model="sd3.5-medium", cfg_scale=7, aspect_ratio="4:5", **shared)

    ultra, core, sd3 = emulator.requests
    texts = {**shared, "seed": "0"}
    assert ultra.fields == {"prompt": "a", "aspect_ratio": "21:9", **texts}
    assert core.fields == {"prompt": "b", "aspect_ratio": "9:21", **texts}
    assert sd3.fields == {
        "prompt": "c", "model": "sd3.5-medium", "cfg_scale": "7", "aspect_ratio": "4:5",
        "mode": "text-to-image", **texts,
    }  # fmt: skip
    assert [request.path.rsplit("/", 1)[1] for request in emulator.requests] == [
        "ultra", "core", "sd3",
    ]  # fmt: skip


async def test_the_model_is_always_sent(start: Any) -> None:
    """A client that leaves it out pays for whatever the service's default is today."""
    emulator, client = await start()
    image = await client.sd3("a")

    assert emulator.requests[0].fields["model"] == "sd3.5-large"
    assert image.request.model == "sd3.5-large"


async def test_text_only_requests_are_multipart_of_known_length(start: Any) -> None:
    """The service refuses urlencoded forms, and chunked bodies are nowhere documented."""
    emulator, client = await start()
    await client.core("a")

    [request] = emulator.requests
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert not request.chunked
    assert request.content_length == request.body_size


async def test_image_to_image_is_the_same_picture_at_strength_zero(start: Any) -> None:
    """The upload arrives as the starting image, and zero is sent as a value."""
    _, client = await start(image_bytes=None)
    image = await client.sd3("a", image=PICTURE, strength=0)

    with Image.open(io.BytesIO(PICTURE)) as sent:
        centre = image.to_pil().convert("RGB").getpixel((500, 300))
        assert centre == sent.convert("RGB").getpixel((100, 50))


async def test_json_answers_give_the_same_image(start: Any, tmp_path: Path) -> None:
    """Both accept modes are documented; the choice must not change the result."""
    _, client = await start(image_bytes=None)
    plain = await client.core("a", seed=3)
    decoded = await client.core("a", seed=3, accept="application/json")
    streamed = await client.core("a", seed=3, accept="application/json", to=tmp_path / "a.png")

    assert decoded.to_pil().tobytes() == plain.to_pil().tobytes()
    assert streamed.to_pil().tobytes() == plain.to_pil().tobytes()
    assert (decoded.seed, decoded.finish_reason) == (3, "SUCCESS")
    assert decoded.content_type == "image/png"


async def test_whoever_asks_is_told_before_a_file_has_its_name(start: Any, tmp_path: Path) -> None:
    """What an image is must be on the disk before the image is found there."""
    _, client = await start()
    path, seen = tmp_path / "a.png", list[tuple[GeneratedImage, bytes, bool]]()

    def note(image: GeneratedImage, part: Path) -> None:
        seen.append((image, part.read_bytes(), path.exists()))

    returned = await client.generate(CoreRequest("a", seed=3), to=path, on_whole=note)
    ((image, data, was_there),) = seen

    assert not was_there
    assert data == path.read_bytes()
    assert (image.seed, image.request_id, image.path) == (3, returned.request_id, path)
    assert image.emulated


async def test_to_streams_into_a_file_and_keeps_no_bytes(start: Any, tmp_path: Path) -> None:
    """A long job must not hold its images in memory."""
    _, client = await start()
    path = tmp_path / "a.png"
    image = await client.core("a", to=path)

    assert image.data is None
    assert image.path == path
    assert path.stat().st_size == image.size > 1_000
    assert list(tmp_path.iterdir()) == [path]


async def test_a_folder_that_cannot_be_written_costs_nothing(start: Any, tmp_path: Path) -> None:
    """The image would be paid for and lost."""
    emulator, client = await start()

    with pytest.raises(InvalidRequestError, match=r"to: cannot write .*no such file"):
        await client.core("a", to=tmp_path / "missing" / "a.png")
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("", "'' is a folder"),
        (".", "is a folder"),
        ("pipe.png", "is a pipe"),
        ("a.jpg", "image is png"),
    ],
)
async def test_a_mistake_in_the_target_costs_nothing(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, words: str
) -> None:
    """It would be found out when the image is there, and paid for."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    emulator, client = await start()

    with pytest.raises(InvalidRequestError, match=f"to: .*{words}"):
        await client.core("a", to=to)
    assert emulator.requests == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "disk quota exceeded"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EIO, "the disk failed"),
    ],
)
async def test_what_is_wrong_with_the_disk_is_said_in_words(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """The image is paid for: people must know at once what to put right."""
    emulator, client = await start()

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(PartFile, "commit", fail)
    sentence = rf"{words}: the image was paid for \(3 credits\) and is lost: .*a\.png"
    with pytest.raises(OSError, match=sentence) as caught:
        await client.core("a", to=tmp_path / "a.png")

    assert caught.value.errno == code
    assert emulator.paid == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_truncated_download_leaves_no_file(start: Any, tmp_path: Path) -> None:
    """Half an image under its final name looks like a whole one."""
    _, client = await start(
        faults=[Fault.truncated(0.5)], image_bytes=400_000, retry=RetryPolicy(attempts=1)
    )

    with pytest.raises(ResponseReadError):
        await client.core("a", to=tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


async def test_a_filtered_image_is_returned_and_flagged(start: Any) -> None:
    """It comes with status 200, and is taken to be charged."""
    _, client = await start(faults=[Fault.filtered()])
    image = await client.ultra("a")

    assert image.is_filtered
    assert image.credits == 8
    with pytest.raises(ContentFilteredError):
        image.raise_if_filtered()


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(500),
        Fault.status(502),
        Fault.status(503),
        Fault.status(504),
        Fault.status(502, page=False),
        Fault.status(504, paid=True),
        Fault.from_gateway("new-api", 500),
        Fault.reset(),
        Fault.hang_up(),
        Fault.truncated(),
        Fault.empty(),
        Fault.rate_limited(),
        Fault.rate_limited(retry_after=5),
        Fault.rate_limited(retry_after=90, as_date=True),
    ],
    ids=str,
)
async def test_trouble_that_passes_is_survived(start: Any, fault: Fault) -> None:
    """Each of these is met in a long job, and none may cost an image."""
    emulator, client = await start(faults=[fault])
    image = await client.core("a")

    assert image.attempts == 2
    assert len(emulator.requests) == 2
    is_doubtful = fault.paid or (fault.page and fault.code in (502, 504))
    assert image.unknown_charges == is_doubtful


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault.status(400), APIError, "400 bad_request"),
        (Fault.status(402), PaymentRequiredError, "402 payment_required: You lack sufficient credits"),
        (Fault.status(403), APIError, "403 content_moderation"),
        (Fault.status(413), APIError, "413 payload_too_large"),
        (Fault.status(422), APIError, "422"),
        (Fault.from_gateway("v-api", 403), PaymentRequiredError, "quota"),
        (Fault.html(), UnexpectedResponseError, "text/html"),
        (Fault.no_image(), UnexpectedResponseError, "no image"),
    ],
    ids=str,
)  # fmt: skip
async def test_trouble_that_will_not_pass_is_raised_at_once(
    start: Any, fault: Fault, error: type[Exception], words: str
) -> None:
    """Another attempt would waste a request, or credits."""
    emulator, client = await start(faults=[fault])

    with pytest.raises(error, match=words):
        await client.core("a", accept="application/json")
    assert len(emulator.requests) == 1


async def test_the_last_error_says_what_each_attempt_met(start: Any) -> None:
    """Five different failures and one message: the reader needs all five."""
    _, client = await start(
        faults=[Fault.status(500), Fault.status(502), Fault.reset()], retry=RetryPolicy(attempts=3)
    )

    with pytest.raises(ResponseReadError) as caught:
        await client.core("a")
    numbers = [past.number for past in caught.value.history]
    assert numbers == [1, 2, 3]
    assert [past.may_be_charged for past in caught.value.history] == [False, True, True]
    assert "[3 attempts: 1: 500 internal_error" in str(caught.value)
    assert "2: 502" in str(caught.value)


async def test_backoff_is_drawn_between_nothing_and_the_policys_wait(start: Any) -> None:
    """Full jitter keeps a crowd from coming back as one."""
    emulator, client = await start(
        faults=[Fault.status(500)] * 3,
        retry=RetryPolicy(attempts=4, wait=2.0, max_wait=3.0),
    )
    await client.core("a")

    instants = [request.at for request in emulator.requests]
    gaps = [later - earlier for earlier, later in itertools.pairwise(instants)]
    for gap, most in zip(gaps, (2.0, 3.0, 3.0), strict=True):
        assert 0 <= gap <= most + 0.8  # and the limiter's pace


async def test_a_lone_attempt_raises_the_first_429(start: Any) -> None:
    """Who turned retries off wants to see it."""
    _, client = await start(
        faults=[Fault.rate_limited(retry_after=30)], retry=RetryPolicy(attempts=1)
    )

    with pytest.raises(RateLimitError) as caught:
        await client.core("a")
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault.reset(), ResponseReadError, "the connection broke"),
        (Fault.status(504, paid=True), ServerError, "504"),
    ],
    ids=str,
)
async def test_on_unknown_raise_never_pays_twice(
    start: Any, fault: Fault, error: type[SD3Error], words: str
) -> None:
    """The server may have done the work; this caller would rather know."""
    emulator, client = await start(faults=[fault], retry=RetryPolicy(on_unknown="raise"))

    with pytest.raises(error, match=words) as caught:
        await client.core("a")
    assert emulator.paid == 1
    assert caught.value.may_be_charged


async def test_silence_ends_in_a_timeout_that_may_have_been_charged(start: Any) -> None:
    """A server that never answers must not hold a caller for ever."""
    _, client = await start(
        faults=[Fault.stall()],
        retry=RetryPolicy(attempts=1),
        client={"timeouts": Timeouts(read=30.0)},
    )

    with pytest.raises(RequestTimeoutError, match="no whole answer in time") as caught:
        await client.core("a")
    assert caught.value.history[0].may_be_charged


@pytest.mark.parametrize("to", [None, "a.png"])
async def test_an_answer_that_stalls_half_way_is_no_disk_that_failed(
    start: Any, tmp_path: Path, to: str | None
) -> None:
    """A timeout is an `OSError` to Python, but this one is the network's, and may pass."""
    _, client = await start(
        faults=[Fault.slow(60.0)], image_bytes=300_000, client={"timeouts": Timeouts(attempt=10.0)}
    )
    image = await client.core("a", to=to and tmp_path / to)

    assert (image.attempts, image.unknown_charges) == (2, 1)


async def test_a_refusal_is_free_though_its_body_never_ends() -> None:
    """The status has said that nothing will be charged; a deadline in its body took that back."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=429, headers={"content-length": "10"})
        await response.prepare(request)
        await asyncio.sleep(1_000)
        return response

    async with serve(refuse) as url, SD3Client("sk-a", base_url=url, clock=LoopClock()) as client:
        with pytest.raises(RequestTimeoutError, match="while the answer arrived") as caught:
            await client.core("a", deadline=5)

    assert [past.problem for past in caught.value.history] == ["cut off"]
    assert not caught.value.may_be_charged


async def test_a_refused_connection_gives_its_place_in_the_window_back() -> None:
    """A server that is down for a minute would cost the whole limit when it is up again."""
    async with Emulator() as emulator:
        url = emulator.url
    client = SD3Client("sk-a", base_url=url, clock=LoopClock(), retry=RetryPolicy(attempts=1))
    with pytest.raises(ConnectFailedError):
        await client.core("a")
    await client.aclose()

    assert client.limiter_state().in_window == 0


async def test_a_one_way_stream_survives_a_connection_that_fails(start: Any) -> None:
    """Nothing of it had been sent."""
    failures = [aiohttp.ClientConnectionError("refused")]

    async def fail_once(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if failures:
            raise failures.pop()
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=[fail_once]) as session:
        _, client = await start(client={"session": session})
        image = await client.sd3("a", image=OneWayStream(PICTURE), strength=0.5)

    assert (image.attempts, image.unknown_charges) == (2, 0)


async def test_a_refused_connection_is_free_and_tried_again() -> None:
    """Nothing was sent, so nothing can have been charged."""
    async with Emulator() as emulator:
        url = emulator.url
    async with SD3Client(
        "sk-a", base_url=url, clock=LoopClock(), retry=RetryPolicy(attempts=3)
    ) as client:
        with pytest.raises(ConnectFailedError) as caught:
            await client.core("a")

    assert [past.may_be_charged for past in caught.value.history] == [False] * 3


async def test_an_error_of_the_way_knows_its_request(start: Any) -> None:
    """Whoever keeps the errors of a night knows what to send again."""
    _, client = await start(latency=30.0)
    for request in (CoreRequest("a"), UltraRequest("b")):
        with pytest.raises(TransportError) as caught:
            await client.generate(request, deadline=1.0)

        assert caught.value.request == request


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ({"latency": 30.0}, "while waiting for the answer"),
        ({"client": {"max_in_flight": 1}, "latency": 30.0}, "while waiting for a connection slot"),
        ({"faults": [Fault.slow(60.0)], "image_bytes": 300_000}, "while the answer arrived"),
    ],
)
async def test_a_deadline_covers_every_wait_and_says_which_it_cut(
    start: Any, settings: dict[str, Any], stage: str
) -> None:
    """A service has promised its own caller an answer in time."""
    _, client = await start(**settings)
    others = [asyncio.create_task(client.core("b"))] if "slot" in stage else []
    await asyncio.sleep(0.1 * len(others))
    began = asyncio.get_running_loop().time()

    with pytest.raises(RequestTimeoutError, match=f"the deadline of 10 s passed {stage}") as caught:
        await client.core("a", deadline=10)
    assert asyncio.get_running_loop().time() - began == pytest.approx(10.0, abs=0.1)
    cut_off = [past.may_be_charged for past in caught.value.history if past.problem == "cut off"]
    assert cut_off == ([] if "slot" in stage else [True])
    await asyncio.gather(*others)


async def test_a_call_that_cannot_make_its_deadline_fails_at_once(start: Any) -> None:
    """Waiting ten seconds to learn that a minute was needed helps nobody."""
    _, client = await start(faults=[Fault.rate_limited()])
    began = asyncio.get_running_loop().time()

    with pytest.raises(NotEnoughTimeError, match=r"for about 60\.5 s more") as caught:
        await client.core("refused", deadline=10)
    with pytest.raises(NotEnoughTimeError):
        await client.core("a newcomer", deadline=60)

    assert asyncio.get_running_loop().time() - began < 0.1
    assert caught.value.wait == pytest.approx(60.5, abs=0.1)
    assert [past.problem[:3] for past in caught.value.history] == ["429"]
    assert not caught.value.may_be_charged
    assert client.estimated_wait() == pytest.approx(60.5, abs=0.1)
    assert (await client.core("patient", deadline=70)).attempts == 1


async def test_a_call_without_a_slot_learns_at_once_that_it_is_too_late(start: Any) -> None:
    """A slot is of no use while the key is shut."""
    _, client = await start(faults=[Fault.rate_limited()], client={"max_in_flight": 1})
    refused = asyncio.create_task(client.core("refused"))
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()

    with pytest.raises(NotEnoughTimeError):
        await client.core("a newcomer", deadline=10)

    assert asyncio.get_running_loop().time() - began < 0.1
    await refused


async def test_a_retry_goes_before_those_who_have_not_been_sent(start: Any) -> None:
    """It has waited once; only who is at the front already goes first."""
    emulator, client = await start(
        faults=[Fault.status(500)], rate_limit=RateLimit(1), retry=RetryPolicy(wait=0)
    )
    await asyncio.gather(*(client.core(prompt) for prompt in "abcd"))

    assert [request.fields["prompt"] for request in emulator.requests] == list("abacd")


async def test_the_wait_that_a_503_asks_for_is_kept_or_not_begun(start: Any) -> None:
    """Sooner is in vain; and an hour of waiting for a deadline of a minute as well."""
    _, client = await start(faults=[Fault.status(503, retry_after=3600)] * 2)
    loop = asyncio.get_running_loop()

    began = loop.time()
    with pytest.raises(ServerError):
        await client.core("a", deadline=60)
    assert loop.time() - began < 0.1

    await client.core("b")
    assert loop.time() - began == pytest.approx(3600, abs=1)


async def test_refusals_do_not_use_up_attempts_but_have_a_bound_of_their_own(start: Any) -> None:
    """Two lock-outs are no reason to give up on the first real failure."""
    refusal = Fault.rate_limited(retry_after=1)
    _, client = await start(
        faults=[refusal, refusal, Fault.status(500), None, *[refusal] * 3],
        retry=RetryPolicy(attempts=2, lockouts=2),
    )
    assert (await client.core("a")).attempts == 4

    with pytest.raises(RateLimitError) as caught:
        await client.core("b")
    assert len(caught.value.history) == 3


@pytest.mark.parametrize(
    "settings", [{"rate_limit": RateLimit(2)}, {"client": {"max_in_flight": 1}}]
)
async def test_a_429_ends_the_calls_that_it_makes_too_late(
    start: Any, settings: dict[str, Any]
) -> None:
    """Those in the line, or without a slot yet, know at once what those that come later are told."""
    _, client = await start(faults=[None, Fault.rate_limited()], latency=0.5, **settings)
    first = asyncio.create_task(client.core("a"))
    refused = asyncio.create_task(client.core("b"))
    waiting = asyncio.create_task(client.core("c", deadline=30))
    began = asyncio.get_running_loop().time()

    with pytest.raises(NotEnoughTimeError):
        await waiting

    assert asyncio.get_running_loop().time() - began < 2
    await asyncio.gather(first, refused)


@pytest.mark.parametrize("keys", [["sk-a"], ["sk-a", "sk-b", "sk-c"]], ids=len)
@pytest.mark.parametrize("waiting", [10, 149, 150, 300, 700])
async def test_the_estimated_wait_is_what_a_newcomer_waits(
    start: Any, waiting: int, keys: list[str]
) -> None:
    """A service tells its callers this number: neither minutes too much nor too little."""
    _, client = await start(client={"api_key": keys})
    others = [asyncio.create_task(client.core(f"number {n}")) for n in range(waiting)]
    await asyncio.sleep(0)

    estimated = client.estimated_wait()

    began = asyncio.get_running_loop().time()
    await client.core("newcomer")
    waited = asyncio.get_running_loop().time() - began
    assert estimated == pytest.approx(waited, rel=0.05, abs=0.2)
    await asyncio.gather(*others)


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_an_answer_without_a_length_that_is_cut_is_no_image(
    tmp_path: Path, accept: Any
) -> None:
    """Its end is the connection's end: a third of an image was a success, and was published."""
    body = PICTURE
    if accept == "application/json":
        body = b'{"image":"%b"}' % base64.b64encode(PICTURE)
    answer = b"HTTP/1.0 200 OK\r\ncontent-type: image/png\r\n\r\n" + body[: len(body) // 3]
    async with (
        serve_bytes(answer) as url,
        SD3Client("sk-a", base_url=url, clock=LoopClock(), retry=RetryPolicy(attempts=2)) as client,
    ):
        with pytest.raises(ResponseReadError, match="the image broke off") as caught:
            await client.core("a", to=tmp_path / "fox.png", accept=accept)

    assert [past.may_be_charged for past in caught.value.history] == [True, True]
    assert list(tmp_path.iterdir()) == []


async def test_redirects_are_never_followed() -> None:
    """The key would go to whoever the redirect names."""
    visits: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        visits.append(request.path)
        return web.Response(status=307, headers={"location": "/elsewhere"})

    async with (
        serve(redirect) as url,
        SD3Client("sk-a", base_url=url, clock=LoopClock()) as client,
    ):
        with pytest.raises(APIError, match="307: a redirect, which is never followed"):
            await client.core("a")

    assert visits == ["/v2beta/stable-image/generate/core"]


@pytest.mark.parametrize("kind", IMAGE_KINDS)
async def test_uploads_are_the_same_bytes_after_retries(
    start: Any, tmp_path: Path, kind: str
) -> None:
    """A retried upload that arrives empty succeeds, and is charged."""
    path = tmp_path / "in.png"
    path.write_bytes(PICTURE + os.urandom(300_000))
    source = IMAGE_KINDS[kind](path)
    faults = [Fault.status(500), Fault.reset(), Fault.truncated(), Fault.rate_limited()]
    emulator, client = await start(faults=faults, image_bytes=100_000)
    image = await client.sd3("a", image=source, strength=0.5)

    assert image.attempts == 5
    sent = {part.sha256 for request in emulator.requests for part in request.parts
            if part.name == "image"}  # fmt: skip
    assert sent == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert len(emulator.requests) == 5
    if isinstance(source, io.IOBase):
        assert not source.closed
        assert source.tell() == 0
        source.close()


async def test_a_pillow_image_is_uploaded_the_same_after_retries(start: Any) -> None:
    """It is encoded once for a call, not once for an attempt."""
    emulator, client = await start(faults=[Fault.status(500)])
    with Image.open(io.BytesIO(PICTURE)) as source:
        await client.ultra("a", image=source, strength=0.5)

    first, second = [request.parts[-1].sha256 for request in emulator.requests]
    assert first == second


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError(), TimeoutError()])
async def test_a_source_that_fails_is_one_free_error(start: Any, error: Exception) -> None:
    """Five attempts were made, each in doubt about its charge, as if the connection had broken."""
    data = PICTURE + os.urandom(1_000_000)
    streams: list[io.BytesIO] = []

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if len(streams) > 1 and self.tell():
                raise error
            return super().read(size)

    def factory() -> io.BytesIO:
        streams.append(Failing(data))
        return streams[-1]

    heard: list[Event] = []
    emulator, client = await start(client={"observers": [heard.append]})

    with pytest.raises(InvalidRequestError, match="image: cannot be read") as caught:
        await client.sd3("a", image=factory, strength=0.5)
    assert not any(past.may_be_charged for past in caught.value.history)
    assert not any(isinstance(event, Retried) for event in heard)
    assert emulator.paid == 0
    assert len(streams) == 2
    assert all(stream.closed for stream in streams)


async def test_a_factory_that_gives_another_picture_stops_the_call(start: Any) -> None:
    """The second attempt would ask for something else than the first."""
    pictures = iter([PICTURE, PICTURE, picture(200, 100, hue=7)])
    emulator, client = await start(faults=[Fault.status(500)])

    with pytest.raises(InvalidRequestError, match="it gives other bytes now"):
        await client.sd3("a", image=lambda: io.BytesIO(next(pictures)), strength=0.5)
    assert emulator.paid == 0


async def test_a_generated_image_is_an_image(start: Any, tmp_path: Path) -> None:
    """The next step of a workflow begins with what the last one made."""
    emulator, client = await start()
    first = await client.core("a")
    second = await client.sd3("b", image=first, strength=0.5, to=tmp_path / "b.png")
    await client.ultra("c", image=second, strength=0.5)

    sent = [request.parts[-1].sha256 for request in emulator.requests[1:]]
    files = [first.data or b"", (tmp_path / "b.png").read_bytes()]
    assert sent == [hashlib.sha256(data).hexdigest() for data in files]


async def test_a_one_way_stream_is_sent_once_and_the_error_says_why(start: Any) -> None:
    """It cannot be replayed; an empty second upload would be worse than an error."""
    emulator, client = await start(faults=[Fault.status(500)])

    with pytest.raises(ServerError, match="not retried: the image is a stream that cannot be"):
        await client.sd3("a", image=OneWayStream(PICTURE), strength=0.5)
    [request] = emulator.requests
    assert request.parts[-1].sha256 == hashlib.sha256(PICTURE).hexdigest()


async def test_a_file_that_changes_between_attempts_stops_the_call(
    start: Any, tmp_path: Path
) -> None:
    """The second attempt would send another picture than was asked for."""
    path = tmp_path / "in.png"
    path.write_bytes(PICTURE)

    def overwrite(event: Event) -> None:
        if isinstance(event, Retried):
            path.write_bytes(PICTURE + b"x")

    _, client = await start(faults=[Fault.rate_limited()], client={"observers": [overwrite]})

    with pytest.raises(InvalidRequestError, match="changed after the request was made"):
        await client.sd3("a", image=path, strength=0.5)


async def test_a_source_that_is_too_large_is_refused_before_it_is_sent(start: Any) -> None:
    """10 MiB is the service's limit on the whole body."""
    emulator, client = await start()
    large = OneWayStream(PICTURE + bytes(11 * 2**20))

    with pytest.raises(InvalidRequestError, match="the whole request may be at most 10 MiB"):
        await client.sd3("a", image=large, strength=0.5)
    assert emulator.requests == []


async def test_a_cancelled_call_leaves_nothing_behind(start: Any, tmp_path: Path) -> None:
    """No task, no slot, no part file."""
    emulator, client = await start(latency=50.0, client={"max_in_flight": 1})
    before = asyncio.all_tasks()
    call = asyncio.create_task(client.core("a", to=tmp_path / "a.png"))
    await asyncio.sleep(5)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(1)
    assert list(tmp_path.iterdir()) == []
    assert len(asyncio.all_tasks() - before) <= 1  # the emulator's own connection
    await client.core("b")
    assert emulator.stats.disconnected == 1


async def test_an_unknown_accept_is_refused(start: Any) -> None:
    """The service documents two."""
    _, client = await start()

    with pytest.raises(InvalidRequestError, match=r"accept: is 'image/png'; allowed are image/\*"):
        await client.core("a", accept="image/png")
    with pytest.raises(InvalidRequestError, match="deadline: is 0"):
        await client.core("a", deadline=0)


async def test_the_balance_is_read(start: Any) -> None:
    """It takes a permit of its own, like every request."""
    emulator, client = await start(credits=100.0)
    await client.core("a")

    assert await client.balance() == 97.0
    assert [request.method for request in emulator.requests] == ["POST", "GET"]
