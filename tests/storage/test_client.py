import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure

from policies.errors import Unavailable
from storage.client import Collection, Database, MongoConfig, Session, open_database
from tests.storage.conftest import Driver
from tests.storage.faults import Tap, failing


@pytest.fixture
def things(empty: Database) -> Collection:
    return empty.collection("things")


@pytest.fixture
async def nowhere(driver: Driver) -> AsyncIterator[Database]:
    """A database where nobody listens: on a port that is taken, or one of the driver's own sockets might get it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"mongodb://127.0.0.1:{taken.getsockname()[1]}/?replicaSet=rs0"
        database = open_database(MongoConfig(url, "nothing", driver, timeout_s=0.3))
        yield database
        await database.close()


OPERATIONS: dict[str, Callable[[Collection], Awaitable[Any]]] = {
    "find_one": lambda c: c.find_one({}),
    "find": lambda c: c.find({}),
    "aggregate": lambda c: c.aggregate([]),
    "insert_one": lambda c: c.insert_one({"_id": 1}),
    "insert_many": lambda c: c.insert_many([{"_id": 1}], ordered=False),
    "update_one": lambda c: c.update_one({}, {"$set": {"a": 1}}),
    "update_many": lambda c: c.update_many({}, {"$set": {"a": 1}}),
    "find_one_and_update": lambda c: c.find_one_and_update({}, {"$set": {"a": 1}}),
    "delete_one": lambda c: c.delete_one({}),
    "bulk_write": lambda c: c.bulk_write([UpdateOne({}, {"$set": {"a": 1}})]),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_nobody_there_is_unavailable_in_time(
    nowhere: Database, operation: Callable[[Collection], Awaitable[Any]]
) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await operation(nowhere.collection("things"))
    assert time.monotonic() - started < 2  # configured: 0.3 s; the rest is for a busy machine


async def test_a_ping_and_a_transaction_say_unavailable_too(nowhere: Database) -> None:
    async def work(session: Session) -> None:
        await nowhere.collection("things").insert_one({"_id": 1}, session=session)

    with pytest.raises(Unavailable):
        await nowhere.ping()
    with pytest.raises(Unavailable):
        await nowhere.transact(work)


async def test_waiting_for_one_of_the_drivers_threads_counts_too(nowhere: Database) -> None:
    """Motor has a few threads, all of them waiting for MongoDB: what queues for one must not wait twice as long."""
    started = time.monotonic()
    many = (nowhere.collection("things").find_one({}) for _ in range(100))
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("shut", [Tap.hold_requests, Tap.hold_answers])
async def test_closing_does_not_wait_for_a_server_that_is_silent(
    mongo: MongoConfig, mongo_url: str, shut: Callable[[Tap], None]
) -> None:
    async with Tap(mongo_url).open() as tap:
        database = open_database(replace(mongo, url=tap.url, timeout_s=0.3))
        await database.ping()
        shut(tap)
        started = time.monotonic()
        await database.close()
        assert time.monotonic() - started < 2


async def test_a_server_that_is_too_slow_is_unavailable(mongo: MongoConfig, things: Collection) -> None:
    await things.insert_one({"_id": 1})
    slow = open_database(replace(mongo, timeout_s=0.2))
    with pytest.raises(Unavailable):
        await slow.collection("things").find({"$where": "sleep(5000) || true"})
    await slow.close()


def written(operation: str) -> str:
    """The server's name for a write."""
    verb = operation.partition("_")[0]
    return "findAndModify" if operation == "find_one_and_update" else "update" if operation == "bulk_write" else verb


UNCONFIRMED: dict[str, Any] = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}
READS = ("find_one", "find", "aggregate")


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in READS])
async def test_a_write_that_no_majority_confirmed_is_unavailable(
    faulty_database: Database, faulty_url: str, name: str
) -> None:
    with failing(faulty_url, written(name), **UNCONFIRMED), pytest.raises(Unavailable):
        await OPERATIONS[name](faulty_database.collection("things"))


async def test_a_mistake_is_not_unavailable(empty: Database, things: Collection) -> None:
    with pytest.raises(OperationFailure):
        await things.find({"$nonsense": 1})
    with pytest.raises(OperationFailure):
        await empty.command({"nonsense": 1})


async def test_a_transaction_is_all_or_nothing(empty: Database, things: Collection) -> None:
    async def work(session: Session) -> str:
        await things.insert_one({"_id": "a"}, session=session)
        await things.insert_one({"_id": "b"}, session=session)
        return "done"

    async def fail(session: Session) -> None:
        await things.insert_one({"_id": "c"}, session=session)
        raise KeyError("reason")

    assert await empty.transact(work) == "done"
    with pytest.raises(KeyError, match="reason"):
        await empty.transact(fail)
    with pytest.raises(DuplicateKeyError):
        await empty.transact(work)
    assert [found["_id"] for found in await things.find({}, sort=[("_id", 1)])] == ["a", "b"]


async def test_transactions_that_meet_are_all_done_once(empty: Database, things: Collection) -> None:
    await things.insert_one({"_id": "counter", "n": 0})

    async def count(session: Session) -> None:
        found = await things.find_one({"_id": "counter"}, session=session)
        assert found is not None
        await things.update_one({"_id": "counter"}, {"$set": {"n": found["n"] + 1}}, session=session)

    await asyncio.gather(*(empty.transact(count) for _ in range(8)))
    assert await things.find_one({"_id": "counter"}) == {"_id": "counter", "n": 8}


async def test_a_transaction_is_finished_though_its_caller_is_cancelled(mongo: MongoConfig, things: Collection) -> None:
    database = open_database(mongo)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def work(session: Session) -> None:
        await database.collection("things").insert_one({"_id": "a"}, session=session)
        started.set()
        await go_on.wait()
        await database.collection("things").insert_one({"_id": "b"}, session=session)

    caller = asyncio.create_task(database.transact(work))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    closing = asyncio.create_task(database.close())  # waits for it
    go_on.set()
    await closing
    assert len(await things.find({})) == 2


async def test_a_failure_nobody_waits_for_makes_no_noise(empty: Database) -> None:
    """Warnings are errors here: an exception that was never looked at would fail this test."""

    started, go_on = asyncio.Event(), asyncio.Event()

    async def fail(session: Session) -> None:
        started.set()
        await go_on.wait()
        raise KeyError

    caller = asyncio.create_task(empty.transact(fail))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()


def test_a_password_does_not_get_into_logs() -> None:
    assert "secret" not in repr(MongoConfig("mongodb://user:secret@host/", "chat"))


def test_it_runs_on_uvloop(mongo: MongoConfig) -> None:
    async def main() -> None:
        database = open_database(mongo)
        await database.ping()
        things = database.collection("things")

        async def work(session: Session) -> None:
            await things.insert_one({"_id": 1}, session=session)

        await database.transact(work)
        assert await things.aggregate([{"$match": {"_id": 1}}]) == [{"_id": 1}]
        await database.drop()
        await database.close()

    uvloop.run(main())
