"""Bringing a journal up to date before a run: what is in the folder, then the manifest.

Plans take a source in by the same code, into a copy of the journal: what they say is what a run
does.
"""

import sqlite3
from collections.abc import Callable

import attrs

from sd3async._threads import in_thread
from sd3async.bulk.folder import JobFolder
from sd3async.bulk.items import Defaults
from sd3async.bulk.journal import Journal, Totals
from sd3async.bulk.records import State
from sd3async.bulk.registration import Registered, Registration, storable
from sd3async.bulk.sources import LineSource
from sd3async.bulk.stock import note_missing, take_over


@attrs.frozen(kw_only=True)
class Terms:
    """How a source is taken in: the options of `BulkJob` that both runs and plans have.

    Attributes:
        defaults: What its lines do not say.
        holds: Keep what is possibly paid for review, instead of sending it again.
        retry_failed: Send items again that failed.
        remake_missing: Make images again that are gone.
        skip_invalid: Record bad lines and go on.
        on_lines: Called now and then with the number of lines read.
    """

    defaults: Defaults
    holds: bool
    retry_failed: bool
    remake_missing: bool
    skip_invalid: bool
    on_lines: Callable[[int], object]


@attrs.frozen(kw_only=True)
class Intake:
    """What a run finds before it sends anything.

    Attributes:
        registered: What the manifest changed; None when it is the one that was taken in last.
        adopted: Images found of items that were on their way when a run was cut off.
        restored: Images that the journal did not know, taken over by their sidecars.
        remade: Items that are sent again because their image is gone.
        totals: The journal now.
    """

    registered: Registered | None
    adopted: int
    restored: int
    remade: int
    totals: Totals


async def take_in(
    journal: Journal,
    folder: JobFolder,
    source: LineSource | None,
    terms: Terms,
    *,
    at: float,
    is_rehearsal: bool = False,
) -> Intake:
    """Bring a journal up to date, and take a source into it.

    Args:
        journal: Open, and used by nobody else meanwhile.
        folder: The job's.
        source: The manifest; None goes on with what the journal holds.
        terms: How.
        at: Now [s since the epoch].
        is_rehearsal: Change the journal only, and nothing in the folder.

    Raises:
        ManifestError: The source has bad lines, or cannot be read.
        FolderError: The folder holds another service's job, or images of another manifest.
        StorageError: The disk failed.
    """
    if folder.service is not None:
        folder.check_service(await journal.belong_to(folder.service))
    await journal.store.submit(lambda db: note_missing(db, folder))
    adopted = await recover(journal, folder, hold=terms.holds, at=at, is_rehearsal=is_rehearsal)
    registered, restored = await _register(journal, folder, source, terms, is_rehearsal)
    if not terms.holds:
        await journal.reopen("unknown")
    if terms.retry_failed:
        await journal.reopen("failed")
    remade = await journal.reopen("missing") if terms.remake_missing else 0
    totals = await journal.totals()
    await journal.store.checkpoint()
    return Intake(
        registered=registered, adopted=adopted, restored=restored, remade=remade, totals=totals
    )


async def recover(
    journal: Journal, folder: JobFolder, *, hold: bool, at: float, is_rehearsal: bool = False
) -> int:
    """Find out what became of items that were on their way when a run was cut off.

    An image that is there is adopted. Where none is, the request counts as possibly paid.

    Args:
        journal: Open.
        folder: Claimed, unless this is a rehearsal.
        hold: Keep the possibly paid ones for review, instead of sending them again.
        at: Now [s since the epoch].
        is_rehearsal: Change the journal only, and nothing in the folder.

    Returns:
        How many images were adopted.
    """
    items = await journal.cut_off()
    adopted = 0
    for item in items:
        delivery = await in_thread(folder.find_delivery, item, is_rehearsal)
        if delivery is not None:
            await journal.done(item.number, delivery, attempts=1, at=at)
            adopted += 1
        else:
            state: State = "unknown" if hold else "pending"
            journal.returned(item.number, state, attempts=1, unknown=1)
    if not is_rehearsal:
        await in_thread(folder.sweep, [item.number for item in items])
    return adopted


async def _register(
    journal: Journal,
    folder: JobFolder,
    source: LineSource | None,
    terms: Terms,
    is_rehearsal: bool,
) -> tuple[Registered | None, int]:
    """Take a manifest and the folder's images into the journal: all of it or nothing.

    Returns:
        What the manifest changed, or None when it is the one that was taken in last; and how many
        images were taken over.
    """
    store, meta = journal.store, dict[str, str]()
    digest = None if source is None else await in_thread(source.digest)
    if source is not None:
        meta["source"] = source.name
    if source is not None and digest is not None:
        fingerprint = terms.defaults.fingerprint()
        meta["manifest"] = f"{digest} {source.folder} {terms.skip_invalid} {fingerprint}"
        if storable(meta["manifest"]) == await journal.meta("manifest"):
            source = None

    def start(db: sqlite3.Connection) -> Registration | None:
        if source is None:
            db.execute("BEGIN IMMEDIATE")
            return None
        registration = Registration(
            db,
            source=source.name,
            defaults=terms.defaults,
            folder=source.folder,
            skip_invalid=terms.skip_invalid,
            save_input=None if is_rehearsal else folder.save_input,
        )
        registration.begin()
        return registration

    def finish(db: sqlite3.Connection) -> tuple[Registered | None, int]:
        registered = None if registration is None else registration.finish(meta)
        restored = take_over(db, folder)
        db.execute("COMMIT")
        return registered, restored

    def abandon(db: sqlite3.Connection) -> None:
        if db.in_transaction:
            db.execute("ROLLBACK")

    registration = await store.run(start)
    try:
        if source is not None and registration is not None:
            await _read(source, registration, journal, terms)
        return await store.run(finish)
    except BaseException:
        await store.run(abandon)
        raise


async def _read(
    source: LineSource, registration: Registration, journal: Journal, terms: Terms
) -> None:
    lines = 0
    async with source:
        while chunk := await source.read():
            rows = registration.rows_of(chunk)
            while await journal.store.run(lambda _, rows=rows: registration.add(rows)):  # type: ignore[misc]
                pass
            lines += len(chunk)
            terms.on_lines(lines)
