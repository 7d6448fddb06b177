"""What was acknowledged stays, whatever happens to MongoDB in the middle of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from chatserver.embedded import Mongod
from policies.entry import Entry
from policies.errors import Unavailable
from policies.vocabulary import CommandId, RoomId, Seq
from storage.chain import link, verify
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.errors import CommandTaken, HeadMoved
from storage.room_log import RoomLog
from storage.schema import migrate
from tests.eventually import eventually
from tests.storage.conftest import Driver
from tests.storage.making import BUYER, NOW, draft, salts
from tests.storage.test_room_log import nothing

ROOMS = [RoomId(f"order-{number}") for number in range(5)]
WRITERS = 3


@pytest.fixture
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("mortal")) as running:
        yield running


@pytest.fixture
async def databases(mongod: Mongod, driver: Driver) -> AsyncIterator[list[Database]]:
    """Two processes' views of it."""
    config = MongoConfig(mongod.url, "chat", driver, timeout_s=1.0)
    opened = [open_database(config) for _ in range(2)]
    await eventually_migrated(opened[0])
    yield opened
    for database in opened:
        await database.close()


class Writer:
    """Writes commands to one room until it is told to stop, each until it is acknowledged."""

    def __init__(self, name: str, room: RoomId, log: RoomLog) -> None:
        self.name = name
        self.room = room
        self.log = log
        self.acknowledged: list[Entry] = []
        self.unavailable = 0
        self.salt = salts()
        self.random = random.Random(name)

    async def write(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            command = CommandId(f"{self.name}-{len(self.acknowledged)}")
            while (entry := await self._try(command)) is None:
                pass
            self.acknowledged.append(entry)

    async def _try(self, command: CommandId) -> Entry | None:
        try:
            head = await self.log.head(self.room)
            entries = link(self.room, head, [draft(command)], NOW, self.salt)
            if self.random.random() < 0.2:
                await self.log.append_with(entries, nothing)
            else:
                outcome = await self.log.submit(entries)
                if outcome.failure is not None:
                    raise outcome.failure
        except HeadMoved:
            return None
        except CommandTaken:
            return await self.log.find(self.room, BUYER.id, command)
        except Unavailable:
            self.unavailable += 1
            return None
        return entries[0]


async def everything_is_there(database: Database, writers: list[Writer]) -> None:
    log = RoomLog(database, GroupCommit(database))
    for room in ROOMS:
        entries = await log.read_after(room, Seq(0), 100_000)
        assert verify(room, entries) is None
        mine = [writer for writer in writers if writer.room == room]
        written = {entry.command_id: entry for entry in entries}
        assert len(written) == len(entries)
        for writer in mine:
            assert [written[entry.command_id] for entry in writer.acknowledged] == writer.acknowledged
        # One command of each writer may have been written without anybody having been told.
        assert len(entries) - sum(len(writer.acknowledged) for writer in mine) in range(len(mine) + 1)


@pytest.mark.parametrize("accident", ["killed", "paused"])
async def test_nothing_acknowledged_is_lost_doubled_or_out_of_order(
    mongod: Mongod, databases: list[Database], accident: str
) -> None:
    logs = [RoomLog(database, GroupCommit(database)) for database in databases]
    writers = [
        Writer(f"{room}-{number}", room, logs[number % len(logs)]) for room in ROOMS for number in range(WRITERS)
    ]
    stop = asyncio.Event()
    running = [asyncio.create_task(writer.write(stop)) for writer in writers]

    async def progress(least: int = 2) -> None:
        goals = [len(writer.acknowledged) + least for writer in writers]
        await eventually(
            lambda: all(len(writer.acknowledged) >= goal for writer, goal in zip(writers, goals, strict=True)),
            within_s=60,
        )

    for accidents in (1, 2):
        await progress()
        if accident == "killed":
            mongod.kill()
            await asyncio.to_thread(mongod.start)
        else:
            mongod.pause()
            await everybody_noticed(writers, accidents)
            mongod.resume()
    await progress()
    stop.set()
    await asyncio.gather(*running)
    await everything_is_there(databases[0], writers)


async def everybody_noticed(writers: list[Writer], times: int) -> None:
    await eventually(lambda: all(writer.unavailable >= times for writer in writers), within_s=60)


async def eventually_migrated(database: Database) -> None:
    """A mongod that has just become primary may still be slow."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await migrate(database)
            except Unavailable:
                continue
