"""What MongoDB holds, read past every server; and what no client may write yet."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from policies.entry import Draft, Entry
from policies.vocabulary import RoomId
from storage.chain import link, verify
from storage.client import Database
from storage.commit import GroupCommit
from storage.room_log import RoomLog


class Record:
    """The rooms' logs of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._commit = GroupCommit(database)
        self._log = RoomLog(database, self._commit)

    async def whole(self, room: str) -> list[Entry]:
        """All entries of a room, which must be 1, 2, 3 ... without a hole, and a valid chain."""
        entries = [entry async for entry in self._log.scan(RoomId(room))]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert verify(RoomId(room), entries) is None
        return entries

    async def texts(self, room: str) -> list[str]:
        """The messages of a room, which must be whole."""
        return [entry.body["text"] for entry in await self.whole(room)]

    async def append(self, room: str, drafts: Sequence[Draft], *, ago: timedelta = timedelta()) -> None:
        """Write entries without telling any server, as one that dies right after its commit does.

        Args:
            ago: how long since they were written.
        """
        head = await self._log.head(RoomId(room))
        entries = link(RoomId(room), head, drafts, datetime.now(UTC) - ago, lambda: os.urandom(16))
        outcome = await self._log.submit(entries)
        assert outcome.appended == len(entries), outcome

    async def close(self) -> None:
        await self._commit.close()
        await self.database.close()
