"""What a job would do and cost, without sending anything or touching its folder."""

import functools
import tempfile
import time
from pathlib import Path
from typing import Unpack

import attrs

from sd3async._threads import in_thread
from sd3async.bulk.intake import take_in
from sd3async.bulk.intake.sources import Source, as_line_source
from sd3async.bulk.keeping.folder import JobFolder, read_out
from sd3async.bulk.keeping.journal import JOURNAL_NAME, Journal, copy_journal
from sd3async.bulk.options import GivenOptions, JobOptions
from sd3async.bulk.status import JobStats
from sd3async.endpoints import DOLLARS_PER_CREDIT
from sd3async.limiter import RateLimit


@attrs.frozen(kw_only=True)
class Plan(JobStats):
    """What a job would do: its numbers as they would be before anything is sent.

    Attributes:
        seconds: The soonest that the rate limit lets the last request be sent [s].
    """

    seconds: float

    @property
    def credits(self) -> float:
        """Documented price of what is still to be sent, when nothing has to be repeated [credits]."""
        return self.credits_to_send

    @property
    def dollars(self) -> float:
        """The same in money [US dollars]."""
        return self.credits * DOLLARS_PER_CREDIT


async def plan(
    source: Source,
    *,
    out: str | Path | None = None,
    options: JobOptions | None = None,
    service: str | None = None,
    rate_limit: RateLimit | None = None,
    keys: int = 1,
    **changes: Unpack[GivenOptions],
) -> Plan:
    """Say exactly what a job would send, and what that costs, in memory that does not grow.

    The manifest is taken into a copy of the job's journal that is thrown away, by the very code
    that a run uses.

    Args:
        source: As for `BulkJob`.
        out: The job's folder, if there is one already: what it holds is not sent again.
        options: As for `BulkJob`.
        service: The base URL that the job will use, or `emulator`; None is any.
        rate_limit: The limit of each key, for the soonest end.
        keys: How many keys there are.
        **changes: As for `BulkJob`.

    Raises:
        InvalidRequestError: An option is out of bounds.
        ManifestError: The source has bad lines.
        FolderError: The folder belongs to something else.
        StorageError: The journal, or the disk for temporary files, cannot be used.
    """
    limit = RateLimit() if rate_limit is None else rate_limit
    options = attrs.evolve(options or JobOptions(), **changes)
    with tempfile.TemporaryDirectory(prefix="sd3async-") as scratch:
        nowhere = Path(scratch) / "out"
        folder = JobFolder(nowhere if out is None else read_out(out), service)
        await in_thread(functools.partial(folder.check, force=options.force))
        path = Path(scratch) / JOURNAL_NAME
        if folder.journal.exists():
            await in_thread(copy_journal, folder.journal, path)
        journal = Journal(path, is_scratch=True)
        try:
            await journal.store.open()
            lines = as_line_source(source, options.shape)
            at = time.time()
            stats = await take_in(journal, folder, lines, options, at=at, is_rehearsal=True)
        finally:
            await journal.store.aclose()
    return Plan(**attrs.asdict(stats), seconds=soonest_end(stats.to_send, limit, keys))


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
