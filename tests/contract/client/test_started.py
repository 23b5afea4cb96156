"""Images that the service makes in its own time: started, looked for, fetched."""

import asyncio
import hashlib
import json
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from aiohttp import web

from sd3async import (
    APIError,
    ClientClosedError,
    ContentModerationError,
    CoreRequest,
    InvalidRequestError,
    NotEnoughTimeError,
    PendingImage,
    RateLimit,
    RetryPolicy,
    SD3Client,
    UnexpectedResponseError,
    UpscaleCreativeRequest,
    gather_generations,
)
from sd3async.emulator.virtual_time import LoopClock
from sd3async.telemetry import Done, Event, Started
from support.forms import Forms
from support.pictures import picture
from support.servers import serve

KEY, OTHER = "sk-test0123456789abcdef", "sk-other0123456789abcde"
IMAGE = picture()
REQUEST = UpscaleCreativeRequest(IMAGE, "a fox", credits=60)


class Studio(Forms):
    """Starts what it is asked for, and gives it to the key that started it.

    Attributes:
        looks: Instants of the looks for a result, on the loop's clock [s].
    """

    def __init__(
        self, *, looks_needed: int = 3, answer: Callable[[], web.Response] | None = None
    ) -> None:
        super().__init__()
        self.looks: list[float] = []
        self.trouble: list[web.Response] = []
        self._looks_needed = looks_needed
        self._answer = answer
        self._owners: dict[str, str] = {}

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Start something, or say how it stands."""
        key = request.headers["authorization"]
        if request.method == "POST":
            await super().take(request)
            started = hashlib.sha256(f"{key}{len(self.taken)}".encode()).hexdigest()
            self._owners[started] = key
            return self._answer() if self._answer else web.json_response({"id": started})
        self.looks.append(asyncio.get_running_loop().time())
        if self.trouble:
            return self.trouble.pop(0)
        wanted = request.path.removeprefix("/v2beta/results/")
        if self._owners.get(wanted) != key:
            return refusal(404, "generation_not_found", "id: it does not exist or has expired")
        if len(self.looks) < self._looks_needed:
            return web.json_response({"id": wanted, "status": "in-progress"}, status=202)
        headers = {"finish-reason": "SUCCESS", "seed": "77"}
        return web.Response(body=IMAGE, content_type="image/png", headers=headers)


def refusal(status: int, name: str, words: str) -> web.Response:
    return web.json_response({"id": "0" * 32, "name": name, "errors": [words]}, status=status)


Open: TypeAlias = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Return a coroutine function that opens a client of a studio."""
    async with AsyncExitStack() as stack:

        async def open_client(studio: Studio, key: Any = KEY, **options: Any) -> SD3Client:
            url = await stack.enter_async_context(serve(studio.take))
            client = SD3Client(key, base_url=url, share="process", clock=LoopClock(), **options)
            return await stack.enter_async_context(client)

        yield open_client


async def test_awaiting_the_coroutine_waits_for_the_image(opened: Open) -> None:
    """It is looked for every 10 s, as the documents ask, and no more often."""
    studio = Studio()
    client = await opened(studio)
    began = asyncio.get_running_loop().time()
    image = await client.upscale.creative(IMAGE, "a fox", creativity=0.1)

    assert image.data == IMAGE
    assert (image.seed, image.credits, image.attempts) == (77, 60, 1)
    assert image.request == UpscaleCreativeRequest(IMAGE, "a fox", creativity=0.1)
    assert [look - began for look in studio.looks] == pytest.approx([10, 20, 30], abs=0.5)
    assert image.timings.total == pytest.approx(30, abs=0.5)
    assert len(studio.taken) == 1


async def test_the_relight_endpoint_is_started_too(opened: Open) -> None:
    """Several images of one request, and the API's own words for yes and no."""
    studio = Studio(looks_needed=1)
    client = await opened(studio)
    image = await client.edit.replace_background_and_relight(
        IMAGE,
        background_reference=IMAGE,
        light_reference=IMAGE,
        light_source_strength=0,
        keep_original_background=False,
    )

    [form] = studio.taken
    assert form.path == "/v2beta/stable-image/edit/replace-background-and-relight"
    assert set(form.files) == {"subject_image", "background_reference", "light_reference"}
    assert form.fields == {
        "light_source_strength": "0", "keep_original_background": "false", "output_format": "png",
    }  # fmt: skip
    assert image.credits == 8


async def test_what_was_started_can_be_fetched_elsewhere(opened: Open, tmp_path: Path) -> None:
    """A worker starts it, and another process with the same key fetches it, to a file."""
    studio = Studio(looks_needed=1)
    client = await opened(studio)
    pending: PendingImage = pickle.loads(pickle.dumps(await client.start(REQUEST)))
    async with SD3Client(KEY, base_url=client.base_url, clock=LoopClock()) as elsewhere:
        image = await elsewhere.result(pending, to=tmp_path / "fox.png")

    assert pending.request == REQUEST
    assert image.path is not None
    assert image.path.read_bytes() == IMAGE
    assert image.credits == 60
    assert KEY not in repr(pending)


async def test_a_request_that_cannot_be_written_down_stays_behind(opened: Open) -> None:
    """A callable cannot be pickled, and what was paid for must still be fetched."""
    studio = Studio(looks_needed=1)
    client = await opened(studio)

    def source() -> Any:
        raise AssertionError("it is only read for the start")

    started = await client.start(REQUEST)
    streamed = UpscaleCreativeRequest(source, "a fox", output_format="webp")
    cut = attrs.evolve(started, request=streamed)
    pending = pickle.loads(pickle.dumps(cut))

    assert pending.request.output_format == "webp"
    assert pending.credits == 60
    assert PendingImage.from_dict(json.loads(json.dumps(cut.to_dict()))) == pending
    assert (await client.result(pending)).data == IMAGE


async def test_what_was_started_can_be_written_down(opened: Open) -> None:
    """A journal of JSON lines must hold all that is needed to fetch it."""
    client = await opened(Studio(looks_needed=1))
    pending = await client.start(REQUEST)

    assert PendingImage.from_dict(json.loads(json.dumps(pending.to_dict()))) == pending
    assert KEY not in json.dumps(pending.to_dict())


async def test_what_is_paid_is_fetched_though_the_upload_is_gone(
    opened: Open, tmp_path: Path
) -> None:
    """A clean-up between start and fetch must not cost the image."""
    (tmp_path / "fox.png").write_bytes(IMAGE)
    client = await opened(Studio(looks_needed=1))
    pending = await client.start(UpscaleCreativeRequest(tmp_path / "fox.png", "a fox"))
    told = pending.to_dict()
    (tmp_path / "fox.png").unlink()
    image = await client.result(PendingImage.from_dict(told))

    assert (image.data, image.credits) == (IMAGE, 60)
    assert pickle.loads(pickle.dumps(pending)) == pending


async def test_the_key_that_started_it_looks_for_it(opened: Open) -> None:
    """To every other key the service says that there is no such thing."""
    studio = Studio(looks_needed=1)
    client = await opened(studio, [KEY, OTHER])
    images = await asyncio.gather(*(client.generate(REQUEST) for _ in range(6)))

    keys = {form.headers["authorization"] for form in studio.taken}
    assert len(keys) == 2
    assert len(images) == len(studio.looks) == 6


async def test_an_id_alone_is_looked_for_with_every_key(opened: Open) -> None:
    """It may come from a log; nothing says which key started it."""
    studio = Studio(looks_needed=2)
    client = await opened(studio, [OTHER, KEY])
    async with SD3Client(KEY, base_url=client.base_url, clock=LoopClock()) as starter:
        pending = await starter.start(REQUEST)
    image = await client.result(pending.id)

    assert image.data == IMAGE
    assert image.credits == 0


@pytest.mark.parametrize("status", [401, 402])
async def test_a_key_that_is_withdrawn_does_not_hide_an_image_from_the_others(
    opened: Open, status: int
) -> None:
    """What another key of the pool has paid for would be fetched by nobody."""
    studio = Studio(looks_needed=2)
    client = await opened(studio, [OTHER, KEY])
    async with SD3Client(KEY, base_url=client.base_url, clock=LoopClock()) as starter:
        pending = await starter.start(REQUEST)
    studio.trouble = [refusal(status, "no_more", "authorization: not any more")]
    image = await client.result(pending.id)

    assert image.data == IMAGE
    assert len(studio.looks) == 2


async def test_another_key_or_another_service_is_told_before_anything_is_sent(opened: Open) -> None:
    """The service would only answer that there is no such thing."""
    studio = Studio()
    client = await opened(studio)
    pending = await client.start(REQUEST)
    other_key = SD3Client(OTHER, base_url=client.base_url)
    other_service = SD3Client(KEY, base_url="http://127.0.0.1:1")
    with pytest.raises(InvalidRequestError, match="started with another key"):
        await other_key.result(pending)
    with pytest.raises(InvalidRequestError, match="was started at http"):
        await other_service.result(pending)
    with pytest.raises(InvalidRequestError, match="a PendingImage or an id is needed"):
        await client.result("../account")

    assert studio.looks == []


async def test_a_result_that_is_gone_is_explained(opened: Open) -> None:
    """404 has two causes, and neither is in the service's words."""
    client = await opened(Studio())
    with pytest.raises(APIError, match="kept for 24 hours, and given only to the key") as caught:
        await client.result("0" * 64)

    assert caught.value.status == 404


async def test_looking_is_retried_and_costs_nothing(opened: Open) -> None:
    """A failed look is no doubt about money, even where doubts are to be raised."""
    studio = Studio(looks_needed=1)
    studio.trouble = [
        refusal(500, "internal_error", "try again"),
        web.Response(body=IMAGE[:-20], content_type="image/png"),
        web.Response(status=502, text="bad gateway"),
    ]
    events: list[Event] = []
    client = await opened(studio, retry=RetryPolicy(on_unknown="raise"), observers=[events.append])
    image = await client.generate(REQUEST)

    assert image.data == IMAGE
    assert image.unknown_charges == 0
    assert len(studio.taken) == 1
    assert [event.credits for event in events if isinstance(event, Done)] == [60, 0]


async def test_a_429_to_a_look_freezes_the_key_like_any_other(opened: Open) -> None:
    """Looks are counted by the service, so they are counted here."""
    studio = Studio(looks_needed=1)
    studio.trouble = [refusal(429, "rate_limit_exceeded", "150 requests in 10 s")]
    client = await opened(studio, rate_limit=RateLimit(lockout=30))
    await client.generate(REQUEST)

    assert client.freezes == 1
    assert studio.looks[1] - studio.looks[0] >= 30


async def test_a_look_whose_key_is_withdrawn_ends(opened: Open) -> None:
    """No other key of the pool can help, and the same one would be asked for ever."""
    studio = Studio()
    studio.trouble = [refusal(401, "unauthorized", "no") for _ in range(3)]
    client = await opened(studio, [KEY, OTHER])
    with pytest.raises(APIError) as caught:
        await client.generate(REQUEST)

    assert caught.value.status == 401
    assert len(studio.looks) == 1


async def test_the_id_is_told_before_anything_else_can_go_wrong(opened: Open) -> None:
    """A job that dies after this instant can fetch what it has paid for."""
    studio = Studio()
    told: asyncio.Queue[Started] = asyncio.Queue()

    def listen(event: Event) -> None:
        if isinstance(event, Started):
            told.put_nowait(event)

    client = await opened(studio, observers=[listen])
    call = asyncio.create_task(client.generate(REQUEST))
    started = await told.get()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert len(started.id) == 64
    image = await client.result(started.id)
    assert image.data == IMAGE


async def test_a_cancelled_wait_and_a_late_one_hand_over_what_was_started(opened: Open) -> None:
    """What is paid is never lost with an error."""
    studio = Studio(looks_needed=9)
    client = await opened(studio)
    with pytest.raises(NotEnoughTimeError, match="passes the deadline of") as late:
        await client.generate(REQUEST, deadline=25)
    call = asyncio.create_task(client.generate(REQUEST))
    await asyncio.sleep(15)
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await call

    assert late.value.may_be_charged
    assert isinstance(late.value.pending, PendingImage)
    assert vars(cancelled.value)["pending"].id != late.value.pending.id
    assert pickle.loads(pickle.dumps(late.value)).pending == late.value.pending
    assert (await client.result(late.value.pending)).data == IMAGE


async def test_a_deadline_before_the_first_look_starts_nothing(opened: Open) -> None:
    """It would be paid for, and never waited for."""
    studio = Studio()
    client = await opened(studio)
    with pytest.raises(NotEnoughTimeError, match="10 s after its start"):
        await client.generate(REQUEST, deadline=10)

    assert studio.taken == []


async def test_closing_the_client_ends_a_wait(opened: Open) -> None:
    """A service that shuts down would hang for minutes."""
    client = await opened(Studio(looks_needed=99))
    call = asyncio.create_task(client.generate(REQUEST))
    await asyncio.sleep(15)
    await client.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await call

    assert caught.value.pending.credits == 60


async def test_many_that_are_cancelled_hand_over_what_was_started(opened: Open) -> None:
    """Each outcome tells which image is paid and can still be fetched."""
    studio = Studio(looks_needed=99)
    client = await opened(studio)
    call = asyncio.create_task(gather_generations(client, [REQUEST, REQUEST]))
    await asyncio.sleep(15)
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await call

    errors = [outcome.error for outcome in vars(caught.value)["outcomes"]]
    assert len({error.pending.id for error in errors}) == 2
    assert all(error.may_be_charged for error in errors)


@pytest.mark.parametrize("at", range(0, 60, 3))
async def test_a_wait_can_be_cancelled_anywhere(opened: Open, at: int) -> None:
    """Nothing is left behind: no task, no slot, no part of a file."""
    client = await opened(Studio(looks_needed=2), max_in_flight=1)
    before = asyncio.all_tasks()
    call = asyncio.create_task(client.generate(REQUEST))
    for _ in range(at):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])

    assert not {task for task in asyncio.all_tasks() - before if "sd3async" in repr(task)}
    assert (await client.generate(REQUEST)).data == IMAGE


async def test_an_answer_without_an_id_may_have_been_charged(opened: Open) -> None:
    """Something was started, and nobody can fetch it."""
    client = await opened(Studio(answer=lambda: web.json_response({"id": "../x", "a": KEY})))
    with pytest.raises(UnexpectedResponseError, match="no id") as caught:
        await client.start(REQUEST)

    assert caught.value.may_be_charged
    assert KEY not in str(caught.value)


async def test_a_result_that_was_flagged_is_not_charged(opened: Open) -> None:
    """The service says so itself."""
    studio = Studio()
    studio.trouble = [refusal(403, "content_moderation", "flagged; you were not charged")]
    client = await opened(studio)
    with pytest.raises(ContentModerationError) as caught:
        await client.generate(REQUEST)

    assert not caught.value.may_be_charged


async def test_only_what_is_started_can_be_started(opened: Open) -> None:
    """The other endpoints answer with the image, which would be lost."""
    client = await opened(Studio())
    with pytest.raises(InvalidRequestError, match="core answers with the image; use generate"):
        await client.start(CoreRequest("a"))


async def test_only_the_start_is_an_attempt_that_costs(opened: Open) -> None:
    """A journal notes what may be charged; looking for an image never is."""
    client = await opened(Studio(looks_needed=4))
    noted: list[int] = []

    async def note() -> None:
        noted.append(len(noted))

    await client.generate(REQUEST, on_attempt=note)

    assert noted == [0]
