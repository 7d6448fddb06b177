from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Literal
from uuid import uuid4

import pytest

from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.room_log import RoomLog
from storage.schema import migrate
from tests.databases import emptied, fresh
from tests.storage.faults import FaultyMongod

Driver = Literal["motor", "pymongo"]
LASTING = {"empty", "tap", "faulty_database", "impatient"}
"""Fixtures of tests that change the schema, or whose writes may happen after the test: these get a database of their
own."""


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Driver:
    """Every test that touches the database runs on both drivers."""
    chosen: Driver = request.param
    return chosen


@pytest.fixture
def mongo(mongo_url: str, migrated: str, driver: Driver, request: pytest.FixtureRequest) -> MongoConfig:
    """Where ``database`` is: nobody else uses it meanwhile."""
    shared = "database" in request.fixturenames and not LASTING.intersection(request.fixturenames)
    return MongoConfig(mongo_url, migrated if shared else f"test_{uuid4().hex}", driver, timeout_s=10.0)


@pytest.fixture
async def empty(mongo: MongoConfig) -> AsyncIterator[Database]:
    """Before the first migration."""
    database = open_database(mongo)
    yield database
    await database.drop()
    await database.close()


@pytest.fixture
async def database(mongo: MongoConfig, migrated: str) -> AsyncIterator[Database]:
    """Migrated, and without data."""
    async with (emptied if mongo.database == migrated else fresh)(mongo) as database:
        yield database


@pytest.fixture
async def commit(database: Database) -> AsyncIterator[GroupCommit]:
    group = GroupCommit(database)
    yield group
    await group.close()


@pytest.fixture
def log(database: Database, commit: GroupCommit) -> RoomLog:
    return RoomLog(database, commit)


@pytest.fixture(scope="session")
def faulty_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MongoDB that fails when it is told to; see ``faults.failing``."""
    with FaultyMongod(tmp_path_factory.mktemp("faulty")) as mongod:
        yield mongod.url


@pytest.fixture
async def faulty_database(mongo: MongoConfig, faulty_url: str) -> AsyncIterator[Database]:
    database = open_database(replace(mongo, url=faulty_url))
    await migrate(database)
    yield database
    await database.drop()
    await database.close()


@pytest.fixture
async def impatient(faulty_database: Database, mongo: MongoConfig, faulty_url: str) -> AsyncIterator[Database]:
    """The same, with little time for an operation."""
    database = open_database(replace(mongo, url=faulty_url, timeout_s=0.3))
    yield database
    await database.close()


@pytest.fixture
async def faulty(faulty_database: Database) -> AsyncIterator[RoomLog]:
    group = GroupCommit(faulty_database)
    yield RoomLog(faulty_database, group)
    await group.close()
