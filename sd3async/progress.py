"""Progress for people: a live bar on a terminal, a line now and then without one.

Numbers are kept apart from drawing: whoever runs the work keeps plain counters, and a `read`
callable takes a `Snapshot` of them whenever there is something to draw.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_FRAMES_PER_SECOND = 4
_RATE_MEMORY = 60.0  # [s] the rate shown is that of the last minute
LINE_PERIOD = 10.0
"""Between two lines without a terminal [s]."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """The numbers of a run at one moment.

    Attributes:
        done: Images delivered.
        failed: Requests that failed for good.
        in_flight: Requests under way.
        total: Requests in all, or None when that is not known.
        credits: Spent so far, at the documented prices.
        ceiling: Requests that the limit allows, over all keys [1/s]; 0 or infinite for none.
        frozen_for: How long every key is still shut out [s]; 0 when one is not.
        note: More words at the end of the line.
    """

    done: int
    failed: int
    in_flight: int
    total: int | None = None
    credits: float = 0.0
    ceiling: float = 0.0
    frozen_for: float = 0.0
    note: str = ""

    @property
    def ended(self) -> int:
        """Requests that have ended, either way."""
        return self.done + self.failed

    @property
    def is_frozen(self) -> bool:
        """Whether every key is shut out."""
        return self.frozen_for > 0


@attrs.frozen
class Speed:
    """How fast a run is.

    Attributes:
        rate: Requests ended per second, lately.
        left: What the rest will take [s], or None when nothing can be said.
    """

    rate: float
    left: float | None = None


@attrs.frozen
class _Mark:
    at: float
    worked: float
    ended: int


class Pace:
    """Tells the speed of a run from the snapshots it is shown.

    What earlier runs had done already, as in a resumed job, does not count: the first snapshot is
    the start. The time left is told from the speed between lock-outs, so that one does not make a
    long job look endless.

    Args:
        get_time: An instant [s].
    """

    def __init__(self, get_time: Callable[[], float]) -> None:
        self._get_time = get_time
        self._marks: deque[_Mark] = deque()

    def speed(self, snapshot: Snapshot) -> Speed:
        """Return the speed over the last minute.

        Args:
            snapshot: The numbers now.
        """
        now = self._mark(snapshot)
        since = self._marks[0]
        ended = now.ended - since.ended
        worked = now.worked - since.worked
        rate = ended / (now.at - since.at) if now.at > since.at else 0.0
        rest = (snapshot.total or 0) - snapshot.ended
        if rest <= 0 or ended <= 0 or worked <= 0:
            return Speed(rate)
        return Speed(rate, left=snapshot.frozen_for + rest * worked / ended)

    def _mark(self, snapshot: Snapshot) -> _Mark:
        at = self._get_time()
        worked = 0.0
        if self._marks:
            last = self._marks[-1]
            worked = last.worked + (0.0 if snapshot.is_frozen else at - last.at)
        mark = _Mark(at, worked, snapshot.ended)
        self._marks.append(mark)
        while len(self._marks) > 2 and self._marks[1].at < at - _RATE_MEMORY:
            self._marks.popleft()
        return mark


def words(snapshot: Snapshot, speed: Speed) -> str:
    """Return one line that says it all.

    Args:
        snapshot: The numbers.
        speed: How fast they grow.
    """
    of_total = "" if snapshot.total is None else f" / {snapshot.total:,}"
    has_ceiling = 0 < snapshot.ceiling < math.inf
    parts = [
        f"{snapshot.done:,}{of_total} done",
        f"{snapshot.failed:,} failed",
        f"{snapshot.in_flight:,} in flight",
        f"{speed.rate:.1f}/s" + (f" of {snapshot.ceiling:.1f}/s" if has_ceiling else ""),
        f"{snapshot.credits:,.1f} credits",
    ]
    if snapshot.is_frozen:
        parts.append(f"frozen for {math.ceil(snapshot.frozen_for)} s")
    if speed.left is not None:
        parts.append(f"about {duration(speed.left)} left")
    if snapshot.note:
        parts.append(snapshot.note)
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration for people, in its two largest units.

    Args:
        seconds: The duration [s].
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


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
    console = console or Console(stderr=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    pace = Pace(time.monotonic)
    pace.speed(read())  # the start
    if console.is_terminal:
        with Live(
            get_renderable=lambda: _draw(read(), pace),
            console=console,
            refresh_per_second=_FRAMES_PER_SECOND,
        ):
            yield say
        return

    def print_now() -> None:
        snapshot = read()
        say(words(snapshot, pace.speed(snapshot)))

    with _now_and_then(print_now, line_period):
        yield say
    print_now()


def _draw(snapshot: Snapshot, pace: Pace) -> RenderableType:
    line = Text(words(snapshot, pace.speed(snapshot)))
    if snapshot.is_frozen:
        line.stylize("yellow")
    if snapshot.total is None:
        return line
    total = max(1, snapshot.total)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=total, completed=snapshot.ended, width=40),
        Text(f"{snapshot.ended / total:.0%}", justify="right"),
    )
    return Group(bar, line)


@contextmanager
def _now_and_then(action: Callable[[], None], period: float) -> Generator[None]:
    ended = threading.Event()

    def act() -> None:
        while not ended.wait(period):
            action()

    thread = threading.Thread(target=act, name="sd3async-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
