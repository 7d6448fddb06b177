"""The database that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatserver.settings import Settings
from storage.client import Database, MongoConfig, open_database


def mongo_config(settings: Settings) -> MongoConfig:
    """The part of the settings that storage needs."""
    return MongoConfig(
        url=settings.mongo_url.get_secret_value(),
        database=settings.mongo_database,
        driver=settings.mongo_driver,
        timeout_s=settings.mongo_timeout_s,
        pool=settings.mongo_pool,
    )


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Database]:
    """The database, for the length of a command."""
    database = open_database(mongo_config(settings))
    try:
        yield database
    finally:
        await database.close()
