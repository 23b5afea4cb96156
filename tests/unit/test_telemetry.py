"""Observers: told everything, trusted with nothing."""

import logging

import attrs
import pytest

from sd3async.telemetry import (
    Announcer,
    Event,
    Frozen,
    Queued,
    Retried,
    log_event,
    observers_from_environment,
)


def test_every_observer_is_told_in_order() -> None:
    """One observer must not hide another."""
    heard: list[tuple[int, Event]] = []
    announce = Announcer(
        [lambda event: heard.append((1, event)), lambda event: heard.append((2, event))]
    )
    event = Queued(at=1.0, call=1, endpoint="sd3")

    announce(event)
    assert heard == [(1, event), (2, event)]


def test_an_observer_that_fails_is_reported_once_and_does_no_harm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broken dashboard must not cost a paid image, nor fill the log."""
    heard: list[Event] = []

    def fails(_: Event) -> None:
        raise RuntimeError("dashboard is down")

    announce = Announcer([fails, heard.append])
    for _ in range(3):
        announce(Queued(at=0.0))

    assert len(heard) == 3
    assert [record.message for record in caplog.records] == [
        "an observer failed; further failures of it are not reported"
    ]


def test_events_are_frozen_values() -> None:
    """Observers share them."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Queued(at=0.0).at = 1.0  # type: ignore[misc]


def test_the_log_has_levels(caplog: pytest.LogCaptureFixture) -> None:
    """A lock-out is loud, a retry is information, the rest is for debugging."""
    caplog.set_level(logging.DEBUG, "sd3async")
    log_event(Queued(at=0.0, call=3, endpoint="core"))
    log_event(Retried(at=0.0, call=3, attempt=1, problem="500: x", wait=0.5, may_be_charged=False))
    log_event(Frozen(at=0.0, key=0, seconds=60.5))

    assert [(record.levelname, record.message.split()[0]) for record in caplog.records] == [
        ("DEBUG", "queued"),
        ("INFO", "retried"),
        ("WARNING", "frozen"),
    ]
    assert "call=3 endpoint=core" in caplog.records[0].message


def test_the_environment_switches_logging_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SD3ASYNC_LOG=debug` works without touching the program."""
    monkeypatch.setattr(logging.getLogger("sd3async"), "handlers", [])
    monkeypatch.delenv("SD3ASYNC_LOG", raising=False)
    assert observers_from_environment() == ()
    monkeypatch.setenv("SD3ASYNC_LOG", "shout")
    assert observers_from_environment() == ()
    monkeypatch.setenv("SD3ASYNC_LOG", "debug")

    assert observers_from_environment() == (log_event,)
    assert logging.getLogger("sd3async").level == logging.DEBUG
    logging.getLogger("sd3async").setLevel(logging.NOTSET)
