"""`sd3async bench` from its options to its exit code, with the emulator in its own process."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sd3async.bench.samples import read_session
from sd3async.cli.program import program
from sd3async.emulator import Emulator, Fault


def test_a_run_against_the_embedded_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command, no key, and every number comes from samples that are on disk."""
    monkeypatch.chdir(tmp_path)
    words = "bench --emulator --no-limit --concurrency 1,2 --requests 4 --attempts 1 --out r.jsonl"
    emulated = "--emulator-latency 0 --emulator-image-size 10kB --emulator-fault 403=0.5 --json"
    result = CliRunner().invoke(program, [*words.split(), *emulated.split()])
    report = json.loads(result.stdout)
    session = read_session("r.jsonl")
    errors = [sample.error for run in session.runs for sample in run.samples if sample.error]

    assert result.exit_code == (1 if errors else 0)
    assert [scenario["name"] for scenario in report["scenarios"]] == ["1 caller", "2 callers"]
    assert sum(len(run.samples) for run in session.runs) == 8
    assert set(errors) <= {"ContentModerationError 403"}
    assert report["scenarios"][0]["metrics"]["cpu_per_request"]["median"] > 0


@pytest.mark.parametrize(("faults", "code"), [([], 0), ([402], 3), ([401], 1)])
def test_the_exit_code_tells_how_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[int], code: int
) -> None:
    """A script that runs benchmarks must know without reading."""
    monkeypatch.chdir(tmp_path)
    with Emulator.in_thread(
        limit=None, image_bytes=2_000, faults=[Fault.status(status) for status in faults]
    ) as emulator:
        words = ["bench", "--base-url", emulator.url, "--concurrency", "1", "--requests", "3"]
        result = CliRunner(env={"STABILITY_API_KEY": "sk-a-key-that-stays-here"}).invoke(
            program, [*words, "--out", "r.jsonl"]
        )

    assert result.exit_code == code
    assert "sk-a-key-that-stays-here" not in result.output + Path("r.jsonl").read_text()


def test_the_cap_ends_a_run_with_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cap that is reached is not a success and not a failure of the service."""
    monkeypatch.chdir(tmp_path)
    with Emulator.in_thread(limit=None, image_bytes=2_000, strict=True) as emulator:
        words = ["bench", "--base-url", emulator.url, "--concurrency", "4", "--requests", "9"]
        result = CliRunner(env={"STABILITY_API_KEY": "sk-1"}).invoke(
            program, [*words, "--max-credits", "20", "--out", "r.jsonl"]
        )
        paid = emulator.paid

    assert result.exit_code == 3
    assert paid == 3
    assert "the cap of 20 credits" in result.output
