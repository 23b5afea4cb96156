"""`sd3async upscale|edit|control …` against a service that takes down what arrives."""

import asyncio
import json
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from sd3async.cli.generate import Watcher
from sd3async.endpoints import ENDPOINTS
from sd3async.telemetry import AttemptSent, Started
from support.forms import Forms
from support.pictures import picture
from support.servers import serve

Run = Callable[..., Result]


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> Generator[Forms]:
    """Serve in a thread, where `$STABILITY_BASE_URL` points to; the pictures to send are there."""
    taken = Forms()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = serve(taken.take)
    url = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    monkeypatch.setenv("STABILITY_BASE_URL", url)
    Path("fox.png").write_bytes(picture())
    Path("mask.png").write_bytes(picture(hue=7))
    yield taken
    asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize(
    ("args", "endpoint", "fields", "files"),
    [
        (["upscale", "fast", "fox.png"], "upscale.fast", {}, {"image"}),
        (
            ["upscale", "conservative", "fox.png", "a fox", "--creativity", "0.2"],
            "upscale.conservative",
            {"prompt": "a fox", "creativity": "0.2"},
            {"image"},
        ),
        (
            ["edit", "inpaint", "fox.png", "a hat", "--mask", "mask.png", "--grow-mask", "0"],
            "edit.inpaint",
            {"prompt": "a hat", "grow_mask": "0.0"},
            {"image", "mask"},
        ),
        (
            ["edit", "outpaint", "fox.png", "--left", "64", "--extra-field", "hdr=on"],
            "edit.outpaint",
            {"left": "64", "hdr": "on"},
            {"image"},
        ),
        (
            ["edit", "search-and-replace", "fox.png", "a hen", "fox", "--seed", "7"],
            "edit.search-and-replace",
            {"prompt": "a hen", "search_prompt": "fox", "seed": "7"},
            {"image"},
        ),
        (
            ["control", "style-transfer", "fox.png", "mask.png", "--prompt", "sea"],
            "control.style-transfer",
            {"prompt": "sea"},
            {"init_image", "style_image"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_subcommand_sends_what_its_words_say(
    run: Run, forms: Forms, args: list[str], endpoint: str, fields: dict[str, str], files: set[str]
) -> None:
    """What is required stands in the API's order, the rest are options."""
    result = run(*args, "-o", "out.png")

    assert result.exit_code == 0, result.output
    [form] = forms.taken
    assert form.path == ENDPOINTS[endpoint].path
    assert form.fields == {"output_format": "png", **fields}
    assert set(form.files) == files
    assert Path("out.png").read_bytes() == picture()


def test_an_image_without_a_prompt_is_named_after_its_endpoint(run: Run, forms: Forms) -> None:
    """Its file needs some name."""
    result = run("upscale", "fast", "fox.png", "--credits", "1.5", "--json")

    told: dict[str, Any] = json.loads(result.stdout)
    assert told["path"] == "upscale-fast-5.png"
    assert told["credits"] == 1.5
    assert len(forms.taken) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["edit", "outpaint", "fox.png"], "left: at least one of"),
        (["edit", "remove-background", "fox.png", "-o", "x.jpg"], "output_format: is 'jpeg'"),
        (["edit", "inpaint", "fox.png"], "Missing argument 'PROMPT'"),
        (["edit", "inpaint", "gone.png", "x"], "image: cannot read 'gone.png'"),
        (["edit", "outpaint", "fox.png", "--extra-field", "x"], "'x' is not NAME=VALUE"),
        (["edit", "paint"], "No such command 'paint'"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    run: Run, forms: Forms, args: list[str], words: str
) -> None:
    """The request itself judges; nothing is paid."""
    result = run(*args)

    assert result.exit_code == 2
    assert words in result.stderr
    assert forms.taken == []


def test_an_image_that_was_started_is_fetched_by_its_id(run: Run, forms: Forms) -> None:
    """After an interruption, its id is all that is left of what was paid."""
    result = run("result", "0" * 64, "-o", "late.png")

    assert result.exit_code == 0, result.output
    assert Path("late.png").read_bytes() == picture()
    assert forms.taken == []


def test_an_interrupted_wait_tells_how_to_fetch_what_was_paid() -> None:
    """Without its id nobody could."""
    watcher = Watcher("upscale.creative")
    watcher(AttemptSent(at=0.0, attempt=1, size=100))
    watcher(Started(at=0.0, id="abc", key=0))

    assert "started and charged: sd3async result abc fetches it later" in watcher.charge_words
