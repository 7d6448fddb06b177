"""What the tests of the server's own parts share."""

import uuid
from collections.abc import AsyncIterator

import pytest

from storage import schema
from storage.client import Database, MongoConfig, open_database


@pytest.fixture
async def own_database(mongo_url: str) -> AsyncIterator[Database]:
    """A migrated database that no other test sees."""
    database = open_database(MongoConfig(mongo_url, f"own_{uuid.uuid4().hex[:12]}", timeout_s=10))
    await schema.migrate(database)
    yield database
    await database.drop()
    await database.close()
