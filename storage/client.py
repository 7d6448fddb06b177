"""The one place that makes a MongoDB client, and the one where its drivers differ.

Motor and PyMongo's AsyncMongoClient do the same work under almost the same names. ``Database`` and ``Collection`` hide
where they do not, bound every operation in time, and turn "MongoDB does not answer" into ``Unavailable``, so that
nothing else in the server knows a driver or its network errors.

What is written is acknowledged by a majority and its journals. What is read comes from the primary with read concern
"majority": an entry that a failover could still take back must be neither delivered nor built upon. (A writer that read
seq 5 from a primary that then lost it would put its own entry at 6, and leave a hole at 5 for ever.)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, IndexModel, ReturnDocument, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from policies.errors import Unavailable

Document = dict[str, Any]
Session = Any
"""A driver's session, inside a transaction: handed through to the operations that belong to it, never looked into."""
Sort = Sequence[tuple[str, int]]
T = TypeVar("T")

_DURABLE: Final = WriteConcern(w="majority", j=True)
_TEMPORARY: Final = ("RetryableWriteError", "TransientTransactionError", "UnknownTransactionCommitResult")
"""Labels that the drivers put on errors which say nothing about what was asked for."""
_FIRST_BATCH: Final = 1000
"""Documents of a query's first answer; with MongoDB's own 101 most of what is asked here would take a second trip."""
_TRANSACTION_PAUSE_S: Final = 0.005
_LONGEST_TRANSACTION_PAUSE_S: Final = 0.1
"""Before a transaction that met another one is tried again: from the first, doubled each time, up to the second."""


@dataclass(frozen=True, slots=True)
class MongoConfig:
    """How to reach MongoDB.

    Args:
        url: connection string of a replica set or of a sharded cluster.
        database: name of the database.
        driver: which asyncio driver to use.
        timeout_s: longest wait for an operation, with all of the driver's own retries, before ``Unavailable``.
        pool: most connections.
    """

    url: str = field(repr=False)  # it may hold a password
    database: str
    driver: Literal["motor", "pymongo"] = "motor"
    timeout_s: float = 5.0
    pool: int = 32


def open_database(config: MongoConfig) -> "Database":
    """Make a client. It connects on first use, on the event loop that runs then.

    Raises:
        pymongo.errors.PyMongoError: the connection string is not one.
    """
    # The driver gives up before `_edge` does: it closes its connections tidily, while a cancelled one may leak.
    timeout_ms = max(1, int(config.timeout_s * 900))
    options: dict[str, Any] = {
        "timeoutMS": timeout_ms,  # of an operation, all in all; it also stops the work on the server
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "maxPoolSize": config.pool,
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "retryWrites": True,
        "retryReads": True,
        "tz_aware": True,
        "appname": "dispute-chat",
    }
    made_by: Any = AsyncIOMotorClient if config.driver == "motor" else AsyncMongoClient
    return Database(made_by(config.url, **options), config)


class Database:
    """A MongoDB database."""

    def __init__(self, client: Any, config: MongoConfig) -> None:
        self._client = client
        self._motor = config.driver == "motor"
        self._database = client[config.database]
        self._running: set[asyncio.Task[Any]] = set()
        self.name = config.database
        self.timeout_s = config.timeout_s

    def collection(self, name: str) -> "Collection":
        return Collection(self._database[name], self._motor, self.timeout_s)

    async def command(self, command: Mapping[str, Any]) -> Document:
        """Run a database command.

        Raises:
            Unavailable: no answer in time.
        """
        async with _edge(self.timeout_s):
            return dict(await self._database.command(command))

    async def ping(self) -> None:
        """Ask the primary for a sign of life.

        Raises:
            Unavailable: there is none, or it does not answer in time.
        """
        await self.command({"ping": 1})

    async def transact(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run ``work`` in one transaction: all of its writes, or none.

        Once started it is finished even when the caller is cancelled. ``work`` may run several times, when another
        transaction touched the same documents; it must pass the session to each of its operations.

        Raises:
            Unavailable: the outcome is unknown, or it did not get through in time.
            Exception: what ``work`` raised; then nothing was written.
        """
        task = asyncio.ensure_future(self._transact(work))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def drop(self) -> None:
        """Delete the database with all that is in it."""
        async with _edge(self.timeout_s):
            await self._client.drop_database(self.name)

    async def close(self) -> None:
        """Wait for what was started, then disconnect, within the timeout if MongoDB does not answer."""
        while self._running:
            await asyncio.wait(self._running)
        with pymongo.timeout(self.timeout_s):  # the client's own does not count for its goodbye
            if self._motor:  # says it in the thread that calls
                await asyncio.to_thread(self._client.close)
            else:
                await self._client.close()

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen here, for the case that the caller is gone

    async def _transact(self, work: Callable[[Session], Awaitable[T]]) -> T:
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        async with _edge(self.timeout_s * 2):  # each operation has its own bound; this one is for the sum
            session = self._client.start_session()
            if self._motor:
                session = await session
            try:
                pause = _TRANSACTION_PAUSE_S
                while True:
                    try:
                        return await self._attempt(session, work, deadline)
                    except (PyMongoError, Unavailable) as error:
                        if not _has_label(error, "TransientTransactionError") or _past(deadline):
                            raise
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_TRANSACTION_PAUSE_S)
            finally:
                await session.end_session()

    async def _attempt(self, session: Session, work: Callable[[Session], Awaitable[T]], deadline: float) -> T:
        starting = session.start_transaction(
            read_concern=ReadConcern("snapshot"), write_concern=_DURABLE, read_preference=ReadPreference.PRIMARY
        )
        if not self._motor:
            await starting
        try:
            result = await work(session)
        except BaseException:
            # Waits for a majority, too: whatever made the work fail can be read when this returns.
            await session.abort_transaction()
            raise
        while True:
            try:
                await session.commit_transaction()
            except PyMongoError as error:
                if not _has_label(error, "UnknownTransactionCommitResult") or _past(deadline):
                    raise
            else:
                return result


class Collection:
    """A MongoDB collection. Every method raises ``Unavailable`` when there is no answer in time.

    A write that ends so may have happened or not, and may even happen later.
    """

    def __init__(self, collection: Any, motor: bool, timeout_s: float) -> None:
        self._collection = collection
        self._motor = motor
        self._timeout_s = timeout_s
        self.name: str = collection.name

    async def find_one(
        self,
        query: Mapping[str, Any],
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sort | None = None,
        session: Session = None,
    ) -> Document | None:
        async with _edge(self._timeout_s):
            found: Document | None = await self._collection.find_one(query, projection, sort=sort, session=session)
            return found

    async def find(
        self,
        query: Mapping[str, Any],
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sort | None = None,
        limit: int = 0,
        session: Session = None,
    ) -> list[Document]:
        """All that match, or the first ``limit`` of them."""
        async with _edge(self._timeout_s):
            cursor = self._collection.find(
                query, projection, sort=sort, limit=limit, batch_size=limit or _FIRST_BATCH, session=session
            )
            found: list[Document] = await cursor.to_list(None)
            return found

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        async with _edge(self._timeout_s):
            cursor = self._collection.aggregate(pipeline, batchSize=_FIRST_BATCH)
            if not self._motor:
                cursor = await cursor
            found: list[Document] = await cursor.to_list(None)
            return found

    async def insert_one(self, document: Mapping[str, Any], *, session: Session = None) -> None:
        """Raises ``pymongo.errors.DuplicateKeyError`` where a unique key exists already."""
        async with _edge(self._timeout_s):
            await self._collection.insert_one(document, session=session)

    async def insert_many(
        self, documents: Sequence[Mapping[str, Any]], *, ordered: bool, session: Session = None
    ) -> None:
        """Raises ``pymongo.errors.BulkWriteError`` where some were not inserted; it says which and why."""
        async with _edge(self._timeout_s):
            await self._collection.insert_many(documents, ordered=ordered, session=session)

    async def update_one(
        self, query: Mapping[str, Any], update: Mapping[str, Any], *, upsert: bool = False, session: Session = None
    ) -> int:
        """The number of documents that matched: 0 or 1."""
        async with _edge(self._timeout_s):
            result = await self._collection.update_one(query, update, upsert=upsert, session=session)
            return int(result.matched_count)

    async def update_many(self, query: Mapping[str, Any], update: Mapping[str, Any], *, session: Session = None) -> int:
        """The number of documents that matched."""
        async with _edge(self._timeout_s):
            return int((await self._collection.update_many(query, update, session=session)).matched_count)

    async def find_one_and_update(
        self, query: Mapping[str, Any], update: Mapping[str, Any], *, upsert: bool = False
    ) -> Document | None:
        """The document as it is after the update."""
        async with _edge(self._timeout_s):
            found: Document | None = await self._collection.find_one_and_update(
                query, update, upsert=upsert, return_document=ReturnDocument.AFTER
            )
            return found

    async def delete_one(self, query: Mapping[str, Any]) -> int:
        """The number of documents deleted: 0 or 1."""
        async with _edge(self._timeout_s):
            return int((await self._collection.delete_one(query)).deleted_count)

    async def bulk_write(self, writes: Sequence[Any]) -> None:
        """Independent writes (``pymongo.UpdateOne`` ...) in one round trip, in no particular order."""
        async with _edge(self._timeout_s):
            await self._collection.bulk_write(writes, ordered=False)

    async def create_indexes(self, indexes: Sequence[IndexModel]) -> None:
        """Takes as long as it takes."""
        async with _edge(None):
            with pymongo.timeout(0):  # lifts the client's timeoutMS; None would mean to keep it
                await self._collection.create_indexes(list(indexes))


@contextlib.asynccontextmanager
async def _edge(timeout_s: float | None) -> AsyncIterator[None]:
    """Where the drivers' errors end. The bound here is for what the driver's own does not cover: Motor's queue of
    threads, for one, which all wait when MongoDB is silent."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise Unavailable("The database did not answer in time.") from error
    except PyMongoError as error:
        if not _is_unavailable(error):
            raise
        raise Unavailable("The database is not available.") from error


def _is_unavailable(error: PyMongoError) -> bool:
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return True
    if isinstance(error, WriteConcernError):  # written on the primary, not known to be on a majority
        return True
    if isinstance(error, BulkWriteError) and error.details.get("writeConcernErrors"):
        return True
    return error.timeout or any(error.has_error_label(label) for label in _TEMPORARY)


def _has_label(error: BaseException, label: str) -> bool:
    cause = error if isinstance(error, PyMongoError) else error.__cause__
    return isinstance(cause, PyMongoError) and cause.has_error_label(label)


def _past(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline
