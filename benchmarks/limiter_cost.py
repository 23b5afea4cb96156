"""What does asking a limiter for leave cost, idle and with ten thousand waiting?"""

import asyncio
import gc
import statistics
import time
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from benchmarks import workers
from benchmarks.plan import Plan
from benchmarks.recipes import Acquire, bucket_of_pyrate, window_of_limits
from benchmarks.results import Bar, Cell, Chart, Ratio, Result, Table, at_most
from sd3async.limiter import Limiter, RateLimit

_METHOD = """*Idle*: leave is asked for and given at once, one after the other. The limit is 150 in 10 s
and is kept far away from: the limiter is made anew for every 30 permits. This project's limiter
spreads a burst over a second, and gives leave a fifth of a second before its instant; the wait for
that is no part of this. It has a second row, with the whole life of a permit: asked for, written,
answered, closed; the others have nothing of the kind. *Waiting*: so many tasks ask at once at 2,000 a second; CPU time per permit
granted in the next second or so, the tasks' own cost included."""
_BATCH = 30  # permits from one limiter
_RATE = 2000  # permits a second while thousands wait
_GRANTS = 2000
_IDLE_GOAL = 8.0  # some microseconds, of the quarter of a millisecond that a request takes
_FLAT_GOAL = 1.5  # times the cost with a thousand waiting
_FEW, _MANY = 1_000, 10_000


def _ours(requests: int, period: float) -> Acquire:
    limiter = Limiter(RateLimit(requests, period, delay_bound=0.0))

    async def acquire() -> None:
        with await limiter.acquire() as permit:
            await permit.ready()
            permit.written()
            permit.answered()

    return acquire


def _our_asking(requests: int, period: float) -> Acquire:
    return Limiter(RateLimit(requests, period)).acquire


def _our_permits(requests: int, period: float) -> Acquire:
    limiter = Limiter(RateLimit(requests, period))

    async def acquire() -> None:
        with await limiter.acquire() as permit:
            permit.written()
            permit.answered()

    return acquire


def _aiolimiter(requests: int, period: float) -> Acquire:
    return AsyncLimiter(requests, period).acquire


_LIMITERS: dict[str, Callable[[int, float], Acquire]] = {
    "aiolimiter": _aiolimiter,
    "sd3async": _ours,
    "limits": window_of_limits,
    "pyrate-limiter": bucket_of_pyrate,
}


_IDLE: dict[str, Callable[[int, float], Acquire]] = {
    "aiolimiter": _aiolimiter,
    "sd3async": _our_asking,
    "sd3async, a permit's whole life": _our_permits,
    "limits": window_of_limits,
    "pyrate-limiter": bucket_of_pyrate,
}


async def measure_idle(*, rounds: int, batches: int) -> dict[str, list[float]]:
    """Return CPU seconds per permit of each limiter, which take turns."""
    workers.pin("client")
    found: dict[str, list[float]] = {name: [] for name in _IDLE}
    for _ in range(rounds):
        for name, make in _IDLE.items():
            limiters = [make(150, 10.0) for _ in range(batches)]
            gc.collect()
            began = time.process_time()
            for acquire in limiters:
                for _ in range(_BATCH):
                    await acquire()
            found[name].append((time.process_time() - began) / (batches * _BATCH))
    return found


async def measure_waiting(*, limiter: str, waiting: int) -> float:
    """Return CPU seconds per permit while so many tasks wait."""
    workers.pin("client")
    # A second's permits at most go at once; then the rate decides.
    acquire = (
        _LIMITERS[limiter](_RATE // 10, 0.1) if limiter != "limits" else window_of_limits(_RATE, 1)
    )
    granted = 0
    enough = asyncio.Event()

    async def wait() -> None:
        nonlocal granted
        await acquire()
        granted += 1
        if granted == wanted:
            enough.set()

    wanted = _RATE if limiter == "limits" else _RATE // 10  # the first burst costs no wait
    tasks = [asyncio.create_task(wait()) for _ in range(waiting + wanted)]
    await enough.wait()
    gc.collect()
    began, wanted = time.process_time(), granted + min(_GRANTS, waiting // 2)
    start = granted
    enough.clear()
    await enough.wait()
    cost = (time.process_time() - began) / (granted - start)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return cost


def run(plan: Plan) -> Result:
    """Measure every limiter, idle and crowded."""
    idle = workers.call(measure_idle, rounds=5 if plan.quick else 25, batches=20)
    waiting = {
        (name, count): statistics.median(
            workers.call(measure_waiting, limiter=name, waiting=count)
            for _ in range(1 if plan.quick else 3)
        )
        for name in _LIMITERS
        for count in (_FEW, _MANY)
    }
    return Result(
        method=_METHOD,
        tables=[_idle_table(idle), _waiting_table(waiting)],
        charts=[_chart(waiting)],
    )


def _idle_table(idle: dict[str, list[float]]) -> Table:
    rows: list[list[Cell]] = []
    for name, own in idle.items():
        ratio = Ratio.of(own, idle["aiolimiter"])
        goal = at_most(ratio.median, _IDLE_GOAL) if name == "sd3async" else ""
        rows.append([name, str(ratio), f"{statistics.median(own) * 1e6:.1f} µs", goal])
    return Table(
        title="Idle", columns=["limiter", "× aiolimiter's", "CPU per permit", "goal"], rows=rows
    )


def _waiting_table(waiting: dict[tuple[str, int], float]) -> Table:
    rows: list[list[Cell]] = []
    for name in _LIMITERS:
        few, many = waiting[name, _FEW], waiting[name, _MANY]
        goal = at_most(many / few, _FLAT_GOAL) if name == "sd3async" else ""
        ratio = many / waiting["aiolimiter", _MANY]
        row = [f"{few * 1e6:.0f} µs", f"{many * 1e6:.0f} µs", f"{many / few:.2f}", f"{ratio:.2f}"]
        rows.append([name, *row, goal])
    heads = [f"{_FEW:,} waiting", f"{_MANY:,} waiting", "many / few", "many × aiolimiter's"]
    return Table(title="CPU per permit, waiting", columns=["limiter", *heads, "goal"], rows=rows)


def _chart(waiting: dict[tuple[str, int], float]) -> Chart:
    return Chart(
        name="limiter_cost",
        title=f"CPU per permit with {_MANY:,} tasks waiting",
        unit="µs",
        bars=[Bar.exact(name, waiting[name, _MANY] * 1e6) for name in _LIMITERS],
    )
