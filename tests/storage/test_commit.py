import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from bson import decode
from pymongo import MongoClient

from policies.entry import Entry
from policies.errors import TooLarge, Unavailable
from policies.vocabulary import CommandId, RoomId, Seq
from storage.chain import Head, head_of, link, same_content, verify
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit, Outcome, append_failure
from storage.documents import ENTRY_BYTES, encode_entry
from storage.errors import AppendLost, CommandTaken, EntryRejected, HeadMoved
from storage.room_log import RoomLog
from tests.storage.faults import Tap, failing
from tests.storage.making import BUYER, NOW, ROOM, SELLER, draft, linked, salts, seqs

pytestmark = pytest.mark.usefixtures("empty")
"""Writes whose outcome is unknown may happen after a test: each has a database of its own."""

ALL = 10_000


@dataclass
class Watch:
    """An observer that remembers."""

    commits: list[int] = field(default_factory=list)
    conflicts: list[AppendLost] = field(default_factory=list)
    failures: list[Unavailable] = field(default_factory=list)

    def committed(self, entries: int, seconds: float) -> None:
        assert seconds > 0
        self.commits.append(entries)

    def conflicted(self, failure: AppendLost) -> None:
        self.conflicts.append(failure)

    def failed(self, failure: Unavailable) -> None:
        self.failures.append(failure)


def rooms(count: int) -> list[RoomId]:
    return [RoomId(f"order-{number}") for number in range(count)]


async def stored(log: RoomLog, room: RoomId = ROOM) -> list[Entry]:
    """The room's whole log, which must hold."""
    entries = await log.read_after(room, Seq(0), ALL)
    assert verify(room, entries) is None
    return entries


async def test_an_append_is_durable_when_its_outcome_is_known(log: RoomLog) -> None:
    entries = linked("a")
    assert await log.submit(entries) == Outcome(1)
    assert await stored(log) == entries


async def test_an_idle_commit_waits_for_nobody(database: Database) -> None:
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    for room in rooms(3):
        await commit.submit(linked("a", room=room))
    assert watch.commits == [1, 1, 1]


async def test_what_comes_in_the_same_turn_of_the_loop_shares_a_commit(database: Database) -> None:
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    await asyncio.gather(*(commit.submit(linked("a", room=room)) for room in rooms(10)))
    assert watch.commits == [10]


async def test_batches_form_behind_commits_in_flight_and_are_bounded(database: Database) -> None:
    watch = Watch()
    commit = GroupCommit(database, batch=8, concurrency=1, observer=watch)
    first = commit.submit(linked("a", room=RoomId("first")))
    await asyncio.sleep(0)  # it starts
    outcomes = await asyncio.gather(first, *(commit.submit(linked("a", room=room)) for room in rooms(20)))
    assert outcomes == [Outcome(1)] * 21
    assert watch.commits == [1, 8, 8, 4]


async def test_one_loser_in_a_batch_harms_nobody_else(database: Database, log: RoomLog) -> None:
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    await log.submit(linked("theirs", room=RoomId("order-1"), author=SELLER))
    outcomes = await asyncio.gather(*(commit.submit(linked("mine", room=room)) for room in rooms(3)))
    assert [outcome.appended for outcome in outcomes] == [1, 0, 1]
    assert watch.commits == [3]
    assert [str(lost) for lost in watch.conflicts] == ["entry 1 of room order-1 exists"]
    assert [len(await stored(log, room)) for room in rooms(3)] == [1, 1, 1]


async def test_a_lost_place_and_a_repeated_command_are_told_apart(log: RoomLog) -> None:
    [first] = linked("a")
    await log.submit([first])
    moved = await log.submit(linked("b"))
    assert moved.appended == 0
    assert isinstance(moved.failure, HeadMoved)
    assert (moved.failure.room, moved.failure.seq) == (ROOM, 1)
    taken = await log.submit(linked("a", head=head_of(first)))
    assert taken.appended == 0
    assert isinstance(taken.failure, CommandTaken)
    assert (taken.failure.author, taken.failure.command_id) == (BUYER.id, "a")
    assert await stored(log) == [first]


async def test_the_same_command_at_the_same_place_is_a_repeated_command(log: RoomLog) -> None:
    await log.submit(linked("a"))
    assert isinstance((await log.submit(linked("a"))).failure, CommandTaken)


async def test_command_ids_are_the_authors_own_and_the_rooms_own(log: RoomLog) -> None:
    [first] = linked("a")
    assert (await log.submit([first])).appended == 1
    assert (await log.submit(linked("a", head=head_of(first), author=SELLER))).appended == 1
    assert (await log.submit(linked("a", room=RoomId("order-2")))).appended == 1


async def test_the_caller_can_tell_a_retry_from_another_command_under_the_same_id(log: RoomLog) -> None:
    await log.submit(linked("a"))
    found = await log.find(ROOM, BUYER.id, CommandId("a"))
    assert found is not None
    assert same_content(found, draft("a", "hello"))
    assert not same_content(found, draft("a", "something else"))


async def test_a_burst_is_written_in_order(log: RoomLog) -> None:
    entries = linked("a", "b", "c")
    assert await log.submit(entries) == Outcome(3)
    assert await stored(log) == entries


async def test_a_burst_that_fails_leaves_a_prefix(log: RoomLog) -> None:
    [known] = linked("known")
    await log.submit([known])
    outcome = await log.submit(linked("a", "b", "known", "c", head=head_of(known)))
    assert outcome.appended == 2
    assert isinstance(outcome.failure, CommandTaken)
    assert [entry.command_id for entry in await stored(log)] == ["known", "a", "b"]


async def test_a_burst_that_loses_its_place_leaves_nothing(log: RoomLog) -> None:
    await log.submit(linked("theirs", author=SELLER))
    outcome = await log.submit(linked("a", "b"))
    assert outcome.appended == 0
    assert isinstance(outcome.failure, HeadMoved)
    assert len(await stored(log)) == 1


async def test_bursts_of_several_rooms_share_a_commit_and_fail_alone(database: Database, log: RoomLog) -> None:
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    await log.submit(linked("theirs", room=RoomId("order-1"), author=SELLER))
    outcomes = await asyncio.gather(*(commit.submit(linked("a", "b", room=room)) for room in rooms(4)))
    assert [outcome.appended for outcome in outcomes] == [2, 0, 2, 2]
    assert watch.commits == [8, 4]  # the rooms behind the one that failed
    assert [len(await stored(log, room)) for room in rooms(4)] == [2, 1, 2, 2]


async def test_bursts_fill_a_commit_up_to_its_size(database: Database) -> None:
    watch = Watch()
    commit = GroupCommit(database, batch=5, concurrency=1, observer=watch)
    sizes = [2, 2, 2, 7, 3]
    bursts = [linked(*map(str, range(size)), room=room) for size, room in zip(sizes, rooms(5), strict=True)]
    outcomes = await asyncio.gather(*map(commit.submit, bursts))
    assert [outcome.appended for outcome in outcomes] == sizes
    assert watch.commits == [4, 2, 7, 3]


async def test_bursts_and_single_entries_take_turns(database: Database) -> None:
    watch = Watch()
    commit = GroupCommit(database, batch=2, concurrency=1, observer=watch)
    single = [linked("a", room=RoomId(f"single-{number}")) for number in range(4)]
    bursts = [linked("a", "b", room=RoomId(f"burst-{number}")) for number in range(2)]
    await asyncio.gather(*map(commit.submit, single + bursts))
    assert watch.commits == [2, 2, 2, 2]


async def test_of_a_room_one_append_is_in_flight(database: Database, log: RoomLog) -> None:
    """The next one is linked to it, so it must not be written before it is known to be there."""
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    entries = linked("a", "b", "c")
    outcomes = await asyncio.gather(*(commit.submit([entry]) for entry in entries))
    assert outcomes == [Outcome(1)] * 3
    assert watch.commits == [1, 1, 1]
    assert await stored(log) == entries


async def test_when_an_append_fails_those_queued_behind_it_are_not_written(database: Database, log: RoomLog) -> None:
    commit = GroupCommit(database)
    await log.submit(linked("theirs", author=SELLER))
    entries = linked("a", "b", "c")
    outcomes = await asyncio.gather(*(commit.submit([entry]) for entry in entries))
    assert [outcome.appended for outcome in outcomes] == [0, 0, 0]
    assert all(isinstance(outcome.failure, HeadMoved) for outcome in outcomes)
    assert commit.waiting == 0
    assert len(await stored(log)) == 1


async def test_nothing_is_written_behind_an_entry_that_was_not(log: RoomLog) -> None:
    """However late it is submitted: the place itself is free, so MongoDB would take it."""
    await log.submit(linked("theirs", author=SELLER))
    first, second, third = linked("a", "b", "c")
    await log.submit([first])
    await log.head(ROOM)  # by somebody else
    for late in (second, third):
        outcome = await log.submit([late])
        assert outcome.appended == 0
        assert isinstance(outcome.failure, HeadMoved)
    assert len(await stored(log)) == 1


async def test_what_is_remembered_of_failures_is_bounded(database: Database, log: RoomLog) -> None:
    commit = GroupCommit(database, waiting=5)
    for room in rooms(20):
        await log.submit(linked("theirs", room=room, author=SELLER))
        await commit.submit(linked("mine", room=room))
    assert len(commit._doubtful) == 5


async def test_more_than_may_wait_is_refused_at_once(database: Database) -> None:
    commit = GroupCommit(database, waiting=2)
    first, second = (commit.submit(linked("a", room=room)) for room in rooms(2))
    [refused_entry] = linked("a", room=RoomId("order-2"))
    third = commit.submit([refused_entry])
    await asyncio.sleep(0)  # the turn in which it was submitted
    assert third.done()
    refused = third.result()
    assert refused.appended == 0
    assert isinstance(refused.failure, Unavailable)
    assert refused.failure.retry_after_ms
    assert [await first, await second] == [Outcome(1)] * 2
    follower = await commit.submit(linked("b", room=RoomId("order-2"), head=head_of(refused_entry)))
    assert isinstance(follower.failure, HeadMoved)  # what it is linked to was not written
    assert await commit.submit([refused_entry]) == Outcome(1)
    assert await commit.submit(linked("c", room=RoomId("order-2"), head=head_of(refused_entry))) == Outcome(1)


async def test_close_writes_what_was_submitted(database: Database, log: RoomLog) -> None:
    commit = GroupCommit(database, batch=4, concurrency=1)
    futures = [commit.submit(linked("a", room=room)) for room in rooms(10)]
    futures += [commit.submit(linked("x", "y", room=RoomId("burst")))]
    await commit.close()
    assert [future.result().appended for future in futures] == [1] * 10 + [2]
    refused = await commit.submit(linked("b", room=RoomId("late")))
    assert isinstance(refused.failure, Unavailable)
    assert await stored(log, RoomId("late")) == []


async def test_close_of_an_idle_commit_returns(database: Database) -> None:
    await GroupCommit(database).close()


async def test_a_commit_goes_on_though_its_caller_is_cancelled(database: Database, log: RoomLog) -> None:
    commit = GroupCommit(database)

    async def caller() -> None:
        await commit.submit(linked("a"))

    for turns in range(4):  # cancelled before, while and after it starts
        task = asyncio.create_task(caller())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await commit.close()
    assert [entry.command_id for entry in await stored(log)] == ["a"]


async def test_an_entry_too_large_to_keep_is_refused_before_it_shares_a_batch(log: RoomLog) -> None:
    [large] = link(ROOM, Head(Seq(0), b"", NOW), [draft("a", "x" * ENTRY_BYTES)], NOW, salts())
    with pytest.raises(TooLarge):
        log.submit([large])
    assert await log.submit(linked("a")) == Outcome(1)


async def test_what_mongodb_takes_for_no_entry_is_a_fault(log: RoomLog) -> None:
    """It fails alone, and nothing is written behind it."""
    first, second = linked("a", "b")
    [other] = linked("a", room=RoomId("order-2"))
    bad, follower, good = (log.submit([entry]) for entry in (replace(first, command_id=CommandId("")), second, other))
    with pytest.raises(EntryRejected):
        await bad
    assert isinstance((await follower).failure, HeadMoved)
    assert await good == Outcome(1)
    assert await stored(log) == []


async def test_a_fault_of_the_program_reaches_who_waits(mongo: MongoConfig) -> None:
    database = open_database(mongo)
    commit = GroupCommit(database)
    await database.close()
    with pytest.raises(Exception, match="after close"):
        await commit.submit(linked("a"))


@pytest.mark.parametrize("code", [1, 112, 11601])
def test_what_else_mongodb_says_of_an_entry_is_worth_another_try(code: int) -> None:
    assert isinstance(append_failure({"code": code}, linked("a")[0]), Unavailable)


# Races


async def write(log: RoomLog, room: RoomId, commands: Sequence[str], burst: int) -> None:
    """Write each command once, as a room's writer does: decide, append, and after a lost race decide again."""
    salt, left = salts(), list(commands)
    head = await log.head(room)
    while left:
        entries = link(room, head, [draft(command) for command in left[:burst]], NOW, salt)
        outcome = await log.submit(entries)
        assert not isinstance(outcome.failure, Unavailable | CommandTaken)
        left = left[outcome.appended :]
        head = await log.head(room) if outcome.failure else head_of(entries[-1])


@pytest.mark.parametrize("burst", [1, 3])
async def test_two_processes_race_on_one_room(mongo: MongoConfig, log: RoomLog, burst: int) -> None:
    other = open_database(mongo)
    mine = [f"m{number}" for number in range(30)]
    theirs = [f"t{number}" for number in range(30)]
    their_log = RoomLog(other, GroupCommit(other))
    await asyncio.gather(write(log, ROOM, mine, burst), write(their_log, ROOM, theirs, burst))
    entries = await stored(log)
    assert seqs(entries) == list(range(1, 61))
    written = [entry.command_id for entry in entries]
    assert [command for command in written if command in mine] == mine
    assert [command for command in written if command in theirs] == theirs
    await other.close()


async def test_of_many_who_want_the_same_place_one_gets_it(mongo: MongoConfig, log: RoomLog) -> None:
    databases = [open_database(mongo) for _ in range(4)]
    commits = [GroupCommit(database) for database in databases]
    outcomes = await asyncio.gather(*(commit.submit(linked(str(n))) for n, commit in enumerate(commits)))
    assert sorted(outcome.appended for outcome in outcomes) == [0, 0, 0, 1]
    assert all(outcome.appended or isinstance(outcome.failure, HeadMoved) for outcome in outcomes)
    assert seqs(await stored(log)) == [1]
    for database in databases:
        await database.close()


async def test_the_same_command_sent_to_two_processes_is_written_once(mongo: MongoConfig, log: RoomLog) -> None:
    other = open_database(mongo)
    commit = GroupCommit(other)
    outcomes = await asyncio.gather(log.submit(linked("a")), commit.submit(linked("a")))
    assert sorted(outcome.appended for outcome in outcomes) == [0, 1]
    assert isinstance(next(o.failure for o in outcomes if o.failure), CommandTaken)
    await other.close()


# Trouble


@pytest.fixture
async def tap(mongo_url: str) -> AsyncIterator[Tap]:
    async with Tap(mongo_url).open() as tap:
        yield tap


@pytest.fixture
async def tapped(tap: Tap, mongo: MongoConfig) -> AsyncIterator[RoomLog]:
    """The same database, over a way that can be shut."""
    database = open_database(replace(mongo, url=tap.url, timeout_s=0.5))
    await database.ping()
    commit = GroupCommit(database)
    yield RoomLog(database, commit)
    tap.let_go()
    await commit.close()
    await database.close()


async def test_no_answer_is_unavailable_in_time(tap: Tap, tapped: RoomLog) -> None:
    tap.hold_requests()
    started = time.monotonic()
    outcome = await tapped.submit(linked("a"))
    assert time.monotonic() - started < 3  # configured: 0.5 s; the rest is for a busy machine
    assert outcome.appended == 0
    assert isinstance(outcome.failure, Unavailable)


async def test_a_lost_answer_does_not_double_a_message(tap: Tap, tapped: RoomLog, log: RoomLog) -> None:
    [entry] = linked("a")
    tap.hold_answers()
    assert isinstance((await tapped.submit([entry])).failure, Unavailable)
    tap.let_go()
    again = await tapped.submit(linked("a", head=await tapped.head(ROOM)))
    assert isinstance(again.failure, CommandTaken)
    assert await tapped.find(ROOM, BUYER.id, CommandId("a")) == entry
    assert await stored(log) == [entry]


async def test_what_was_unknown_can_be_built_upon_once_it_is_seen(tap: Tap, tapped: RoomLog, log: RoomLog) -> None:
    [entry] = linked("a")
    tap.hold_answers()
    await tapped.submit([entry])
    tap.let_go()
    following = linked("b", head=head_of(entry))
    assert isinstance((await tapped.submit(following)).failure, HeadMoved)  # nobody knows yet that it is there
    assert await tapped.head(ROOM) == head_of(entry)
    assert await tapped.submit(following) == Outcome(1)
    assert len(await stored(log)) == 2


async def test_a_write_that_arrives_late_leaves_no_hole_and_no_double(tap: Tap, tapped: RoomLog, log: RoomLog) -> None:
    tap.hold_requests()
    outcomes = await asyncio.gather(tapped.submit(linked("a", "b")), tapped.submit(linked("c", room=RoomId("order-2"))))
    assert all(isinstance(outcome.failure, Unavailable) for outcome in outcomes)
    await log.submit(linked("theirs", author=SELLER))
    tap.let_go()
    await write(tapped, ROOM, ["d"], 1)
    entries = await stored(log)
    assert [entry.command_id for entry in entries] == ["theirs", "d"]
    assert len(await stored(log, RoomId("order-2"))) <= 1


async def test_all_that_waits_behind_an_unknown_append_is_unknown(tap: Tap, tapped: RoomLog, log: RoomLog) -> None:
    tap.hold_requests()
    outcomes = await asyncio.gather(*(tapped.submit([entry]) for entry in linked("a", "b", "c")))
    assert all(isinstance(outcome.failure, Unavailable) for outcome in outcomes)
    tap.let_go()
    assert seqs(await stored(log)) in ([], [1])


async def test_a_room_blocked_by_a_forgotten_transaction_delays_the_others_once(
    mongo: MongoConfig, mongo_url: str, log: RoomLog
) -> None:
    database = open_database(replace(mongo, timeout_s=0.5))
    watch = Watch()
    commit = GroupCommit(database, observer=watch)
    blocked, *others = rooms(6)

    async def all_rooms(command: str) -> list[bool]:
        heads = {room: await log.head(room) for room in (blocked, *others)}
        appends = [linked(command, room=room, head=head) for room, head in heads.items()]
        return [outcome.appended == 1 for outcome in await asyncio.gather(*map(commit.submit, appends))]

    with MongoClient[dict[str, object]](mongo_url) as crashed, crashed.start_session() as session:
        session.start_transaction()
        entries = crashed[mongo.database]["entries"]
        entries.insert_one(decode(encode_entry(linked("theirs", room=blocked)[0]).raw), session=session)
        assert await all_rooms("a") == [False] * 6
        assert watch.commits == []
        assert await all_rooms("b") == [False] + [True] * 5
        assert watch.commits == [1] * 5  # by themselves
        assert await all_rooms("c") == [False] + [True] * 5
        assert watch.commits == [1] * 5 + [5]  # no more suspicion
        session.abort_transaction()
    assert await all_rooms("d") == [True] * 6
    assert await all_rooms("e") == [True] * 6
    assert sorted(watch.commits[6:]) == [1, 5, 6]
    for room in rooms(6):
        await stored(log, room)
    await database.close()


async def test_while_mongodb_is_silent_nobody_waits_for_the_turn_of_all_before(
    tap: Tap, tapped: RoomLog, log: RoomLog
) -> None:
    """100 commits, two at a time, each 0.5 s until it is given up: those whose turn does not come are never sent."""
    tap.hold_requests()
    started = time.monotonic()
    outcomes = await asyncio.gather(*(tapped.submit(linked("a", "b" * 60, room=room)) for room in rooms(6400)))
    assert time.monotonic() - started < 5
    assert all(isinstance(outcome.failure, Unavailable) for outcome in outcomes)
    tap.let_go()
    all_rooms = rooms(6400)
    sent = 0
    for start in range(0, len(all_rooms), 800):
        heads = await log.heads(all_rooms[start : start + 800])
        sent += sum(head > 0 for head in heads.values())
    assert sent <= 10 * 2 * 64, "more than two commits at a time for 5 s"


async def test_a_connection_that_breaks_is_tried_again_by_the_driver(faulty: RoomLog, faulty_url: str) -> None:
    with failing(faulty_url, "insert", closeConnection=True):
        assert await faulty.submit(linked("a")) == Outcome(1)
    assert seqs(await stored(faulty)) == [1]


async def test_what_the_broken_attempt_wrote_is_told_from_what_others_wrote(
    tap: Tap, mongo: MongoConfig, log: RoomLog
) -> None:
    """The connection breaks when MongoDB has written, before it can say so."""
    database = open_database(replace(mongo, url=tap.url, timeout_s=10.0))
    commit = GroupCommit(database)
    written, lost, taken = rooms(3)
    await log.submit(linked("theirs", room=lost, author=SELLER))
    await log.submit(linked("mine", room=taken))
    [first] = linked("mine", room=taken, now=NOW + timedelta(seconds=1))
    await database.ping()
    tap.hold_answers()
    appends = [linked("mine", room=written), linked("mine", room=lost), [first]]
    outcomes = asyncio.gather(*map(commit.submit, appends))
    while await log.head(written) != head_of(appends[0][0]):  # noqa: ASYNC110  (MongoDB cannot be awaited)
        await asyncio.sleep(0.01)
    tap.cut()
    tap.let_go()
    one, two, three = await outcomes
    assert one == Outcome(1)
    assert isinstance(two.failure, HeadMoved)
    assert isinstance(three.failure, CommandTaken)
    for room in (written, lost, taken):
        assert seqs(await stored(log, room)) == [1]
    await commit.close()
    await database.close()


STEPPED_DOWN = 189


async def test_a_change_of_primary_is_waited_for(faulty: RoomLog, faulty_url: str) -> None:
    with failing(faulty_url, "insert", times=2, errorCode=STEPPED_DOWN):
        assert await faulty.submit(linked("a")) == Outcome(1)


async def test_no_primary_in_time_is_unavailable(impatient: Database, faulty_url: str) -> None:
    watch = Watch()
    commit = GroupCommit(impatient, observer=watch)
    with failing(faulty_url, "insert", times=None, errorCode=STEPPED_DOWN):
        outcome = await commit.submit(linked("a"))
    assert isinstance(outcome.failure, Unavailable)
    assert watch.failures == [outcome.failure]
    assert watch.commits == []


async def test_a_write_that_no_majority_confirmed_is_unknown(faulty_database: Database, faulty_url: str) -> None:
    """Also for an entry that lost: the one it lost against may yet be taken back."""
    watch = Watch()
    commit = GroupCommit(faulty_database, observer=watch)
    log = RoomLog(faulty_database, commit)
    await log.submit(linked("theirs", author=SELLER))
    with failing(faulty_url, "insert", writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}):
        outcomes = await asyncio.gather(*(commit.submit(linked("mine", room=room)) for room in rooms(2)))
    assert all(isinstance(outcome.failure, Unavailable) for outcome in outcomes)
    assert len(watch.failures) == 1


async def test_a_burst_that_no_majority_confirmed_is_unknown(faulty: RoomLog, faulty_url: str) -> None:
    with failing(faulty_url, "insert", writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}):
        outcomes = await asyncio.gather(*(faulty.submit(linked("a", "b", room=room)) for room in rooms(2)))
    assert all(isinstance(outcome.failure, Unavailable) for outcome in outcomes)
    again = await asyncio.gather(*(faulty.submit(linked("a", "b", room=room)) for room in rooms(2)))
    assert all(isinstance(outcome.failure, CommandTaken) for outcome in again)
