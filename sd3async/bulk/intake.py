"""Bringing a journal up to date before a run: the last run's leftovers, then the manifest."""

import sqlite3
from collections.abc import Callable

from sd3async._threads import in_thread
from sd3async.bulk.errors import FolderError
from sd3async.bulk.folder import JobFolder
from sd3async.bulk.items import Defaults, SaveInput
from sd3async.bulk.journal import Journal
from sd3async.bulk.records import EMULATOR, State
from sd3async.bulk.registration import Registered, Registration
from sd3async.bulk.sources import LineSource


async def register(
    journal: Journal,
    source: LineSource,
    defaults: Defaults,
    *,
    skip_invalid: bool = False,
    save_input: SaveInput | None = None,
    on_lines: Callable[[int], object] = lambda _: None,
) -> Registered | None:
    """Take a manifest into the journal: all of it or nothing.

    Args:
        journal: Open, and used by nobody else meanwhile.
        source: The manifest.
        defaults: What its lines do not say.
        skip_invalid: Record bad lines and go on.
        save_input: Keeps images that came as bytes; None keeps none.
        on_lines: Called now and then with the number of lines read.

    Returns:
        What changed; None when the manifest is known to be the one that was taken in last.

    Raises:
        ManifestError: It has bad lines, or cannot be read; the journal is as it was.
        StorageError: The disk failed.
    """
    digest = await in_thread(source.digest)
    meta = {"source": source.name}
    if digest is not None:
        meta["manifest"] = f"{digest} {source.folder} {skip_invalid} {defaults.fingerprint()}"
        if meta["manifest"] == await journal.meta("manifest"):
            return None

    def start(db: sqlite3.Connection) -> Registration:
        registration = Registration(
            db,
            source=source.name,
            defaults=defaults,
            folder=source.folder,
            skip_invalid=skip_invalid,
            save_input=save_input,
        )
        registration.begin()
        return registration

    store = journal.store
    registration = await store.run(start)
    try:
        lines = 0
        async with source:
            while chunk := await source.read():
                rows = registration.rows_of(chunk)
                while await store.run(lambda _, rows=rows: registration.add(rows)):  # type: ignore[misc]
                    pass
                lines += len(chunk)
                on_lines(lines)
        return await store.run(lambda _: registration.finish(meta))
    except BaseException:
        await store.run(lambda _: registration.abandon())
        raise


async def bind(journal: Journal, folder: JobFolder, service: str) -> None:
    """See that the job belongs to this service, or to none yet.

    Args:
        journal: Open.
        folder: Its folder.
        service: A base URL, or `EMULATOR`.

    Raises:
        FolderError: It belongs to another.
    """
    bound = await journal.belong_to(service)
    if bound != service:
        raise FolderError(
            f"{str(folder.path)!r} holds a job of {_in_words(bound)}, and this run is for "
            f"{_in_words(service)}: their images must not be mixed up; choose another folder, or "
            "go on with the first"
        )


def _in_words(service: str) -> str:
    return "the emulator" if service == EMULATOR else service


async def recover(journal: Journal, folder: JobFolder, *, hold: bool, at: float) -> tuple[int, int]:
    """Find out what became of items that were on their way when a run was cut off.

    An image that is there is adopted. Where none is, the request counts as possibly paid.

    Args:
        journal: Open.
        folder: Claimed.
        hold: Keep the possibly paid ones for review, instead of sending them again.
        at: Now [s since the epoch].

    Returns:
        How many images were adopted, and how many requests are possibly paid.
    """
    items = await journal.cut_off()
    adopted = possibly_paid = 0
    for item in items:
        delivery = await in_thread(folder.find_delivery, item)
        if delivery is not None:
            await journal.done(item.number, delivery, attempts=1, at=at)
            adopted += 1
        else:
            state: State = "unknown" if hold else "pending"
            journal.returned(item.number, state, attempts=1, unknown=1)
            possibly_paid += 1
    await in_thread(folder.sweep, [item.number for item in items])
    return adopted, possibly_paid
