import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

from policies.entry import Author, Entry
from policies.errors import Unavailable
from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.vocabulary import CommandId, Role, RoomId, Seq, UserId
from storage.chain import genesis, head_of, link, verify
from storage.client import Database, MongoConfig, Session, open_database
from storage.commit import GroupCommit
from storage.errors import CommandTaken, HeadMoved
from storage.room_log import HEADS_MAX, SCAN_PAGE, RoomLog, heads_query
from tests.storage.faults import Tap, failing
from tests.storage.making import BUYER, NOW, ROOM, SELLER, draft, linked, salts, seqs

pytestmark = pytest.mark.usefixtures("empty")
"""Writes whose outcome is unknown may happen after a test: each has a database of its own."""


async def nothing(session: Session) -> None:
    """Work that writes nothing else."""


async def fill(log: RoomLog, count: int, room: RoomId = ROOM) -> list[Entry]:
    entries = linked(*map(str, range(1, count + 1)), room=room)
    assert (await log.submit(entries)).failure is None
    return entries


# Reading


async def test_an_entry_comes_back_as_it_was_written(log: RoomLog) -> None:
    body = {"text": "Grüße 👋\0\n", "n": 2**53 - 1, "deep": {"list": [1, None, True, "x"]}, "$set": {"a.b": 1}}
    [entry] = link(ROOM, genesis(ROOM), [replace(draft(), body=body)], NOW, salts())
    await log.submit([entry])
    assert await log.read_after(ROOM, Seq(0), 10) == [entry]


async def test_the_head_of_a_room_without_entries_is_the_place_before_the_first(log: RoomLog) -> None:
    assert await log.head(ROOM) == genesis(ROOM)


async def test_the_head_is_the_last_entry(log: RoomLog) -> None:
    entries = await fill(log, 3)
    await fill(log, 5, RoomId("order-10"))  # whose name begins alike
    assert await log.head(ROOM) == head_of(entries[-1])


@pytest.mark.parametrize(
    ("after", "limit", "found"), [(0, 10, [1, 2, 3, 4, 5]), (0, 2, [1, 2]), (3, 10, [4, 5]), (5, 10, []), (99, 10, [])]
)
async def test_history_forwards(log: RoomLog, after: int, limit: int, found: list[int]) -> None:
    await fill(log, 5)
    assert seqs(await log.read_after(ROOM, Seq(after), limit)) == found


@pytest.mark.parametrize(
    ("before", "limit", "found"),
    [(None, 10, [1, 2, 3, 4, 5]), (None, 2, [4, 5]), (4, 2, [2, 3]), (1, 10, []), (99, 1, [5])],
)
async def test_history_backwards(log: RoomLog, before: int | None, limit: int, found: list[int]) -> None:
    await fill(log, 5)
    place = None if before is None else Seq(before)
    assert seqs(await log.read_before(ROOM, place, limit)) == found


async def test_one_entry_of_each_of_many_rooms(log: RoomLog) -> None:
    rooms = [RoomId(f"order-{number}") for number in range(3)]
    filled = {room: await fill(log, 3, room) for room in rooms}
    places = {rooms[0]: Seq(3), rooms[1]: Seq(1), rooms[2]: Seq(4), RoomId("empty"): Seq(0)}
    assert await log.read_at(places) == {rooms[0]: filled[rooms[0]][2], rooms[1]: filled[rooms[1]][0]}
    assert await log.read_at({}) == {}
    assert await log.read_at({RoomId("empty"): Seq(0)}) == {}


async def test_entries_of_a_thousand_rooms_are_asked_in_one_query(log: RoomLog) -> None:
    many = {RoomId(f"order-{number}"): Seq(1) for number in range(HEADS_MAX)}
    await asyncio.gather(*(fill(log, 1, room) for room in list(many)[:5]))
    assert len(await log.read_at(many)) == 5
    with pytest.raises(ValueError, match="1001"):
        await log.read_at({**many, RoomId("one-more"): Seq(1)})


async def test_what_follows_a_place_is_read_of_many_rooms_in_one_query(log: RoomLog) -> None:
    rooms = [RoomId(f"order-{number}") for number in range(3)]
    filled = {room: await fill(log, 3, room) for room in rooms}
    places = {rooms[0]: Seq(3), rooms[1]: Seq(1), rooms[2]: Seq(4), RoomId("empty"): Seq(1)}
    found = {rooms[0]: filled[rooms[0]][2:], rooms[1]: filled[rooms[1]]}
    assert await log.read_from(places, 100) == found
    assert await log.read_from({}, 100) == {}
    with pytest.raises(ValueError, match="1001"):
        await log.read_from({RoomId(str(number)): Seq(1) for number in range(HEADS_MAX + 1)}, 100)


async def test_a_room_whose_entries_do_not_fit_is_left_out(log: RoomLog) -> None:
    rooms = [RoomId("order-1"), RoomId("order-2")]
    filled = {room: await fill(log, 3, room) for room in rooms}
    places = dict.fromkeys(rooms, Seq(1))
    assert await log.read_from(places, 7) == filled
    for limit in (4, 6):  # with 6, nobody can know that nothing follows
        assert await log.read_from(places, limit) == {rooms[0]: filled[rooms[0]]}
    assert await log.read_from(places, 3) == {}


async def test_find_names_room_author_and_command(log: RoomLog) -> None:
    [entry] = await fill(log, 1)
    assert await log.find(ROOM, BUYER.id, CommandId("1")) == entry
    assert await log.find(ROOM, SELLER.id, CommandId("1")) is None
    assert await log.find(RoomId("order-2"), BUYER.id, CommandId("1")) is None
    asked = [
        (BUYER.id, CommandId("1")),
        (SELLER.id, CommandId("1")),
        (BUYER.id, CommandId("1")),
        (BUYER.id, CommandId("9")),
    ]
    assert await log.find_all(ROOM, asked) == {(BUYER.id, CommandId("1")): entry}
    assert await log.find_all(RoomId("order-2"), asked) == {}


async def test_a_scan_gives_everything_once(log: RoomLog) -> None:
    await fill(log, SCAN_PAGE * 2 + 1)
    assert [entry.seq async for entry in log.scan(ROOM)] == list(range(1, SCAN_PAGE * 2 + 2))
    assert [entry.seq async for entry in log.scan(ROOM, Seq(SCAN_PAGE * 2))] == [SCAN_PAGE * 2 + 1]


async def test_every_room_with_entries_is_named_once(log: RoomLog) -> None:
    rooms = [RoomId(f"order-{number}") for number in (1, 10, 2)]
    for room in rooms:
        await fill(log, 2, room)
    assert [room async for room in log.rooms_with_entries()] == rooms  # in order of their names


# Heads


async def test_heads_of_many_rooms(log: RoomLog) -> None:
    lengths = {RoomId(f"order-{number}"): number for number in range(1, 6)}
    for room, length in lengths.items():
        await fill(log, length, room)
    assert await log.heads([*lengths, RoomId("empty")]) == lengths | {RoomId("empty"): 0}
    assert await log.heads([]) == {}
    assert await log.heads([RoomId("order-3")]) == {"order-3": 3}


async def test_heads_of_a_thousand_rooms_are_asked_in_one_query(log: RoomLog) -> None:
    many = [RoomId(f"order-{number}") for number in range(HEADS_MAX)]
    await asyncio.gather(*(fill(log, 1, room) for room in many[:100]))
    assert sum((await log.heads(many)).values()) == 100
    with pytest.raises(ValueError, match="1001"):
        await log.heads([*many, RoomId("one-more")])


def examined(mongo_url: str, database: Database, rooms: Sequence[RoomId]) -> tuple[int, int]:
    """How many index keys and documents the query of heads looks at."""
    explain = {"aggregate": "entries", "pipeline": heads_query(rooms), "cursor": {}}
    with MongoClient[dict[str, object]](mongo_url) as client:
        plan = json.dumps(client[database.name].command("explain", explain, verbosity="executionStats"), default=str)
    assert '"stage": "DISTINCT_SCAN"' in plan
    assert '"stage": "SORT"' not in plan
    keys, documents = (re.search(rf'"total{what}Examined": (\d+)', plan) for what in ("Keys", "Docs"))
    assert keys
    assert documents
    return int(keys[1]), int(documents[1])


async def test_heads_cost_the_same_however_long_the_logs_are(mongo_url: str, database: Database, log: RoomLog) -> None:
    rooms = [RoomId(f"order-{number}") for number in range(10)]
    asked = rooms[::2]
    for room in rooms:
        await fill(log, 1, room)
    short = examined(mongo_url, database, asked)
    for room in rooms:
        head = await log.head(room)
        salt = salts()
        more = link(room, head, [draft(f"more-{number}") for number in range(300)], NOW, salt)
        assert (await log.submit(more)).failure is None
    assert await log.heads(asked) == dict.fromkeys(asked, 301)
    keys, documents = examined(mongo_url, database, asked)
    assert documents == short[1] == 0  # the index alone answers
    assert keys <= short[0] + len(asked)
    assert keys <= 3 * len(asked)


# Appending with state


async def test_entries_and_what_belongs_to_them_are_written_together(database: Database, log: RoomLog) -> None:
    things = database.collection("things")

    async def work(session: Session) -> None:
        await things.insert_one({"_id": 1}, session=session)

    entries = linked("a", "b")
    await log.append_with(entries, work)
    assert await log.read_after(ROOM, Seq(0), 10) == entries
    assert await things.find({}) == [{"_id": 1}]


async def test_when_the_work_fails_no_entry_is_written(database: Database, log: RoomLog) -> None:
    things = database.collection("things")
    await things.insert_one({"_id": 1})

    async def work(session: Session) -> None:
        await things.insert_one({"_id": 2}, session=session)
        await things.insert_one({"_id": 1}, session=session)

    with pytest.raises(DuplicateKeyError):
        await log.append_with(linked("a"), work)
    assert await log.head(ROOM) == genesis(ROOM)
    assert await things.find({}) == [{"_id": 1}]


async def test_when_the_place_is_lost_nothing_else_is_written(database: Database, log: RoomLog) -> None:
    things = database.collection("things")

    async def work(session: Session) -> None:
        await things.insert_one({"_id": 1}, session=session)

    await fill(log, 1)
    with pytest.raises(HeadMoved):
        await log.append_with(linked("a", author=SELLER), work)
    assert await things.find({}) == []


async def test_a_repeated_command_is_told(log: RoomLog) -> None:
    [first] = linked("a")
    await log.append_with([first], nothing)
    with pytest.raises(CommandTaken) as taken:
        await log.append_with(linked("b", "a", head=head_of(first)), nothing)
    assert taken.value.command_id == "a"
    assert await log.head(ROOM) == head_of(first)


async def test_nothing_is_appended_behind_an_entry_that_is_not_there(log: RoomLog) -> None:
    first, second, third = linked("a", "b", "c")
    with pytest.raises(HeadMoved):
        await log.append_with([second], nothing)
    await log.append_with([first], nothing)
    with pytest.raises(HeadMoved):
        await log.append_with([third], nothing)
    [other] = linked("x", author=SELLER)
    with pytest.raises(HeadMoved):  # there is an entry before it, but not that one
        await log.append_with(linked("d", head=head_of(other)), nothing)
    await log.append_with([second, third], nothing)
    assert verify(ROOM, await log.read_after(ROOM, Seq(0), 10)) is None


async def test_both_ways_of_appending_race_for_one_place(mongo: MongoConfig, log: RoomLog) -> None:
    """Messages and changes of state, from two processes: one log without holes, each entry once."""
    other = open_database(mongo)
    theirs = RoomLog(other, GroupCommit(other))

    async def plain(commands: Sequence[str]) -> None:
        for command in commands:
            while (await log.submit(linked(command, head=await log.head(ROOM)))).failure:
                pass

    async def with_state(commands: Sequence[str]) -> None:
        for command in commands:
            while True:
                try:
                    await theirs.append_with(linked(command, head=await theirs.head(ROOM), author=SELLER), nothing)
                    break
                except HeadMoved:
                    continue

    commands = [str(number) for number in range(15)]
    await asyncio.gather(plain(commands), with_state(commands))
    entries = await log.read_after(ROOM, Seq(0), 100)
    assert verify(ROOM, entries) is None
    for author in (BUYER, SELLER):
        assert [entry.command_id for entry in entries if entry.author == author] == commands
    await other.close()


async def test_an_append_with_state_goes_on_though_its_caller_is_cancelled(mongo: MongoConfig, log: RoomLog) -> None:
    database = open_database(mongo)
    mine = RoomLog(database, GroupCommit(database))
    started = asyncio.Event()

    async def work(session: Session) -> None:
        started.set()

    entries = linked("a")
    caller = asyncio.create_task(mine.append_with(entries, work))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await database.close()
    assert await log.read_after(ROOM, Seq(0), 10) == entries


async def test_a_transaction_that_met_trouble_is_run_again(faulty: RoomLog, faulty_url: str) -> None:
    runs = 0

    async def work(session: Session) -> None:
        nonlocal runs
        runs += 1

    transient = {"errorCode": 251, "errorLabels": ["TransientTransactionError"]}
    with failing(faulty_url, "insert", times=2, **transient):
        await faulty.append_with(linked("a"), work)
    assert runs == 1
    assert seqs(await faulty.read_after(ROOM, Seq(0), 10)) == [1]


async def test_a_commit_whose_answer_is_lost_is_asked_again(faulty: RoomLog, faulty_url: str) -> None:
    unknown = {"errorCode": 50, "errorLabels": ["UnknownTransactionCommitResult"]}
    with failing(faulty_url, "commitTransaction", times=3, **unknown):
        await faulty.append_with(linked("a"), nothing)
    assert seqs(await faulty.read_after(ROOM, Seq(0), 10)) == [1]


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        ("insert", {"errorCode": 251, "errorLabels": ["TransientTransactionError"]}),
        ("insert", {"closeConnection": True}),
        ("commitTransaction", {"errorCode": 251, "errorLabels": ["UnknownTransactionCommitResult"]}),
        ("commitTransaction", {"closeConnection": True}),
    ],
)
async def test_trouble_that_does_not_end_is_unavailable(
    impatient: Database, faulty_url: str, command: str, trouble: dict[str, Any]
) -> None:
    log = RoomLog(impatient, GroupCommit(impatient))
    with failing(faulty_url, command, times=None, **trouble), pytest.raises(Unavailable):
        await log.append_with(linked("a"), nothing)


@pytest.fixture
async def tap(mongo_url: str) -> AsyncIterator[Tap]:
    async with Tap(mongo_url).open() as tap:
        yield tap


@pytest.mark.parametrize("when", ["before the first write", "before the commit"])
async def test_a_transaction_without_an_answer_does_not_keep_its_place(
    tap: Tap, mongo: MongoConfig, log: RoomLog, when: str
) -> None:
    """MongoDB gets it, or a part of it, later, and by itself would keep the place locked for a minute."""
    database = open_database(replace(mongo, url=tap.url, timeout_s=0.5))
    await database.ping()

    async def work(session: Session) -> None:
        tap.hold_requests()

    if when == "before the first write":
        tap.hold_requests()
    with pytest.raises(Unavailable):
        await RoomLog(database, GroupCommit(database)).append_with(linked("a"), work)
    tap.let_go()
    async with asyncio.timeout(20):
        while isinstance((await log.submit(linked("theirs", author=SELLER))).failure, Unavailable):
            pass
    assert seqs(await log.read_after(ROOM, Seq(0), 10)) == [1]  # theirs, or mine after all
    await database.close()


async def test_closing_does_not_wait_for_transactions_that_cannot_be_ended(
    tap: Tap, mongo: MongoConfig, database: Database
) -> None:
    silenced = open_database(replace(mongo, url=tap.url, timeout_s=0.5))
    await silenced.ping()
    tap.hold_requests()
    with pytest.raises(Unavailable):
        await RoomLog(silenced, GroupCommit(silenced)).append_with(linked("a"), nothing)
    started = time.monotonic()
    await silenced.close()
    assert time.monotonic() - started < 3


async def test_entries_of_several_rooms_are_written_together_or_not_at_all(log: RoomLog, database: Database) -> None:
    rooms = [RoomId("order-1"), RoomId("order-2")]
    [first] = await fill(log, 1, rooms[0])
    runs = [linked("b", "c", room=rooms[0], head=head_of(first)), linked("a", "b", room=rooms[1])]

    async def work(session: Session) -> None:
        await database.collection("meta").insert_one({"_id": "beside"}, session=session)

    await fill(log, 1, rooms[1])
    with pytest.raises(HeadMoved) as moved:
        await log.append_each_with(runs, work)
    assert (moved.value.room, moved.value.seq) == (rooms[1], 1)
    assert seqs(await log.read_after(rooms[0], Seq(0), 10)) == [1]
    assert await database.collection("meta").find_one({"_id": "beside"}) is None

    runs[1] = linked("b", "c", room=rooms[1], head=await log.head(rooms[1]))
    await log.append_each_with(runs, work)
    assert [seqs(await log.read_after(room, Seq(0), 10)) for room in rooms] == [[1, 2, 3], [1, 2, 3]]
    assert await database.collection("meta").find_one({"_id": "beside"}) is not None

    behind = linked("d", room=rooms[1], head=head_of(linked("x", "y", "z", room=rooms[1])[-1]))
    with pytest.raises(HeadMoved):
        await log.append_each_with([linked("d", room=rooms[0], head=await log.head(rooms[0])), behind], nothing)
    assert seqs(await log.read_after(rooms[0], Seq(0), 10)) == [1, 2, 3]


# Erasing


async def conversation(log: RoomLog) -> list[Entry]:
    """Two of the buyer's, one of the seller's, one more of the buyer's."""
    salt, head, entries = salts(), genesis(ROOM), []
    for number, author in enumerate([BUYER, BUYER, SELLER, BUYER]):
        entries += link(ROOM, head, [draft(str(number), author=author)], NOW, salt)
        head = head_of(entries[-1])
    assert (await log.submit(entries)).failure is None
    return entries


async def test_erasing_a_persons_content(log: RoomLog) -> None:
    before = await conversation(log)
    assert await log.erase(ROOM, author=BUYER.id) == 3
    after = await log.read_after(ROOM, Seq(0), 10)
    assert verify(ROOM, after) is None
    assert after[2] == before[2]
    for entry, was in zip(after, before, strict=True):
        if entry.author.id == BUYER.id:
            assert entry == replace(was, body={}, author=Author(BUYER.id, Role.BUYER, ""), salt=None)
            assert entry.erased


async def test_erasing_some_entries(log: RoomLog) -> None:
    await conversation(log)
    assert await log.erase(ROOM, seqs=[Seq(2), Seq(3), Seq(99)]) == 2
    assert [entry.erased for entry in await log.read_after(ROOM, Seq(0), 10)] == [False, True, True, False]
    assert await log.erase(ROOM, author=BUYER.id, seqs=[Seq(1), Seq(3)]) == 1


async def test_erasing_again_changes_nothing(log: RoomLog) -> None:
    await conversation(log)
    await log.erase(ROOM, author=BUYER.id)
    once = await log.read_after(ROOM, Seq(0), 10)
    assert await log.erase(ROOM, author=BUYER.id) == 0
    assert await log.read_after(ROOM, Seq(0), 10) == once


async def test_erasing_leaves_other_rooms_alone(log: RoomLog) -> None:
    await conversation(log)
    await fill(log, 1, RoomId("order-2"))
    await log.erase(ROOM, author=BUYER.id)
    assert not (await log.read_after(RoomId("order-2"), Seq(0), 1))[0].erased


async def test_erasing_says_what(log: RoomLog) -> None:
    with pytest.raises(ValueError, match="whose"):
        await log.erase(ROOM)


async def test_what_was_erased_is_gone_from_the_database(database: Database, log: RoomLog) -> None:
    name = Author(UserId("u"), Role.BUYER, "A very rare name")
    await log.submit(linked("a", author=name))
    await log.erase(ROOM, author=name.id)
    left = str(await database.collection("entries").find({}))
    assert "rare name" not in left
    assert "hello" not in left


async def test_a_flag_and_what_was_masked_are_kept_and_go_with_the_content(database: Database, log: RoomLog) -> None:
    cause = Cause(CauseKind.SECRET, "code", "text", 4, 8, 100, "secret.code")
    decided = Flag(Mark.MASKED, 100, (cause,), FlagState.CONFIRMED, UserId("kim"), NOW)
    for number, flag in enumerate((Flag(Mark.NOTED, 60, (cause,)), Flag(Mark.MASKED, 100, (cause,)), decided)):
        made = replace(draft(f"{number}", "pin ••••"), flag=flag, whole={"text": "pin 1234"})
        [entry] = link(ROOM, await log.head(ROOM), [made], NOW, salts())
        await log.submit([entry])
        assert await log.read_after(ROOM, Seq(number), 10) == [entry]
    entries = database.collection("entries")
    untold = await entries.find({"flag.untold": True})
    assert sorted(found["seq"] for found in untold) == [1, 2]  # staff have settled the last
    await log.erase(ROOM, author=BUYER.id)
    assert not re.search("1234|secret", str(await entries.find({})))
    assert verify(ROOM, await log.read_after(ROOM, Seq(0), 10)) is None


async def test_an_erased_command_is_still_known(log: RoomLog) -> None:
    """So a retry that comes after the erasure does not write the content again."""
    [entry] = await fill(log, 1)
    await log.erase(ROOM, author=BUYER.id)
    again = await log.submit(linked("1", head=head_of(entry)))
    assert isinstance(again.failure, CommandTaken)
