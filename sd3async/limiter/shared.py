"""Where one process gets the slots of an API key that other processes use as well."""

import asyncio
import logging
import math
import os
import secrets
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

import attrs

from sd3async._clock import Clock
from sd3async.limiter.key import Freeze, Key, Slot, Stage
from sd3async.limiter.parties import MOST_SLOTS, Parties, Turn
from sd3async.limiter.record import Record
from sd3async.limiter.settings import RateLimit
from sd3async.limiter.stores.base import Store, StoreAwayError
from sd3async.limiter.supply import Grant, PermitLostError, Supply
from sd3async.limiter.window import CLOCK_MARGIN

T = TypeVar("T")

logger = logging.getLogger("sd3async.limiter")

_PATIENCE = 30.0
"""How long a process that says nothing is believed to be sending [s]; it speaks sooner."""

_MOST_UPLOADS = 4  # slots at once: until an upload is out it weighs in full
_SPEAK_AFTER = 0.1  # [s] most requests are out long before
_SPEAK_EVERY = _PATIENCE / 4
_GRACE = 0.3  # [s] for coming back a little late
_LONGEST_LEAD = 2.5  # [s] when many take their turns
_STRETCH = 1.2
_AHEAD = 0.05  # [s] before its last slot, a process comes for more
_LOOK_AGAIN = 0.02  # [s] when others are to be served first
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # [s] between two tries while the store is away
_KEPT = 0.9 * 86_400  # [s] for which a store keeps, at least, what nobody changes
_SOON = 0.5  # [s] in which a store answers, however far it is
_FAREWELL = 1.0  # [s] for what is still to be told at the end

Change = Callable[[Key, float], object]
Serve = Callable[[Key, Parties, float], T]


@attrs.define(eq=False)
class _Entry(Grant):
    """A slot, and what the store knows of it.

    Attributes:
        entered: Its stamp there [s, the store's clock]; None while it is held.
        told_at: When the store was last told that it is held [s].
    """

    entered: float | None
    told_at: float


class SharedSupply(Supply):
    """One API key as this process sees it, the truth of which is in a store.

    Slots are taken some at once and ahead of their instants. Each is entered with the latest stamp
    it can get, so nothing has to be reported, and a process that dies leaves nothing to clean up.
    Who comes too late for a slot lets it go. What must be told all the same: a body that takes
    time to leave, a 429, a key that is withdrawn.

    Args:
        index: The key's place in the pool.
        limit: What the server allows.
        clock: Where time comes from; it must be the system's.
        store: Where the key's record is.
        base_url: Where the API is served, for whoever looks at the record.

    Attributes:
        parties: The processes that use the key.
    """

    def __init__(
        self, index: int, limit: RateLimit, clock: Clock, store: Store, base_url: str = ""
    ) -> None:
        super().__init__(index, limit, clock)
        self._base_url = base_url
        self.parties = Parties(limit.max_requests)
        self._store = store
        self._who = 0
        self._process = 0
        self._beginning = b""
        self._trouble = ""
        self._asked_at = math.inf  # when the store was asked what it has not answered yet [s]
        self._freezes_met = 0  # how many there are with those that the store is yet to be told of
        self._shut_until = float("-inf")  # the end of the last lock-out known [s]
        self._changed_at = float("-inf")  # when the record was last seen [s]
        self._hand: deque[Grant] = deque()
        self._mine: deque[float] = deque()  # the instants of this process's own requests [s]
        self._news: list[Change] = []  # for the store
        self._going_out: dict[int, _Entry] = {}
        self._speaks_up: asyncio.TimerHandle | None = None
        self._back_at = float("-inf")  # when it is worth asking for more [s]
        self._pause = _FIRST_PAUSE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        store.on_news = self._hear

    @property
    def rested(self) -> tuple[float, int]:
        """See `Supply`."""
        return (float("-inf"), 0) if self._hand else super().rested

    @property
    def trouble(self) -> str:
        """See `Supply`."""
        waited = self.clock.monotonic() - self._asked_at
        if not self._trouble and waited > _SOON:
            return f"{self._store.name}: no answer for {waited:.1f} s"
        return self._trouble

    @property
    def freezes(self) -> int:
        """See `Supply`."""
        heard = int.from_bytes(self._store.listen(), "little")
        return max(self.key.freezes, heard, self._freezes_met)

    def now(self) -> float:
        """See `Supply`."""
        return self.clock.monotonic() - self._store.offset[1]

    def near_at(self, now: float, *, is_upload: bool = False) -> float:
        """See `Supply`."""
        self._enter()
        if self.freezes != self._freezes_seen:
            self._empty_hand()
            return now  # the record tells what has happened
        while self._hand and self._hand[0].latest < now:
            self.give_back(self._hand.popleft())
        return now if self._in_hand(is_upload) else self._back_at

    async def take(self, wanted: Collection[bool]) -> Grant | None:
        """See `Supply`."""
        self._enter()
        is_upload = next(iter(wanted))
        if grant := self._in_hand(is_upload):
            self._hand.remove(grant)
            return grant
        # A task of its own: slots must find this hand though the caller is cancelled.
        asking = self._spawn(self._ask(_first(wanted), len(wanted)))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back_unclaimed)
            raise

    def count(self, grant: Grant, stamp: float | None) -> None:
        """See `Supply`.

        Raises:
            PermitLostError: The process was stopped for so long that others take the request for
                dead: send no more of it.
        """
        entry = cast("_Entry", grant)
        entry.stamp = stamp
        if stamp is None:
            if entry.entered is None and self.clock.monotonic() > entry.told_at + _PATIENCE:
                raise PermitLostError
            self._going_out[entry.slot.number] = entry
            self._speak_up_later()
            return
        self._going_out.pop(entry.slot.number, None)
        in_store = stamp - self._store.offset[0]
        if entry.entered is None or entry.entered < in_store:
            before, entry.entered = entry.entered, in_store
            self._tell(lambda key, _: key.move(entry.slot.number, before, in_store))

    def give_back(self, grant: Grant) -> None:
        """See `Supply`."""
        entry = cast("_Entry", grant)
        if entry.stamp == -math.inf:
            return
        entry.stamp = -math.inf
        slot, entered = entry.slot, entry.entered

        def give_back(key: Key, now: float) -> None:
            key.move(slot.number, entered, None)
            key.probe_closed(slot.number, now, accepted=False)

        self._tell(give_back, at_once=slot.is_probe or entered is None)
        self.on_change()

    def probe_written(self, grant: Grant) -> None:
        """See `Supply`."""
        if grant.slot.is_probe:
            self._tell(lambda key, now: key.probe_written(grant.slot.number, now))

    def probe_closed(self, grant: Grant, *, accepted: bool) -> None:
        """See `Supply`."""
        if grant.slot.is_probe:
            self._tell(lambda key, now: key.probe_closed(grant.slot.number, now, accepted=accepted))

    def freeze(self, grant: Grant, retry_after: float | None) -> None:
        """See `Supply`."""
        now, of_probe = self.now(), grant.slot.is_probe
        self._tell(lambda key, now: key.freeze(now, retry_after, of_probe=of_probe))
        # Until the store has said so: nobody here sends meanwhile, and who waits is told.
        self._empty_hand()
        until, is_first = self.key.freeze(now, retry_after, of_probe=of_probe)
        self._shut_until = until + self._store.offset[1]
        self._freezes_met = self.key.freezes
        self._freezes_seen = self.freezes
        self.on_freeze(Freeze(self.index, until, until - now, is_first))

    def retire(self) -> None:
        """See `Supply`."""
        super().retire()
        self._tell(lambda key, now: key.retire(now))

    def wait_behind(self, ahead: int) -> float:
        """See `Supply`."""
        if ahead < len(self._hand):
            return 0.0
        rivals = len(self.parties.rivals(self._who, self.now()))
        return super().wait_behind(ahead * (rivals + 1))

    def of_others(self) -> int:
        """See `Supply`."""
        since = self.clock.monotonic() - self.limit.period
        while self._mine and self._mine[0] < since:
            self._mine.popleft()
        return max(0, self.key.in_period(self.now()) - len(self._mine))

    async def aclose(self) -> None:
        """See `Supply`."""
        self._enter()
        asking = self._tasks.copy()  # for callers that are gone
        self._empty_hand()  # others may want what nobody here does
        with suppress(TimeoutError, StoreAwayError):
            async with asyncio.timeout(_FAREWELL):
                if asking:
                    await asyncio.wait(asking)
                    self._empty_hand()
                await self._say()
        await self._end(self._tasks.copy())
        await self._store.aclose()

    def _in_hand(self, is_upload: bool) -> Grant | None:
        """Return the first slot in hand that will do, if there is one.

        An upload needs one that is held from the beginning; a text can take such a one as well.
        """
        fitting = (grant for grant in self._hand if (grant.stamp is None) == is_upload)
        return next(fitting, self._hand[0] if self._hand and not is_upload else None)

    def _empty_hand(self) -> None:
        while self._hand:
            self.give_back(self._hand.popleft())

    async def _end(self, tasks: "set[asyncio.Task[Any]]") -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _give_back_unclaimed(self, asking: "asyncio.Future[Grant | None]") -> None:
        grant = None if asking.cancelled() or asking.exception() else asking.result()
        if grant:
            self.give_back(grant)

    def _enter(self) -> None:
        """Begin anew in another event loop, or in a forked process: slots in hand are its own."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop or self._process != os.getpid():
            if self._process != os.getpid():
                if self._process:
                    self._news.clear()  # the parent tells its own
                    self._hand.clear()
                self._process, self._who = os.getpid(), secrets.randbits(62)
            self._loop = loop
            self._changing = asyncio.Lock()
            self._going_out.clear()
            self._tasks.clear()
            self._speaks_up = None
            self._empty_hand()

    async def _ask(self, uploads: list[bool], wanted: int) -> Grant | None:
        """Take slots from the store: one for now, the others in hand.

        Args:
            uploads: Of the first in line, whether each is an upload.
            wanted: How many slots are wanted in all.
        """
        slack = self._slack()
        try:
            slots, back_at = await self._change(partial(self._serve, uploads, wanted, slack))
        except StoreAwayError as error:
            self._is_away(error)
            return None
        least, most = self._store.offset
        self._back_at = back_at + most
        grants = [
            _Entry(
                slot,
                instant=slot.instant + most,
                latest=slot.instant + slack + least,
                stamp=None if is_upload else slot.stamp + most,
                entered=None if is_upload else slot.stamp,
                told_at=self.clock.monotonic(),
            )
            for slot, is_upload in zip(slots, uploads, strict=False)
        ]
        self._mine.extend(grant.instant for grant in grants)
        self._hand.extend(grants[1:])
        return grants[0] if grants else None

    def _serve(
        self,
        uploads: list[bool],
        wanted: int,
        slack: float,
        key: Key,
        parties: Parties,
        now: float,
    ) -> tuple[list[Slot], float]:
        """Take what this process may have of a record; return that, and when to come back."""
        slots: list[Slot] = []
        turn = parties.turn(self._who, now)
        spacing = self.limit.period / key.max_requests(now)
        lead = max(self._store.lead, min(turn.round * spacing, _LONGEST_LEAD))
        for is_upload in uploads[: turn.helping] if turn.held_up_until < now else ():
            slot = key.give(
                now,
                lead=lead * _STRETCH,  # or half of them come a moment too early
                slack=slack,
                is_upload=is_upload,
                patience=_PATIENCE,
            )
            if slot is None:
                break
            slots.append(slot)
        back_at = self._comes_back(key, turn, now, lead, slots)
        is_hungry = wanted > len(slots)
        parties.note(self._who, len(slots), back_at + _GRACE if is_hungry else now)
        return slots, back_at

    def _slack(self) -> float:
        """Return how long after its instant a request may still be begun [s, the store's clock]."""
        least, most = self._store.offset
        return self._store.slack + most - least

    def _comes_back(
        self, key: Key, turn: Turn, now: float, lead: float, slots: list[Slot]
    ) -> float:
        """Return when this process may ask for more [s]."""
        if slots:  # not before they are used: who comes first must not take a whole burst
            return slots[-1].instant - _AHEAD
        opens_at = key.opens_at(now)
        if opens_at == math.inf or key.stage is Stage.PROBING:
            return now + lead / 4  # until an upload is out, or a probe has its answer: who knows?
        if opens_at - lead <= now:  # others are to be served first, before none are left
            due = turn.held_up_until
            due -= _GRACE if due - _GRACE > now else 0.0
            return max(due, now + _LOOK_AGAIN, (now + opens_at) / 2)
        queue = sum(due - _GRACE >= opens_at - lead for due in turn.others)
        spacing = self.limit.period / key.max_requests(now)
        return opens_at - lead + queue * turn.helping * spacing

    async def _change(self, serve: Serve[T]) -> T:
        """Change the record: tell the news, and do what is asked for."""
        async with self._changing:
            news = self._news.copy()

            def work(data: bytes, now: float) -> tuple[bytes, tuple[Record, T]]:
                record = self._read(data, now)
                for change in news:
                    change(record.key, now)
                result = serve(record.key, record.parties, now)
                return record.dump(), (record, result)

            self._asked_at = self.clock.monotonic()
            try:
                record, result = await self._store.change(work)
            finally:
                self._asked_at = math.inf
            self.key, self.parties = record.key, record.parties
            self._beginning = record.beginning
            del self._news[: len(news)]
        self._changed_at = self.clock.monotonic()
        self._is_back()
        if not self._news:
            self._freezes_met = 0
        if self.key.freezes >= self._freezes_met:
            shut_until = self.key.frozen_until(-math.inf) or -math.inf
            self._shut_until = shut_until + self._store.offset[1]
            self._notice(self.now())
        return result

    def _read(self, data: bytes, now: float) -> Record:
        record = None
        with suppress(ValueError):
            record = Record.load(data)
        if record and self._store.was_set and record.beginning == self._beginning:
            record = None  # its instants are of a clock that is no more
        is_new = record is None
        record = record or Record.new(self.limit, self._base_url)
        record.key.learn_from(self.key)
        record.key.limit = self.limit
        if self._beginning not in (b"", record.beginning) or self._store.was_set:
            ahead = _STRETCH * _LONGEST_LEAD + self._slack()  # so late may slots in hand be used
            memory = ahead + record.key.delay_bound(now) + 2 * (self.limit.period + CLOCK_MARGIN)
            # Who finds another's record knows of its own requests alone, and the others of theirs.
            if self.clock.monotonic() < self._changed_at + (_KEPT if is_new else memory):
                record.key.fill(now + ahead)
            shut_for = self._shut_until - self.clock.monotonic()
            if shut_for > max(0.0, (record.key.frozen_until(now) or now) - now):
                record.key.freeze(now, shut_for)
        return record

    def _tell(self, change: Change, *, at_once: bool = True) -> None:
        self._news.append(change)
        if at_once:
            with suppress(RuntimeError):  # the loop has ended: the next change tells it
                self._enter()
                _ = self._spawn(self._say())

    async def _say(self) -> None:
        while self._news:
            try:
                await self._change(lambda key, parties, now: None)
            except StoreAwayError as error:
                self._is_away(error)
                await asyncio.sleep(self._pause)

    def _speak_up_later(self) -> None:
        if self._speaks_up is None:
            loop = asyncio.get_running_loop()
            self._speaks_up = loop.call_later(_SPEAK_AFTER, self._speak_up)

    def _speak_up(self) -> None:
        """Tell the store of what is still going out."""
        self._speaks_up = None
        now = self.clock.monotonic()
        for number, entry in self._going_out.items():
            if entry.entered is not None or now > entry.told_at + _SPEAK_EVERY:
                before, entry.entered, entry.told_at = entry.entered, None, now
                self._tell(_hold(number, before))
        if self._going_out:
            self._speak_up_later()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _hear(self) -> None:
        """Take note that the record begins otherwise: there was a 429 somewhere."""
        self.on_change()

    def _is_away(self, error: StoreAwayError) -> None:
        if not self._trouble:
            logger.warning("%s. Calls wait until it is back.", error)
        self._trouble = str(error)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._back_at = self.clock.monotonic() + self._pause

    def _is_back(self) -> None:
        if self._trouble:
            logger.warning("%s is back.", self._store.name)
        self._trouble = ""
        self._pause = _FIRST_PAUSE


def _first(wanted: Iterable[bool]) -> list[bool]:
    """Return the first few in line: so many texts as may be, but few uploads."""
    uploads: list[bool] = []
    for is_upload in islice(wanted, MOST_SLOTS):
        if is_upload and uploads.count(True) == _MOST_UPLOADS:
            break
        uploads.append(is_upload)
    return uploads


def _hold(number: int, before: float | None) -> Change:
    return lambda key, now: key.hold(number, before, now + _PATIENCE)
