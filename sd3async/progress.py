"""Progress for people: a live bar on a terminal, a line now and then without one.

Numbers are kept apart from drawing: whoever runs the work keeps plain counters, and a `read`
callable takes a `Snapshot` of them whenever there is something to draw.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sd3async.client import SD3Client

_FRAMES_PER_SECOND = 4
_LINE_PERIOD = 10.0  # [s] between two lines without a terminal
_RATE_MEMORY = 60.0  # [s] the rate shown is that of the last minute: a pause must not poison it


@attrs.frozen(kw_only=True)
class Snapshot:
    """The numbers of a run at one moment.

    Attributes:
        done: Images delivered.
        failed: Requests that failed for good.
        in_flight: Requests under way.
        total: Requests in all, or None when that is not known.
        credits: Spent so far, at the documented prices.
        ceiling: Requests that the limit allows, over all keys [1/s].
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

    @classmethod
    def of(
        cls,
        client: SD3Client,
        *,
        done: int,
        failed: int,
        in_flight: int,
        total: int | None,
        credits: float,  # noqa: A002  # the field's word
        note: str = "",
    ) -> "Snapshot":
        """Take a snapshot of a run through a client, with the state of its limiter."""
        return cls(
            done=done,
            failed=failed,
            in_flight=in_flight,
            total=total,
            credits=credits,
            ceiling=client.ceiling,
            frozen_for=client.frozen_for,
            note=note,
        )

    @property
    def ended(self) -> int:
        """Requests that have ended, either way."""
        return self.done + self.failed


class _Pace:
    """Rate of the last minute and what follows from it."""

    def __init__(self, get_time: Callable[[], float]) -> None:
        self._get_time = get_time
        self._marks: list[tuple[float, int]] = [(get_time(), 0)]

    def rate(self, ended: int) -> float:
        """Return requests ended per second, lately."""
        now = self._get_time()
        self._marks.append((now, ended))
        while len(self._marks) > 2 and self._marks[1][0] < now - _RATE_MEMORY:
            self._marks.pop(0)
        since, before = self._marks[0]
        return (ended - before) / (now - since) if now > since else 0.0


def words(snapshot: Snapshot, rate: float) -> str:
    """Return one line that says it all.

    Args:
        snapshot: The numbers.
        rate: Requests ended per second, lately.
    """
    of_total = "" if snapshot.total is None else f" / {snapshot.total:,}"
    parts = [
        f"{snapshot.done:,}{of_total} done",
        f"{snapshot.failed:,} failed",
        f"{snapshot.in_flight:,} in flight",
        f"{rate:.1f}/s" + (f" of {snapshot.ceiling:.1f}/s" if snapshot.ceiling else ""),
        f"{snapshot.credits:,.1f} credits",
    ]
    if snapshot.frozen_for > 0:
        parts.append(f"frozen for {snapshot.frozen_for:.0f} s")
    elif snapshot.total is not None and rate > 0 and snapshot.ended < snapshot.total:
        parts.append(f"about {_duration((snapshot.total - snapshot.ended) / rate)} left")
    if snapshot.note:
        parts.append(snapshot.note)
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def display(
    read: Callable[[], Snapshot],
    *,
    stream: TextIO | None = None,
    get_time: Callable[[], float] = time.monotonic,
) -> Generator[None]:
    """Show progress while the block runs, and a last line when it ends.

    Args:
        read: Takes a snapshot; called from another thread, so it should only read counters.
        stream: Where to; stderr by default. `NO_COLOR` is honoured.
        get_time: An instant [s], for the rate.
    """
    console = Console(file=stream, stderr=stream is None)
    pace = _Pace(get_time)
    if console.is_terminal:
        with Live(
            get_renderable=lambda: _draw(read(), pace),
            console=console,
            refresh_per_second=_FRAMES_PER_SECOND,
        ):
            yield
        return
    with _lines(console, read, pace):
        yield
    final = read()
    console.print(words(final, pace.rate(final.ended)), highlight=False, soft_wrap=True)


def _draw(snapshot: Snapshot, pace: _Pace) -> RenderableType:
    line = Text(words(snapshot, pace.rate(snapshot.ended)))
    if snapshot.frozen_for > 0:
        line.stylize("yellow")
    if snapshot.total is None:
        return line
    bar = Table.grid(padding=(0, 1))
    share = snapshot.ended / max(1, snapshot.total)
    bar.add_row(
        ProgressBar(total=max(1, snapshot.total), completed=snapshot.ended, width=40),
        Text(f"{share:.0%}", justify="right"),
    )
    return Group(bar, line)


@contextmanager
def _lines(console: Console, read: Callable[[], Snapshot], pace: _Pace) -> Generator[None]:
    ended = threading.Event()

    def print_now_and_then() -> None:
        while not ended.wait(_LINE_PERIOD):
            snapshot = read()
            console.print(
                words(snapshot, pace.rate(snapshot.ended)), highlight=False, soft_wrap=True
            )

    thread = threading.Thread(target=print_now_and_then, name="sd3async-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
