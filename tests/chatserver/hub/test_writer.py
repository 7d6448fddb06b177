"""Writing to one room, on the real log: order, races, retries, refusals and bursts."""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from chatserver.clock import ShiftedClock
from chatserver.disputes.desk import Desk as DisputeDesk
from chatserver.disputes.desk import Opening
from chatserver.disputes.ledger import Ledger
from chatserver.hub.publication import Publication
from chatserver.hub.writer import CALM, WAITING_MAX, Desk, RoomWriter, Submission, Written, written
from chatserver.hub.writers import IDLE_S, Writers
from policies.dispute.commands import Close, Command, JoinAsAgent, Tick
from policies.dispute.policy import Policy
from policies.dispute.state import Dispute
from policies.entry import Author, Entry
from policies.errors import BadRequest, ChatError, Conflict, Forbidden, NotFound, RoomClosed, TooLarge, Unavailable
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.instant import rfc3339
from policies.order import OrderFacts, Seller
from policies.room import SYSTEM, Party, RoomFacts
from policies.screening import Screening, for_author
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    OrderCategory,
    OrderId,
    Reason,
    Resolution,
    Role,
    RoomId,
    Seq,
    TrustLevel,
    UserId,
    Visibility,
)
from storage.chain import verify
from storage.claims import Claims
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.errors import AppendLost, HeadMoved
from storage.orders import Orders
from storage.outbox import Outbox
from storage.room_log import RoomLog
from storage.rooms import Rooms
from tests.chatserver.moving_time import Stopwatch
from tests.databases import emptied

ROOM = RoomId("order-1")
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def facts(seller: str = "sam") -> OrderFacts:
    return OrderFacts(
        id=OrderId("1"),
        buyer=Party(UserId("bea"), "Bea"),
        seller=Seller(UserId(seller), "Sam", TrustLevel.VERIFIED),
        title="A lamp",
        category=OrderCategory.ITEM,
        amount=1200,
        currency="EUR",
        placed_at=NOW,
        details={},
    )


@dataclass
class Process:
    """One server process's way to the log."""

    database: Database
    commit: GroupCommit = field(init=False)
    published: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lost: list[AppendLost] = []
        self.committed_entries: list[int] = []
        self.now = 0.0
        self.commit = GroupCommit(self.database, observer=self)
        self.log = RoomLog(self.database, self.commit)
        rooms = Rooms(self.database)
        salts = (number.to_bytes(16, "big") for number in count(1))
        self.orders = Orders(self.database, self.log, rooms, lambda: next(salts))
        self.clock = ShiftedClock()
        self.tasks: set[asyncio.Task[None]] = set()
        self.desk = Desk(
            log=self.log,
            rooms=rooms,
            clock=self.clock,
            salt=lambda: next(salts),
            message_chars=100,
            publish=self._publish,
            dispute=self._change_dispute,
            spawn=self._spawn,
            time=lambda: self.now,
        )
        self.transactions = 0
        disputes = Disputes(self.database, self.log)
        claims = Claims(self.database)
        self.disputes = DisputeDesk(
            Ledger(self.log, rooms, self.orders, disputes, Outbox(self.database), claims, timedelta(seconds=60)),
            clock=self.clock,
            salt=lambda: next(salts),
            new_id=lambda: DisputeId("1" * 20),
            policy=Policy,
            announce=self._announce,
        )
        self.writer = RoomWriter(ROOM, self.desk)
        self._numbers = count(1)

    async def _change_dispute(self, room: RoomFacts, command: Command, screening: Screening | None) -> Written | None:
        self.transactions += 1
        ran = await self.disputes.run(DisputeId("1" * 20), command, screening)
        return None if ran.first is None else written(ran.first, duplicate=ran.duplicate)

    async def _announce(self, entries: Sequence[Entry]) -> None:
        self._publish(entries)
        self.writer.learn_head(entries[-1].seq)

    async def open_dispute(self) -> Dispute:
        """A dispute of the order; from now on messages go to its room."""
        opening = Opening(
            OrderId("1"),
            Author(UserId("bea"), Role.BUYER, "Bea"),
            Reason.DEFECTIVE,
            "It does not light.",
            Resolution.FULL_REFUND,
        )
        opened = await self.disputes.open(opening)
        self.enter(opened.dispute.room)
        return opened.dispute

    def committed(self, entries: int, seconds: float) -> None:
        self.committed_entries.append(entries)

    def conflicted(self, failure: AppendLost) -> None:
        self.lost.append(failure)

    def failed(self, failure: Unavailable) -> None: ...

    def enter(self, room: RoomId) -> None:
        self.writer_room = room
        self.writer = RoomWriter(room, self.desk)

    def _publish(self, entries: Sequence[Entry]) -> list[Publication]:
        self.published += entries
        return [Publication.of(entry) for entry in entries]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def send(
        self,
        text: str = "hello",
        *,
        user: str = "bea",
        command_id: str | None = None,
        role: Role | None = None,
        reply_to: int | None = None,
        screening: Screening | None = None,
        given_up_at: float = math.inf,
    ) -> "asyncio.Future[Written | ChatError]":
        answer: asyncio.Future[Written | ChatError] = asyncio.get_running_loop().create_future()
        self.writer.submit(
            Submission(
                room=self.writer_room,
                author_id=UserId(user),
                author_name=user.title(),
                token_role=role,
                command_id=CommandId(command_id or f"{id(self)}-{next(self._numbers)}"),
                text=text,
                reply_to=None if reply_to is None else Seq(reply_to),
                done=answer.set_result,
                screening=screening,
                given_up_at=given_up_at,
            )
        )
        return answer

    writer_room: RoomId = ROOM


@pytest.fixture
async def database(mongo_url: str, migrated: str) -> AsyncIterator[Database]:
    async with emptied(MongoConfig(mongo_url, migrated, "pymongo", timeout_s=10.0)) as database:
        yield database


@pytest.fixture
async def process(database: Database) -> AsyncIterator[Process]:
    process = Process(database)
    await process.orders.put(facts(), NOW)
    yield process
    await process.commit.close()


@pytest.fixture
async def other(process: Process, database: Database) -> AsyncIterator[Process]:
    """A second process on the same database."""
    other = Process(database)
    yield other
    await other.commit.close()


async def entries(process: Process) -> list[Entry]:
    found = await process.log.read_after(ROOM, Seq(0), 10_000)
    assert verify(ROOM, found) is None
    return found


async def test_a_message_is_answered_with_its_place_when_it_is_in_the_log(process: Process) -> None:
    answer = await process.send("hello")
    (entry,) = await entries(process)
    assert answer == Written(1, entry.id, Publication.of(entry).at, duplicate=False)
    assert (entry.author.id, entry.author.role, entry.body) == ("bea", Role.BUYER, {"text": "hello"})
    assert process.published == [entry]


async def test_messages_of_one_process_keep_their_order(process: Process) -> None:
    answers = await asyncio.gather(*(process.send(str(number)) for number in range(50)))
    assert [answer.seq for answer in answers if isinstance(answer, Written)] == list(range(1, 51))
    assert [entry.body["text"] for entry in await entries(process)] == [str(number) for number in range(50)]


async def test_two_processes_racing_on_one_room_leave_no_hole_and_lose_nothing(
    process: Process, other: Process
) -> None:
    answers = await asyncio.gather(*(each.send(str(number)) for number in range(40) for each in (process, other)))
    seqs = sorted(answer.seq for answer in answers if isinstance(answer, Written))
    assert seqs == list(range(1, 81))
    assert [entry.seq for entry in await entries(process)] == seqs
    assert {entry.seq for entry in process.published} | {entry.seq for entry in other.published} == set(seqs)
    assert len(process.published) + len(other.published) == 80


async def test_a_retry_gets_the_first_answer_and_writes_nothing(process: Process, other: Process) -> None:
    first = await process.send("once", command_id="c")
    again = await process.send("once", command_id="c")
    elsewhere = await other.send("once", command_id="c")
    assert isinstance(first, Written)
    assert not first.duplicate
    assert again == elsewhere == Written(first.seq, first.entry_id, first.at, duplicate=True)
    assert len(await entries(process)) == 1


async def test_a_retry_in_the_same_burst_is_a_retry(process: Process) -> None:
    answers = await asyncio.gather(*(process.send("same", command_id="c") for _ in range(10)))
    assert sorted(answer.duplicate for answer in answers if isinstance(answer, Written)) == [False] + [True] * 9
    assert len(await entries(process)) == 1


async def test_a_burst_that_another_process_has_written_costs_one_lost_append(process: Process, other: Process) -> None:
    """One that had passed them here and got no answer in time. With a loss for each, who is behind stays behind."""
    await process.send("a head to build upon")
    theirs = [await other.send(str(number), command_id=f"c{number}") for number in range(40)]
    process.writer.learn_head(41)
    process.lost.clear()
    asked = [process.send(str(number), command_id=f"c{number}") for number in range(40)]
    new = process.send("new")
    changed = process.send("another text", command_id="c7")
    answers = await asyncio.gather(*asked)
    assert answers == [one._replace(duplicate=True) for one in theirs if isinstance(one, Written)]
    assert isinstance(await changed, Conflict)
    assert (await new, len(process.lost)) == (Written(42, *_place(process, 42), duplicate=False), 1)
    assert len(await entries(process)) == 42


async def test_after_a_lost_race_messages_go_one_by_one_for_a_while(process: Process, other: Process) -> None:
    """One entry shares its commit with those of other rooms; a burst has to wait for one of its own."""
    await process.send("a head to build upon")
    await other.send("somebody else's")
    process.committed_entries.clear()
    answers = await asyncio.gather(*(process.send(str(number)) for number in range(60)))
    assert [answer.seq for answer in answers if isinstance(answer, Written)] == [*range(3, 63)]
    assert [type(lost) for lost in process.lost] == [HeadMoved]
    assert process.committed_entries == [1, *[1] * CALM, 60 - CALM]


def _place(process: Process, seq: int) -> tuple[str, str]:
    (entry,) = [each for each in process.published if each.seq == seq]
    return entry.id, rfc3339(entry.at)


async def test_what_another_process_writes_itself_by_now_is_let_go(process: Process) -> None:
    given_up = [process.send(f"late {number}", given_up_at=1.0) for number in range(10)]
    wanted = process.send("in time", given_up_at=1.5)
    own = process.send("our own")
    process.now = 1.0
    assert [answer.seq for answer in await asyncio.gather(wanted, own) if isinstance(answer, Written)] == [1, 2]
    assert not any(answer.done() for answer in given_up)
    assert [entry.body["text"] for entry in await entries(process)] == ["in time", "our own"]
    assert process.writer.idle


async def test_the_same_id_with_other_content_conflicts(process: Process) -> None:
    await process.send("one", command_id="c")
    answer = await process.send("another", command_id="c")
    assert isinstance(answer, Conflict)
    assert answer.details == {"seq": 1}
    reply = await process.send("one", command_id="c", reply_to=1)
    assert isinstance(reply, Conflict)


async def test_other_users_may_choose_the_same_id(process: Process) -> None:
    answers = [await process.send("hi", user=user, command_id="c") for user in ("bea", "sam")]
    assert [answer.seq for answer in answers if isinstance(answer, Written)] == [1, 2]


async def test_who_is_nobody_in_the_room_learns_nothing_of_it(process: Process) -> None:
    stranger = await process.send(user="eve")
    pretender = await process.send(user="eve", role=Role.BUYER)
    assert isinstance(stranger, NotFound)
    assert isinstance(pretender, NotFound)
    assert await entries(process) == []


async def test_staff_write_as_what_their_token_says_and_auditors_do_not(process: Process) -> None:
    assert isinstance(await process.send(user="ada", role=Role.AGENT), Written)
    assert isinstance(await process.send(user="otto", role=Role.AUDITOR), Forbidden)
    assert [entry.author.role for entry in await entries(process)] == [Role.AGENT]


@pytest.mark.parametrize(
    ("text", "reply_to", "error"),
    [("", None, BadRequest), (" \n", None, BadRequest), ("x" * 101, None, TooLarge), ("x", 1, BadRequest)],
)
async def test_bad_messages_are_refused_and_do_not_hold_up_others(
    process: Process, text: str, reply_to: int | None, error: type[ChatError]
) -> None:
    refused, fine = await asyncio.gather(process.send(text, reply_to=reply_to), process.send("x" * 100))
    assert isinstance(refused, error)
    assert isinstance(fine, Written)


async def test_who_lost_the_right_to_write_loses_it_at_a_place_in_the_log(process: Process, other: Process) -> None:
    """The other process still holds the old facts; its append fails on the entry that says who the parties are."""
    first = await other.send("still here", user="sam", command_id="c")
    assert isinstance(first, Written)
    await process.orders.put(facts(seller="sue"), NOW)
    assert isinstance(await other.send("and now", user="sam"), NotFound)
    assert isinstance(await other.send("hello", user="sue"), Written)
    # What was accepted before is still answered as it was.
    assert await other.send("still here", user="sam", command_id="c") == Written(
        first.seq, first.entry_id, first.at, duplicate=True
    )


async def test_a_room_that_does_not_exist_is_not_found(process: Process) -> None:
    process.writer = RoomWriter(RoomId("order-2"), process.desk)
    assert isinstance(await process.send(), NotFound)


async def test_more_than_may_wait_is_told_to_come_back(process: Process) -> None:
    answers = [process.send(str(number)) for number in range(WAITING_MAX + 1)]
    last = answers[-1].result()
    assert isinstance(last, Unavailable)
    assert last.retry_after_ms == 1000
    done = await asyncio.gather(*answers[:-1])
    assert all(isinstance(answer, Written) for answer in done)


async def test_seeing_somebody_elses_entry_saves_the_lost_race(process: Process, other: Process) -> None:
    await process.send("mine")
    await other.send("theirs")
    process.writer.learn_head(2)
    answer = await process.send("mine again")
    assert isinstance(answer, Written)
    assert answer.seq == 3


async def test_without_the_database_a_message_is_unavailable_and_a_retry_succeeds(database: Database) -> None:
    away = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", database.name, "pymongo", timeout_s=0.2))
    cut_off = Process(away)
    answer = await cut_off.send("hello", command_id="c")
    assert isinstance(answer, Unavailable)
    assert answer.temporary
    assert cut_off.writer.idle
    await cut_off.commit.close()
    await away.close()
    process = Process(database)
    await process.orders.put(facts(), NOW)
    assert isinstance(await process.send("hello", command_id="c"), Written)
    await process.commit.close()


async def test_writers_are_kept_while_they_are_used(process: Process) -> None:
    watch = Stopwatch()
    writers = Writers(process.desk, watch)
    process.writer = writers  # type: ignore[assignment]  # which takes messages of any room
    first = process.send("one")
    assert not writers.idle
    watch.advance(IDLE_S + 1)
    writers.forget_unused()  # it is at work
    assert isinstance(await first, Written)
    assert writers.idle
    watch.advance(-1)
    kept = writers._writers[ROOM]
    writers.forget_unused()
    assert writers._writers[ROOM] is kept
    watch.advance(2)
    writers.forget_unused()
    assert not writers._writers
    writers.learn_head(ROOM, 7)
    assert isinstance(await process.send("two"), Written)


# In a dispute's room


FLAG = Flag(Mark.WITHHELD, 90, (Cause(CauseKind.CONTACT, "phone", "text", 0, 4, 90, "phone.number"),))
WITHHELD = Screening(FLAG, Visibility.WITHHELD)
MASKED = Screening(replace(FLAG, mark=Mark.MASKED), Visibility.ALL, {"text": "pin ••••"}, {"text": "pin 1234"})


async def test_what_was_found_stands_with_the_entry_and_both_are_reminded(process: Process) -> None:
    answer = await process.send("0151", screening=WITHHELD)
    entry, reminder = await entries(process)
    assert answer == Written(1, entry.id, Publication.of(entry).at, False, ("withheld", for_author(FLAG)))
    assert (entry.visibility, entry.flag, entry.body) == (Visibility.WITHHELD, FLAG, {"text": "0151"})
    assert (reminder.seq, reminder.author, reminder.kind) == (2, SYSTEM, EntryKind.NOTICE)
    assert reminder.body["about"] == 1
    assert process.published == [entry, reminder]


async def test_a_masked_text_is_kept_beside_the_entry(process: Process) -> None:
    await process.send("pin 1234", screening=replace(MASKED, reminded=frozenset({CauseKind.CONTACT})))
    [entry] = await entries(process)  # its digest is checked too
    assert entry.body["text"] == "pin ••••"
    assert (entry.whole is not None and entry.whole.texts, entry.written) == (
        {"text": "pin 1234"},
        {"text": "pin 1234"},
    )


async def test_nobody_is_told_again_of_what_staff_have_released(process: Process) -> None:
    await process.send("0151", screening=WITHHELD)
    entry, _ = await entries(process)
    assert written(entry).notice == ("withheld", for_author(FLAG))
    assert written(replace(entry, shown=Visibility.ALL)).notice is None


@pytest.mark.parametrize("found", [WITHHELD, MASKED, None])
async def test_a_retry_is_known_whatever_is_found_in_it_now(process: Process, found: Screening | None) -> None:
    first = await process.send("pin 1234", command_id="c", screening=MASKED)
    again = await process.send("pin 1234", command_id="c", screening=found)
    assert isinstance(first, Written)
    assert again == first._replace(duplicate=True)
    assert isinstance(await process.send("pin ••••", command_id="c"), Conflict)
    assert len(await entries(process)) == 2  # and the reminder


async def test_flagged_messages_of_two_processes_lose_nothing(process: Process, other: Process) -> None:
    each_sent = [
        each.send(f"0151 {number}", screening=WITHHELD if number % 2 else None)
        for number in range(30)
        for each in (process, other)
    ]
    answers = await asyncio.gather(*each_sent)
    assert all(isinstance(answer, Written) for answer in answers)
    found = await entries(process)
    messages = {entry.seq: entry for entry in found if entry.kind is EntryKind.MESSAGE}
    reminded = [entry.body["about"] for entry in found if entry.kind is EntryKind.NOTICE]
    assert sorted(entry.seq for entry in found) == list(range(1, len(found) + 1))
    assert len(messages) == 60
    assert len(reminded) == len(set(reminded)) <= 30
    assert all(messages[seq].flag == FLAG for seq in reminded)


async def kinds(process: Process) -> list[EntryKind]:
    found = await process.log.read_after(process.writer_room, Seq(0), 10_000)
    assert verify(process.writer_room, found) is None
    return [entry.kind for entry in found if entry.kind is not EntryKind.NOTICE]


async def test_the_sellers_first_words_are_recorded_as_attending(process: Process) -> None:
    await process.open_dispute()
    answer = await process.send("I will look into it.", user="sam", command_id="c")
    assert isinstance(answer, Written)
    assert not answer.duplicate
    assert await kinds(process) == [EntryKind.DISPUTE_OPENED, EntryKind.MESSAGE, EntryKind.DISPUTE_ATTENDED]
    assert [entry.kind for entry in process.published][-2:] == [EntryKind.MESSAGE, EntryKind.DISPUTE_ATTENDED]
    again = await process.send("I will look into it.", user="sam", command_id="c")
    assert again == Written(answer.seq, answer.entry_id, answer.at, duplicate=True)
    assert isinstance(await process.send("something else", user="sam", command_id="c"), Conflict)


async def test_only_what_may_change_the_state_costs_a_transaction(process: Process) -> None:
    await process.open_dispute()
    await process.send("anybody there?")
    assert process.transactions == 0
    await process.send("...", user="sam")
    await process.send("hello", user="sam")
    assert process.transactions == 2
    for number in range(5):
        await process.send(f"and {number}", user="sam")
        await process.send(f"yes {number}")
    assert process.transactions == 2
    assert (await kinds(process)).count(EntryKind.DISPUTE_ATTENDED) == 1


async def test_messages_keep_their_order_while_some_are_for_the_dispute(process: Process) -> None:
    await process.open_dispute()
    users = ["bea", "sam", "bea", "bea", "sam", "bea", "sam", "sam"] * 3
    answers = await asyncio.gather(*(process.send(str(place), user=user) for place, user in enumerate(users)))
    seqs = [answer.seq for answer in answers if isinstance(answer, Written)]
    assert len(seqs) == len(users)
    assert seqs == sorted(seqs)
    found = await process.log.read_after(process.writer_room, Seq(0), 100)
    texts = [entry.body["text"] for entry in found if entry.kind is EntryKind.MESSAGE]
    assert texts == [str(place) for place in range(len(users))]


async def test_two_processes_record_attending_once(process: Process, other: Process) -> None:
    opened = await process.open_dispute()
    other.enter(opened.room)
    answers = await asyncio.gather(*(each.send(str(n), user="sam") for n in range(6) for each in (process, other)))
    assert all(isinstance(answer, Written) for answer in answers)
    assert (await kinds(process)).count(EntryKind.DISPUTE_ATTENDED) == 1


async def test_an_agent_writes_while_the_case_is_theirs(process: Process) -> None:
    opened = await process.open_dispute()
    assert isinstance(await process.send("hello", user="kim", role=Role.AGENT), Forbidden)
    assert isinstance(await process.send("hello", user="ann", role=Role.AUDITOR), Forbidden)
    process.clock.offset = timedelta(hours=25)  # the seller has not attended: support comes in
    kim = Author(UserId("kim"), Role.AGENT, "Kim")
    await process.disputes.run(opened.id, JoinAsAgent(kim, CommandId("j")))
    assert isinstance(await process.send("hello", user="kim", role=Role.AGENT), Written)
    assert isinstance(await process.send("hello", user="lee", role=Role.AGENT), Forbidden)


async def test_a_fault_in_a_dispute_is_told_and_does_not_stop_the_room(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    await process.open_dispute()

    async def broken(room: RoomFacts, command: Command, screening: Screening | None) -> Written | None:
        raise ValueError("a fault")

    process.writer = RoomWriter(process.writer_room, replace(process.desk, dispute=broken))
    answer = await process.send("hello", user="sam")
    assert type(answer) is ChatError
    with pytest.raises(ValueError, match="a fault"):
        await next(iter(process.tasks))
    assert isinstance(await process.send("hello"), Written)


async def test_a_dispute_that_is_over_for_good_takes_no_more_messages(process: Process) -> None:
    opened = await process.open_dispute()
    first = await process.send("hello", command_id="c")
    assert isinstance(first, Written)
    bea = Author(UserId("bea"), Role.BUYER, "Bea")
    await process.disputes.run(opened.id, Close(bea, CommandId("close"), "It has arrived."))
    assert isinstance(await process.send("thank you", user="sam"), Written)
    process.clock.offset = timedelta(hours=25)  # the worker is late
    for user, role in (("bea", None), ("sam", None), ("kim", Role.AGENT)):
        assert isinstance(await process.send("one more thing", user=user, role=role), RoomClosed)
    assert await process.send("hello", command_id="c") == first._replace(duplicate=True)
    await process.disputes.run(opened.id, Tick(SYSTEM, CommandId("tick")))
    for user, role in (("bea", None), ("sam", None), ("kim", Role.AGENT)):
        assert isinstance(await process.send("one more thing", user=user, role=role), RoomClosed)
    assert isinstance(await process.send("hello", user="eve"), NotFound)
    again = await process.send("hello", command_id="c")
    assert again == Written(first.seq, first.entry_id, first.at, duplicate=True)
