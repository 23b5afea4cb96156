"""Tables, the page and the pictures, from made-up results."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from sd3async.bench import plots
from sd3async.bench.columns import COLUMNS, seconds, show, show_range, size
from sd3async.bench.compare import compare
from sd3async.bench.knee import Knee
from sd3async.bench.page import render_page
from sd3async.bench.report import Report, print_comparison, print_report
from sd3async.bench.samples import Session
from sd3async.bench.scenario import Scenario
from support.sessions import header, run, sample, session


def a_session(*, repeats: int = 1) -> Session:
    """Return a sweep in which the limiter is the bottleneck at 16 callers, and one fails."""
    runs = [
        run(
            [
                *(
                    sample(at / 10, 1.0 + wait + repeat / 10, limiter_wait=wait, headers=1.0)
                    for at in range(20)
                ),
                sample(3.0, error="ServerError <500>", refused=1),
            ],
            scenario=Scenario(concurrency=callers, duration=10.0),
            repeat=repeat,
        )
        for repeat in range(1, repeats + 1)
        for callers, wait in ((1, 0.0), (16, 3.0))
    ]
    opened = run([sample(1.0)], scenario=Scenario(rate=2.0, duration=10.0, warmup=2.0))
    return Session(header=header(slo=2.0), runs=(*runs, opened), knee=Knee(16, 14.5, "plateau"))


def printed(found: Session) -> str:
    file = io.StringIO()
    print_report(Report.of(found), Console(file=file, width=200))
    return file.getvalue()


def test_the_text_shows_loads_latency_errors_the_knee_and_the_warnings() -> None:
    """These are the questions that a benchmark is run for."""
    text = printed(a_session())

    for words in (
        "1 caller",
        "16 callers",
        "2/s constant",
        "response",
        "ServerError <500>",
        "Knee: 16 callers",
        "own rate limit",
        "150 allowed",
    ):
        assert words in text


def test_repeats_show_their_range() -> None:
    """One number for three runs hides how much to believe it."""
    assert re.search(r"1\.1\.\.1\.3 s", printed(a_session(repeats=3)))


def test_a_session_without_a_limit_or_a_success_can_be_shown() -> None:
    """The report matters most when everything went wrong."""
    nothing = run([sample(error="ConnectFailedError", sends=(), service=None)])
    found = session(nothing, run([], usage=None), limit=None)
    report = Report.of(found)
    figures = plots.draw_all(report, found)

    assert report.scenarios[0].errors == {"ConnectFailedError": 1}
    assert "no rate limit" in printed(found)
    assert set(figures) == {"load", "parts", "percentiles", "rate"}


def test_the_json_is_json_and_has_every_number() -> None:
    """Programs read this: NaN or a Python name in it breaks them."""
    text = json.dumps(Report.of(a_session()).to_dict(), allow_nan=False)
    found = json.loads(text)

    assert found["knee"]["concurrency"] == 16
    assert found["scenarios"][1]["bound"] == "limiter"
    assert set(found["scenarios"][0]["metrics"]) <= set(COLUMNS)


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    """A page that loads scripts from elsewhere cannot be kept beside its results."""
    page = render_page(Report.of(a_session()), a_session())
    links = re.findall(r'(?:src|href)="(?!data:)', page)

    assert links == []
    assert "ServerError &lt;500&gt;" in page
    assert page.count("data:image/svg+xml") == 4


def test_the_same_numbers_give_the_same_picture(tmp_path: Path) -> None:
    """A committed picture must change only when its numbers do."""
    for name in ("a", "b"):
        plots.save(plots.draw_parts(Report.of(a_session())), tmp_path / name, "svg")

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_words_in_a_picture_are_words(tmp_path: Path) -> None:
    """Outlines of letters would be most of a picture, and no search would find a word in it."""
    plots.save(plots.draw_parts(Report.of(a_session())), tmp_path / "a.svg", "svg")

    picture = (tmp_path / "a.svg").read_text()
    assert picture.count("<text") > 5
    assert 'id="DejaVu' not in picture


def test_a_comparison_names_what_differs_and_what_only_one_ran() -> None:
    """A ratio of two different things is worse than none."""
    before = a_session(repeats=2)
    after = Session(header=header(seed=5, slo=2.0), runs=before.runs[:1])
    file = io.StringIO()
    print_comparison(compare(before, after), Console(file=file, width=200))
    text = file.getvalue()

    assert "These differ between the two: seed." in text
    assert "Only before: 16 callers, 2/s constant" in text
    assert "throughput" in text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (seconds(0), "0"),
        (seconds(0.000_012), "12 µs"),
        (seconds(0.085), "85 ms"),
        (seconds(1.5), "1.5 s"),
        (seconds(0.9999), "1 s"),
        (seconds(123.4), "123 s"),
        (size(1_500_000), "1.5 MB"),
        (size(999), "999 B"),
        (show(None, "s"), "-"),
        (show(0.5, "share"), "50%"),
        (show(1234.0, "count"), "1,234"),
        (show(1234.5, "credits"), "1,234.5"),
        (show(14.52, "1/s"), "14.5"),
        (show(2500.0, "1/s"), "2,500"),
        (show_range(1.0, 2.0, "s"), "1..2 s"),
        (show_range(0.5, 2.0, "s"), "500 ms..2 s"),
        (show_range(0.5, 1.0, "share"), "50%..100%"),
    ],
)
def test_numbers_come_in_units_that_fit(shown: str, text: str) -> None:
    """Nobody compares 0.0000121 with 12.5 at a glance."""
    assert shown == text
