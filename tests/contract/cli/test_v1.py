"""`sd3async v1 …` against the embedded emulator."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from sd3async.cli.generate import fetch
from sd3async.cli.targets import Target
from sd3async.client import SD3Client
from sd3async.errors import UnexpectedResponseError
from sd3async.models.results import GeneratedImage
from sd3async.models.v1 import V1TextToImageRequest
from support.pictures import picture

Run = Callable[..., Result]


def test_words_with_weights_become_an_image(run: Run) -> None:
    """A weight stands behind two colons; what only looks like one is text."""
    words = ["a fox at 16:9", "fog::-1", "a::b"]
    result = run("v1", "text-to-image", *words, "--seed", "5", "--json", "--emulator")

    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["path"] == "a-fox-at-16-9-a-b-5.png"
    assert told["request"]["text_prompts"] == [
        {"text": "a fox at 16:9"},
        {"text": "fog", "weight": -1},
        {"text": "a::b"},
    ]


def test_several_samples_are_several_files(run: Run) -> None:
    """Each has a name by its seed."""
    args = ["v1", "text-to-image", "fox", "--samples", "2", "--seed", "5", "--emulator"]
    result = run(*args)
    told = json.loads(run(*args, "--json", "-o", ".").stdout)

    assert result.stdout.split() == ["fox-5.png", "fox-6.png"]
    assert [image["path"] for image in told["images"]] == ["fox-5-2.png", "fox-6-2.png"]
    assert Path("fox-6.png").read_bytes().startswith(b"\x89PNG")


def test_images_and_masks_are_sent(run: Run) -> None:
    """What is required stands in the API's order."""
    Path("fox.png").write_bytes(picture(1024, 1024))
    mask = ["MASK_IMAGE_WHITE", "--mask-image", "fox.png", "--emulator", "-o", "out.png"]
    drawn = run("v1", "image-to-image", "fox.png", "in winter", "fog::-0.5", "--emulator")
    masked = run("v1", "masking", "fox.png", "a hat", *mask)

    assert drawn.exit_code == 0, drawn.output
    assert masked.exit_code == 0, masked.output
    assert Path("out.png").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fox", "--samples", "2", "-o", "x.png"], "2 images need a folder"),
        (["fox", "--samples", "2", "-o", "-"], "2 images need a folder"),
        (["fox", "-o", "x.jpg"], "'x.jpg' ends in .jpg, but the image is png"),
        (["fox", "--width", "1000"], "width: is 1000; a multiple of 64"),
        (["fox", "--steps", "9"], "steps: is 9"),
        (["fox", "--extras", "[1]"], "extras: is '[1]'"),
        ([], "Missing argument"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(run: Run, args: list[str], words: str) -> None:
    """The request itself judges; nothing is paid."""
    result = run("v1", "text-to-image", *args, "--emulator")

    assert result.exit_code == 2
    assert words in result.stderr
    assert list(Path().iterdir()) == []


def test_engines_and_account_are_printed(run: Run) -> None:
    """For people, and for programs."""
    engines = run("v1", "engines", "--emulator")
    account = run("v1", "account", "--emulator")

    assert "stable-diffusion-xl-1024-v1-0  Stable Diffusion XL v1.0, picture" in engines.stdout
    assert "member, the default" in account.stdout
    [engine] = json.loads(run("v1", "engines", "--emulator", "--json").stdout)["engines"]
    assert engine["type"] == "PICTURE"
    assert json.loads(run("v1", "account", "--emulator", "--json").stdout)["email"]


def test_prices_tell_what_they_go_by(run: Run) -> None:
    """One number alone would be wrong for 50 steps."""
    rows = {row["endpoint"]: row for row in json.loads(run("prices", "--json").stdout)["prices"]}

    assert rows["v1.masking"]["credits"] == 0.9
    assert "up to 30 steps" in rows["v1.masking"]["words"]
    assert rows["core"]["words"] is None
    assert "more steps in proportion" in run("v1", "masking", "--help").stdout.replace("\n  ", " ")
    assert "0.9 credits for each sample" in run("prices").stdout


def test_the_good_ones_of_several_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """They were paid for, and nobody can ask for them again."""
    good = GeneratedImage(
        data=picture(), content_type="image/png", size=len(picture()), seed=7, request_id=None,
        finish_reason="SUCCESS", request=V1TextToImageRequest("fox", samples=2), credits=0.9,
    )  # fmt: skip

    async def ask(_: SD3Client) -> list[GeneratedImage]:
        error = UnexpectedResponseError("1 of 2 images are good", status=200)
        error.images = (good,)
        raise error

    with pytest.raises(UnexpectedResponseError):
        fetch(ask, "v1.text-to-image", Target(None, False), base_url=None, emulator=True)

    assert Path("fox-7.png").read_bytes() == picture()
    assert "kept fox-7.png" in capsys.readouterr().err
