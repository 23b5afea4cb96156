import io
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from sd3async.emulator.virtual_time import VirtualClock
from sd3async.progress import Pace, Snapshot, display, words

PATIENCE = 10.0  # [s] for a thread that has something to do


def snapshot(
    done: int = 0, failed: int = 0, total: int | None = None, frozen_for: float = 0.0
) -> Snapshot:
    return Snapshot(done=done, failed=failed, in_flight=0, total=total, frozen_for=frozen_for)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def pace(clock: VirtualClock) -> Pace:
    return Pace(snapshot(), clock.monotonic)


def test_the_line_names_every_number() -> None:
    """A number that matters would be missing from the line."""
    numbers = Snapshot(
        done=1200, failed=3, in_flight=45, total=5000, credits=7800, ceiling=15, note="resumed"
    )

    line = words(numbers, 14.94, left=253)

    assert line == (
        "1,200 / 5,000 done, 3 failed, 45 in flight, 14.9/s of 15.0/s, 7,800.0 credits, "
        "about 0:04:13 left, resumed"
    )


@pytest.mark.parametrize("ceiling", [0.0, float("inf")], ids=["none", "unlimited"])
def test_without_a_limit_no_ceiling_is_shown(ceiling: float) -> None:
    """A run without a limit would be compared with a ceiling of infinity."""
    line = words(Snapshot(done=1, failed=0, in_flight=0, ceiling=ceiling), 2.0)

    assert "2.0/s, " in line


def test_a_freeze_is_said_in_whole_seconds_and_never_as_zero() -> None:
    """The last moment of a freeze would read as no freeze at all."""
    assert "frozen for 1 s" in words(snapshot(frozen_for=0.2), 0.0)


def test_the_rate_is_that_of_the_last_minute(pace: Pace, clock: VirtualClock) -> None:
    """A slow start would be held against a run for ever."""
    rates: list[float] = []
    for second in range(1, 301):
        clock.advance(1.0)
        rates.append(pace.speed(snapshot(done=10 * max(0, second - 200)))[0])

    assert rates[-1] == pytest.approx(10.0)


def test_what_earlier_runs_did_is_not_this_runs_speed(clock: VirtualClock) -> None:
    """A resumed job would begin with an absurd rate and end in no time."""
    pace = Pace(snapshot(done=9_000, total=10_000), clock.monotonic)
    clock.advance(10.0)

    rate, left = pace.speed(snapshot(done=9_100, total=10_000))

    assert rate == pytest.approx(10.0)
    assert left == pytest.approx(90.0)


def test_failures_count_as_ended(pace: Pace, clock: VirtualClock) -> None:
    """A run that mostly fails would seem to stand still."""
    clock.advance(10.0)

    assert pace.speed(snapshot(done=1, failed=9))[0] == pytest.approx(1.0)


def test_a_lockout_adds_its_rest_and_does_not_slow_the_forecast(
    pace: Pace, clock: VirtualClock
) -> None:
    """A minute of lock-out would make a long job look endless."""
    clock.advance(10.0)
    pace.speed(snapshot(done=100, total=1_100))
    clock.advance(30.0)

    rate, left = pace.speed(snapshot(done=100, total=1_100, frozen_for=30.0))

    assert rate == pytest.approx(2.5)
    assert left == pytest.approx(30.0 + 100.0)


@pytest.mark.parametrize(
    "numbers",
    [snapshot(done=5), snapshot(total=10), snapshot(done=10, total=10)],
    ids=["no total", "nothing done", "all done"],
)
def test_nothing_is_forecast_without_grounds(
    numbers: Snapshot, pace: Pace, clock: VirtualClock
) -> None:
    """A made-up time would be shown, or a division by zero end the run."""
    clock.advance(1.0)

    assert pace.speed(numbers)[1] is None


def test_without_a_terminal_lines_come_now_and_then_and_one_at_the_end() -> None:
    """A log file would stay empty for hours, or lack the final numbers."""
    stream = io.StringIO()
    numbers: Iterator[int] = iter(range(100_000))
    two_lines = threading.Event()
    last = 0

    def read() -> Snapshot:
        nonlocal last
        last = next(numbers)
        if last >= 3:
            two_lines.set()
        return snapshot(done=last)

    with display(read, console=Console(file=stream), line_period=0.001) as say:
        say("a word in between")
        assert two_lines.wait(PATIENCE)

    lines = stream.getvalue().splitlines()
    assert "a word in between" in lines
    assert lines[-1].startswith(f"{last} done")
    assert len(lines) >= 4


def test_the_lines_hold_no_terminal_codes() -> None:
    """A log file would be full of escape sequences."""
    stream = io.StringIO()
    console = Console(file=stream)

    with display(lambda: snapshot(done=1, total=2, frozen_for=3), console=console) as say:
        say("[bold] 12 apples [/]")

    assert "\x1b" not in stream.getvalue()
    assert "[bold] 12 apples [/]" in stream.getvalue()


def test_on_a_terminal_a_bar_is_drawn_and_words_go_above_it() -> None:
    """A person at a terminal would see no bar, or a bar torn by words."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)

    with display(lambda: snapshot(done=3, total=4), console=console) as say:
        say("a word")

    drawn = stream.getvalue()
    assert "75%" in drawn
    assert "3 / 4 done" in drawn
    assert drawn.index("a word") < drawn.rindex("75%")


def test_a_bar_needs_a_total() -> None:
    """A source of unknown length would get a bar of nonsense."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)

    with display(lambda: snapshot(done=3), console=console):
        pass

    assert "%" not in stream.getvalue()
    assert "3 done" in stream.getvalue()
