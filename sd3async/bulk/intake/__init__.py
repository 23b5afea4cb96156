"""Bringing a ledger up to date before a run: what is in the folder, then the manifest.

Plans take a source in by the same code, into a copy of the journal: what they say is what a run
does.
"""

import attrs

from sd3async._threads import in_thread
from sd3async.bulk.intake.rows import rows_of
from sd3async.bulk.intake.sources import LineSource
from sd3async.bulk.keeping.folder import JobFolder
from sd3async.bulk.keeping.journal import Journal
from sd3async.bulk.keeping.recovery import recover
from sd3async.bulk.keeping.registration import Registered, Registration
from sd3async.bulk.keeping.stock import complete_sidecars, note_missing, take_over
from sd3async.bulk.keeping.store import Store
from sd3async.bulk.keeping.tables import storable
from sd3async.bulk.options import JobOptions
from sd3async.bulk.status import JobStats


async def take_in(
    journal: Journal,
    folder: JobFolder,
    source: LineSource | None,
    options: JobOptions,
    *,
    at: float,
    is_rehearsal: bool = False,
) -> JobStats:
    """Bring a journal up to date, and take a source into it.

    Args:
        journal: Open, and used by nobody else meanwhile.
        folder: The job's.
        source: The manifest; None goes on with what the journal holds.
        options: How.
        at: Now [s since the epoch].
        is_rehearsal: Change the journal only, and nothing in the folder.

    Returns:
        The job's numbers before anything is sent.

    Raises:
        ManifestError: The source has bad lines, or cannot be read.
        FolderError: The folder holds another service's job, or images of another manifest.
        StorageError: The disk failed.
    """
    if folder.service is not None:
        folder.check_service(await journal.belong_to(folder.service))
    await journal.store.submit(lambda db: note_missing(db, folder))
    adopted = await recover(journal, folder, holds=options.holds, at=at, is_rehearsal=is_rehearsal)
    registered, restored = await _register(journal, folder, source, options, is_rehearsal)
    if not is_rehearsal:
        await journal.store.submit(lambda db: complete_sidecars(db, folder))
    if not options.holds:
        await journal.reopen("unknown")
    if options.retry_failed:
        await journal.reopen("failed")
    remade = await journal.reopen("missing") if options.remake_missing else 0
    counted = await journal.count()
    await journal.store.checkpoint()
    return attrs.evolve(
        counted,
        resumed=counted.done,
        adopted=adopted,
        restored=restored,
        remade=remade,
        added=0 if registered is None or registered.is_first else registered.added,
        removed=0 if registered is None else registered.removed,
    )


async def _register(
    journal: Journal,
    folder: JobFolder,
    source: LineSource | None,
    options: JobOptions,
    is_rehearsal: bool,
) -> tuple[Registered | None, int]:
    """Take a manifest and the folder's images into the journal: all of it or nothing.

    Returns:
        What the manifest changed, or None when it is the one that was taken in last; and how many
        images were taken over.
    """
    meta: dict[str, str] = {}
    if source is not None:
        meta["source"] = source.name
        fingerprint = await in_thread(source.fingerprint)
        if fingerprint is not None:
            terms = f"{options.skip_invalid} {options.defaults.fingerprint()}"
            meta["manifest"] = f"{fingerprint} {terms}"
            if storable(meta["manifest"]) == await journal.meta("manifest"):
                source = None
    async with journal.transaction() as store:
        registered = None
        if source is not None:
            keep = None if is_rehearsal else folder
            registered = await _read_into(store, source, options, meta, keep)
        return registered, await store.run(lambda db: take_over(db, folder))


async def _read_into(
    store: Store,
    source: LineSource,
    options: JobOptions,
    meta: dict[str, str],
    folder: JobFolder | None,
) -> Registered:
    registration = await store.run(
        lambda db: Registration(db, source=source.name, skip_invalid=options.skip_invalid)
    )
    lines = 0
    async with source:
        while chunk := await source.read():
            rows = rows_of(
                chunk,
                options.defaults,
                relative_to=source.folder,
                position=registration.total,
                save_input=None if folder is None else folder.save_input,
            )
            while await store.run(lambda _, rows=rows: registration.add(rows)):  # type: ignore[misc]
                pass
            lines += len(chunk)
            options.on_lines(lines)
    return await store.run(lambda _: registration.finish(meta))
