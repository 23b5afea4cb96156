import io
import re
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sd3async.emulator.virtual_time import VirtualClock
from sd3async.progress import Pace, Snapshot, Usage, display, words

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


USAGE = Usage(sent=148, allowed=150, period=10.0, of_others=12)


def test_the_line_names_every_number() -> None:
    """A number that matters would be missing from the line."""
    numbers = Snapshot(
        done=1200, failed=3, in_flight=45, total=5000, credits=7800, usage=USAGE, note="resumed"
    )

    line = words(numbers, 14.94, left=253)

    assert line == (
        "1,200 / 5,000 done, 3 failed, 45 in flight, 148 of 150 in 10 s, 12 by others, "
        "7,800 credits, about 0:04:13 left, resumed"
    )


def test_a_rate_is_never_held_against_another_windows_limit() -> None:
    """What ends in a minute and was sent in more would read like a breach: 16.9/s of 15.0/s."""
    line = words(Snapshot(done=1014, failed=0, in_flight=0, usage=USAGE), 16.9)

    assert "148 of 150 in 10 s" in line
    assert "/s" not in line


def test_nobody_else_is_named_where_there_is_nobody() -> None:
    """Whoever is alone would wonder about the others."""
    usage = Usage(sent=148, allowed=150, period=10.0)

    assert "others" not in words(Snapshot(done=1, failed=0, in_flight=0, usage=usage), 1.0)


def test_without_a_limit_the_speed_is_shown() -> None:
    """A run without a limit would not tell how fast it is."""
    assert "2.0/s, " in words(Snapshot(done=1, failed=0, in_flight=0), 2.0)


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.integers(0, 10**4),
    st.floats(0, 1e9),
    st.floats(0, 3600),
    st.text("abcdef ", max_size=200),
    st.sampled_from([40, 80, 120]),
)
def test_the_line_is_never_longer_than_it_may_be(
    done: int, failed: int, flying: int, spent: float, frozen: float, note: str, width: int
) -> None:
    """It would wrap, and the bar above it be drawn again and again down the screen."""
    numbers = Snapshot(
        done=done,
        failed=failed,
        in_flight=flying,
        total=10**7,
        credits=spent,
        usage=USAGE,
        frozen_for=frozen,
        note=note,
    )

    line = words(numbers, 15.0, left=9e6, width=width)

    assert len(line) <= width
    assert line.startswith(f"{done:,} / 10,000,000 done"[: width - 1])


def test_a_lock_out_and_failures_are_the_last_to_go() -> None:
    """At 80 columns the line would keep its small change and lose the reason of the standstill."""
    numbers = Snapshot(
        done=1_200_000,
        failed=31_000,
        in_flight=150,
        total=5_000_000,
        credits=7_800_000.5,
        usage=USAGE,
        frozen_for=59.2,
    )

    assert words(numbers, 15.0, width=80) == (
        "1,200,000 / 5,000,000 done, 31,000 failed, 148 of 150 in 10 s, frozen for 60 s"
    )


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


@pytest.mark.parametrize("width", [40, 80])
def test_what_is_drawn_fits_the_terminal(width: int, clock: VirtualClock) -> None:
    """A line that wraps is left behind on the screen at each of four drawings a second."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    numbers = Snapshot(
        done=1200, failed=3, in_flight=145, total=5000, credits=7800.5, usage=USAGE, frozen_for=60
    )

    with display(lambda: numbers, console=console):
        pass

    lines = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", stream.getvalue()).splitlines()
    told = {line.strip() for line in lines if "done" in line}
    assert len(told) == 1
    assert "1,200 / 5,000 done" in told.pop()
    assert "frozen" in stream.getvalue() or width < 80
    assert max(map(len, lines)) <= width
