import asyncio
from dataclasses import replace
from typing import Any

import pytest
from bson import decode
from pymongo.errors import BulkWriteError, OperationFailure, WriteError

from chatserver.embedded import Mongod
from policies.vocabulary import OrderId
from storage.client import Collection, Database, MongoConfig, open_database
from storage.documents import encode_entry
from storage.errors import UnusableDatabase
from storage.orders import Orders
from storage.room_log import RoomLog
from storage.rooms import Rooms
from storage.schema import COLLECTIONS, VERSION, check, migrate
from tests.storage.faults import failing
from tests.storage.making import NOW, linked, salts

pytestmark = pytest.mark.usefixtures("empty")


async def described(database: Database) -> dict[str, Any]:
    """All collections with their options and indexes, as MongoDB tells."""
    listed = await database.command({"listCollections": 1})
    collections = {}
    for found in listed["cursor"]["firstBatch"]:
        indexes = await database.command({"listIndexes": found["name"]})
        collections[found["name"]] = (found["options"], indexes["cursor"]["firstBatch"])
    return collections


async def test_a_new_database_needs_migrating(empty: Database) -> None:
    assert await check(empty)
    await migrate(empty)
    assert not await check(empty)
    assert set(await described(empty)) == {collection.name for collection in COLLECTIONS}


async def test_migrating_again_changes_nothing(database: Database) -> None:
    before = await described(database)
    await migrate(database)
    assert await described(database) == before


async def test_several_processes_may_migrate_at_once(empty: Database, mongo: MongoConfig) -> None:
    others = [open_database(mongo) for _ in range(4)]
    await asyncio.gather(*(migrate(other) for other in others))
    assert not await check(empty)
    once = await described(empty)
    await empty.drop()
    await migrate(empty)
    alone = await described(empty)
    assert {name: len(indexes) for name, (_, indexes) in once.items()} == {
        name: len(indexes) for name, (_, indexes) in alone.items()
    }
    for other in others:
        await other.close()


async def test_what_goes_wrong_is_not_taken_for_done(faulty_database: Database, faulty_url: str) -> None:
    with failing(faulty_url, "create", errorCode=13), pytest.raises(OperationFailure, match="failCommand"):
        await migrate(faulty_database)


async def test_a_lost_validator_is_put_back(database: Database) -> None:
    before = await described(database)
    await database.command({"collMod": "entries", "validator": {}})
    await migrate(database)
    assert await described(database) == before


async def test_appends_pay_for_two_indexes(database: Database) -> None:
    _, indexes = (await described(database))["entries"]
    paid_for = [index for index in indexes if "partialFilterExpression" not in index]  # the others: of flagged ones
    assert [index["key"] for index in paid_for] == [{"_id": 1}, {"room": 1, "seq": 1}]
    assert paid_for[1]["unique"]
    assert {index["name"] for index in indexes} - {index["name"] for index in paid_for} == {
        "flagged", "flagged_author", "untold",
    }  # fmt: skip


async def test_a_newer_database_is_left_alone(database: Database) -> None:
    await database.collection("meta").update_one({"_id": "schema"}, {"$set": {"version": VERSION + 1}})
    before = await described(database)
    for refused in (check, migrate):
        with pytest.raises(UnusableDatabase, match=f"version {VERSION + 1}, this server knows {VERSION}"):
            await refused(database)
    assert await described(database) == before


async def test_a_newer_server_that_migrates_meanwhile_is_noticed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def newer(database: Database, _: object) -> None:
        await database.collection("meta").update_one({"_id": "schema"}, {"$set": {"version": VERSION + 1}})

    monkeypatch.setattr("storage.schema._prepare", newer)
    with pytest.raises(UnusableDatabase):
        await migrate(database)


async def test_a_single_mongod_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a replica set there are no transactions: better said at the start than at the first order."""

    class Standalone(Mongod):
        def _command(self) -> list[str]:
            command = super()._command()
            place = command.index("--replSet")
            return command[:place] + command[place + 4 :]

        def _answers(self) -> bool:
            return self.child.exit_code is None and b"Waiting for connections" in self.log.read_bytes()

    with Standalone(tmp_path_factory.mktemp("standalone")) as mongod:
        database = open_database(MongoConfig(f"mongodb://{mongod.address}/?directConnection=true", "alone"))
        with pytest.raises(UnusableDatabase, match="replica set"):
            await check(database)
        await database.close()


@pytest.mark.parametrize(
    "broken",
    [
        {"seq": 0},
        {"seq": "1"},
        {"kind": ""},
        {"author": {"id": "b", "role": "king", "name": "Bo"}},
        {"at": "2026-01-31"},
        {"body": "hello"},
        {"visibility": "nobody"},
        {"hash": "00"},
        {"digest": None},
        {"flag": {"mark": "odd", "state": "open", "causes": []}},
        {"flag": {"mark": "warned", "state": "odd", "causes": []}},
        {"whole": {"texts": {"text": "a"}}},
        {"shown": "nobody"},
    ],
)
async def test_what_is_no_entry_is_refused_by_mongodb_itself(database: Database, broken: dict[str, Any]) -> None:
    document = decode(encode_entry(linked("c")[0]).raw) | broken
    with pytest.raises(WriteError):
        await database.collection("entries").insert_one(document)


async def test_an_erased_entry_is_an_entry(database: Database) -> None:
    [entry] = linked("c")
    erased = replace(entry, body={}, author=replace(entry.author, name=""), salt=None)
    await database.collection("entries").insert_many([encode_entry(erased)], ordered=True)
    with pytest.raises(BulkWriteError):
        await database.collection("entries").insert_many([encode_entry(entry)], ordered=True)


# From version 1


V1_ORDER: dict[str, Any] = {
    "buyer": {"id": "b", "name": "Bo"},
    "seller": {"id": "s", "name": "Sue", "trust_level": "verified"},
    "title": "A lamp",
    "category": "item",
    "amount": 1999,
    "currency": "EUR",
    "placed_at": NOW,
    "details": {},
    "state": {
        "delivered_at": NOW,
        "delivery_confirmed_at": None,
        "canceled_at": None,
        "chargeback": None,
        "chargeback_at": None,
        "payment": "refunded",
        "payment_at": NOW,
    },
    "created_at": NOW,
    "version": 3,
}


def v1_event(order: str, name: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    key = f"{order}\x1f{name}"
    event = {"order_id": order, "event_id": name, "type": kind, "at": NOW, "data": data, "received_at": NOW}
    return {"_id": key, **event}


@pytest.fixture
async def version_1(database: Database) -> Database:
    """A database as version 1 of the schema left it."""
    refunds: dict[str, list[dict[str, Any]]] = {
        "none": [],
        "part": [{"amount": 500}, {"amount": 99}],
        "whole": [{"amount": 500}, {}],
        "much": [{"amount": 1500}, {"amount": 1500}],
        "part2": [{"amount": 1}],  # an id that another one begins with
    }
    for order, paid in refunds.items():
        await database.collection("orders").insert_one({"_id": order, "room": f"order-{order}", **V1_ORDER})
        events = [v1_event(order, f"r{n}", "payment.refunded", data) for n, data in enumerate(paid)]
        for event in [*events, v1_event(order, "d", "delivered", {"amount": 7})]:
            await database.collection("order_events").insert_one(event)
    for name in ("disputes", "outbox", "claims", "audit"):
        await database.command({"drop": name})
    await database.collection("meta").update_one({"_id": "schema"}, {"$set": {"version": 1}})
    return database


async def test_orders_of_version_1_get_what_they_lack(version_1: Database, log: RoomLog) -> None:
    assert await check(version_1)
    await migrate(version_1)
    assert not await check(version_1)
    orders = Orders(version_1, log, Rooms(version_1), salts())
    found = {name: await orders.get(OrderId(name)) for name in ("none", "part", "whole", "much", "part2")}
    assert {name: order.state.refunded for name, order in found.items() if order is not None} == {
        "none": 0,
        "part": 599,
        "whole": 1999,
        "much": 1999,
        "part2": 1,
    }
    order = found["part"]
    assert order is not None
    assert (order.active_dispute, order.latest_dispute, order.version) == (None, None, 3)
    assert set(await described(version_1)) == {collection.name for collection in COLLECTIONS}
    await migrate(version_1)
    assert await orders.get(OrderId("part")) == order


async def test_an_order_that_changes_while_it_is_completed_is_looked_at_again(
    version_1: Database, log: RoomLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Collection.find

    async def slowly(self: Collection, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        found = await find(self, *arguments, **options)
        if self.name == "order_events":
            monkeypatch.undo()
            refund = v1_event("none", "late", "payment.refunded", {"amount": 3})
            await version_1.collection("order_events").insert_one(refund)
            await version_1.collection("orders").update_many({}, {"$inc": {"version": 1}})
        return found

    monkeypatch.setattr(Collection, "find", slowly)
    await migrate(version_1)
    order = await Orders(version_1, log, Rooms(version_1), salts()).get(OrderId("none"))
    assert order is not None
    assert order.state.refunded == 3


async def test_what_is_no_dispute_is_refused_by_mongodb_itself(database: Database) -> None:
    made: dict[str, Any] = {"_id": "d", "order_id": "o", "buyer": "b", "seller": "s", "assignee": None, "state": {}}
    made |= {"stage": "mediation", "status": "under_review", "opened_at": NOW, "queue_at": NOW, "seq": 1, "told": 0}
    await database.collection("disputes").insert_one(made)
    broken: tuple[dict[str, Any], ...] = (
        {"stage": "nowhere"},
        {"status": ""},
        {"seq": -1},
        {"queue_at": None},
        {"next_at": "soon"},
        {"state": []},
    )
    for change in broken:
        with pytest.raises(WriteError):
            await database.collection("disputes").insert_one({**made, "_id": "other", **change})
