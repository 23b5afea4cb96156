"""Settings are checked when they are made, and when they are changed."""

from typing import Any

import pytest

from sd3async.emulator.latency import Constant
from sd3async.emulator.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "example.org", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    """An open port that takes any key must never be reachable from outside."""
    with pytest.raises(ValueError, match="loopback"):
        Settings(host=host)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "leaky"),
        ("counts", "some"),
        ("stamp", "tail"),
        ("retry_after", "minutes"),
        ("early_refusal", "shout"),
        ("unknown_fields", "maybe"),
        ("result_field", "picture"),
        ("start_status", 201),
        ("start_charge", "never"),
        ("hasty_polls", "scold"),
        ("result_lifetime", -1),
        ("results_limit", 0),
        ("period", 0),
        ("max_requests", 0),
        ("lockout", -1),
        ("arrival_jitter", -0.1),
        ("journal_limit", 0),
        ("image_bytes", -5),
    ],
)
def test_senseless_settings_name_themselves(name: str, value: Any) -> None:
    """A misspelt setting would otherwise emulate something else than was meant."""
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


def test_the_emulator_is_as_lenient_as_the_service_until_told() -> None:
    """Users run programs against it that work for real; refusing them would be a false alarm."""
    assert not Settings().strict
    assert Settings().unknown_fields is None


@pytest.mark.parametrize(
    ("given", "taken"),
    [(False, None), (None, None), (True, "read"), ("close", "close"), ("reset", "reset")],
)
def test_early_refusals_end_in_one_of_three_ways(given: Any, taken: str | None) -> None:
    """True is what it was before there was a choice: read on."""
    assert Settings(early_refusal=given).early_refusal == taken


def test_settings_may_change_while_running() -> None:
    """A latency set in the middle of a test is converted and checked like the first one."""
    settings = Settings()

    settings.latency = 2.5  # type: ignore[assignment]  # converted, like at the start
    settings.result_latency = 3  # type: ignore[assignment]

    assert settings.latency == Constant(2.5)
    assert settings.result_latency == Constant(3.0)
    with pytest.raises(ValueError, match="lockout"):
        settings.lockout = -1.0
