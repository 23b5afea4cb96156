import pytest

from benchmarks.page import render
from benchmarks.results import Bar, Chart, Ratio, Result, Series, Table, at_least, at_most

ABOUT = {
    "machine": {
        "processor": "a processor",
        "cpus": 2,
        "memory_bytes": 8e9,
        "system": "Linux 6",
        "architecture": "x86_64",
    },
    "versions": {"python": "CPython 3.11"},
}


def result(goal: str) -> Result:
    return Result(
        name="speed",
        question="How fast?",
        method="By looking.",
        tables=[Table(title="Speeds", columns=["who", "goal"], rows=[["ours", goal]])],
        charts=[
            Chart(name="a", title="A", unit="s", bars=[Bar("ours", 1.0, 0.5, 2.0)]),
            Chart(name="b", title="B", unit="s", lines=[Series("ours", [(1.0, 2.0)])]),
        ],
        measured_at="2026-01-02T03:04:05+00:00",
        seconds=1.5,
    )


@pytest.mark.parametrize(
    ("words", "is_met"),
    [
        (at_most(2.0, 2.0), True),
        (at_most(2.1, 2.0), False),
        (at_least(0.96, 0.96), True),
        (at_least(0.95, 0.96), False),
    ],
)
def test_a_goal_says_whether_it_was_met(words: str, is_met: bool) -> None:
    """A scenario that loses would look like one that wins."""
    assert ("MISSED" not in words) is is_met
    assert result(words).missed == ([] if is_met else ["Speeds: ours"])


def test_ratios_are_taken_pair_by_pair() -> None:
    """A disturbance that met both sides of a pair would be taken for a difference."""
    ratio = Ratio.of([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])

    assert ratio == Ratio(2.0, 2.0, 2.0)
    assert Ratio.of([3.0], [2.0]) == Ratio(1.5, 1.5, 1.5)


def test_a_result_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The page could not be written again from the committed data."""
    path = tmp_path_factory.mktemp("results") / "speed.json"
    saved = result(at_most(1.0, 2.0))

    saved.save(path)
    loaded = Result.load(path)

    assert render(ABOUT, [loaded], ".") == render(ABOUT, [saved], ".")
    assert loaded.charts[1].lines[0].points == [(1.0, 2.0)]


def test_the_page_names_what_was_missed_first() -> None:
    """A reader would have to search the tables for what was lost."""
    page = render(ABOUT, [result(at_most(3.0, 2.0))], "pictures")

    assert "- speed, Speeds: ours" in page.partition("## How fast?")[0]
    assert "| ours | ≤ 2: MISSED |" in page
    assert "![A](pictures/a.svg)" in page
