"""A soak: one job in a bad world, for an hour that passes in minutes.

The server, the clock and whoever starts the job again live in this process; each run of the job is
a process of its own that is really killed, by SIGKILL, wherever it stands. The server lives on and
books what the dead have sent.
"""

import asyncio
import base64
import collections
import itertools
import json
import math
import random
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from sd3async.emulator import Emulator, Fault, FaultPlan
from sd3async.emulator import latency as latencies
from sd3async.emulator.journal import ReceivedRequest, key_id
from sd3async.emulator.virtual_time import LoopClock
from soak.books import (
    Audit,
    Mark,
    audit,
    check_held,
    check_images,
    check_rate,
    count_unsent,
    find_marks,
    image_files,
)
from soak.processes import Forge, Started
from soak.script import FAULTS, SPELL, Event, Kind, draw
from soak.turns import StageLoop, Worker
from soak.worker import KEYS
from support.pictures import picture

_BEFORE_THE_NEXT = 11.0  # [s] a run in virtual time does not know what the last one has sent
_AFTER_A_SPELL = 4.0  # [s]
_PAGE = 4096  # [bytes] what the disk gives out
_LAST_RUNS = 40  # once nothing goes wrong any more
_LINE = 16  # most items of a job that stand in line for the limit at once
_START = "start.png"
_KEY, _KEY_THAT_RUNS_OUT = KEYS
_CREDITS_OF_AN_ITEM = 1.0  # that are there for each item on the account that runs out
_REFUSED = "an item that the service refuses for good "


@attrs.frozen(kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        seconds: How long things go wrong [s].
        items: Lines of the manifest in the end; it grows meanwhile.
        concurrency: Most items on their way at once.
        max_requests: The server's limit for each key, in any 10 s.
        credits_at_once: By how much the cap is raised when it is met [credits].
        disk: Size of the job's disk [MiB].
    """

    seconds: int
    items: int
    concurrency: int = 80
    max_requests: int = 150
    credits_at_once: float = 3_000.0
    disk: int = 64


SMALL = Scale(seconds=100, items=120, concurrency=20, max_requests=30, credits_at_once=400.0)
FULL = Scale(seconds=3_600, items=6_000, disk=256)


@attrs.frozen(kw_only=True)
class Result:
    """What came of a soak.

    Attributes:
        seed: Draws the same events again.
        seconds: Virtual time until the job was complete [s].
        items: Lines of the manifest.
        runs: How often the job was started.
        ends: How the runs ended, in words.
        has_disk: Whether the job had a disk of its own, to be filled up.
        unsent: Items that were marked as sent when a run was killed, or lost its journal, and of
            which nothing arrived; of each such run.
        events: What happened, by kind; what found nothing to happen to is left out.
        met: Faults that requests met, by kind.
        linked: Items that share the image of a twin, in the end.
        unpaid: Requests that came with the key that had run out of credits.
        audit: The two ledgers.
        broken: Promises that were broken, in words.
    """

    seed: int
    seconds: float
    items: int
    runs: int
    ends: dict[str, int]
    has_disk: bool
    unsent: tuple[int, ...]
    events: dict[str, int]
    met: dict[str, int]
    linked: int
    unpaid: int
    audit: Audit
    broken: tuple[str, ...]


def soak(scale: Scale, seed: int) -> Result:
    """Run a job through everything that a seed holds.

    Args:
        scale: How much.
        seed: Draws it.
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        scratch = Path(name)
        errors = scratch / "stderr"
        with (
            Forge.open(scratch / "home", errors, scale.disk) as forge,
            asyncio.Runner(loop_factory=StageLoop) as runner,
        ):
            world = _World(scale, seed, forge, scratch)
            result = runner.run(world.live())
        complaints = errors.read_text()
    broken = [*result.broken, *([f"on standard error: {complaints}"] if complaints else [])]
    return attrs.evolve(result, broken=tuple(broken))


class _Service:
    """The server: it may go down and come back, on the same port and with the same books.

    One of the keys runs out of credits at some point.
    """

    def __init__(self, seed: int, scale: Scale) -> None:
        self._seed = seed
        self._scale = scale
        self._port = 0
        self._past: list[ReceivedRequest] = []
        self.faults = FaultPlan()
        self.now: Emulator | None = None
        self.url = ""
        self.met = collections.Counter[str]()
        self.booked = 0.0

    async def go_up(self) -> None:
        if self.now is not None:
            return
        self._seed += 1  # or the second would give its requests the names of the first
        emulator = Emulator(
            port=self._port,
            clock=LoopClock(),
            seed=self._seed,
            faults=self.faults,
            max_requests=self._scale.max_requests,
            credits={_KEY: math.inf, _KEY_THAT_RUNS_OUT: self._left},
            latency=latencies.LogNormal(median=3.0, sigma=0.6, longest=30.0),
            image_bytes=1_200,
            journal_limit=10**9,
            strict=True,
        )
        self.now = await emulator.__aenter__()
        self.url = emulator.url
        self._port = int(emulator.url.rpartition(":")[2])

    async def go_down(self) -> None:
        if (emulator := self.now) is None:
            return
        self.now = None
        await emulator.aclose()
        self._past += emulator.requests
        self.met.update(emulator.stats.faults)
        self.booked += emulator.credits_used

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Everything that ever arrived, in order."""
        return self._past + ([] if self.now is None else self.now.requests)

    @property
    def _left(self) -> float:
        """What is left on the account that runs out [credits]."""
        mine = key_id(_KEY_THAT_RUNS_OUT)
        spent = sum(seen.charged for seen in self._past if seen.key_id == mine)
        return self._scale.items * _CREDITS_OF_AN_ITEM - spent

    @property
    def credits_used(self) -> float:
        return self.booked + (0.0 if self.now is None else self.now.credits_used)

    def has_work(self, *, since: float) -> bool:
        """Whether it is at work for who began at `since` [s]."""
        if self.now is None:
            return False
        return any(
            seen.charged and seen.at > since and not (seen.finished or seen.disconnected)
            for seen in self.now.requests
        )


class _World:
    """One soak under way."""

    def __init__(self, scale: Scale, seed: int, forge: Forge, scratch: Path) -> None:
        self._scale = scale
        self._seed = seed
        self._forge = forge
        self._scratch = scratch
        self._folder = forge.home
        # The names by which the processes know what is seen below `forge.home` from here.
        self._out = scratch / "home" / "out"
        self._manifest = scratch / "manifest.jsonl"
        self._lines = _lines(scale.items, random.Random(seed))
        self._service = _Service(seed << 20, scale)
        self._rng = random.Random(seed)
        self._cap = scale.credits_at_once
        self._broken: list[str] = []
        self._events = collections.Counter[str]()
        self._ends = collections.Counter[str]()
        self._ended_at: list[float] = []
        self._worker: Worker | None = None
        self._has_started = asyncio.Event()
        self._looks: list[Started] = []
        self._images: dict[str, tuple[int, int]] = {}
        self._disk_is_full = False
        self._adoptable = 0
        self._marks = set[Mark]()  # what the last run has left
        self._unsent: list[int] = []  # by run: marked as sent, and never arrived
        self._held: list[tuple[float, float]] = []
        self._known = set[str]()
        self._is_over = False
        self._runs = 0
        self._began_at = 0.0

    async def live(self) -> Result:
        """Let everything happen, then let the job come to its end."""
        self._clear_faults()
        await self._service.go_up()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._happen(draw(self._seed, self._scale.seconds)))
            last = await self._start_again_and_again()
        self._check_looks()
        await self._service.go_down()
        requests = self._service.requests
        found = audit(last["records"], requests, last["stats"])
        self._broken += set(found.faults) - self._known
        self._broken += check_images(self._folder / "out", last["records"])
        self._broken += check_rate(requests, self._scale.max_requests, self._ended_at)
        if found.groundless > sum(self._unsent):
            words = f"{found.groundless} doubts of requests that never arrived"
            self._broken.append(f"{words}, and the dead have left {sum(self._unsent)} of them")
        self._broken += check_held(last["records"], requests, self._held)
        self._broken += _unfinished(last["records"], len(self._lines))
        if found.booked != self._service.credits_used:
            self._broken.append(f"{self._service.credits_used} booked, {found.booked} in journal")
        return Result(
            seed=self._seed,
            seconds=_now(),
            items=len(self._lines),
            runs=self._runs,
            ends=dict(self._ends.most_common()),
            has_disk=self._forge.has_disk,
            unsent=tuple(filter(None, self._unsent)),
            events=dict(self._events.most_common()),
            met=dict(self._service.met.most_common()),
            linked=last["stats"]["linked"],
            unpaid=sum(seen.status == 402 for seen in requests),
            audit=found,
            broken=tuple(self._broken),
        )

    def _clear_faults(self) -> None:
        """Let nothing go wrong but what the service refuses for good."""
        faults = self._service.faults
        faults.clear()
        for line in self._lines:
            if line["prompt"].startswith(_REFUSED):
                faults.script(itertools.repeat(Fault.status(403), 1_000), prompt=line["prompt"])

    # The job's side: whoever starts it again.

    async def _start_again_and_again(self) -> dict[str, Any]:
        last_runs = 0
        while True:
            is_last = self._is_over
            told = await self._run_once(is_last=is_last)
            if is_last and told.get("stop_reason", "") is None and told["failure"] is None:
                return told
            last_runs += is_last
            if last_runs > _LAST_RUNS:
                raise RuntimeError(f"seed {self._seed}: the job does not come to an end: {told}")
            await asyncio.sleep(_BEFORE_THE_NEXT)

    async def _run_once(self, *, is_last: bool) -> dict[str, Any]:
        self._runs += 1
        records = self._scratch / "records"
        records.unlink(missing_ok=True)
        self._write_manifest(is_last=is_last)
        options: dict[str, Any] = {
            "concurrency": self._scale.concurrency,
            "max_credits": self._cap,
            "retry_failed": is_last or self._rng.random() < 0.2,
            "on_unknown": "hold" if not is_last and self._rng.random() < 0.4 else "retry",
        }
        order = {
            "task": "run",
            "out": str(self._out),
            "manifest": str(self._manifest),
            "url": self._service.url,
            "max_requests": self._scale.max_requests,
            "records": str(records),
            "options": options,
        }
        began_at = _now()
        last_words = await self._work(self._forge.start(order))
        if options["on_unknown"] == "hold":
            self._held.append((began_at, _now()))
        told: dict[str, Any] = json.loads(last_words) if last_words else {"failure": "died"}
        end = str(told.get("stop_reason") or told["failure"] or "complete")
        self._ends[end.partition(":")[0]] += 1
        await asyncio.sleep(1.0)  # what the dead have sent still arrives
        self._check_run(told, records)
        if told.get("stop_reason") == "budget":
            self._cap += self._scale.credits_at_once
        return told

    async def _work(self, started: Started) -> bytes | None:
        """Let a run take turns until it is gone."""
        loop = _loop()
        gone: asyncio.Future[bytes | None] = loop.create_future()
        loop.worker = self._worker = Worker(started.pid, started.turns, gone.set_result)
        self._began_at = _now()
        self._has_started.set()
        last_words = await gone
        self._worker = None
        self._has_started.clear()
        self._ended_at.append(_now())
        code = started.exit_code()
        if code not in (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            self._broken.append(f"a run left with {code} at {_now():.1f} s")
        return last_words if code == 0 else None

    def _write_manifest(self, *, is_last: bool) -> None:
        (self._scratch / _START).write_bytes(picture())
        share = 1.0 if is_last else min(1.0, 0.1 + _now() / self._scale.seconds)
        lines = self._lines[: int(len(self._lines) * share)]
        self._manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _check_run(self, told: dict[str, Any], records: Path) -> None:
        at = f"at {_now():.1f} s, after run {self._runs}: "
        if self._service.credits_used > self._cap:
            used = self._service.credits_used
            self._broken.append(f"{at}{used} credits booked under a cap of {self._cap}")
        images = {str(path): path.stat() for path in image_files(self._folder / "out")}
        stamps = {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in images.items()}
        for name, stamp in self._images.items():
            if stamps.get(name) != stamp:
                self._broken.append(f"{at}{name} was written over, or is gone")
        self._images = stamps
        self._check_marks(told, at)
        if told.get("stats") is None or not records.exists():
            return
        told["records"] = [json.loads(line) for line in records.read_text().splitlines()]
        if told["failure"] is None:  # a clean end: everything is settled
            self._audit(told, at)

    def _check_marks(self, told: dict[str, Any], at: str) -> None:
        """See that what the last one left was taken, and what this one leaves.

        Only who is killed, or has no room for the journal any more, leaves items marked as sent
        that were not: those whose turn has come, and whose instant, a moment later, has not.
        Everybody else gives them back.
        """
        is_clean = told["failure"] is None
        adopted: int = told["stats"]["adopted"] if is_clean else 0
        if is_clean and adopted < self._adoptable:
            self._broken.append(f"{at}{adopted} images adopted of {self._adoptable}")
        marks = find_marks(self._folder / "out", self._scratch)
        marked = {mark.number for mark in marks}
        self._adoptable = sum(
            int(path.stem) in marked for path in image_files(self._folder / "out")
        )
        if is_clean and marks:
            self._broken.append(f"{at}{len(marks)} items are still marked as sent")
        unsent = count_unsent(marks - self._marks, self._service.requests, since=self._began_at)
        self._unsent.append(unsent)
        self._marks = marks
        could_not_tell = str(told["failure"]).startswith(("died", "StorageError"))
        if unsent > (_LINE if could_not_tell else 0):
            words = f"{unsent} items marked as sent of which nothing arrived"
            self._broken.append(f"{at}{words}: {told['failure']}")

    def _audit(self, told: dict[str, Any], at: str) -> None:
        found = audit(told["records"], self._service.requests, told["stats"])
        self._broken += [at + fault for fault in found.faults if fault not in self._known]
        self._known.update(found.faults)

    # The world's side: what goes wrong.

    async def _happen(self, events: Sequence[Event]) -> None:
        async with asyncio.TaskGroup() as group:
            for event in events:
                await asyncio.sleep(event.at - _now())
                group.create_task(self._strike(event, random.Random(event.seed)))
            await asyncio.sleep(_AFTER_A_SPELL)
        self._clear_faults()
        self._is_over = True
        if self._worker is not None:
            self._worker.signal(signal.SIGTERM)  # the last run knows the whole manifest

    async def _strike(self, event: Event, rng: random.Random) -> None:
        match event.kind:
            case "fault":
                self._service.faults.script([rng.choice(FAULTS)(rng)])
            case "lock-out":
                wait = rng.choice([None, 20.0])
                self._service.faults.script([Fault.rate_limited(retry_after=wait)])
            case "bad spell":
                self._service.faults.by_chance(SPELL)
                await asyncio.sleep(rng.uniform(1.0, 5.0))
                self._service.faults.by_chance({})
            case "clock step":
                _step_wall_clock(rng)
            case "server down":
                await self._take_server_down(rng.uniform(0.5, 20.0))
            case "disk full":
                if not await self._fill_disk(rng):
                    return
            case "verify" | "intruder":
                await self._look(event.kind)
            case _:
                await self._end_run(event.kind, rng)
        self._events[event.kind] += 1

    async def _take_server_down(self, seconds: float) -> None:
        await self._service.go_down()
        await asyncio.sleep(seconds)
        await self._service.go_up()

    async def _fill_disk(self, rng: random.Random) -> bool:
        """Fill it for a while, if it can be done; return whether it was."""
        if not self._forge.has_disk or self._disk_is_full:
            return False
        self._disk_is_full = True
        self._forge.fill_disk(left=rng.randrange(30) * _PAGE)
        await asyncio.sleep(rng.uniform(2.0, 20.0))
        self._forge.free_disk()
        self._disk_is_full = False
        return True

    async def _end_run(self, kind: Kind, rng: random.Random) -> None:
        """End the run that is on, or the next one, in its midst or at its very start."""
        while (worker := self._worker) is None:
            await self._has_started.wait()
            await asyncio.sleep(rng.choice([0.0, 0.01, 3.0]) * rng.random())
        if kind == "kill":
            await self._kill(worker, rng)
        elif kind == "cancel":
            worker.signal(signal.SIGINT)
        else:
            worker.signal(signal.SIGTERM)
        if kind == "break off":
            await asyncio.sleep(rng.uniform(0.0, 3.0))
            if self._worker is worker:
                worker.signal(signal.SIGTERM)

    async def _kill(self, worker: Worker, rng: random.Random) -> None:
        delay = rng.expovariate(1 / 0.002)
        if rng.random() < 0.5:
            worker.doom_in(rng.randrange(60), delay)
        else:  # between a part, its sidecar, its name, and the journal's word for it
            worker.doom_at(self._look_at_folders, rng.randint(1, 8))
        while self._worker is worker:  # noqa: ASYNC110  # nobody tells of the dead but their loop
            await asyncio.sleep(0.1)
        if not worker.was_killed:  # it had come to its end before: the next one pays for it
            await self._has_started.wait()
            if self._worker is not None:
                self._worker.doom_in(0, delay)

    def _look_at_folders(self) -> object:
        folders = (self._folder / "out" / "images").glob("*")
        return [folder.stat().st_mtime_ns for folder in folders]

    async def _look(self, kind: Kind) -> None:
        """Have somebody else at the folder while the job is at work in it."""
        while not self._is_at_work():  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.5)
        output = self._scratch / f"{kind} {len(self._looks)}"
        order = {"task": kind, "out": str(self._out), "url": self._service.url}
        started = self._forge.start(order, output=output)
        if kind == "verify":
            self._looks.append(started)  # it works at the same time
        elif started.exit_code() != 0:
            self._broken.append(f"a second run was let in at {_now():.1f} s")

    def _is_at_work(self) -> bool:
        lives = self._worker is not None and _loop().worker is self._worker
        has_work = self._service.has_work(since=self._began_at)
        return lives and has_work and not self._disk_is_full

    def _check_looks(self) -> None:
        for look in self._looks:
            code = look.exit_code()
            assert look.output is not None
            lines = look.output.read_text().splitlines()
            flaws = [line for line in lines if line.startswith("images/")]
            self._broken += [f"--verify: {line}" for line in flaws]
            if code != (1 if flaws else 0):
                self._broken.append(f"--verify left with {code}: {lines}")


def _loop() -> StageLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StageLoop)
    return loop


def _now() -> float:
    return _loop().time()


def _step_wall_clock(rng: random.Random) -> None:
    _loop().wall_offset = rng.choice([-1, 1]) * 10.0 ** rng.uniform(-2, 5)


def _lines(count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Draw a manifest: three prices, images to start from, twins, what the service refuses."""
    inline = f"data:image/png;base64,{base64.b64encode(picture(hue=9)).decode()}"
    lines: list[dict[str, Any]] = []
    for number in range(count):
        line: dict[str, Any] = {"id": f"i{number:06d}", "prompt": f"prompt {number}"}
        line["endpoint"] = rng.choice(["sd3", "core", "ultra"])
        line["output_format"] = rng.choice(["png", "png", "jpeg"])
        draw = (0.3, 0.1)[number] if number < 2 else rng.random()  # the first two are twins
        if line["endpoint"] != "core" and rng.random() < 0.2:
            line |= {"image": rng.choice([_START, inline]), "strength": 0.5}
        if draw < 0.02:
            line["prompt"] = f"{_REFUSED}{number}"
        elif draw < 0.12 and number:  # with a fixed seed, the same image, and one without it
            line = {**rng.choice(lines[-20:]), "id": line["id"]}
        elif draw < 0.6:
            line["seed"] = number + 1
        lines.append(line)
    return lines


def _unfinished(records: Sequence[dict[str, Any]], count: int) -> list[str]:
    broken = [] if len(records) == count else [f"{len(records)} records of {count} items"]
    for record in records:
        wanted = "failed" if record["prompt"].startswith(_REFUSED) else "done"
        if record["state"] != wanted:
            broken.append(f"{record['id']}: {record['state']} in the end: {record['error']}")
    return broken
