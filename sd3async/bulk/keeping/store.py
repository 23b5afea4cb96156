"""One SQLite file, written by one thread in group commits; awaiting a write awaits its fsync.

While a commit is on its way to the disk, further writes gather and share the next one: the fsync
itself is the batching window, and any wait on top of it would only add delay.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sd3async._threads import outlast
from sd3async.bulk.errors import JournalError, StorageError, damaged_journal, journal_error

T = TypeVar("T")

Work: TypeAlias = Callable[[sqlite3.Connection], T]

APPLICATION_ID = 0x73643361  # "sd3a": tells our journal from any other SQLite file
SCHEMA_VERSION = 3

_CACHE_KIB = 4 * 1024
# Twice what the log grows to before SQLite brings it into the file: where the disk is full, that may
# not work any more, and what is in flight then still has the other half.
_LOG_ROOM = 8 * 1024 * 1024  # [bytes]
_LARGEST_IDLE_WAL = 16 * 1024 * 1024  # [bytes] a registration leaves a large one behind


class Store:
    """A SQLite file for one writer.

    Args:
        path: The file; created when it is missing.
        schema: Statements that make an empty file a journal.
        is_scratch: Whether it may be lost with the process: nothing is synced then.
    """

    def __init__(self, path: Path, schema: str, *, is_scratch: bool = False) -> None:
        self._path = path
        self._is_scratch = is_scratch
        self._schema = schema
        self._thread = ThreadPoolExecutor(1, "sd3async-journal")
        self._queue: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._commit_job: asyncio.Future[list[Any]] | None = None
        self._failure: StorageError | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, and make it a journal if it is new.

        Raises:
            StorageError: It cannot be opened, is damaged, or is no journal of this version.
        """
        await self._in_thread(self._open)

    def submit(self, work: Work[T]) -> "asyncio.Future[T]":
        """Do work in the next commit, in the order of the calls.

        Args:
            work: Statements on the connection; it runs in the writer's thread, inside a
                transaction shared with others, so it must not raise and not commit.

        Returns:
            Its result, once it is durable. The work is done also when nobody awaits it.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_seen)
        if self._failure is not None:
            future.set_exception(self._failure)
            return future
        self._queue.append((work, future))
        if self._commit_job is None:
            self._flush()
        return future

    async def run(self, work: Work[T]) -> T:
        """Do lone work, after what was submitted and outside any transaction of this store.

        Args:
            work: Statements on the connection. As long as it leaves a transaction open, nothing
                must be submitted.
        """
        await self._settled()
        return await self._in_thread(lambda: work(self._opened))

    async def checkpoint(self) -> None:
        """Bring what stands in the `-wal` into the main file, for those who copy only that."""
        await self.run(_checkpoint)

    async def aclose(self) -> None:
        """Finish what was submitted and close the file."""
        await self._settled()
        if self._connection is not None:
            await self.checkpoint()  # closing does it, unless somebody looks on
            await self._in_thread(self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=False)

    async def _settled(self) -> None:
        """Wait until everything that was submitted is written."""
        while self._commit_job is not None:
            await asyncio.wait([self._commit_job])
            await asyncio.sleep(0)  # lets the next group begin

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the journal is not open")
        return self._connection

    async def _in_thread(self, function: Callable[[], T]) -> T:
        job = asyncio.get_running_loop().run_in_executor(self._thread, function)
        cancelled = await outlast(job)
        problem = job.exception()
        if cancelled is not None:
            raise cancelled
        if isinstance(problem, sqlite3.Error):
            raise self._explain(problem) from problem
        return job.result()

    def _explain(self, error: sqlite3.Error) -> StorageError:
        return journal_error(self._path, error)

    def _open(self) -> None:
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,  # closed by whoever ends the job
            cached_statements=256,
        )
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        if not self._is_scratch:
            _take_room(self._path.with_name(f"{self._path.name}-wal"))

    def _check(self, connection: sqlite3.Connection) -> None:
        # FULL: a row that was acknowledged survives a power cut. Group commits make it cheap.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'OFF' if self._is_scratch else 'FULL'}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_WAL}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == 0 and tables == 0:
            connection.executescript(
                f"BEGIN; {self._schema} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        elif application != APPLICATION_ID:
            raise JournalError(f"{str(self._path)!r} is not the journal of a bulk job")
        elif version != SCHEMA_VERSION:
            raise JournalError(
                f"the journal {str(self._path)!r} was written by another version of sd3async "
                f"(format {version}, this one reads {SCHEMA_VERSION})"
            )
        else:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise damaged_journal(self._path, verdict)

    def _flush(self) -> None:
        batch, self._queue = self._queue, []
        loop = asyncio.get_running_loop()
        self._commit_job = loop.run_in_executor(
            self._thread, self._commit, [work for work, _ in batch]
        )
        futures = [future for _, future in batch]
        self._commit_job.add_done_callback(lambda job: self._committed(job, futures))

    def _commit(self, batch: list[Work[Any]]) -> list[Any]:
        connection = self._opened
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = [work(connection) for work in batch]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def _committed(
        self, job: "asyncio.Future[list[Any]]", futures: list["asyncio.Future[Any]"]
    ) -> None:
        self._commit_job = None
        error = job.exception()
        if error is None:
            for future, result in zip(futures, job.result(), strict=True):
                if not future.done():
                    future.set_result(result)
        else:
            self._fail(error, futures)
        if self._queue:
            self._flush()

    def _fail(self, error: BaseException, futures: list["asyncio.Future[Any]"]) -> None:
        """Give everybody who waits the reason; nothing is written after a failure."""
        if isinstance(error, sqlite3.Error):
            self._failure = self._explain(error)
            self._failure.__cause__ = error
            error = self._failure
        waiting = futures + [future for _, future in self._queue]
        self._queue.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)


def _take_room(log: Path) -> None:
    """Take the room that the log will need, so that a disk which fills up later does not matter.

    SQLite reads no further than what it has written, and writes a log from its start again and
    again: a disk without room for it at the end would lose what is known of images that are paid.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with suppress(OSError):  # there is none: whoever looks at the disk before sending will say so
        descriptor = os.open(log, os.O_RDWR)
        try:
            disk = os.fstatvfs(descriptor)
            # Some file systems keep half of what they could not give: leave a nearly full disk alone.
            if disk.f_bavail * disk.f_frsize >= 2 * _LOG_ROOM:
                os.posix_fallocate(descriptor, 0, _LOG_ROOM)
        finally:
            os.close(descriptor)


def _checkpoint(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # the disk is full: the `-wal` has it all
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _seen(future: "asyncio.Future[Any]") -> None:
    """Keep the loop from reporting an error that nobody awaited: the job itself stops on it."""
    if not future.cancelled():
        future.exception()
