"""Migrated databases for the tests.

Migrating takes MongoDB the better part of a second, emptying next to nothing: so one database is migrated for a run,
and emptied after each test that used it.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from storage.client import Database, MongoConfig, open_database
from storage.schema import COLLECTIONS, migrate

__all__ = ["emptied", "fresh", "migrated"]


@pytest.fixture(scope="session")
def migrated(mongo_url: str) -> Iterator[str]:
    """The name of a database with the schema, for tests that leave no write behind whose outcome nobody knows."""
    config = MongoConfig(mongo_url, f"tests_{uuid.uuid4().hex[:12]}", "pymongo", timeout_s=30.0)

    async def prepare() -> None:
        database = open_database(config)
        await migrate(database)
        await database.close()

    async def drop() -> None:
        database = open_database(config)
        await database.drop()
        await database.close()

    asyncio.run(prepare())
    yield config.database
    asyncio.run(drop())


@asynccontextmanager
async def emptied(config: MongoConfig) -> AsyncIterator[Database]:
    """A migrated database that is empty, and again when it is done with."""
    database = open_database(config)
    try:
        yield database
    finally:
        known = {collection.name for collection in COLLECTIONS}
        found = (await database.command({"listCollections": 1, "nameOnly": True}))["cursor"]["firstBatch"]
        await asyncio.gather(*(database.command({"drop": each["name"]}) for each in found if each["name"] not in known))
        ours = {"meta": {"_id": {"$ne": "schema"}}}
        await asyncio.gather(*(database.collection(name).delete_many(ours.get(name, {})) for name in known))
        await database.close()


@asynccontextmanager
async def fresh(config: MongoConfig) -> AsyncIterator[Database]:
    """A database that is migrated for this, and dropped."""
    database = open_database(config)
    try:
        await migrate(database)
        yield database
    finally:
        await database.drop()
        await database.close()
