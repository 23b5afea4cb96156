import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from contract.cli.conftest import KEY, Run
from sd3async.emulator import Emulator, Fault
from sd3async.emulator.pytest_plugin import EmulatorFactory
from support.pictures import picture


@pytest.fixture
def server(sd3_emulator_factory: EmulatorFactory) -> Emulator:
    return sd3_emulator_factory(image_bytes=2_000)


def received(server: Emulator) -> dict[str, str]:
    """Return the text fields of the last generation."""
    return dict(server.requests[-1].fields)


def test_an_image_is_written_where_it_was_asked_for(run: Run, server: Emulator) -> None:
    """The main thing: an image on disk, and its name on stdout for the next program."""
    result = run("generate", "a fox", "-o", "fox.png", "--base-url", server.url)

    assert result.exit_code == 0
    assert result.stdout == "fox.png\n"
    with Image.open("fox.png") as image:
        image.verify()
    assert "6.5 credits, 1 attempt" in result.stderr


def test_a_name_is_made_of_prompt_seed_and_format_and_never_taken_twice(
    run: Run, server: Emulator
) -> None:
    """An image that was paid for would be lost under another."""
    command = ["generate", "A fox: red & quick!", "--seed", "7", "--output-format", "webp"]
    names = [run(*command, "--base-url", server.url).stdout.strip() for _ in range(3)]

    assert names == [
        "a-fox-red-quick-7.webp",
        "a-fox-red-quick-7-2.webp",
        "a-fox-red-quick-7-3.webp",
    ]
    assert all(Path(name).stat().st_size for name in names)


def test_a_folder_gets_a_file_with_a_name_of_its_own(run: Run, server: Emulator) -> None:
    """`-o images/` would be refused, or the folder replaced."""
    Path("images").mkdir()
    result = run("generate", "a fox", "--seed", "7", "-o", "images", "--base-url", server.url)

    assert result.stdout == "images/a-fox-7.png\n"


def test_force_replaces_a_file(run: Run, server: Emulator) -> None:
    """A script that makes the same file each night would stop on the second."""
    Path("fox.png").write_bytes(b"old")
    result = run("generate", "a fox", "-o", "fox.png", "--force", "--base-url", server.url)

    assert result.exit_code == 0
    assert Path("fox.png").read_bytes().startswith(b"\x89PNG")


def test_the_suffix_of_the_file_decides_the_format(run: Run, server: Emulator) -> None:
    """A file called .jpg would hold a PNG."""
    run("generate", "a fox", "-o", "fox.JPG", "--base-url", server.url)

    assert received(server)["output_format"] == "jpeg"


def test_the_image_itself_can_go_to_stdout(run: Run, server: Emulator) -> None:
    """A pipe into an image tool would get words among the bytes."""
    result = run("generate", "a fox", "-o", "-", "--base-url", server.url)

    assert result.stdout_bytes.startswith(b"\x89PNG")
    assert b"IEND" in result.stdout_bytes[-12:]
    assert not list(Path().iterdir())


def test_every_option_arrives_as_the_field_it_is(run: Run, server: Emulator) -> None:
    """A parameter would be lost on its way from the command line to the service."""
    fields = {
        "negative_prompt": "rain",
        "aspect_ratio": "16:9",
        "seed": "0",
        "output_format": "webp",
        "style_preset": "anime",
        "model": "sd3.5-medium",
        "cfg_scale": "4.5",
    }
    options = [
        word for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    run("generate", "a fox", *options, "--base-url", server.url)

    assert received(server).items() >= {**fields, "prompt": "a fox"}.items()


def test_an_image_is_uploaded_with_its_strength(run: Run, server: Emulator) -> None:
    """Image-to-image would silently become text-to-image."""
    Path("start.png").write_bytes(picture())
    result = run(
        "generate", "in winter", "--image", "start.png", "--strength", "0", "--base-url", server.url
    )

    assert result.exit_code == 0
    assert received(server)["mode"] == "image-to-image"
    assert float(received(server)["strength"]) == 0
    [image] = [part for part in server.requests[-1].parts if part.name == "image"]
    assert image.size == len(picture())


@pytest.mark.parametrize("endpoint", ["sd3", "core", "ultra"])
def test_each_endpoint_is_reached(run: Run, server: Emulator, endpoint: str) -> None:
    """`--endpoint` would go to another one, at another price."""
    run("generate", "a fox", "--endpoint", endpoint, "--base-url", server.url)

    assert server.requests[-1].path.endswith(f"/generate/{endpoint}")


def test_a_prompt_can_come_from_stdin(run: Run, server: Emulator) -> None:
    """A long prompt could not be piped in."""
    run("generate", "-", "--base-url", server.url, stdin="a fox\nin the snow\n")

    assert received(server)["prompt"] == "a fox\nin the snow"


@pytest.mark.parametrize("accept", ["image/*", "application/json"])
def test_json_tells_everything_in_one_object(run: Run, server: Emulator, accept: str) -> None:
    """A program would have to read words meant for people."""
    result = run(
        "generate", "a fox", "--seed", "7", "--json", "--accept", accept, "--base-url", server.url
    )

    told: dict[str, Any] = json.loads(result.stdout)
    assert Path(told["path"]).stat().st_size == told["size"]
    assert told["seed"] == 7
    assert told["finish_reason"] == "SUCCESS"
    assert told["credits"] == 6.5
    assert told["attempts"] == 1
    assert told["emulated"] is False
    assert told["request_id"]
    assert told["timings"]["total"] > 0
    assert told["request"]["model"] == "sd3.5-large"


def test_a_filtered_image_is_kept_and_warned_of(run: Run, server: Emulator) -> None:
    """A blurred image would pass for a good one, or one that was paid for be thrown away."""
    server.faults.script([Fault.filtered()])
    result = run("generate", "a fox", "-o", "fox.png", "--base-url", server.url)

    assert result.exit_code == 0
    assert "warning: the service blurred this image" in result.stderr
    assert Path("fox.png").exists()


def test_a_retry_is_told_while_it_is_waited_for(run: Run, server: Emulator) -> None:
    """A person would stare at a silent terminal for a minute."""
    server.faults.script([Fault.status(500)])
    result = run("generate", "a fox", "--base-url", server.url)

    assert result.exit_code == 0
    assert re.search(r"attempt 1: 500 .*; trying again in 0\.0 s", result.stderr)
    assert "2 attempts" in result.stderr


def test_the_deadline_ends_the_wait(run: Run, server: Emulator) -> None:
    """`--deadline` would be taken and forgotten."""
    server.faults.script([Fault.stall()])
    result = run("generate", "a fox", "--deadline", "0.2", "--base-url", server.url)

    assert result.exit_code == 1
    assert "the deadline of 0.2 s passed" in result.stderr


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"credits": 1.0}, 3, "402"),
        ({"keys": {"another"}}, 1, "401"),
    ],
    ids=["no credits", "wrong key"],
)
def test_a_refusal_has_its_code_and_never_shows_the_key(
    run: Run,
    sd3_emulator_factory: EmulatorFactory,
    settings: dict[str, Any],
    code: int,
    words: str,
) -> None:
    """A script could not tell an empty account from a wrong key."""
    server = sd3_emulator_factory(**settings)
    result = run("generate", "a fox", "--json", "--base-url", server.url)

    assert result.exit_code == code
    assert words in result.stderr
    assert json.loads(result.stdout)["status"] == int(words)


def test_a_file_that_cannot_be_written_is_an_error_of_one_sentence(
    run: Run, server: Emulator
) -> None:
    """A name that the disk refuses would end in a traceback."""
    result = run("generate", "a fox", "-o", "x" * 300 + ".png", "--base-url", server.url)

    assert result.exit_code in (1, 2)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_the_balance_is_printed(run: Run, sd3_emulator_factory: EmulatorFactory) -> None:
    """A person would have to open a browser to see what is left."""
    server = sd3_emulator_factory(credits=1234.5)

    assert run("balance", "--base-url", server.url).stdout == "1,234.5 credits\n"
    assert json.loads(run("balance", "--base-url", server.url, "--json").stdout) == {
        "credits": 1234.5,
        "emulated": False,
    }


def test_the_embedded_emulator_says_that_it_is_one_and_never_sees_the_key(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn images would pass for generated ones; or a key be needed to try the program."""
    monkeypatch.delenv("STABILITY_API_KEY")
    result = run("generate", "a fox", "-o", "fox.png", "--emulator")
    told = json.loads(run("generate", "a fox", "--emulator", "--json").stdout)

    assert result.exit_code == 0
    assert "emulated: images come from an emulator" in result.stderr
    assert told["emulated"] is True
    with Image.open("fox.png") as image:
        assert image.size == (1024, 1024)


def test_debug_output_does_not_show_the_key(
    run: Run, server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log pasted into a bug report would give the key away."""
    monkeypatch.setenv("SD3ASYNC_LOG", "debug")
    result = run("generate", "a fox", "--base-url", server.url)

    assert result.exit_code == 0
    assert KEY not in result.output
