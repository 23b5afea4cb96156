"""What `sd3async bulk` says about a job, before, while and after it runs."""

import datetime
import time
from collections.abc import Callable, Iterator

from rich.table import Table

from sd3async.bulk import BulkJob, JobStats
from sd3async.bulk.keeping.verify import Verification
from sd3async.bulk.plan import Plan
from sd3async.cli import exits
from sd3async.progress import LINE_PERIOD

_YEAR = 365.25 * 86_400  # [s]

ENDS = {
    "interrupted": "interrupted; the same command again goes on",
    "budget": "stopped at the credit cap; the same command with a higher one goes on",
    "payment": "stopped, because no key is left that can pay",
    "room": "stopped before the disk was full",
    "storage": "stopped, because the disk failed",
    "unreachable": "stopped, because the service could not be reached",
    "service": "stopped, because the service refuses every request of a kind; see to its address, "
    "its endpoint and the model, and --retry-failed sends the few again that failed",
    "error": "stopped by an error of this program",
}
"""How a run that ended early is told, by its `stop_reason`."""


class Patience:
    """Tells how far a long manifest has been read, every ten seconds."""

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        self._get_time = get_time
        self._told_at = get_time()

    def __call__(self, lines: int) -> None:
        """Tell, if it is time."""
        now = self._get_time()
        if now - self._told_at >= LINE_PERIOD:
            self._told_at = now
            exits.say(f"{lines:,} lines read and checked, nothing sent yet")


def plan_words(planned: Plan, max_credits: float | None) -> Iterator[str]:
    """Yield what a plan comes to, a line at a time.

    Args:
        planned: The plan.
        max_credits: The cap, or None.
    """
    yield f"{planned.total:,} items in the manifest"
    for count, words in (
        (planned.done, "done already"),
        (planned.linked, "share the image of an identical request"),
        (planned.failed, "failed earlier; --retry-failed sends them again"),
        (planned.unknown, "held for review, because they may have been paid"),
        (planned.missing, _gone_words(planned.missing_credits)),
        (planned.invalid, "bad lines, skipped"),
    ):
        if count:
            yield f"  {count:,} {words}"
    yield (
        f"{planned.to_send:,} requests to send: {planned.credits:,.10g} credits, "
        f"{planned.dollars:,.2f} dollars"
    )
    yield f"at the soonest in {_soonest_end(planned.seconds)}"
    if max_credits is not None:
        total = planned.credits_spent + planned.possibly_paid_credits + planned.credits
        verdict = "suffices" if total <= max_credits else "does not suffice"
        yield f"the cap of {max_credits:,.10g} credits {verdict}; nothing was sent"
    else:
        yield "nothing was sent"


def _gone_words(price: float) -> str:
    return (
        f"paid for, but gone or empty; --remake-missing makes them again for {price:,.10g} credits"
    )


def _soonest_end(seconds: float) -> str:
    if seconds > 100 * _YEAR:  # few calendars reach as far as a slow rate and a long manifest
        return f"{seconds / _YEAR:,.0f} years"
    end = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
    length = datetime.timedelta(seconds=round(seconds))
    return f"{length} (h:mm:ss), at {end:%Y-%m-%d %H:%M}"


def tell_changes(stats: JobStats) -> None:
    """Say what a run finds before it sends anything.

    Args:
        stats: The job's, when it has been entered.
    """
    for count, words in (
        (stats.resumed, "done by earlier runs"),
        (stats.adopted, "of them found whole after a run that was cut off"),
        (
            stats.restored,
            "of them taken over by their sidecars, since the journal did not know them; what else "
            "was possibly paid then is not known",
        ),
        (stats.missing, _gone_words(stats.missing_credits)),
        (stats.remade, "paid for, but gone or empty: made again, and paid again"),
        (stats.added, "new in the manifest"),
        (stats.removed, "no longer in the manifest; their images stay"),
        (stats.invalid, "bad lines skipped"),
        (stats.possibly_paid, "requests possibly paid without an image"),
    ):
        if count:
            exits.say(f"{count:,} {words}")


def verify_words(found: Verification) -> Iterator[str]:
    """Yield what came of looking at every image, a sentence at a time.

    Args:
        found: What was found.
    """
    if found.flaws:
        yield f"{found.images:,} images were looked at; {len(found.flaws):,} are not as received"
        yield "delete those that are spoilt; --remake-missing makes what is gone or empty again"
    else:
        yield f"all {found.images:,} images are as received"
    if not found.decoded:
        yield "they were not decoded, which needs Pillow: pip install 'sd3async[pil]'"


def table_of(job: BulkJob) -> Table:
    """Return what came of a job.

    Args:
        job: The job, when it has been left.
    """
    summary, stats = job.summary, job.stats
    assert summary is not None
    table = Table.grid(padding=(0, 2))
    before, after = summary.balance_before, summary.balance_after
    for name, value, is_shown in (
        ("done", f"{stats.done:,} of {stats.total:,}", True),
        ("failed", f"{stats.failed:,}", True),
        ("bad lines", f"{stats.invalid:,}", stats.invalid),
        ("paid, but gone or empty", f"{stats.missing:,}", stats.missing),
        ("held for review", f"{stats.unknown:,}", stats.unknown),
        ("still to send", f"{stats.unsent:,}", stats.unsent),
        ("retried, frozen", f"{stats.retried:,}, {stats.frozen:,}", True),
        ("credits", f"{stats.credits_spent:,.10g} ({summary.dollars:,.2f} dollars)", True),
        ("possibly paid, no image", f"{stats.possibly_paid:,}", stats.possibly_paid),
        ("balance", _balance_words(before, after), True),
    ):
        if is_shown:
            table.add_row(name, value)
    return table


def _balance_words(before: float | None, after: float | None) -> str:
    if before is None:
        return "not known"
    if after is None:
        return f"{before:,.10g} at the start; not asked again, which would have taken a wait"
    return f"{before:,.10g} → {after:,.10g}"
