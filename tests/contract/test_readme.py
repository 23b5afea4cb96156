"""The README's examples, run as they stand."""

import asyncio
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sd3async import SD3Client
from sd3async.emulator import Emulator

README = Path(__file__).parents[2] / "README.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def example_with(words: str) -> dict[str, Any]:
    """Run the one example that holds `words`, and return its names."""
    [source] = [example for example in examples() if words in example]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, str(README), "exec"), names)  # our own words
    return names


@pytest.fixture
def emulator(
    sd3_emulator_factory: Callable[..., Emulator],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Emulator:
    """Stand in for the service, by nothing but the two variables that a user would set."""
    started = sd3_emulator_factory(image_bytes=5_000)
    monkeypatch.setenv("STABILITY_API_KEY", "sk-test")
    monkeypatch.setenv("STABILITY_BASE_URL", started.url)
    monkeypatch.chdir(tmp_path)
    return started


def test_the_first_example_generates_what_it_says(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is the first thing anybody tries."""
    example_with("gather_generations")
    asyncio.set_event_loop(None)  # asyncio.run has closed the loop; say that there is none

    assert capsys.readouterr().out == "20 of 20\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lighthouse.png", "winter.png"]
    assert emulator.requests[1].fields["mode"] == "image-to-image"


async def test_the_service_example_serves_images(emulator: Emulator) -> None:
    """One client for the life of the app, closed with it."""
    names = example_with("AppKey")
    async with TestClient(TestServer(names["app"])) as browser:
        answer = await browser.get("/draw", params={"prompt": "a teapot"})

        assert answer.status == 200
        assert answer.content_type == "image/png"
    assert emulator.paid == 1


async def test_the_many_images_example_saves_them(emulator: Emulator, tmp_path: Path) -> None:
    """Five posters, five files."""
    names = example_with("async def posters")
    async with SD3Client() as client:
        await names["posters"](client)

    assert len(list(tmp_path.glob("poster-*.png"))) == emulator.paid == 5


def test_the_testing_example_passes(pytester: pytest.Pytester) -> None:
    """It is run by pytest, with nothing but the installed plugin."""
    [source] = [example for example in examples() if "sd3_emulator_factory" in example]
    pytester.makepyfile(textwrap.dedent(source))
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_no_example_is_left_out() -> None:
    """A new example needs a test of its own here."""
    assert len(examples()) == 4


def test_every_file_that_the_readme_names_exists() -> None:
    """A dead link in the first page is the worst."""
    links = re.findall(r"\]\(([\w./]+)\)", README.read_text())
    missing = [link for link in links if not (README.parent / link).exists()]

    assert missing == []
    assert 100 <= len(README.read_text().splitlines()) <= 200
