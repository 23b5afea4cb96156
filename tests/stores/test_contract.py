"""What every store promises, with real processes, real servers and real time."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator

import pytest

from sd3async.limiter.stores import Store, StoreAwayError
from support.counting import count, ended_well, hear, look, news, open_at, program, tell

MOST = 5.0  # [s] that anything is held up
NEWS = 0.5  # [s]


@pytest.fixture
async def store(where: str, name: str) -> AsyncGenerator[Store]:
    store = open_at(where, name)
    yield store
    await store.aclose()


@pytest.fixture
async def other(where: str, name: str) -> AsyncGenerator[Store]:
    """The same record, as somebody else sees it."""
    other = open_at(where, name)
    yield other
    await other.aclose()


async def test_a_record_that_nobody_has_made_is_empty(store: Store) -> None:
    """The first process to come would otherwise fail, or believe somebody else's numbers."""
    found = await store.change(lambda record, _: (record, record))

    assert found == b""


async def test_a_change_is_seen_by_others_whole(store: Store, other: Store) -> None:
    """A record that were cut or translated on its way would give slots twice."""
    written = bytes(range(256)) * 20
    await store.change(lambda record, _: (written, None))

    assert await other.change(lambda record, _: (record, record)) == written
    assert store.heard == other.heard == written[:8]


@pytest.mark.parametrize("record", [b"\0", b"1234567", b"12345678", bytes(20_000)], ids=len)
async def test_any_bytes_can_be_kept(record: bytes, store: Store, other: Store) -> None:
    """What the bytes mean is not the store's business, nor how many they are."""
    await store.change(lambda _, now: (record, None))
    await store.change(lambda found, now: (found + b"!", None))

    assert await other.change(lambda found, _: (found, found)) == record + b"!"


async def test_a_hundred_changes_of_four_processes_are_all_made(where: str, name: str) -> None:
    """A change that is lost is a request that nobody has counted."""
    code = """
async def main():
    tell("here"); told()
    done = await asyncio.gather(*[store.change(count) for _ in range(25)])
    tell(*[f"{number}:{now}" for number, now in done])
    await store.aclose()
asyncio.run(main())
"""
    processes = [program(code, where, name) for _ in range(4)]
    async with processes[0] as a, processes[1] as b, processes[2] as c, processes[3] as d:
        assert [await hear(process) for process in (a, b, c, d)] == ["here"] * 4
        for process in (a, b, c, d):
            await tell(process)
        said = " ".join([await hear(process) for process in (a, b, c, d)])
        changes = sorted((int(n), float(at)) for n, at in (w.split(":") for w in said.split()))
        assert [await ended_well(process) for process in (a, b, c, d)] == [True] * 4

    assert [number for number, _ in changes] == list(range(1, 101))
    times = [at for _, at in changes]
    assert times == sorted(times)  # whoever came later came later by the store's clock too


async def test_the_clock_agrees_with_this_process_within_the_offset(store: Store) -> None:
    """Slots are waited for by the monotonic clock: an offset that lies sends too early."""
    for pause in (0, 0, 0.05, 0.3, 0):
        await asyncio.sleep(pause)
        began_at = time.monotonic()
        _, now = await store.change(count)
        least, most = store.offset

        assert began_at - 0.02 <= now + most
        assert now + least <= time.monotonic()
        assert 0 <= most - least < 0.1
        assert not store.was_set


async def test_time_never_goes_back(store: Store, other: Store) -> None:
    """A stamp from the past would be forgotten too early."""
    times: list[float] = []
    for turn in "aababbbaaaabab":
        _, now = await (store if turn == "a" else other).change(count)
        times.append(now)

    assert times == sorted(times)


async def test_news_of_another_process_arrive_within_half_a_second(
    where: str, name: str, store: Store
) -> None:
    """A 429 anywhere freezes the key everywhere."""
    code = """
async def main():
    await store.change(count)
    tell("here")
    while word := told():
        await store.change(news(word.encode()))
        tell("done")
    await store.aclose()
asyncio.run(main())
"""
    heard_at: list[float] = []
    store.on_news = lambda: heard_at.append(time.monotonic())
    await store.change(count)
    async with program(code, where, name) as process:
        await hear(process)
        await asyncio.sleep(0.1)
        for word in ("firstone", "2ndother"):
            await tell(process, word)
            await hear(process)
            changed_at = time.monotonic()
            while store.listen() != word.encode():
                assert time.monotonic() < changed_at + NEWS
                await asyncio.sleep(0.005)

    assert len(heard_at) == ("://" in where) * 2  # a file is looked at by those who want to know


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL], ids=["continued", "killed"])
async def test_a_process_stopped_in_the_middle_of_a_change_holds_nobody_up_for_long(
    end: signal.Signals, where: str, name: str, store: Store
) -> None:
    """Somebody's laptop is closed, or a pod is frozen, in the worst moment."""
    code = """
def stop(record, now):
    tell("in the middle"); told()
    return count(record, now)
async def main():
    await store.change(count)
    number, _ = await store.change(stop)
    tell(number)
    await store.aclose()
asyncio.run(main())
"""
    async with program(code, where, name) as process:
        assert await hear(process) == "in the middle"
        process.send_signal(signal.SIGSTOP)
        began_at = time.monotonic()
        try:
            number, _ = await store.change(count)
            assert number == 2  # what has not been written has not been done
        except StoreAwayError:
            number = 1
        assert time.monotonic() - began_at < MOST
        process.send_signal(end)
        if end == signal.SIGCONT:
            await tell(process)
            number += 1
            while (line := await hear(process)) == "in the middle":
                await tell(process)  # somebody was quicker: it begins again
            assert line == str(number)

    assert (await store.change(count))[0] == number + 1


async def test_a_store_serves_one_event_loop_after_another(where: str, name: str) -> None:
    """A script calls `asyncio.run` twice with the same client, and closes nothing."""
    code = """
for number in (1, 2, 3):
    assert asyncio.run(store.change(count))[0] == number, "lost"
    gc.collect()
"""
    async with program(code, where, name) as process:
        assert await ended_well(process)


async def test_a_program_ends_although_it_closes_nothing(where: str, name: str) -> None:
    """Whoever listens for news must not keep a program alive, nor leave it with warnings."""
    code = """
async def main():
    await store.change(count)
    await asyncio.sleep(0.1)
    asyncio.create_task(store.change(count))
    await asyncio.sleep(0)
asyncio.run(main())
"""
    began_at = time.monotonic()
    async with program(code, where, name) as process:
        assert await ended_well(process)

    assert time.monotonic() - began_at < MOST


async def test_a_fork_and_its_parent_both_go_on(where: str, name: str, store: Store) -> None:
    """Two processes on one connection would read each other's answers."""
    code = """
async def main():
    await store.change(count)
    await asyncio.sleep(0.1)
    child = os.fork()
    if not child:
        for _ in range(5):
            asyncio.run(store.change(count))
            gc.collect()
        os._exit(0)
    for _ in range(5):
        await store.change(count)
    assert os.waitpid(child, 0)[1] == 0, "lost"
    tell((await store.change(count))[0]); told()
    for _ in range(100):
        if store.listen() == b"newsnews": break
        await asyncio.sleep(0.005)
    tell(store.listen())
    await store.aclose()
asyncio.run(main())
"""
    async with program(code, where, name) as process:
        assert await hear(process) == "12"
        await store.change(news(b"newsnews"))
        await tell(process)

        assert await hear(process) == "b'newsnews'"
        assert await ended_well(process)


async def test_it_can_be_closed_and_used_again(store: Store) -> None:
    """A client that is closed may be opened anew; closing twice is harmless."""
    await store.aclose()
    for number in (1, 2):
        assert (await store.change(count))[0] == number
        await store.aclose()
        await store.aclose()


async def test_closing_in_the_middle_of_changes_loses_none_that_succeeded(
    store: Store, other: Store
) -> None:
    """A program ends with calls in flight."""
    at_least = at_most = 0
    for passes in range(70):
        await store.change(count)
        await other.change(count)
        changes = [asyncio.create_task(store.change(count)) for _ in range(2)]
        for _ in range(passes):
            await asyncio.sleep(0)
        await asyncio.gather(store.aclose(), store.aclose())
        results = await asyncio.gather(*changes, return_exceptions=True)
        failed = sum(isinstance(result, StoreAwayError) for result in results)
        assert failed <= 1  # the one that was under way
        at_least, at_most = at_least + 4 - failed, at_most + 4

    assert at_least <= (await store.change(look))[0] <= at_most


@pytest.mark.parametrize("state", ["not connected", "connected"])
async def test_a_change_may_be_cancelled_at_any_moment(state: str, store: Store) -> None:
    """A half-read answer would be taken for the next question's."""
    done = passes = 0
    while True:
        passes += 1 + passes // 12
        if state == "not connected":
            await store.aclose()
        change = asyncio.create_task(store.change(count))
        for _ in range(passes):
            await asyncio.sleep(0)
        change.cancel()
        (result,) = await asyncio.gather(change, return_exceptions=True)
        number, _ = await store.change(count)
        made = number - done - 1
        assert made in (0, 1)
        if not isinstance(result, asyncio.CancelledError):
            assert made == 1
            break
        done = number

    assert len(asyncio.all_tasks()) <= 2  # this test, and who listens


async def test_what_goes_wrong_in_the_work_itself_is_told_as_it_is(store: Store) -> None:
    """A mistake of ours is not a server that is away, and changes nothing."""
    await store.change(count)

    def fail(record: bytes, now: float) -> tuple[bytes, None]:
        raise KeyError(f"{len(record)} at {now > 0}")

    with pytest.raises(KeyError, match="16 at True"):
        await store.change(fail)
    assert (await store.change(count))[0] == 2
