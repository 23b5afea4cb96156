"""Progress for people: a live bar on a terminal, a line now and then without one.

Numbers are kept apart from drawing: whoever runs the work keeps plain counters, and a `read`
callable takes a `Snapshot` of them whenever there is something to draw.
"""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TextIO, cast

import attrs
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

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


def words(snapshot: Snapshot, rate: float, left: float | None = None) -> str:
    """Return one line that says it all.

    Args:
        snapshot: The numbers.
        rate: Requests ended per second.
        left: What the rest will take [s]; None when nothing can be said.
    """
    of_total = "" if snapshot.total is None else f" / {snapshot.total:,}"
    has_ceiling = 0 < snapshot.ceiling < math.inf
    parts = [
        f"{snapshot.done:,}{of_total} done",
        f"{snapshot.failed:,} failed",
        f"{snapshot.in_flight:,} in flight",
        f"{rate:.1f}/s" + (f" of {snapshot.ceiling:.1f}/s" if has_ceiling else ""),
        f"{snapshot.credits:,.1f} credits",
    ]
    if snapshot.frozen_for:
        parts.append(f"frozen for {math.ceil(snapshot.frozen_for)} s")
    if left is not None:
        parts.append(f"about {timedelta(seconds=round(left))} left")
    if snapshot.note:
        parts.append(snapshot.note)
    return ", ".join(parts)


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
        with Live(get_renderable=lambda: _draw(read(), pace), console=console):
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


def _draw(snapshot: Snapshot, pace: Pace) -> RenderableType:
    style = "yellow" if snapshot.frozen_for else ""
    line = Text(words(snapshot, *pace.speed(snapshot)), style)
    if snapshot.total is None:
        return line
    total = max(1, snapshot.total)
    bar = ProgressBar(total=total, completed=snapshot.ended, width=40)
    return Group(Columns([bar, f"{snapshot.ended / total:.0%}"]), line)
