"""`sd3async bench` before anything is sent: usage, money, and reports of made-up results."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from sd3async.bench import plots, surroundings
from sd3async.bench.report import Report
from sd3async.bench.runner import most_requests
from sd3async.bench.samples import Session, write_header, write_run
from sd3async.bench.scenario import Scenario
from sd3async.cli import bench as command
from sd3async.cli.program import program
from sd3async.limiter import RateLimit
from support.sessions import header, run, sample

KEY = "sk-secret0123456789"
GATEWAY = "https://gateway.example/sd"

Bench: TypeAlias = Callable[..., Result]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a function that runs `sd3async bench` in an empty folder, and sends nothing."""
    monkeypatch.chdir(tmp_path)

    async def send_nothing(*_: Any, **__: Any) -> None:
        raise AssertionError("this would have been sent")

    monkeypatch.setattr(command, "_measure", send_nothing)

    def invoke(*args: str, key: str | None = KEY) -> Result:
        result = CliRunner(env={"STABILITY_API_KEY": key}).invoke(program, ["bench", *args])
        assert KEY not in result.output
        return result

    return invoke


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    with path.open("w") as file:
        write_header(file, header())
        write_run(file, run([sample(1.0), sample(2.0)]))
    return path


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--concurrency", "1,two"], "no list of numbers"),
        (["--concurrency", "0"], "1 or more"),
        (["--rate", "0"], "above 0"),
        (["--duration", "soon"], "not a duration"),
        (["--mix", "video=1"], "'video' is unknown"),
        (["--upload-size", "20MB"], "are allowed"),
        (["--limit", "many"], "no limit such as"),
        (["--find-knee", "--rate", "3"], "leave out"),
        (["--prompts", "missing.txt"], "does not exist"),
        (["--nonsense"], "No such option"),
        (["--emulator", "--emulator-latency", "x..y"], "latency"),
        (["--emulator", "--emulator-fault", "gremlins=1"], "gremlins"),
        (["--emulator", "--base-url", GATEWAY], "two servers"),
    ],
    ids=str,
)
def test_bad_usage_is_one_sentence_and_code_2(bench: Bench, args: list[str], words: str) -> None:
    """A run of an hour is the wrong place to find a typing error."""
    result = bench(*args)

    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_without_a_key_both_ways_out_are_named(bench: Bench) -> None:
    """A benchmark of nothing must not be faked."""
    result = bench("--concurrency", "1", key=None)

    assert result.exit_code == 2
    assert "--emulator" in result.output


@pytest.mark.parametrize(
    "consent", [[], ["--yes"], ["--max-credits", "10"]], ids=["neither", "no cap", "no yes"]
)
def test_credits_are_spent_only_with_a_yes_and_a_cap(bench: Bench, consent: list[str]) -> None:
    """A benchmark is the quickest way to empty an account by mistake."""
    result = bench("--base-url", GATEWAY, "--concurrency", "1", "--requests", "100", *consent)

    assert result.exit_code == 2
    assert "6.5 credits for each image; 650 credits ($6.50) at most" in result.output
    assert "--yes and --max-credits" in result.output
    assert not list(Path.cwd().iterdir())


def test_with_a_yes_and_a_cap_it_goes_on(bench: Bench) -> None:
    """Consent that is not enough would send people to the emulator for ever."""
    result = bench("--base-url", GATEWAY, "--yes", "--max-credits", "20", "--out", "r.jsonl")

    assert "the cap is 20 credits ($0.20)" in result.output
    assert isinstance(result.exception, AssertionError)


def test_the_official_service_is_never_called_without_the_limiter(bench: Bench) -> None:
    """It answers the 151st request with a minute's lock-out of the key."""
    consent = ("--no-limit", "--yes", "--max-credits", "1000000")
    result = bench(*consent)
    elsewhere = bench(*consent, "--base-url", "https://stability.ai.example")

    assert result.exit_code == 2
    assert "lock the key out" in result.output
    assert "lock the key out" not in elsewhere.output


def test_results_are_never_overwritten(bench: Bench, results: Path) -> None:
    """They may have cost an afternoon, and credits."""
    before = results.read_text()
    result = bench("--base-url", "http://127.0.0.1:1", "--out", str(results))

    assert result.exit_code == 2
    assert "exists" in result.output
    assert results.read_text() == before


def test_a_report_is_made_from_the_file_alone(bench: Bench, results: Path) -> None:
    """A run is never repeated to see another column."""
    text = bench("report", str(results), key=None)
    found = json.loads(bench("report", str(results), "--json", key=None).stdout)

    assert text.exit_code == 0
    assert "What is delivered" in text.stdout
    assert found["scenarios"][0]["metrics"]["ok"]["median"] == 2


def test_a_page_and_pictures_are_written_on_demand(
    bench: Bench, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what people send to each other; one of four stands for all, to save time."""

    def draw_one(report: Report, _session: Session) -> dict[str, Figure]:
        return {"parts": plots.draw_parts(report)}

    monkeypatch.setattr(plots, "draw_all", draw_one)
    result = bench("report", str(results), "--html", "r.html", "--plots", "p", key=None)

    assert result.exit_code == 0
    assert Path("r.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in Path("p").iterdir()] == ["parts.png"]


def test_two_results_are_compared(bench: Bench, results: Path) -> None:
    """Whether a change helped is the question after every change."""
    text = bench("compare", str(results), str(results), key=None)
    found = json.loads(bench("compare", str(results), str(results), "--json", key=None).stdout)

    assert text.exit_code == 0
    assert {ratio["ratio"] for ratio in found["ratios"]} <= {1.0, None}


def test_a_file_that_holds_no_results_is_bad_usage(bench: Bench, tmp_path: Path) -> None:
    """It is most likely the wrong file."""
    wrong = tmp_path / "prompts.txt"
    wrong.write_text("a fox\n")
    result = bench("report", str(wrong), key=None)

    assert result.exit_code == 2
    assert "not a line of results" in result.output


@pytest.mark.parametrize(
    ("scenario", "most"),
    [
        (Scenario(rate=5.0, duration=10.0, warmup=2.0), 60),
        (Scenario(rate=5.0, requests=20, warmup=2.0), 30),
        (Scenario(concurrency=3, requests=20), 20),
        (Scenario(concurrency=3, duration=10.0), 15 * 20),
        (Scenario(concurrency=3, requests=20, duration=1000.0), 20),
    ],
    ids=["open by time", "open by count", "closed by count", "closed by time", "closed by both"],
)
def test_the_price_told_before_is_an_upper_bound(scenario: Scenario, most: float) -> None:
    """A price that turns out higher is the one that people remember."""
    assert most_requests(scenario, RateLimit()) == most


def test_without_a_limit_nothing_bounds_a_closed_loop() -> None:
    """Better no number than one that is wrong."""
    scenario = Scenario(concurrency=3, duration=10.0)

    assert math.isinf(most_requests(scenario, RateLimit.unlimited()))


def test_no_key_gets_into_the_recorded_command() -> None:
    """Results are shared; keys are not."""
    line = surroundings.command_line(["bench", "--prompts", f"/x/{KEY}.txt"], secrets=[KEY])

    assert line == "sd3async bench --prompts /x/***.txt"
