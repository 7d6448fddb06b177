"""What is due is done once: by one worker or several, after crashes, beside people, around faults."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from chatserver.deadlines import Deadlines
from chatserver.disputes.ledger import Ledger, Overtaken
from policies.dispute.commands import Close, SendMessage
from policies.dispute.policy import parse_policy
from policies.dispute.state import Rule
from policies.entry import Draft
from policies.errors import Unavailable
from policies.room import dispute_room
from policies.vocabulary import CommandId, DisputeId, EntryKind, Seq, Stage
from storage.chain import link
from storage.client import Database, MongoConfig, open_database
from storage.documents import encode_entry
from storage.errors import EntryRejected
from tests.chatserver.moving_time import HandClock
from tests.chatserver.office import BUYER, HOUR_S, SELLER, Office
from tests.eventually import eventually

ESCALATED = EntryKind.DISPUTE_ESCALATED
APPROACHING = EntryKind.DEADLINE_APPROACHING
SILENT = parse_policy({"terms": {"reminders": dict.fromkeys(["seller_attend", "no_update"], 0)}})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def office(own_database: Database, clock: HandClock) -> AsyncIterator[Office]:
    made = Office(own_database, clock, SILENT)
    yield made
    await made.close()


@pytest.fixture
async def reminding(own_database: Database, clock: HandClock) -> AsyncIterator[Office]:
    made = Office(own_database, clock)
    yield made
    await made.close()


async def escalations(office: Office, count: int) -> list[int]:
    """How often each of the first disputes was escalated."""
    found = await office.database.collection("entries").find({"kind": ESCALATED.value}, projection={"room": 1})
    by_room = [document["room"] for document in found]
    return sorted(by_room.count(room) for room in set(by_room)) or [0] * count


async def test_nothing_happens_before_its_time(office: Office, clock: HandClock) -> None:
    dispute = await office.open()
    clock.advance(24 * HOUR_S - 60)
    await office.deadlines().run()
    assert ESCALATED not in await office.kinds(dispute)


async def test_the_deadline_itself_is_still_in_time(office: Office, clock: HandClock) -> None:
    dispute = await office.open()
    clock.at = dispute.opened_at + timedelta(hours=24)
    claimed = await office.disputes.claim_due(clock.now(), clock.now() + timedelta(seconds=10), 10, "one")
    assert claimed == [dispute.id]
    looking: Any = office.deadlines()
    await looking._finish(claimed)
    assert ESCALATED not in await office.kinds(dispute)
    assert await office.disputes.next_due() == clock.now(), "it is looked at again"
    clock.advance(0.001)
    await office.deadlines().run()
    assert (await office.kinds(dispute))[-1] is ESCALATED


async def test_what_is_due_within_the_horizon_is_waited_for(office: Office, clock: HandClock) -> None:
    dispute = await office.open()
    clock.at = dispute.opened_at + timedelta(hours=24, milliseconds=-50)

    async def move() -> None:
        await asyncio.sleep(0.01)
        clock.advance(0.06)

    await asyncio.gather(office.deadlines().run(), move())
    assert (await office.kinds(dispute))[-1] is ESCALATED
    assert office.metric("late_seconds_count") == 1
    assert office.metric("late_seconds_sum") == pytest.approx(0.01)


async def test_what_becomes_due_a_moment_later_is_written_with_it(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await office.open(1)
    clock.advance(0.03)
    second = await office.open(2)
    together: list[int] = []
    write_each = Ledger.write_each

    async def counted(ledger: Ledger, writes: Any) -> None:
        together.append(len(writes))
        await write_each(ledger, writes)

    monkeypatch.setattr(Ledger, "write_each", counted)
    clock.at = first.opened_at + timedelta(hours=24, milliseconds=-10)

    async def move() -> None:
        await asyncio.sleep(0.02)
        clock.advance(0.05)

    await asyncio.gather(office.deadlines(gather_s=0.05).run(), move())
    assert together == [2]
    for dispute in (first, second):
        assert (await office.kinds(dispute))[-1] is ESCALATED


async def test_a_deadline_is_told_before_it_fires_and_once(reminding: Office, clock: HandClock) -> None:
    dispute = await reminding.open()
    clock.advance(18 * HOUR_S)
    await reminding.deadlines().run()
    await reminding.deadlines("two").run()
    kinds = await reminding.kinds(dispute)
    assert kinds.count(APPROACHING) == 1
    clock.advance(6 * HOUR_S + 1)
    await reminding.deadlines().run()
    assert (await reminding.kinds(dispute))[len(kinds) :] == [ESCALATED]
    assert [entry.kind for entry in reminding.announced[-1:]] == [ESCALATED]
    assert (await reminding.desk.state(dispute.id)).stage is Stage.MEDIATION


async def test_many_are_written_together_and_each_once(office: Office, clock: HandClock) -> None:
    disputes = [await office.open(number) for number in range(1, 31)]
    clock.advance(24 * HOUR_S + 1)
    await office.deadlines(batch=20, together=7).run()
    assert await escalations(office, 30) == [1] * 30
    assert office.metric("looks_total", outcome="fired") == 30
    assert office.metric("entries_total", kind=ESCALATED.value) == 30
    assert {entry.room for entry in office.announced if entry.kind is ESCALATED} == {each.room for each in disputes}
    for dispute in disputes:
        stored = await office.disputes.get(dispute.id)
        assert stored is not None
        assert stored.dispute == await office.desk.state(dispute.id)
    told = await office.database.collection("outbox").find({"type": "dispute.escalated"})
    assert len(told) == 30


async def test_the_next_are_written_while_the_last_still_are(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        await office.open(number)
    clock.advance(24 * HOUR_S + 1)
    both = asyncio.Barrier(2)
    write = Ledger.write_each

    async def together(self: Ledger, writes: Any) -> None:
        await both.wait()  # for ever, should they come one after the other
        await write(self, writes)

    monkeypatch.setattr(Ledger, "write_each", together)
    async with asyncio.timeout(30):
        await office.deadlines(batch=4, together=4, under_way=2).run()
    assert await escalations(office, 8) == [1] * 8


@pytest.mark.parametrize("stops", [True, False])
async def test_what_fails_or_stops_leaves_the_others_finished(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    for number in range(1, 9):
        await office.open(number)
    clock.advance(24 * HOUR_S + 1)
    both = asyncio.Barrier(2)
    write = Ledger.write_each
    begun: list[int] = []

    async def together(self: Ledger, writes: Any) -> None:
        begun.append(len(writes))
        first = len(begun) == 1
        await both.wait()
        if first and not stops:
            raise Unavailable("The database did not answer in time.")
        await asyncio.sleep(0.02)
        await write(self, writes)

    async def silent(*_: object, **__: object) -> None:
        raise Unavailable("The database did not answer in time.")

    monkeypatch.setattr(Ledger, "write_each", together)
    monkeypatch.setattr(Ledger, "write", silent)
    running = asyncio.create_task(office.deadlines(batch=4, together=4, under_way=2).run())
    await eventually(lambda: len(begun) == 2)
    if stops:
        running.cancel()
    with pytest.raises(asyncio.CancelledError if stops else Unavailable):
        await running
    assert await escalations(office, 8) == [1] * (8 if stops else 4)


async def test_several_workers_share_what_is_due(office: Office, clock: HandClock) -> None:
    for number in range(1, 31):
        await office.open(number)
    clock.advance(24 * HOUR_S + 1)
    workers = [office.deadlines(name, batch=4, together=2) for name in ("one", "two", "three")]
    await asyncio.gather(*(worker.run() for worker in workers))
    assert await escalations(office, 30) == [1] * 30


async def test_what_a_dead_worker_had_claimed_is_done_when_its_claim_ends(office: Office, clock: HandClock) -> None:
    dispute = await office.open()
    clock.advance(24 * HOUR_S + 1)
    assert await office.disputes.claim_due(clock.now(), clock.now() + timedelta(seconds=10), 10, "dead")
    clock.advance(8)
    await office.deadlines().run()
    assert ESCALATED not in await office.kinds(dispute)
    clock.advance(2.001)
    await office.deadlines().run()
    assert (await office.kinds(dispute)).count(ESCALATED) == 1


async def test_a_worker_that_was_slow_to_act_on_its_claim_writes_nothing_twice(
    office: Office, clock: HandClock
) -> None:
    dispute = await office.open()
    clock.advance(24 * HOUR_S + 1)
    slow: Any = office.deadlines("slow")
    claimed = await slow._claim()
    clock.advance(11)
    await asyncio.gather(office.deadlines("fast").run(), slow._finish(claimed))
    assert (await office.kinds(dispute)).count(ESCALATED) == 1


async def test_messages_since_the_snapshot_make_a_look_early_and_set_the_new_time(
    office: Office, clock: HandClock
) -> None:
    dispute = await office.open()
    await office.desk.run(dispute.id, SendMessage(SELLER, office.command_id(), "I will look into it."))
    clock.advance(71 * HOUR_S)
    # As the room's writer does it: beside the snapshot.
    head = await office.log.head(dispute.room)
    message = SendMessage(BUYER, office.command_id(), "Any news?")
    stored = await office.disputes.get(dispute.id)
    assert stored is not None
    await _write_plainly(office, message)
    assert (await office.log.head(dispute.room)).seq == head.seq + 1
    clock.advance(2 * HOUR_S)
    await office.deadlines().run()
    assert ESCALATED not in await office.kinds(dispute)
    assert office.metric("looks_total", outcome="early") == 1
    later = await office.disputes.get(dispute.id)
    assert later is not None
    assert later.dispute.seq == head.seq + 1
    no_update = later.dispute.deadline(Rule.NO_UPDATE)
    assert no_update is not None
    assert await office.disputes.next_due() == no_update.due_at
    clock.advance(70 * HOUR_S + 1)
    await office.deadlines().run()
    assert (await office.kinds(dispute)).count(ESCALATED) == 1


async def _write_plainly(office: Office, message: SendMessage) -> None:
    room = dispute_room(DisputeId(f"{1:020x}"))
    draft = Draft(message.author, message.command_id, EntryKind.MESSAGE, {"text": message.text})
    entries = link(room, await office.log.head(room), [draft], office.clock.now(), office.salt)
    assert (await office.log.submit(entries)).failure is None


async def test_a_person_who_acts_at_the_same_moment_wins_or_loses_but_nothing_is_doubled(
    office: Office, clock: HandClock
) -> None:
    disputes = [await office.open(number) for number in range(1, 9)]
    clock.advance(24 * HOUR_S + 1)
    closing = (office.desk.run(each.id, Close(BUYER, office.command_id(), "Solved.")) for each in disputes)
    await asyncio.gather(office.deadlines(together=4).run(), *closing)
    for dispute in disputes:
        kinds = await office.kinds(dispute)
        assert kinds.count(ESCALATED) == 1, "it was due before anybody acted"
        assert kinds.count(EntryKind.DISPUTE_WITHDRAWN) == 1
        stored = await office.disputes.get(dispute.id)
        assert stored is not None
        assert stored.dispute == await office.desk.state(dispute.id)


async def test_one_that_cannot_be_written_with_the_others_is_tried_alone(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        await office.open(number)

    async def lost(*_: object) -> None:
        raise Overtaken

    monkeypatch.setattr(Ledger, "write_each", lost)
    clock.advance(24 * HOUR_S + 1)
    await office.deadlines().run()
    assert await escalations(office, 3) == [1, 1, 1]
    assert office.metric("late_seconds_count") == 3


async def test_when_somebody_acts_in_one_at_the_same_moment_the_others_are_still_written_together(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disputes = [await office.open(number) for number in range(1, 9)]
    clock.advance(24 * HOUR_S + 1)
    together: list[int] = []
    write_each = Ledger.write_each

    async def overtaken_once(ledger: Ledger, writes: Any) -> None:
        together.append(len(writes))
        if len(together) == 1:
            await office.desk.run(disputes[0].id, Close(BUYER, CommandId("c"), "sorted out"))
        await write_each(ledger, writes)

    monkeypatch.setattr(Ledger, "write_each", overtaken_once)
    await office.deadlines().run()
    # The one that was closed became due first, and its escalation was written with its end.
    assert sorted(together) == [3, 4, 8]
    assert await escalations(office, 8) == [1] * 8
    assert not (await office.desk.state(disputes[0].id)).active


async def test_a_faulty_dispute_is_put_aside_for_longer_each_time_and_holds_up_nobody(
    office: Office, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, *others = [await office.open(number) for number in range(1, 4)]
    collection = office.database.collection("disputes")
    await collection.update_one({"_id": faulty.id}, {"$set": {"state.status": "nonsense"}})
    clock.advance(24 * HOUR_S + 1)
    worker: Deadlines = office.deadlines(pauses=(timedelta(minutes=1), timedelta(minutes=5)))
    with caplog.at_level(logging.ERROR):
        await worker.run()
        for dispute in others:
            assert (await office.kinds(dispute)).count(ESCALATED) == 1
        for pause_s in (60, 300, 300):
            assert await office.disputes.next_due() == clock.now() + timedelta(seconds=pause_s)
            clock.advance(pause_s - 2)
            await worker.run()
            clock.advance(2)
            await worker.run()
    assert office.metric("looks_total", outcome="faulty") == 4
    await collection.update_one({"_id": faulty.id}, {"$set": {"state.status": "waiting_for_seller"}})
    clock.advance(301)
    await worker.run()
    assert (await office.kinds(faulty)).count(ESCALATED) == 1
    document = await collection.find_one({"_id": faulty.id})
    assert document is not None
    assert document.keys().isdisjoint({"faults", "claimed_by"})


async def test_one_that_stays_due_although_there_is_nothing_to_do_is_put_aside(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await office.open()
    monkeypatch.setattr("chatserver.deadlines.decide", lambda *_: [])
    clock.advance(24 * HOUR_S + 2)
    with caplog.at_level(logging.ERROR):
        await office.deadlines().run()
    assert office.metric("looks_total", outcome="faulty") == 1
    assert await office.disputes.next_due() == clock.now() + timedelta(minutes=1)


async def test_one_that_the_database_refuses_does_not_keep_the_others(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 4):
        await office.open(number)

    async def refused(*_: object) -> None:
        raise EntryRejected("entry 2: not as the validator wants it")

    monkeypatch.setattr(Ledger, "write_each", refused)
    clock.advance(24 * HOUR_S + 1)
    with caplog.at_level(logging.WARNING):
        await office.deadlines().run()
    assert await escalations(office, 3) == [1, 1, 1]


async def test_a_database_that_does_not_answer_is_said_and_the_work_is_done_later(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute = await office.open()
    clock.advance(24 * HOUR_S + 1)

    async def silent(*_: object, **__: object) -> None:
        raise Unavailable("The database did not answer in time.")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write_each", silent)
        patch.setattr(Ledger, "write", silent)
        with pytest.raises(Unavailable):
            await office.deadlines().run()
    clock.advance(10.001)
    await office.deadlines().run()
    assert (await office.kinds(dispute)).count(ESCALATED) == 1


async def test_what_was_begun_is_finished_when_the_worker_stops(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute = await office.open()
    clock.advance(24 * HOUR_S + 1)
    begun = asyncio.Event()
    write = Ledger.write_each

    async def slowly(self: Ledger, writes: Any) -> None:
        begun.set()
        await asyncio.sleep(0.05)
        await write(self, writes)

    monkeypatch.setattr(Ledger, "write_each", slowly)
    running = asyncio.create_task(office.deadlines().run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await office.kinds(dispute)).count(ESCALATED) == 1
    assert [entry.kind for entry in office.announced][-1] is ESCALATED


async def test_a_dispute_with_much_talk_since_its_snapshot_is_read_alone(
    office: Office, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispute = await office.open()
    monkeypatch.setattr("chatserver.deadlines.ENTRIES_READ", 1)
    clock.advance(24 * HOUR_S + 1)
    await office.deadlines().run()
    assert (await office.kinds(dispute)).count(ESCALATED) == 1
    assert (await office.log.read_after(dispute.room, Seq(0), 1))[0].kind is EntryKind.DISPUTE_OPENED


@pytest.fixture
async def impatient(own_database: Database, mongo_url: str, clock: HandClock) -> AsyncIterator[Office]:
    """The same database, with little time for an operation."""
    database = open_database(MongoConfig(mongo_url, own_database.name, timeout_s=1.0))
    made = Office(database, clock, SILENT)
    yield made
    await made.close()
    await database.close()


@contextlib.contextmanager
def left_behind(mongo_url: str, office: Office, collection: str, write: Callable[..., Any]) -> Iterator[None]:
    """A transaction of a process that has died in the middle of it; MongoDB gives it up when this ends."""
    with MongoClient[dict[str, Any]](mongo_url) as client, client.start_session() as session:
        session.start_transaction()
        write(client[office.database.name][collection], session)
        try:
            yield
        finally:
            session.abort_transaction()


async def test_one_whose_snapshot_a_dead_process_has_locked_holds_up_nobody(
    impatient: Office, clock: HandClock, mongo_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    locked, *others = [await impatient.open(number) for number in range(1, 6)]
    clock.advance(24 * HOUR_S + 1)
    worker = impatient.deadlines(held_up_s=0.5)

    def lock(disputes: Any, session: Any) -> None:
        disputes.update_one({"_id": locked.id}, {"$set": {"told": 9}}, session=session)

    with caplog.at_level(logging.WARNING):
        with left_behind(mongo_url, impatient, "disputes", lock):
            await worker.run()
            for dispute in others:
                assert (await impatient.kinds(dispute)).count(ESCALATED) == 1
            assert ESCALATED not in await impatient.kinds(locked)
            await worker.run()
        kinds: list[EntryKind] = []

        async def look() -> None:
            await worker.run()
            kinds[:] = await impatient.kinds(locked)

        await eventually(lambda: ESCALATED in kinds, look)
    assert (await impatient.kinds(locked)).count(ESCALATED) == 1


async def test_one_whose_next_entry_a_dead_process_has_begun_to_write_holds_up_nobody(
    impatient: Office, clock: HandClock, mongo_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    locked, *others = [await impatient.open(number) for number in range(1, 6)]
    clock.advance(24 * HOUR_S + 1)
    head = await impatient.log.head(locked.room)
    entries = link(locked.room, head, [_draft("half a message")], clock.now(), impatient.salt)

    def begin(collection: Any, session: Any) -> None:
        collection.insert_one(dict(encode_entry(entries[0])), session=session)

    with caplog.at_level(logging.WARNING):
        with left_behind(mongo_url, impatient, "entries", begin):
            with pytest.raises(Unavailable):
                await impatient.deadlines().run()
            for dispute in others:
                assert (await impatient.kinds(dispute)).count(ESCALATED) == 1
        clock.advance(10.001)
        await impatient.deadlines().run()
    assert (await impatient.kinds(locked)).count(ESCALATED) == 1


def _draft(text: str) -> Draft:
    return Draft(BUYER, CommandId("half"), EntryKind.MESSAGE, {"text": text})
