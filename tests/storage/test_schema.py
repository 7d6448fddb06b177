import asyncio
from dataclasses import replace
from typing import Any

import pytest
from bson import decode
from pymongo.errors import BulkWriteError, OperationFailure, WriteError

from chatserver.embedded import Mongod
from storage.client import Database, MongoConfig, open_database
from storage.documents import encode_entry
from storage.errors import UnusableDatabase
from storage.schema import COLLECTIONS, VERSION, check, migrate
from tests.storage.faults import failing
from tests.storage.making import linked


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
    assert [index["key"] for index in indexes] == [{"_id": 1}, {"room": 1, "seq": 1}]
    assert indexes[1]["unique"]


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
