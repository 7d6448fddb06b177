"""The continuous check, on real logs that are then tampered with as somebody with access to the database could."""

import os
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from chatserver.integrity import IntegrityCheck, Pass
from policies.entry import Author, Draft
from policies.vocabulary import CommandId, EntryKind, Role, RoomId, RoomKind, UserId
from storage.chain import link
from storage.checkpoints import Checkpoints
from storage.client import Database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.room_log import RoomLog
from tests.chatserver.moving_time import NOW


class Record:
    """Some rooms and their logs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log = RoomLog(database, GroupCommit(database))
        self._said = 0

    def check(self, rooms: int = 500, entries: int = 20_000) -> IntegrityCheck:
        disputes = Disputes(self.database, self.log)
        return IntegrityCheck(self.log, disputes, Checkpoints(self.database), rooms, entries)

    async def open(self, room: str) -> None:
        party = {"id": "someone", "name": "Some One"}
        facts = {"kind": RoomKind.ORDER, "order_id": room, "buyer": party, "seller": party, "created_at": NOW}
        await self.database.collection("rooms").insert_one({"_id": room, "closed": False, **facts})

    async def say(self, room: str, count: int) -> None:
        """Append messages to a room."""
        drafts = []
        for _ in range(count):
            self._said += 1
            command = CommandId(f"c{self._said}")
            author = Author(UserId("someone"), Role.BUYER, "Some One")
            drafts.append(Draft(author, command, EntryKind.MESSAGE, {"text": f"message {self._said}"}))
        head = await self.log.head(RoomId(room))
        now = NOW + timedelta(seconds=self._said)
        assert (await self.log.submit(link(RoomId(room), head, drafts, now, lambda: os.urandom(16)))).failure is None

    async def change(self, room: str, seq: int, changes: dict[str, Any]) -> None:
        """Do what no part of the server does."""
        assert await self.database.collection("entries").update_one({"room": room, "seq": seq}, {"$set": changes})

    async def remove(self, room: str, seq: int) -> None:
        assert await self.database.collection("entries").delete_one({"room": room, "seq": seq})


@pytest.fixture
async def record(own_database: Database) -> Record:
    record = Record(own_database)
    for room in ("a", "b", "c"):
        await record.open(room)
        await record.say(room, 4)
    return record


async def test_only_what_is_new_is_verified(record: Record) -> None:
    assert await record.check().run() == Pass(rooms=3, entries=12, breaks=0, complete=True)
    assert await record.check().run() == Pass(rooms=3, entries=0, breaks=0, complete=True)
    await record.say("b", 3)
    assert await record.check().run() == Pass(rooms=3, entries=3, breaks=0, complete=True)


async def test_nothing_to_verify(own_database: Database) -> None:
    assert await Record(own_database).check().run() == Pass(0, 0, 0, complete=True)


async def test_a_round_goes_on_where_the_last_pass_stopped(record: Record) -> None:
    passes = [await record.check(rooms=2).run() for _ in range(3)]
    assert [(each.rooms, each.entries, each.complete) for each in passes] == [
        (2, 8, False),
        (1, 4, True),
        (2, 0, False),
    ]


async def test_a_pass_reads_a_bounded_number_of_entries(record: Record) -> None:
    passes = [await record.check(entries=3).run() for _ in range(5)]
    assert [each.entries for each in passes] == [3, 3, 3, 3, 0]
    assert [each.complete for each in passes] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"body": {"text": "I never said that"}}, "content"),
        ({"author.id": "someone else"}, "hash"),
        ({"prev_hash": b"\0" * 32}, "prev_hash"),
    ],
)
async def test_a_rewritten_entry_is_reported_and_others_are_checked(
    changes: dict[str, Any], what: str, record: Record
) -> None:
    await record.change("b", 3, changes)
    with capture_logs() as logs:
        assert await record.check().run() == Pass(rooms=3, entries=10, breaks=1, complete=True)
        assert await record.check().run() == Pass(rooms=3, entries=0, breaks=1, complete=True)
    assert [(line["event"], line["room"], line["seq"], line["what"]) for line in logs] == [
        ("record_broken", "b", 3, what)
    ] * 2


async def test_what_is_hidden_without_a_word_of_the_log_is_reported_until_it_is_dealt_with(record: Record) -> None:
    await record.say("a", 2)
    await record.change("a", 2, {"shown": "withheld"})
    for _ in range(2):
        with capture_logs() as logs:
            assert (await record.check().run()).breaks == 1
        assert logs == [
            {"event": "record_broken", "log_level": "error", "room": "a", "seq": 2, "what": "wrongly_shown"},
        ]


async def test_a_removed_entry_is_reported(record: Record) -> None:
    await record.remove("b", 2)
    with capture_logs() as logs:
        assert (await record.check().run()).breaks == 1
    assert [(line["room"], line["seq"], line["what"]) for line in logs] == [("b", 2, "gap")]


async def test_a_removed_end_is_reported_although_the_rest_of_the_chain_holds(record: Record) -> None:
    await record.check().run()
    await record.remove("b", 4)
    with capture_logs() as logs:
        assert (await record.check().run()).breaks == 1
    assert [(line["room"], line["seq"], line["what"]) for line in logs] == [("b", 4, "removed")]


async def test_a_history_written_anew_does_not_fit_what_was_verified(record: Record) -> None:
    await record.check().run()
    for seq in (4, 3, 2, 1):
        await record.remove("b", seq)
    await record.say("b", 6)
    with capture_logs() as logs:
        assert (await record.check().run()).breaks == 1
    assert [(line["room"], line["seq"], line["what"]) for line in logs] == [("b", 5, "prev_hash")]
