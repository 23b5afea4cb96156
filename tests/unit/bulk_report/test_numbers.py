"""report.json: exact numbers, whatever the job did."""

import json
import math
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk.records import ItemRecord
from sd3async.bulk.report.numbers import OTHER, JobNumbers, distribution, kind_of_error
from support.job_records import BEGAN, done, failed, item, summary, write_report


def report_of(records: list[ItemRecord], out: Path) -> dict[str, Any]:
    write_report(out, records, summary(records))
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_the_report_counts_each_state_endpoint_and_model(tmp_path: Path) -> None:
    """Whoever reads report.json would be told wrong sums."""
    core = {"endpoint": "core", "request": {"endpoint": "core", "prompt": "x"}, "credits": 3.0}
    records = [done(0), done(1, **core), failed(2), done(3, finish_reason="CONTENT_FILTERED")]

    report = report_of(records, tmp_path)

    assert report["schema_version"] == 2
    assert report["by_state"] == {"done": 3, "failed": 1}
    assert report["by_endpoint"]["sd3"]["states"] == {"done": 2, "failed": 1}
    assert report["by_endpoint"]["core"] == {
        "items": 1,
        "states": {"done": 1},
        "credits": 3.0,
        "bytes": 1001,
    }
    assert set(report["by_model"]) == {"sd3.5-large", "core"}
    assert report["items"]["filtered"] == 1
    assert report["bytes"] == 1000 + 1001 + 1003
    assert report["requests"]["attempts"] == 4


def test_the_report_repeats_the_summary(tmp_path: Path) -> None:
    """Money and times in report.json would differ from those on the terminal."""
    records = [done(0)]
    told = summary(records, possibly_paid=2, frozen=3, balance_after=12.5)

    write_report(tmp_path, records, told)
    report = json.loads((tmp_path / "report.json").read_text())

    assert report["money"] == {
        "credits": 6.5,
        "dollars": 0.065,
        "possibly_paid": 2,
        "balance_before": None,
        "balance_after": 12.5,
    }
    assert report["requests"]["frozen"] == 3
    assert report["job"]["seconds"] == 90.5
    assert report["job"]["started_at"].endswith("+00:00")


def test_a_linked_item_adds_no_bytes_time_or_latency(tmp_path: Path) -> None:
    """An image made once and shared would be counted twice."""
    report = report_of([done(0), done(1, linked_to=0, credits=0.0)], tmp_path)

    assert report["items"]["linked"] == 1
    assert report["bytes"] == 1000
    assert report["latency"]["total"]["count"] == 1
    assert sum(sum(spell["done"]) for spell in report["rate"]["spells"]) == 1


@pytest.mark.parametrize(
    ("service", "model"),
    [("emulator", "sd3.5-large"), ("https://api.mjdjourney.cn/sd", "sd3-large")],
)
def test_an_image_of_a_line_without_a_model_has_the_default_one(service: str, model: str) -> None:
    """The card would name the endpoint, and nobody could tell what made the image."""
    numbers = JobNumbers()
    numbers.add(done(0, request={"endpoint": "sd3", "prompt": "a fox"}, service=service))

    assert list(numbers.models) == [model]


def test_what_is_gone_takes_no_room(tmp_path: Path) -> None:
    """The page would say that megabytes are there which were deleted."""
    report = report_of([done(0), done(1, state="missing")], tmp_path)

    assert report["bytes"] == report["by_model"]["sd3.5-large"]["bytes"] == 1000
    assert report["by_state"] == {"done": 1, "missing": 1}


def test_a_job_in_three_runs_has_the_time_and_the_rate_of_all(tmp_path: Path) -> None:
    """A last run that only counts would make a night's job look like one of a second."""
    records = [done(i) for i in range(90)]
    told = summary(records, finished_at=BEGAN + 1, runs=3, seconds=60.0)

    write_report(tmp_path, records, told)
    report = json.loads((tmp_path / "report.json").read_text())

    assert (report["job"]["runs"], report["job"]["seconds"]) == (3, 60.0)
    assert report["rate"]["mean"] == 1.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_samples_that_split_as_they_say(samples: list[float]) -> None:
    """A percentile would not be one: too few samples at or below it, or too many below."""
    found = distribution(array("d", samples))

    for share, name in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")):
        at_or_below = sum(round(sample, 6) <= found[name] for sample in samples)
        below = sum(round(sample, 6) < found[name] for sample in samples)
        assert below <= math.ceil(share * len(samples)) - 1 < at_or_below
    assert found["max"] == round(max(samples), 6)
    assert found["count"] == len(samples)


def test_percentiles_of_a_hundred_samples_are_the_textbook_ones() -> None:
    """Percentiles would be off by one sample."""
    found = distribution(array("d", range(1, 101)))

    assert (found["p50"], found["p90"], found["p95"], found["p99"]) == (50, 90, 95, 99)
    assert (found["mean"], found["max"]) == (50.5, 100)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("403 content_moderation: flagged", "403 content_moderation: flagged"),
        ("500 oops (id 8d1f0e6c2b)", "500 oops (id …)"),
        ("500 oops [4 attempts: 1: 500 oops; 2: 502 gone]", "500 oops"),
        ("prompt: has 10,001 characters", "prompt: has … characters"),
        ("'a fox' is no style", "… is no style"),
        ("out of time after 12.75 s", "out of time after … s"),
        ("sd3.5-large is busy", "sd3.5-large is busy"),
    ],
)
def test_errors_of_one_kind_are_counted_together(words: str, kind: str) -> None:
    """A thousand failures of one kind would be listed as a thousand kinds."""
    assert kind_of_error(words) == kind


def test_untrusted_names_do_not_fill_memory() -> None:
    """A manifest with a tag of its own on each of a million lines would be kept in memory."""
    numbers = JobNumbers()
    for index in range(1500):
        numbers.add(item(index, tags=(f"tag {index}",), request={"model": f"model {index}"}))

    assert numbers.tags.most_common()[0] == (OTHER, 500)
    assert len(numbers.models) == 1001
    assert numbers.models[OTHER].items == 500


def test_a_job_without_a_single_image_has_a_report(tmp_path: Path) -> None:
    """A job that was stopped at once would end in a traceback."""
    report = report_of([item(0, state="pending", attempts=0)], tmp_path)

    assert report["latency"] == {}
    assert report["rate"]["spells"] == []


def test_nonsense_of_a_skipped_line_does_not_stop_the_report(tmp_path: Path) -> None:
    """One bad line, skipped as asked, would cost the report of a whole night."""
    nonsense = {"prompt": 3, "cfg_scale": float("nan"), "style": {"x": [object, float("inf")]}}
    invalid = item(0, state="invalid", request=nonsense, prompt="\ud800", tags=("\udfff",))

    assert report_of([invalid], tmp_path)["by_state"] == {"invalid": 1}
    assert (tmp_path / "index.html").exists()


def test_the_rate_is_that_of_ended_items(tmp_path: Path) -> None:
    """The plot would show images that were never made, or hide failures."""
    records = [done(i, finished_at=BEGAN + i) for i in range(10)]
    records += [failed(i, finished_at=BEGAN + 3) for i in (10, 11)]

    rate = report_of([*records, item(12, state="pending")], tmp_path)["rate"]

    assert rate == {
        "ceiling": 15.0,
        "mean": round(12 / 90.5, 4),
        "bucket": 1,
        "spells": [
            {"start": int(BEGAN), "done": [1] * 10, "failed": [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]}
        ],
    }
