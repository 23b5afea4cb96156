"""What a job would do and cost, without sending anything or touching its folder."""

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from sd3async._threads import in_thread
from sd3async.bulk.folder import JobFolder, read_out
from sd3async.bulk.intake import Terms, take_in
from sd3async.bulk.items import Defaults
from sd3async.bulk.journal import JOURNAL_NAME, Journal, copy_journal
from sd3async.bulk.manifest import Shape
from sd3async.bulk.records import DOLLARS_PER_CREDIT
from sd3async.bulk.sources import Source, as_line_source
from sd3async.limiter import RateLimit


@attrs.frozen(kw_only=True)
class Plan:
    """What a job would do.

    Attributes:
        total: Items that the manifest names.
        done: Of those, done by earlier runs.
        linked: Of those, identical to another with a fixed seed: generated once.
        invalid: Bad lines that would be skipped.
        failed: Of those, failed in earlier runs, and not to be sent again.
        unknown: Of those, perhaps paid, and held for review.
        missing: Of those, done by earlier runs, but their image is gone or empty.
        missing_credits: What making them again would cost [credits].
        to_send: Requests still to be sent, when none has to be repeated.
        credits: Their documented price [credits].
        credits_spent: What earlier runs delivered, and possibly paid [credits].
        seconds: The soonest that the rate limit lets the last of them be sent [s].
    """

    total: int
    done: int
    linked: int
    invalid: int
    failed: int
    unknown: int
    missing: int
    missing_credits: float
    to_send: int
    credits: float
    credits_spent: float
    seconds: float

    @property
    def dollars(self) -> float:
        """The price in money [US dollars]."""
        return self.credits * DOLLARS_PER_CREDIT


async def plan(
    source: Source,
    *,
    out: str | Path | None = None,
    defaults: Defaults | None = None,
    shape: Shape | None = None,
    skip_invalid: bool = False,
    retry_failed: bool = False,
    remake_missing: bool = False,
    on_unknown: str = "retry",
    force: bool = False,
    service: str | None = None,
    rate_limit: RateLimit | None = None,
    keys: int = 1,
    on_lines: Callable[[int], object] = lambda _: None,
) -> Plan:
    """Say exactly what a job would send, and what that costs, in memory that does not grow.

    The manifest is taken into a copy of the job's journal that is thrown away, by the very code
    that a run uses.

    Args:
        source: As for `BulkJob`.
        out: The job's folder, if there is one already: what it holds is not sent again.
        defaults: As for `BulkJob`.
        shape: As for `BulkJob`.
        skip_invalid: As for `BulkJob`.
        retry_failed: As for `BulkJob`.
        remake_missing: As for `BulkJob`.
        on_unknown: As for `BulkJob`.
        force: As for `BulkJob`.
        service: The base URL that the job will use, or `emulator`; None is any.
        rate_limit: The limit of each key, for the soonest end.
        keys: How many keys there are.
        on_lines: Called now and then with the number of lines read.

    Raises:
        ManifestError: The source has bad lines.
        FolderError: The folder belongs to something else.
        StorageError: The journal, or the disk for temporary files, cannot be used.
    """
    limit = RateLimit() if rate_limit is None else rate_limit
    terms = Terms(
        defaults=Defaults() if defaults is None else defaults,
        holds=on_unknown == "hold",
        retry_failed=retry_failed,
        remake_missing=remake_missing,
        skip_invalid=skip_invalid,
        on_lines=on_lines,
    )
    with tempfile.TemporaryDirectory(prefix="sd3async-") as scratch:
        nowhere = Path(scratch) / "out"
        folder = JobFolder(nowhere if out is None else read_out(out), service)
        await in_thread(functools.partial(folder.check, force=force))
        path = Path(scratch) / JOURNAL_NAME
        if folder.journal.exists():
            await in_thread(copy_journal, folder.journal, path)
        journal = Journal(path, is_scratch=True)
        try:
            await journal.store.open()
            lines = as_line_source(source, shape)
            intake = await take_in(journal, folder, lines, terms, at=time.time(), is_rehearsal=True)
        finally:
            await journal.store.aclose()
    totals = intake.totals
    states = totals.by_state
    return Plan(
        total=sum(states.values()),
        done=states.get("done", 0),
        linked=totals.linked,
        invalid=states.get("invalid", 0),
        failed=states.get("failed", 0),
        unknown=states.get("unknown", 0),
        missing=states.get("missing", 0),
        missing_credits=totals.price_missing,
        to_send=totals.to_send,
        credits=totals.price_to_send,
        credits_spent=totals.credits + totals.unknown_credits,
        seconds=soonest_end(totals.to_send, limit, keys),
    )


def soonest_end(requests: int, limit: RateLimit, keys: int = 1) -> float:
    """Return how long the rate limit alone makes a number of requests take.

    Args:
        requests: How many.
        limit: The limit of each key.
        keys: How many keys there are.

    Returns:
        From the first request sent to the last one [s]; the answer to the last comes on top.
    """
    if requests <= 1:
        return 0.0
    each = -(-requests // keys)
    paced = 0.0 if limit.max_rate is None else (each - 1) / limit.max_rate
    if limit.is_unlimited:
        return paced
    beyond_first_burst = max(0, each - limit.max_requests)
    return max(paced, beyond_first_burst / limit.ceiling)
