"""Redis and PostgreSQL when the network, the server, its clock or its data fail."""

import asyncio
import itertools
import logging
import signal
import time
import traceback
from collections.abc import AsyncGenerator
from types import SimpleNamespace

import pytest

from sd3async.limiter.stores import Store, StoreAwayError, open_store, remote
from sd3async.limiter.stores.postgres import PostgresStore
from support.counting import count, ended_well, look, news, program
from support.databases import ENCODED_PASSWORD, PASSWORD, USER, Database, Postgres, Redis
from support.wires import Wire, wire_to

PATIENCE = 3.0  # [s] for what takes 2 s


@pytest.fixture
async def store(database: Database, name: str) -> AsyncGenerator[Store]:
    store = open_store(database.url, name)
    yield store
    await store.aclose()


@pytest.fixture
async def other(database: Database, name: str) -> AsyncGenerator[Store]:
    """The same record, as somebody else sees it."""
    other = open_store(database.url, name)
    yield other
    await other.aclose()


@pytest.fixture
async def wire(database: Database) -> AsyncGenerator[Wire]:
    async with wire_to(database.port) as wire:
        yield wire


@pytest.fixture
async def far(database: Database, name: str, wire: Wire) -> AsyncGenerator[Store]:
    """The same record by way of the wire."""
    far = open_store(database.url_at(wire.port), name)
    yield far
    await far.aclose()


async def away(store: Store) -> str:
    """Return why a store cannot be had, which it must say in time."""
    began_at = time.monotonic()
    with pytest.raises(StoreAwayError) as caught:
        await store.change(count)
    assert time.monotonic() - began_at < PATIENCE
    return str(caught.value)


async def hears(store: Store, beginning: bytes, within: float = 2.0) -> bool:
    for _ in range(round(within / 0.005)):
        if store.heard == beginning:
            return True
        await asyncio.sleep(0.005)
    return False


# How much is said


async def warm_up(far: Store) -> None:
    """Connect, subscribe, and have all statements prepared."""
    for _ in range(2):
        await far.change(count)
        await far.change(look)
        await asyncio.sleep(0.1)


async def test_a_change_takes_one_round_trip_while_nobody_else_makes_any(
    far: Store, wire: Wire
) -> None:
    """One busy process on another continent waits for a slot as short as can be."""
    await warm_up(far)
    said = wire.said
    for _ in range(10):
        await far.change(count)

    assert wire.said - said == 10


async def test_a_change_takes_two_round_trips_after_somebody_elses(
    far: Store, other: Store, wire: Wire
) -> None:
    """To read and to write; that is the cost with many busy processes."""
    await warm_up(far)
    for _ in range(3):
        await other.change(count)
        await far.change(count)  # finds out that it is not alone
        await other.change(count)
        said = wire.said
        await far.change(count)

        assert wire.said - said == 2


async def test_a_change_that_changes_nothing_takes_one_round_trip(
    far: Store, other: Store, wire: Wire
) -> None:
    """Whoever asks in vain should not keep the server busy with writing."""
    await warm_up(far)
    for _ in range(3):
        await other.change(count)
        await far.change(look)
    said = wire.said
    await far.change(look)
    await far.change(look)

    assert wire.said - said == 2


async def test_a_quicker_process_costs_one_round_trip_more_and_loses_nothing(
    far: Store, other: Store, wire: Wire
) -> None:
    """Read and write are two trips: in between somebody else may write."""
    await warm_up(far)
    number, _ = await other.change(count)
    await far.change(count)
    await other.change(count)
    has_read = asyncio.Event()

    def work(record: bytes, now: float) -> tuple[bytes, int]:
        has_read.set()
        after, (number, _) = count(record, now)
        return after, number

    wire.delay, said = 0.1, wire.said
    slow = asyncio.create_task(far.change(work))
    await has_read.wait()
    assert (await other.change(count))[0] == number + 3

    assert await slow == number + 4
    assert wire.said - said == 3


async def test_a_server_on_another_continent_can_be_connected_with(far: Store, wire: Wire) -> None:
    """PostgreSQL's greeting takes ten round trips, of 0.3 s each: it was away for ever."""
    wire.delay = 0.15

    assert (await far.change(count))[0] == 1


async def test_a_long_way_widens_the_offset_and_breaks_nothing(far: Store, wire: Wire) -> None:
    """What a trip hides of the clock must be known, or requests leave too early."""
    await warm_up(far)
    wire.delay = 0.1
    for _ in range(3):
        await far.change(count)
        least, most = far.offset

        assert 0.2 <= most - least < 0.4
        assert not far.was_set


# Servers and networks that fail


async def test_a_server_that_is_stopped_is_away_until_it_is_started_again(
    database: Database, name: str
) -> None:
    """Calls wait out a restart, within their deadlines, and nothing else has to be done."""
    store = open_store(database.url, name)
    await store.change(count)
    await asyncio.sleep(0.1)
    database.stop()
    try:
        words = [await away(store), await away(store)]
    finally:
        database.start()

    assert all(word.startswith(f"{store.name}: ") for word in words)
    assert words[1] == f"{store.name}: Connection refused"
    assert (await store.change(count))[0] in (1, 2)  # it may have kept the record
    other = open_store(database.url, name)
    await other.change(news(b"back now"))
    assert await hears(store, b"back now")
    await store.aclose()
    await other.aclose()


async def test_a_server_that_hangs_is_away_after_two_seconds(
    database: Database, store: Store
) -> None:
    """A call must reach its deadline, not hang with the server."""
    await store.change(count)
    database.signal(signal.SIGSTOP)
    try:
        words = await away(store)
    finally:
        database.signal(signal.SIGCONT)

    assert words == f"{store.name}: no answer within 2 s"
    assert (await store.change(count))[0] in (2, 3)  # what was sent may have been done


async def test_a_connection_closed_while_idle_is_no_trouble(
    database: Database, store: Store
) -> None:
    """Firewalls and servers close what is idle for minutes."""
    await store.change(count)
    await asyncio.sleep(0.1)
    database.hang_up()
    await asyncio.sleep(0.1)

    assert (await store.change(count))[0] == 2


async def test_a_network_that_swallows_everything_is_told_in_time(
    far: Store, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cable that is pulled resets nothing."""
    monkeypatch.setattr(remote, "PATIENCE", 0.4)
    await far.change(count)
    wire.is_dead = True
    assert await away(far) == f"{far.name}: no answer within 0.4 s"
    wire.is_dead = False

    assert (await far.change(count))[0] in (2, 3)


async def test_news_are_heard_again_after_their_connection_went_dead(
    far: Store, other: Store, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody resets a connection through a firewall that has forgotten it."""
    for module in ("redis", "postgres"):
        monkeypatch.setattr(f"sd3async.limiter.stores.{module}.LOOK_EVERY", 0.2)
    monkeypatch.setattr(remote, "PATIENCE", 0.3)
    monkeypatch.setattr("sd3async.limiter.stores.postgres.PATIENCE", 0.3)
    await far.change(count)
    await asyncio.sleep(0.3)
    wire.is_dead = True
    await other.change(news(b"unheard!"))
    await asyncio.sleep(1.0)
    assert far.heard != b"unheard!"
    wire.is_dead = False

    assert await hears(far, b"unheard!")


async def test_news_are_heard_again_after_the_server_hung_up(
    database: Database, store: Store, other: Store
) -> None:
    """A 429 in the gap must not stay unknown until the next change."""
    heard: list[bytes] = []
    store.on_news = lambda: heard.append(store.heard)
    await store.change(count)
    await asyncio.sleep(0.1)
    database.hang_up()
    await other.change(look)
    await other.change(news(b"meanwhil"))

    assert await hears(store, b"meanwhil")
    assert heard == [b"meanwhil"]


async def test_an_answer_cut_at_any_byte_leaves_nothing_half_used(far: Store, wire: Wire) -> None:
    """The next question must not get the rest of the answer to the last one."""
    await warm_up(far)
    sure = unsure = 0
    number, _ = await far.change(look)
    for length in itertools.chain(range(60), range(60, 200, 9)):
        wire.cut_after = length
        try:
            await far.change(count)
            sure += 1
        except StoreAwayError:
            unsure += 1
        wire.cut_after = None
        now, _ = await far.change(count)
        sure += 1
        assert number + sure <= now <= number + sure + unsure
    assert unsure > 10


async def test_a_fork_of_an_idle_program_leaves_the_parents_connections_alone(
    database: Database, name: str
) -> None:
    """A child that closed or collected them would take them out of the parent's event loop."""
    code = """
loop = asyncio.new_event_loop()
loop.run_until_complete(store.change(count))
loop.run_until_complete(asyncio.sleep(0.1))
child = os.fork()
if not child:
    del loop
    for _ in range(5):
        asyncio.run(store.change(count))
        gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "lost"
assert loop.run_until_complete(store.change(count))[0] == 7, "lost"
loop.run_until_complete(store.aclose())
loop.close()
"""
    async with program(code, database.url, name) as process:
        assert await ended_well(process)


async def test_a_store_that_never_was_there_says_so(name: str) -> None:
    """A wrong port in the settings is told in words that name it."""
    for url, words in (
        ("redis://127.0.0.1:1", "Redis at 127.0.0.1:1: Connection refused"),
        ("postgresql://a:b@127.0.0.1:1/c", "PostgreSQL at 127.0.0.1:1: Connection refused"),
        ("unix:///nowhere.sock", "Redis at /nowhere.sock: No such file or directory"),
    ):
        store = open_store(url, name)
        assert await away(store) == words
        await store.aclose()


async def test_a_unix_socket_serves_as_well(database: Database, name: str) -> None:
    """A server on the same machine needs no port."""
    store = open_store(database.socket_url, name)

    assert (await store.change(count))[0] == 1
    await store.aclose()


# Records and clocks that are not what they were


async def test_a_record_that_vanished_is_empty(database: Database, name: str, store: Store) -> None:
    """Somebody flushed the cache: whoever reads must be told, not given an old copy."""
    for _ in range(3):
        await store.change(count)
    database.forget(name)

    assert await store.change(lambda record, _: (b"new", record)) == b""
    assert await store.change(lambda record, _: (record, record)) == b"new"


async def test_an_older_copy_counts_as_a_clock_that_was_set(
    database: Database, name: str, store: Store, other: Store
) -> None:
    """After a failover some changes are missing: requests were sent that nobody has counted."""
    await store.change(count)
    older = database.read(name)
    await store.change(count)
    await other.change(count)
    assert not store.was_set
    database.write(name, older)

    was_set = [await store.change(lambda record, _: (record + b"!", store.was_set)) for _ in "ab"]
    assert was_set == [True, False]


@pytest.mark.parametrize("by", [-30.0, -1.0, 1.0, 30.0])
async def test_a_clock_that_was_set_is_told_to_one_change(
    by: float, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stamps are wrong then; whoever counts by them must begin anew."""
    for _ in range(2):
        await store.change(count)
        assert not store.was_set
    # Seen from here, another clock moved when this one did.
    shifted = SimpleNamespace(monotonic=lambda: time.monotonic() - by)
    monkeypatch.setattr(remote, "time", shifted)
    changes: list[tuple[bool, float]] = []

    def work(record: bytes, now: float) -> tuple[bytes, None]:
        changes.append((store.was_set, now))
        return count(record, now)[0], None

    before, _ = store.offset
    await store.change(work)
    was_set, now = changes[-1]
    assert was_set
    assert abs(now - time.time()) < 0.3
    assert abs(store.offset[0] - (before - by)) < 0.3
    await store.change(work)
    assert not changes[-1][0]


async def test_clocks_that_drift_apart_over_an_idle_hour_were_not_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes back from lunch would stop everybody for two periods."""
    await store.change(count)
    vars(store)["_answered_at"] -= 3600.0
    shifted = SimpleNamespace(monotonic=lambda: time.monotonic() + 1.0)
    monkeypatch.setattr(remote, "time", shifted)

    assert not await store.change(lambda record, _: (record, store.was_set))


async def test_a_change_that_comes_late_is_made_with_the_time_of_its_writing(
    store: Store, other: Store
) -> None:
    """A process that slept between reading and writing must not enter stamps of the past."""
    times: list[float] = []

    def dawdle(record: bytes, now: float) -> tuple[bytes, None]:
        times.append(now)
        if len(times) == 1:
            time.sleep(0.7)
        return count(record, now)[0], None

    await other.change(count)
    await store.change(dawdle)

    assert len(times) == 2
    assert 0.7 <= times[1] - times[0] < 1.2


# Logins, and what is said of them


@pytest.mark.parametrize("password", [ENCODED_PASSWORD, "wr0ng-w0rd"], ids=["right", "wrong"])
async def test_neither_password_nor_user_is_shown_anywhere(
    password: str, database: Database, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors end up in logs that many people read."""
    caplog.set_level(logging.DEBUG)
    store = open_store(database.url_of(USER, password), name)
    shown = [repr(store), store.name]
    if password == ENCODED_PASSWORD:
        assert (await store.change(count))[0] == 1
        database.stop()
    try:
        with pytest.raises(StoreAwayError) as caught:
            await store.change(count)
    finally:
        if database.process is None:
            database.start()
        await store.aclose()

    error = caught.value
    assert error.__cause__ is error.__context__ is None
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    del trace.stack[0]  # this test's own, which knows the password
    shown += [*trace.format(), repr(error.args)]
    expected = "it closed the conn" if password == ENCODED_PASSWORD else "the login is refused"
    assert f"{store.name}: {expected}" in "".join(shown)
    for secret in (USER, password, PASSWORD, "s3cr3t"):
        assert secret not in "".join(shown)
        assert secret not in caplog.text


async def test_a_login_that_may_too_little_is_told_what_it_lacks(
    database: Database, name: str
) -> None:
    """An administrator reads the message and knows what to grant."""
    url = database.url_of("bob", "bob").replace("/postgres", "/closed")
    store = open_store(url, name)

    words = await away(store)
    assert words.startswith(f"{store.name}: the login may not ")
    assert "bob" not in words
    await store.aclose()


async def test_a_replica_is_named_as_what_it_is(redis: Redis, name: str) -> None:
    """After a failover the address may still lead to the server that was."""
    store = open_store(redis.url, name)
    await store.change(count)
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        assert await away(store) == f"{store.name}: it is a replica, and takes no changes"
    finally:
        redis.ask("REPLICAOF", "NO", "ONE")

    assert (await store.change(count))[0] == 2
    await store.aclose()


async def test_processes_that_begin_at_once_all_find_the_table(postgres: Postgres) -> None:
    """PostgreSQL lets two who make the same table at once fail each other."""
    for attempt in range(5):
        postgres.ask("DROP TABLE IF EXISTS sd3async_limits")
        stores = [open_store(postgres.url, f"{attempt}{number}") for number in range(6)]
        done = await asyncio.gather(*[store.change(count) for store in stores])
        await asyncio.gather(*[store.aclose() for store in stores])

        assert [number for number, _ in done] == [1] * 6


async def test_a_row_that_somebody_holds_is_told_and_piles_up_no_waiters(
    postgres: Postgres, name: str
) -> None:
    """An administrator forgot a transaction: the server must not run out of connections."""
    store, holder = open_store(postgres.url, name), PostgresStore(postgres.url, name)
    await store.change(count)
    connection = await holder.connect()
    await connection.execute(f"BEGIN; SELECT FROM sd3async_limits WHERE name = '{name}' FOR UPDATE")
    words = await away(store)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    assert postgres.ask(waiting) == "0"
    connection.terminate()
    await asyncio.sleep(0.2)

    assert words == f"{store.name}: somebody else holds the record"
    assert (await store.change(count))[0] == 2
    await store.aclose()


@pytest.mark.parametrize(
    ("held", "seconds"),
    [
        ("UPDATE sd3async_limits SET record = record || '!' WHERE name = '{}'", 0.3),
        ("SELECT FROM sd3async_limits WHERE name = '{}' FOR UPDATE", 0.8),
    ],
    ids=["changed", "held"],
)
async def test_who_waited_for_the_row_goes_on_with_the_time_after_the_wait(
    held: str, seconds: float, postgres: Postgres, name: str
) -> None:
    """A clock read before the wait would be behind the change that was waited for."""
    store, holder = open_store(postgres.url, name), PostgresStore(postgres.url, name)
    await store.change(count)
    connection = await holder.connect()
    await connection.execute(f"BEGIN; {held.format(name)}")
    change = asyncio.create_task(store.change(lambda record, now: (record + b"?", now)))
    await asyncio.sleep(seconds)
    freed_at = time.time()
    await connection.execute("COMMIT")
    connection.terminate()

    assert await change >= freed_at
    await store.aclose()
