"""The words of `sd3async emulator`, turned into the emulator's own values."""

from typing import Any

import pytest
from click.testing import CliRunner

from sd3async.cli.emulator import faults_from_words, latency_from_text
from sd3async.cli.program import program
from sd3async.emulator import (
    Constant,
    Emulator,
    Exponential,
    Fault,
    Latency,
    LogNormal,
    Uniform,
)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (
            "",
            {
                "strict": False,
                "unknown_fields": None,
                "early_refusal": None,
                "start_status": 200,
                "start_charge": "start",
                "result_latency": None,
            },
        ),
        ("--strict", {"strict": True, "unknown_fields": None}),
        ("--strict --unknown-fields ignore", {"strict": True, "unknown_fields": "ignore"}),
        ("--unknown-fields reject", {"strict": False, "unknown_fields": "reject"}),
        ("--early-refusal reset", {"early_refusal": "reset"}),
        ("--start-status 202 --start-charge end", {"start_status": 202, "start_charge": "end"}),
        ("--result-latency 0 --latency 2", {"result_latency": Constant(0), "latency": Constant(2)}),
        ("--result-latency 20..40", {"result_latency": Uniform(20, 40)}),
        (
            "--result-field result --hasty-polls refuse",
            {"result_field": "result", "hasty_polls": "refuse"},
        ),
    ],
)
def test_the_options_are_the_settings(
    words: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that switches nothing would look like a service that refuses nothing."""
    served: list[Emulator] = []

    async def serve(server: Emulator, *, as_json: bool) -> None:
        served.append(server)

    monkeypatch.setattr("sd3async.cli.emulator._serve", serve)
    result = CliRunner().invoke(program, ["emulator", *words.split()])
    [server] = served

    assert result.exit_code == 0
    assert {name: getattr(server, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("0", Constant(0.0)),
        ("2.5", Constant(2.5)),
        ("1..3", Uniform(1.0, 3.0)),
        ("uniform:1:3", Uniform(1.0, 3.0)),
        ("lognormal:4", LogNormal(4.0)),
        ("lognormal:4:0.7:20", LogNormal(4.0, 0.7, 20.0)),
        ("exponential:2:1", Exponential(2.0, 1.0)),
    ],
)
def test_a_latency_is_seconds_or_a_distribution(text: str, latency: Latency) -> None:
    """An experiment would run with another latency than the one asked for."""
    assert latency_from_text(text) == latency


@pytest.mark.parametrize("text", ["", "soon", "-1", "3..", "normal:1:2", "uniform:1:2:3"])
def test_a_word_that_is_no_latency_is_refused(text: str) -> None:
    """A slip of the finger would mean no latency at all."""
    with pytest.raises(ValueError, match=r"latency: .* is neither seconds nor"):
        latency_from_text(text)


def test_faults_strike_in_order_and_ok_lets_one_pass() -> None:
    """A scripted experiment would meet its faults in another order."""
    plan = faults_from_words(("500", "ok", "slow:3"))

    met = [plan.strike("/core", "a fox", 0.5) for _ in range(4)]
    assert met == [Fault.status(500), None, Fault.slow(3.0), None]


def test_faults_with_a_probability_strike_by_chance() -> None:
    """A seeded experiment would have no faults, or nothing else."""
    plan = faults_from_words(("500=0.25", "reset=0.25"))

    assert plan.strike("/core", "a fox", 0.2) == Fault.status(500)
    assert plan.strike("/core", "a fox", 0.3) == Fault.reset()
    assert plan.strike("/core", "a fox", 0.6) is None
