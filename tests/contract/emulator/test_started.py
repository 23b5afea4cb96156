"""Generations that are started and fetched later: ids, waiting, keys, money, faults."""

import base64
from typing import Any

import aiohttp
import pytest

from contract.emulator.caller import KEY, Caller, Reply, caller, emulated, picture
from sd3async.emulator import Emulator, Fault, VirtualClock

UPLOAD = picture((120, 80))
CREATIVE = "upscale/creative"
RELIGHT = "edit/replace-background-and-relight"
NOT_FOUND = "id: the generation either does not exist or has expired."


async def start(client: Caller, **fields: Any) -> Reply:
    """Start an upscale."""
    given: dict[str, Any] = {"image": UPLOAD, "prompt": "a cat", **fields}
    return await client.post(CREATIVE, **given)


async def started(client: Caller, **fields: Any) -> str:
    """Start an upscale and return its id."""
    reply = await start(client, **fields)
    assert reply.status == 200, reply.body
    generation_id: str = reply.json["id"]
    return generation_id


async def test_a_start_is_answered_with_an_id_alone() -> None:
    """64 hexadecimal digits, at once, whatever was accepted, a new one for each."""
    async with emulated(latency=3600.0) as (emulator, client):
        first = await start(client, accept="image/*")
        second = await client.post(
            RELIGHT, subject_image=UPLOAD, background_prompt="sea", accept="text/html"
        )

        for reply in (first, second):
            assert reply.status == 200
            assert set(reply.json) == {"id"}
            assert len(bytes.fromhex(reply.json["id"])) == 32
            assert reply.headers["Content-Type"] == "application/json"
            assert not {"seed", "finish-reason"} & set(reply.headers)
        assert first.json != second.json
        assert [seen.charged for seen in emulator.requests] == [60, 8]
        assert emulator.requests[0].generation_id == first.json["id"]
        assert emulator.stats.started == 2


async def test_a_result_is_in_progress_then_there_then_gone() -> None:
    """202 until it is done, 200 for 24 hours, 404 from then on."""
    clock = VirtualClock()
    async with emulated(result_latency=30.0, clock=clock) as (_, client):
        generation_id = await started(client, seed=7, output_format="webp")

        running = await client.result(generation_id)
        clock.advance(30)
        done = await client.result(generation_id, accept="image/*")
        in_json = await client.result(generation_id, accept="application/json")
        clock.advance(24 * 3600 - 0.1)
        late = await client.result(generation_id)
        clock.advance(0.1)
        too_late = await client.result(generation_id)

    assert (running.status, running.json) == (202, {"id": generation_id, "status": "in-progress"})
    assert done.status == late.status == 200
    assert done.headers["Content-Type"] == "image/webp"
    assert (done.headers["seed"], done.headers["finish-reason"]) == ("7", "SUCCESS")
    assert done.image.size == (2508, 1672)
    assert in_json.headers["Content-Type"] == "application/json; type=image/webp"
    assert (in_json.json["seed"], in_json.json["finish_reason"]) == (7, "SUCCESS")
    assert base64.b64decode(in_json.json["image"]) == done.body == late.body
    assert (too_late.status, too_late.json["name"]) == (404, "generation_not_found")
    assert too_late.errors == [NOT_FOUND]


async def test_the_usual_latency_counts_where_there_is_none_of_its_own() -> None:
    """A model of the service's time holds for what it does behind the scenes too."""
    clock = VirtualClock()
    async with emulated(latency=12.0, clock=clock) as (_, client):
        generation_id = await started(client)
        before = await client.result(generation_id)
        clock.advance(12)

        assert (before.status, (await client.result(generation_id)).status) == (202, 200)


@pytest.mark.parametrize(
    ("generation_id", "status", "sentence"),
    [
        ("0" * 64, 404, NOT_FOUND),
        ("z" * 64, 404, NOT_FOUND),
        ("0" * 63, 400, "id: string must contain exactly 64 character(s)"),
        ("0" * 65, 400, "id: string must contain exactly 64 character(s)"),
        ("", 400, "id: string must contain exactly 64 character(s)"),
    ],
)
async def test_ids_that_lead_nowhere(
    generation_id: str, status: int, sentence: str, shared: Emulator
) -> None:
    """Unknown is 404, impossible is 400."""
    async with caller(shared) as client:
        reply = await client.result(generation_id)

    assert (reply.status, reply.errors) == (status, [sentence])


async def test_another_key_sees_nothing() -> None:
    """ "The same key for all requests": anybody else gets the 404 of an unknown id."""
    async with emulated(keys={KEY, "sk-other"}) as (_, client):
        generation_id = await started(client)

        other = await client.result(generation_id, key="sk-other")
        wrong = await client.result(generation_id, key="sk-wrong")
        own = await client.result(generation_id)

    assert (other.status, other.errors) == (404, [NOT_FOUND])
    assert (wrong.status, wrong.json["name"]) == (401, "unauthorized")
    assert own.status == 200


async def test_the_older_path_of_a_result_works_too() -> None:
    """Clients of 2024 ask there."""
    async with emulated() as (_, client):
        generation_id = await started(client)
        path = f"/v2beta/stable-image/upscale/creative/result/{generation_id}"
        reply = await client.ask("GET", path, headers={"Authorization": KEY})

    assert reply.status == 200


@pytest.mark.parametrize("accept", ["*/*", "image/*", "application/json"])
async def test_strict_results_take_what_documents_and_samples_send(accept: str) -> None:
    """Everything else is a client that does not say what it wants."""
    async with emulated(strict=True) as (_, client):
        generation_id = await started(client)
        good = await client.result(generation_id, accept=accept)
        odd = await client.result(generation_id, accept="image/png")

    assert good.status == 200
    assert odd.errors[0].startswith("accept: invalid enum value. Expected '*/*' | 'image/*'")


async def test_what_the_documents_and_two_clients_tell_differently_can_be_set() -> None:
    """The field of the image in JSON, and the status of a start."""
    async with emulated(result_field="result", start_status=202) as (_, client):
        reply = await start(client)
        result = await client.result(reply.json["id"], accept="application/json")

    assert reply.status == 202
    assert set(result.json) == {"result", "seed", "finish_reason"}


async def test_results_hold_the_drawn_picture() -> None:
    """What is fetched comes from what was uploaded, twice the same bytes."""
    async with emulated(image_bytes=None) as (_, client):
        fields: dict[str, Any] = {"subject_image": UPLOAD, "background_prompt": "sea", "seed": 5}
        reply = await client.post(RELIGHT, output_format="jpeg", **fields)
        first = await client.result(reply.json["id"])
        second = await client.result(reply.json["id"])

    assert first.image.format == "JPEG"
    assert first.image.size == (120, 80)
    assert first.body == second.body


async def test_each_poll_counts_for_the_limit() -> None:
    """A client that polls without asking its limiter is locked out."""
    async with emulated(max_requests=3, lockout=60.0) as (emulator, client):
        generation_id = await started(client)
        statuses = [(await client.result(generation_id)).status for _ in range(3)]

        assert statuses == [200, 200, 429]
        assert emulator.stats.polls == 3
        assert emulator.max_in_any_window() == 4


@pytest.mark.parametrize(("counts", "polls"), [("all", 2), ("valid", 1), ("generations", 0)])
async def test_which_polls_count_is_a_setting(counts: str, polls: int) -> None:
    """As for everything else that the limit may or may not look at."""
    async with emulated(counts=counts) as (emulator, client):
        generation_id = await started(client)
        await client.result(generation_id)
        await client.result("0" * 64)

        assert emulator.max_in_any_window() == 1 + polls


async def test_hasty_polls_are_told_and_may_be_refused() -> None:
    """10 s between two is documented; what happens otherwise is not."""
    clock = VirtualClock()
    async with emulated(clock=clock) as (emulator, client):
        generation_id = await started(client)
        await client.result(generation_id)
        clock.advance(3)
        hasty = await client.result(generation_id)
        clock.advance(10)
        await client.result(generation_id)
        told = [seen.ignored for seen in emulator.requests]
        emulator.hasty_polls = "refuse"
        clock.advance(5)
        refused = await client.result(generation_id)
        clock.advance(5)
        patient = await client.result(generation_id)

        assert hasty.status == 200
        assert told == [(), (), ("poll: 3 s after the last one",), ()]
        assert (refused.status, refused.json["name"]) == (429, "rate_limit_exceeded")
        assert patient.status == 200  # no lock-out, and what was refused does not count


async def test_a_poll_that_met_trouble_may_be_repeated_at_once() -> None:
    """It got no answer from the service: a retry is not haste."""
    async with emulated(hasty_polls="refuse", clock=VirtualClock()) as (emulator, client):
        emulator.faults.script([Fault.status(502), Fault.status(500)], path="results")
        generation_id = await started(client)
        statuses = [(await client.result(generation_id)).status for _ in range(4)]

        assert statuses == [502, 500, 200, 429]


async def test_money_is_booked_at_the_start_or_at_the_end_but_once() -> None:
    """The document says neither; a client has to be right in both worlds."""
    clock = VirtualClock()
    async with emulated(clock=clock, result_latency=30.0, start_charge="end") as (emulator, client):
        generation_id = await started(client)
        at_the_start = emulator.credits_used
        clock.advance(30)
        for _ in range(3):
            await client.result(generation_id)

        assert (at_the_start, emulator.credits_used, emulator.paid) == (0, 60, 1)
        assert emulator.requests[0].charged == 60

    async with emulated(clock=clock, result_latency=30.0) as (emulator, client):
        await started(client)

        assert (emulator.credits_used, emulator.paid) == (60, 1)


async def test_a_booking_that_was_to_come_is_forgotten_by_a_reset() -> None:
    """After a reset the books are empty and stay so."""
    clock = VirtualClock()
    async with emulated(clock=clock, result_latency=30.0, start_charge="end") as (emulator, client):
        generation_id = await started(client)
        emulator.reset()
        clock.advance(60)

        assert emulator.credits_used == 0
        assert (await client.result(generation_id)).status == 404


@pytest.mark.parametrize("charge", ["start", "end"])
async def test_a_generation_may_fail_after_its_start(charge: str) -> None:
    """Its result is an error, and nothing is charged."""
    clock = VirtualClock()
    settings: dict[str, Any] = {"clock": clock, "result_latency": 30.0, "start_charge": charge}
    async with emulated(**settings, faults=[Fault.failed(), Fault.failed(403)]) as (
        emulator,
        client,
    ):
        ids = [await started(client) for _ in range(2)]
        running = await client.result(ids[0])
        clock.advance(30)
        failed, flagged = [await client.result(generation_id) for generation_id in ids]

        assert running.status == 202
        assert (failed.status, failed.json["name"]) == (500, "internal_error")
        assert (flagged.status, flagged.json["name"]) == (403, "content_moderation")
        assert emulator.credits_used == 0
        assert not emulator.faults.unmet


async def test_a_filtered_start_has_a_filtered_result() -> None:
    """The reason comes with the image, not with the id."""
    async with emulated(faults=[Fault.filtered()]) as (_, client):
        result = await client.result(await started(client))

    assert result.headers["finish-reason"] == "CONTENT_FILTERED"


async def test_a_start_whose_answer_is_lost_is_paid_and_leaves_no_id() -> None:
    """The worst moment for a client: it cannot know what it has bought."""
    async with emulated(faults=[Fault.reset()]) as (emulator, client):
        with pytest.raises(aiohttp.ClientConnectionError):
            await start(client)

        assert emulator.credits_used == 60
        assert emulator.requests[0].generation_id == ""
        assert emulator.stats.started == 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.status(502), 502),
        (Fault.rate_limited(lock_out=False), 429),
        (Fault.empty(), 200),
        (Fault.html(), 200),
        (Fault.no_image(), 200),
        (Fault.disguised(), 200),
        (Fault.early(429, then="read"), 429),
        (Fault.gzip(), 200),
        (Fault.interim(), 200),
        (Fault.finish_reason("ERROR"), 200),
        (Fault.filtered(), 200),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else str(value),
)
@pytest.mark.parametrize("accept", ["image/*", "application/json"])
async def test_polls_meet_the_faults_of_a_script_that_names_them(
    fault: Fault, status: int, accept: str
) -> None:
    """And no other script: a start and its polls would mix it up."""
    async with emulated() as (emulator, client):
        emulator.faults.script([fault], path="results")
        emulator.faults.script([None, Fault.status(503)])
        generation_id = await started(client)
        struck = await client.result(generation_id, accept=accept)
        well = await client.result(generation_id, accept=accept)
        next_start = await start(client)

        assert struck.status == status
        assert well.status == 200
        assert well.body != struck.body or fault.kind in ("gzip", "interim", "finish_reason")
        assert next_start.status == 503
        assert emulator.requests[1].fault == fault.kind
        assert emulator.credits_used == 60
        assert not emulator.faults.unmet


async def test_polls_meet_chance_too() -> None:
    """A proxy in trouble does not look at what it carries."""
    async with emulated(seed=1) as (emulator, client):
        generation_id = await started(client)
        emulator.faults.by_chance({Fault.status(502): 0.5})
        statuses = {(await client.result(generation_id)).status for _ in range(30)}

        assert statuses == {200, 502}


@pytest.mark.parametrize("fault", [Fault.empty(), Fault.no_image(), Fault.html()])
async def test_a_start_may_be_answered_without_an_id(fault: Fault) -> None:
    """What stands in for an image elsewhere stands in for the id here."""
    async with emulated(faults=[fault]) as (_, client):
        reply = await start(client)

    assert reply.status == 200
    assert b'"id"' not in reply.body


async def test_only_so_many_results_are_kept() -> None:
    """A long test run may not fill the memory; the oldest go."""
    async with emulated(results_limit=2, limit=None) as (_, client):
        ids = [await started(client) for _ in range(3)]
        statuses = [(await client.result(generation_id)).status for generation_id in ids]

    assert statuses == [404, 200, 200]
