"""Progress for people: a live bar on a terminal, a line now and then without one.

Numbers are kept apart from drawing: whoever runs the work keeps plain counters, and a `read`
callable takes a `Snapshot` of them whenever there is something to draw.
"""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Self, TextIO, cast

import attrs
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from sd3async.client import SD3Client

_RATE_MEMORY = 60.0  # [s] the rate shown is that of the last minute
LINE_PERIOD = 10.0
"""Between two lines without a terminal [s]."""


@attrs.frozen(kw_only=True)
class Usage:
    """How much of a rate limit is taken, in the window that the server counts.

    Attributes:
        sent: Requests of the last period, whoever sent them.
        allowed: Requests in any period, over all keys.
        period: Length of the window [s].
        of_others: How many of `sent` are of other processes that share a key.
    """

    sent: int
    allowed: int
    period: float
    of_others: int = 0

    @classmethod
    def of(cls, client: SD3Client) -> Self | None:
        """Return what is taken of a client's limit now; None when it has none."""
        limit = client.rate_limit
        if limit.is_unlimited:
            return None
        states = [client.limiter_state(key) for key in range(client.keys)]
        # Nobody knows to the moment when the server counted what: in any one window it has at most
        # what is allowed, and the rest of those that may be in it have left it.
        return cls(
            sent=sum(min(state.in_window, limit.max_requests) for state in states),
            allowed=limit.max_requests * len(states),
            period=limit.period,
            of_others=sum(state.of_others for state in states),
        )


@attrs.frozen(kw_only=True)
class Snapshot:
    """The numbers of a run at one moment.

    Attributes:
        done: Images delivered.
        failed: Requests that failed for good.
        in_flight: Requests under way.
        total: Requests in all, or None when that is not known.
        credits: Spent so far, at the documented prices.
        usage: How much of the rate limit is taken; None without a limit.
        frozen_for: How long every key is still shut out [s]; 0 when one is not.
        note: More words at the end of the line.
    """

    done: int
    failed: int
    in_flight: int
    total: int | None = None
    credits: float = 0.0
    usage: Usage | None = None
    frozen_for: float = 0.0
    note: str = ""

    @property
    def ended(self) -> int:
        """Requests that have ended, either way."""
        return self.done + self.failed


class Pace:
    """Tells the speed of a run from the snapshots it is shown.

    What earlier runs had done already, as in a resumed job, does not count.

    Args:
        start: The numbers that the run begins with.
        get_time: An instant [s].
    """

    def __init__(self, start: Snapshot, get_time: Callable[[], float] = time.monotonic) -> None:
        self._get_time = get_time
        # An instant, how long the run had not been locked out until then, and what had ended.
        self._marks = deque([(get_time(), 0.0, start.ended)])

    def speed(self, now: Snapshot) -> tuple[float, float | None]:
        """Return the speed over the last minute.

        Args:
            now: The numbers now.

        Returns:
            Requests ended per second, lockouts included, and what the rest will take [s]: told
            from the speed between lock-outs, so that one does not make a long job look endless;
            None when nothing can be said.
        """
        at = self._get_time()
        last, worked, _ = self._marks[-1]
        worked += 0.0 if now.frozen_for else at - last
        self._marks.append((at, worked, now.ended))
        while len(self._marks) > 2 and self._marks[1][0] < at - _RATE_MEMORY:
            self._marks.popleft()
        since, worked_before, ended_before = self._marks[0]
        ended = now.ended - ended_before
        worked -= worked_before
        rate = ended / (at - since) if at > since else 0.0
        rest = (now.total or 0) - now.ended
        if rest <= 0 or ended <= 0 or worked <= 0:
            return rate, None
        return rate, now.frozen_for + rest * worked / ended


def words(
    snapshot: Snapshot, rate: float, left: float | None = None, *, width: float = math.inf
) -> str:
    """Return one line that says it all, or what fits.

    Args:
        snapshot: The numbers.
        rate: Requests ended per second.
        left: What the rest will take [s]; None when nothing can be said.
        width: Most characters; the least important facts go first.
    """
    facts = list(_facts(snapshot, rate))
    if left is not None:
        facts.append((4, _left_words(left)))
    if snapshot.note:
        facts.append((4, snapshot.note))
    while len(line := ", ".join(fact for _, fact in facts)) > width and len(facts) > 1:
        facts.remove(min(facts))
    return line if len(line) <= width else f"{line[: int(width) - 1]}…"


def _facts(snapshot: Snapshot, rate: float) -> Iterator[tuple[int, str]]:
    """Yield how important a fact is, and its words."""
    of_total = "" if snapshot.total is None else f" / {snapshot.total:,}"
    yield 6, f"{snapshot.done:,}{of_total} done"
    yield 5 if snapshot.failed else 0, f"{snapshot.failed:,} failed"
    yield 1, f"{snapshot.in_flight:,} in flight"
    if (usage := snapshot.usage) is None:
        yield 3, f"{rate:.1f}/s"
    else:
        # What ends in a minute may be what was sent in more, and would read like a breach.
        yield 3, f"{usage.sent:,} of {usage.allowed:,} in {usage.period:g} s"
        if usage.of_others:
            yield 2, f"{usage.of_others:,} by others"
    yield 2, f"{snapshot.credits:,.10g} credits"
    if snapshot.frozen_for:
        yield 5, f"frozen for {math.ceil(snapshot.frozen_for)} s"


def _left_words(left: float) -> str:
    return f"about {timedelta(seconds=round(left))} left"


class _MaybeGone:
    """Stderr, on which words are lost when the terminal or the reader has gone, and no work is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def stderr_console(**settings: Any) -> Console:
    """Return a console on stderr; one that has hung up stops nobody's work.

    Args:
        **settings: Further keywords of `rich.console.Console`.
    """
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # it was closed by the shell
        return Console(stderr=True, quiet=True, **settings)
    return Console(file=cast("TextIO", _MaybeGone(sys.stderr)), **settings)


@contextmanager
def display(
    read: Callable[[], Snapshot],
    *,
    console: Console | None = None,
    line_period: float = LINE_PERIOD,
) -> Generator[Callable[[str], None]]:
    """Show progress while the block runs, and a last line when it ends.

    Args:
        read: Takes a snapshot; called from another thread, so it should only read counters.
        console: Where to; stderr by default. `NO_COLOR` is honoured.
        line_period: Between two lines without a terminal [s].

    Yields:
        Prints a line of words, above the bar if there is one.
    """
    console = console or stderr_console()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    pace = Pace(read())
    if console.is_terminal:
        with Live(get_renderable=lambda: _draw(read(), pace, console.width), console=console):
            yield say
        return

    ended = threading.Event()

    def print_now() -> None:
        snapshot = read()
        say(words(snapshot, *pace.speed(snapshot)))

    def print_now_and_then() -> None:
        while not ended.wait(line_period):
            print_now()

    thread = threading.Thread(target=print_now_and_then, name="sd3async-progress", daemon=True)
    thread.start()
    try:
        yield say
    finally:
        ended.set()
        thread.join()
    print_now()


def _draw(snapshot: Snapshot, pace: Pace, width: int) -> RenderableType:
    style = "yellow" if snapshot.frozen_for else ""
    rate, left = pace.speed(snapshot)
    line = Text(words(snapshot, rate, width=width), style, no_wrap=True)
    if snapshot.total is None:
        return line
    total = max(1, snapshot.total)
    bar = ProgressBar(total=total, completed=snapshot.ended, width=40)
    done = f"{snapshot.ended / total:.0%}"
    return Group(Columns([bar, done if left is None else f"{done}, {_left_words(left)}"]), line)
