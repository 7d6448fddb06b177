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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, IndexModel, ReturnDocument, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from policies.errors import Unavailable
from storage.edge import TRANSIENT, UNKNOWN_COMMIT, Edge, has_label

Document = dict[str, Any]
Session = Any
"""A driver's session, inside a transaction: handed through to the operations that belong to it, never looked into."""
Sort = Sequence[tuple[str, int]]
T = TypeVar("T")

APP_NAME: Final = "dispute-chat"
"""By which MongoDB knows this server's connections and sessions from others'."""
_DURABLE: Final = WriteConcern(w="majority", j=True)
_FIRST_BATCH: Final = 1000
"""Documents of a query's first answer; with MongoDB's own 101 most of what is asked here would take a second trip."""
_TRANSACTION_PAUSE_S: Final = 0.005
_LONGEST_TRANSACTION_PAUSE_S: Final = 0.1
"""Before a transaction that met another one is tried again: from the first, doubled each time, up to the second."""
_PUSHES_AT_ONCE: Final = 2
_PUSHES: Final = 60
_PAUSE_BETWEEN_PUSHES_S: Final = 1.0
"""How often and in what pauses a transaction without an answer is followed up: for as long as MongoDB would keep it."""


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
    # The driver gives up a little earlier than ``Edge`` does, and closes what it has opened.
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
        "appname": APP_NAME,
    }
    made_by: Any = AsyncIOMotorClient if config.driver == "motor" else AsyncMongoClient
    return Database(made_by(config.url, **options), config)


class Database:
    """A MongoDB database."""

    def __init__(self, client: Any, config: MongoConfig) -> None:
        self._client = client
        self._motor = config.driver == "motor"
        self._database = client[config.database]
        self._edge = Edge(self._motor, config.timeout_s)
        self._closing = asyncio.Event()
        self._pushing = asyncio.Semaphore(_PUSHES_AT_ONCE)
        self.name = config.database
        self.timeout_s = config.timeout_s

    def collection(self, name: str) -> "Collection":
        return Collection(self._database[name], self._motor, self._edge)

    async def command(self, command: Mapping[str, Any]) -> Document:
        """Run a database command.

        Raises:
            Unavailable: no answer in time.
        """
        return dict(await self._edge.run(self._database.command(command)))

    async def admin_command(self, command: Mapping[str, Any]) -> Document:
        """Run a command that concerns the server as a whole.

        Raises:
            Unavailable: no answer in time.
            pymongo.errors.OperationFailure: the server does not know or allow it.
        """
        return dict(await self._edge.run(self._client.admin.command(command)))

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
        return await asyncio.shield(self._edge.keep(self._transact(work)))

    async def drop(self) -> None:
        """Delete the database with all that is in it."""
        await self._edge.run(self._client.drop_database(self.name))

    async def close(self) -> None:
        """Wait for what was started, then disconnect, within the timeout if MongoDB does not answer."""
        self._closing.set()
        await self._edge.finish()
        with pymongo.timeout(self.timeout_s):  # the client's own does not count for its goodbye
            if self._motor:  # says it in the thread that calls
                await asyncio.to_thread(self._client.close)
            else:
                await self._client.close()

    async def _transact(self, work: Callable[[Session], Awaitable[T]]) -> T:
        session = self._client.start_session()
        if self._motor:
            session = await self._edge.run(session)
        try:
            result = await self._until_it_gets_through(session, work)
        except Unavailable:
            self._edge.keep(self._push_out(session))
            raise
        except BaseException:
            await session.end_session()
            raise
        await session.end_session()
        return result

    async def _until_it_gets_through(self, session: Session, work: Callable[[Session], Awaitable[T]]) -> T:
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        pause = _TRANSACTION_PAUSE_S
        while True:
            try:
                return await self._attempt(session, work, deadline)
            except (PyMongoError, Unavailable) as error:
                if not has_label(error, TRANSIENT) or _past(deadline):
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_TRANSACTION_PAUSE_S)

    async def _push_out(self, session: Session) -> None:
        """End a transaction that got no answer.

        MongoDB may hold a part of it, or receive one yet, and would keep its locks for a minute: nobody could write to
        that place of that room. The next transaction of the same session ends the one before, and shuts out what still
        comes of it.
        """
        try:
            for _ in range(_PUSHES):
                if self._closing.is_set():
                    return
                try:
                    async with self._pushing:
                        await self._attempt(session, self._touch, deadline=0.0)
                except Unavailable:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), _PAUSE_BETWEEN_PUSHES_S)
                else:
                    return
        finally:
            await session.end_session()

    async def _touch(self, session: Session) -> None:
        await self.collection("meta").find_one({}, session=session)

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
                await self._edge.run(session.commit_transaction(), bounded=False)
            except Unavailable as error:
                if not has_label(error, UNKNOWN_COMMIT) or _past(deadline):
                    raise
            else:
                return result


class Collection:
    """A MongoDB collection. Every method raises ``Unavailable`` when there is no answer in time.

    A write that ends so may have happened or not, and may even happen later.
    """

    def __init__(self, collection: Any, motor: bool, edge: Edge) -> None:
        self._collection = collection
        self._motor = motor
        self._edge = edge
        self.name: str = collection.name

    async def find_one(
        self,
        query: Mapping[str, Any],
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sort | None = None,
        session: Session = None,
    ) -> Document | None:
        finding = self._collection.find_one(query, projection, sort=sort, session=session)
        found: Document | None = await self._run(finding, session)
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
        cursor = self._collection.find(
            query, projection, sort=sort, limit=limit, batch_size=limit or _FIRST_BATCH, session=session
        )
        found: list[Document] = await self._run(cursor.to_list(None), session)
        return found

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        cursor = self._collection.aggregate(pipeline, batchSize=_FIRST_BATCH)
        if not self._motor:
            cursor = await self._run(cursor)
        found: list[Document] = await self._run(cursor.to_list(None))
        return found

    async def insert_one(self, document: Mapping[str, Any], *, session: Session = None) -> None:
        """Raises ``pymongo.errors.DuplicateKeyError`` where a unique key exists already."""
        await self._run(self._collection.insert_one(document, session=session), session)

    async def insert_many(
        self, documents: Sequence[Mapping[str, Any]], *, ordered: bool, session: Session = None
    ) -> None:
        """Raises ``pymongo.errors.BulkWriteError`` where some were not inserted; it says which and why."""
        await self._run(self._collection.insert_many(documents, ordered=ordered, session=session), session)

    async def update_one(
        self, query: Mapping[str, Any], update: Mapping[str, Any], *, upsert: bool = False, session: Session = None
    ) -> int:
        """The number of documents that matched: 0 or 1."""
        updating = self._collection.update_one(query, update, upsert=upsert, session=session)
        return int((await self._run(updating, session)).matched_count)

    async def update_many(self, query: Mapping[str, Any], update: Mapping[str, Any], *, session: Session = None) -> int:
        """The number of documents that matched."""
        updating = self._collection.update_many(query, update, session=session)
        return int((await self._run(updating, session)).matched_count)

    async def find_one_and_update(
        self, query: Mapping[str, Any], update: Mapping[str, Any], *, upsert: bool = False
    ) -> Document | None:
        """The document as it is after the update."""
        found: Document | None = await self._run(
            self._collection.find_one_and_update(query, update, upsert=upsert, return_document=ReturnDocument.AFTER)
        )
        return found

    async def delete_one(self, query: Mapping[str, Any], *, session: Session = None) -> int:
        """The number of documents deleted: 0 or 1."""
        deleting = self._collection.delete_one(query, session=session)
        return int((await self._run(deleting, session)).deleted_count)

    async def delete_many(self, query: Mapping[str, Any], *, session: Session = None) -> int:
        """The number of documents deleted."""
        deleting = self._collection.delete_many(query, session=session)
        return int((await self._run(deleting, session)).deleted_count)

    async def bulk_write(self, writes: Sequence[Any], *, session: Session = None) -> int:
        """Independent writes (``pymongo.UpdateOne`` ...) in one round trip, in no particular order."""
        written = await self._run(self._collection.bulk_write(writes, ordered=False, session=session), session)
        return int(written.matched_count)

    async def create_indexes(self, indexes: Sequence[IndexModel]) -> None:
        """Takes as long as it takes."""
        with pymongo.timeout(0):  # lifts the client's timeoutMS; None would mean to keep it
            await self._edge.run(self._collection.create_indexes(list(indexes)), bounded=False)

    async def _run(self, operation: Awaitable[Any], session: Session = None) -> Any:
        """Within a transaction the driver's own timeout must do: nothing else may use the session meanwhile."""
        return await self._edge.run(operation, bounded=session is None)


def _past(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline
