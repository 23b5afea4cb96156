"""Images over time: nothing lost between buckets, pauses left out, never too many."""

from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk.report.timeline import TimelineCounter


def counter_of(instants: list[float]) -> TimelineCounter:
    counter = TimelineCounter()
    for instant in instants:
        counter.add(instant, done=True)
    return counter


@given(st.lists(st.floats(1.7e9, 1.7e9 + 3e5), min_size=1, max_size=200))
def test_every_item_is_in_one_bucket(instants: list[float]) -> None:
    """Items would vanish from the plot, or stand in it twice."""
    timeline = counter_of(instants).timeline()

    assert sum(sum(spell.done) for spell in timeline.spells) == len(instants)
    assert sum(len(spell.done) for spell in timeline.spells) <= 141


def test_a_lock_out_stays_visible() -> None:
    """A minute in which the key was shut out would be hidden."""
    timeline = counter_of([0, 61]).timeline()

    assert [spell.done for spell in timeline.spells] == [[1] + [0] * 60 + [1]]


def test_the_night_between_two_runs_is_left_out() -> None:
    """Two runs a day apart would be two thin lines at the ends of an empty plot."""
    timeline = counter_of([0, 1, 2, 80_000, 80_001]).timeline()

    assert [(spell.start, spell.done) for spell in timeline.spells] == [
        (0, [1, 1, 1]),
        (80_000, [1, 1]),
    ]


def test_a_long_run_gets_wider_buckets() -> None:
    """A day's run would be drawn in 86,400 bars."""
    timeline = counter_of([float(second) for second in range(86_400)]).timeline()

    assert timeline.bucket == 900
    assert timeline.spells[0].done == [900] * 96


def test_a_job_in_a_hundred_small_runs_is_one_spell() -> None:
    """The plot would be nothing but gaps."""
    timeline = counter_of([run * 3600.0 for run in range(100)]).timeline()

    assert len(timeline.spells) == 1
    assert sum(timeline.spells[0].done) == 100
    assert timeline.bucket == 3600
