"""Inserting entries of many rooms with one command, and what MongoDB says of each.

The drivers' own insert is a retryable write: MongoDB keeps a record of each one, so that a second attempt is not taken
for another write, and the driver's machinery for bulks costs more than the command that it makes. Entries need neither,
for they are unique by themselves. So the first attempt is a plain command. Only when that came to nothing (the
connection broke, the primary changed) the driver's insert takes over; what it finds to be there already is compared
with what was to be written, because the first attempt may have got through.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from policies.entry import Entry
from policies.errors import Unavailable
from storage.client import Database
from storage.documents import entry_key

COMMAND_BYTES: Final = 16 * 1024 * 1024
"""Documents of a plain command; a message to MongoDB holds 48 MB, and the driver's insert knows how to divide more."""
_DURABLE: Final = {"w": "majority", "j": True}
_RETRY_S: Final = 0.1
"""With less time left than this a second attempt is not begun."""


class Insertion:
    """Inserts into the collection of entries; durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._collection = database.collection("entries")

    async def each(self, entries: Sequence[Entry], documents: Sequence[RawBSONDocument]) -> Mapping[int, Any]:
        """Insert entries of different rooms, each for itself.

        Args:
            entries: what is inserted.
            documents: the same, encoded.

        Returns:
            MongoDB's write error of each that was not inserted, by its index.

        Raises:
            Unavailable: no answer in time, or no majority confirmed it; nothing is known of any of them.
        """
        if sum(len(document.raw) for document in documents) > COMMAND_BYTES:
            return await self._by_driver(documents, ordered=False)
        started = asyncio.get_running_loop().time()
        command = {"insert": self._collection.name, "documents": documents, "ordered": False, "writeConcern": _DURABLE}
        try:
            answer = await self._database.command(command)
        except (Unavailable, OperationFailure) as error:
            left = self._database.timeout_s - (asyncio.get_running_loop().time() - started)
            if left < _RETRY_S or not _is_worth_another_try(error):
                raise
            with pymongo.timeout(left):
                return await self._again(entries, documents)
        if "writeConcernError" in answer:
            raise Unavailable("The database did not confirm this in time.")
        return {error["index"]: error for error in answer.get("writeErrors", ())}

    async def up_to_the_first_failure(self, documents: Sequence[RawBSONDocument]) -> Mapping[int, Any]:
        """Insert in order, and stop at the first one that cannot be inserted. Returns and raises what ``each`` does."""
        return await self._by_driver(documents, ordered=True)

    async def _again(self, entries: Sequence[Entry], documents: Sequence[RawBSONDocument]) -> Mapping[int, Any]:
        errors = dict(await self._by_driver(documents, ordered=False))
        keys = {
            index: entry_key(e.room, e.author.id, e.command_id) for index, e in enumerate(entries) if index in errors
        }
        if keys:
            found = await self._collection.find({"_id": {"$in": list(keys.values())}}, projection={"hash": 1})
            there = {document["_id"]: document["hash"] for document in found}
            for index, key in keys.items():
                if there.get(key) == entries[index].hash:
                    del errors[index]
        return errors

    async def _by_driver(self, documents: Sequence[RawBSONDocument], *, ordered: bool) -> Mapping[int, Any]:
        try:
            await self._collection.insert_many(documents, ordered=ordered)
        except BulkWriteError as error:
            return {write_error["index"]: write_error for write_error in error.details["writeErrors"]}
        return {}


def _is_worth_another_try(error: Unavailable | OperationFailure) -> bool:
    """Whether the attempt came to nothing at once. One that took all the time there was is not."""
    if isinstance(error, Unavailable):
        cause = error.__cause__
        return isinstance(cause, PyMongoError) and not cause.timeout
    return True
