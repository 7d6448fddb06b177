"""A process's live disputes, on a real database: what each member is told and when, holes, and agents' leases."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import pytest

from chatserver.errors import CloseCode
from chatserver.hub.disputes import LiveDisputes
from chatserver.hub.live_room import LiveRoom, Membership
from chatserver.hub.publication import Publication
from chatserver.hub.socket import payload_of
from chatserver.hub.staff_log import StaffLogs
from policies.dispute.commands import Escalate, JoinAsAgent, MakeProposal
from policies.dispute.evolve import replay
from policies.dispute.state import Dispute
from policies.entry import Author, Draft, Entry
from policies.errors import NotFound, Unavailable
from policies.room import RoomFacts, order_room
from policies.vocabulary import EntryKind, Resolution, Role, RoomId, RoomKind, Seq
from storage.audit import Audit
from storage.chain import link
from storage.client import Database, MongoConfig, open_database
from storage.commit import GroupCommit
from storage.disputes import Disputes
from storage.room_log import RoomLog
from tests.chatserver.disputes.desks import AGENT, BUYER, FACTS, HOUR, ORDER, SELLER, SENIOR, Shop
from tests.eventually import eventually

LEASE = timedelta(seconds=60)


class Somebody:
    """A connection that keeps what it is sent."""

    def __init__(self, author: Author) -> None:
        self.user_id = author.id
        self.name = author.name
        self.role = author.role
        self.token_role = None if author.role in (Role.BUYER, Role.SELLER) else author.role
        self.away = False
        self.frames: list[dict[str, Any]] = []

    def send(self, frame: bytes, *, ephemeral: bool = False) -> None:
        self.frames.append(orjson.loads(payload_of(frame)))

    def close(self, code: CloseCode, reason: str) -> None: ...

    def left(self, room: RoomId) -> None: ...

    def told(self) -> list[int]:
        """The entries as of which it was told how the dispute is."""
        return [frame["dispute"]["seq"] for frame in self.frames if frame["type"] == "dispute"]


@dataclass
class Process:
    """One server process's live rooms."""

    shop: Shop
    live: dict[RoomId, LiveRoom] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        shop = self.shop
        self.audit = Audit(shop.database)
        self.disputes = self.with_storage(shop.disputes)

    def with_storage(self, disputes: Disputes) -> LiveDisputes:
        shop = self.shop
        return LiveDisputes(
            shop.desk, disputes, shop.claims, self.audit, shop.log, shop.clock, self.live, LEASE, self._spawn
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def open_room(self, room: RoomId) -> LiveRoom:
        facts = await self.shop.rooms.facts(room)
        assert facts is not None
        live = self.live[room] = LiveRoom(facts, 0)
        return live

    async def join(self, live: LiveRoom, who: Somebody) -> Membership:
        """As ``joining.join`` does, with nothing happening in between."""
        known = await self.disputes.known(live)
        assert known is not None
        head = (await self.shop.log.head(live.id)).seq
        state = await self.disputes.at(known, [], head)
        live.feed.start(head)
        membership = live.members[who] = Membership(who, who.role)
        held = membership.position.go_live(head, live.feed.position)
        assert held is not None
        self.disputes.joined(live, membership, state, held)
        return membership

    def deliver(self, live: LiveRoom, entries: list[Entry]) -> None:
        """As ``Hub.take`` does."""
        run = live.feed.offer([Publication.of(entry) for entry in entries])
        live.deliver(run)
        if live.delivered is not None:
            live.delivered(run)


@pytest.fixture
async def shop(own_database: Database) -> AsyncIterator[Shop]:
    shop = Shop(own_database)
    yield shop
    await shop.close()


@pytest.fixture
def process(shop: Shop) -> Process:
    return Process(shop)


async def offer(shop: Shop, dispute: Dispute, author: Author, amount: int) -> list[Entry]:
    ran = await shop.run(dispute.id, MakeProposal(author, shop.command(), Resolution.PARTIAL_REFUND, amount, "EUR"))
    return list(ran.entries)


async def test_each_member_is_told_once_after_a_change(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    people = [Somebody(author) for author in (BUYER, SELLER, AGENT, SENIOR)]
    for one in people:
        await process.join(live, one)
    entries = await offer(shop, dispute, SELLER, 300)
    process.deliver(live, entries)
    head = entries[-1].seq
    for one in people:
        assert one.told() == [head]
        kinds = [frame["type"] for frame in one.frames]
        assert kinds == ["entry"] * len(entries) + ["dispute"]
    buyer, seller, agent, senior = (one.frames[-1] for one in people)
    assert buyer["dispute"] == seller["dispute"]
    assert agent["dispute"] == senior["dispute"]
    assert buyer["available_actions"] != seller["available_actions"]
    assert "staff_room" in agent["dispute"].keys() - buyer["dispute"].keys()


async def test_what_hides_its_seq_behind_messages_is_found(process: Process, shop: Shop) -> None:
    """Many messages went the fast way since the snapshot: the state is that of the head all the same."""
    dispute = await shop.opened()
    await shop.say(dispute.id, SELLER)
    for number in range(12):
        await shop.chat(dispute.room, BUYER if number % 2 else SELLER, f"word {number}")
    live = await process.open_room(dispute.room)
    stored = await shop.disputes.get(dispute.id)
    head = (await shop.log.head(dispute.room)).seq
    assert stored is not None
    assert stored.dispute.seq < head
    expected = replay(await shop.entries(dispute))
    assert await process.disputes.at(stored.dispute, [], head) == expected
    page = await shop.log.read_after(dispute.room, stored.dispute.seq, 100)
    assert await process.disputes.at(stored.dispute, page, head) == expected
    assert await process.disputes.at(stored.dispute, page[3:], head) == expected
    earlier = await process.disputes.at(stored.dispute, page, Seq(head - 2))
    assert earlier == replay((await shop.entries(dispute))[:-2])
    assert (await process.disputes.known(live)) == expected


async def test_who_joins_while_something_changes_is_told_after_the_answer(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    first = Somebody(BUYER)
    await process.join(live, first)
    late = Somebody(SELLER)
    membership = live.members[late] = Membership(late, late.role)
    head = (await shop.log.head(live.id)).seq
    state = await process.disputes.known(live)
    assert state is not None
    entries = await offer(shop, dispute, BUYER, 300)
    process.deliver(live, entries)
    assert late.frames == []  # its answer has not been sent yet
    held = membership.position.go_live(head, live.feed.position)
    assert held is not None
    process.disputes.joined(live, membership, state, held)
    assert late.told() == [entries[-1].seq]
    assert first.told() == [entries[-1].seq]


async def test_the_first_who_joins_takes_the_held_entries_into_the_state(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    one = Somebody(BUYER)
    membership = live.members[one] = Membership(one, one.role)
    head = (await shop.log.head(live.id)).seq
    state = await process.disputes.known(live)
    assert state is not None
    live.feed.start(head)
    entries = await offer(shop, dispute, SELLER, 300)
    process.deliver(live, entries)
    held = membership.position.go_live(head, live.feed.position)
    assert held is not None
    process.disputes.joined(live, membership, state, held)
    assert live.dispute is not None
    assert live.dispute.state == replay(await shop.entries(dispute))
    assert one.told() == [entries[-1].seq]


async def test_a_member_who_is_ahead_is_not_told_of_the_past(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    one = Somebody(BUYER)
    await process.join(live, one)
    first, second = [await offer(shop, dispute, SELLER, amount) for amount in (300, 400)]
    ahead = Somebody(BUYER)
    membership = live.members[ahead] = Membership(ahead, ahead.role)
    state = await shop.desk.state(dispute.id)
    held = membership.position.go_live(state.seq, live.feed.position)
    assert held == []
    process.disputes.joined(live, membership, state, held)
    process.deliver(live, first)
    assert (one.told(), ahead.told()) == ([first[-1].seq], [])
    process.deliver(live, second)
    assert one.told() == [first[-1].seq, second[-1].seq]
    assert ahead.told() == [second[-1].seq]


async def test_a_state_that_cannot_follow_is_read_anew(
    process: Process, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    one = Somebody(BUYER)
    await process.join(live, one)
    entries = await offer(shop, dispute, SELLER, 300)
    # Another process says something that is not what the log says.
    wrong = link(
        live.id,
        await shop.log.head(live.id),
        [Draft(SELLER, shop.command(), EntryKind.PROPOSAL_EXPIRED, {})],
        shop.clock.now(),
        lambda: bytes(16),
    )[0]
    misheard = Publication.of(wrong)
    misheard.seq = entries[0].seq
    run = live.feed.offer([misheard, *(Publication.of(entry) for entry in entries[1:])])
    live.deliver(run)
    assert live.delivered is not None
    live.delivered(run)
    assert live.dispute is not None
    assert "could not follow" in caplog.text
    await eventually(lambda: not process.tasks)
    assert live.dispute.state == replay(await shop.entries(dispute))
    assert one.told() == [entries[-1].seq]
    # And it follows again.
    more = await offer(shop, dispute, SELLER, 400)
    process.deliver(live, more)
    assert one.told() == [entries[-1].seq, more[-1].seq]


async def test_reading_anew_waits_for_the_database(
    process: Process, shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.hub.disputes.RELOAD_PAUSE_S", 0.01)
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    one = Somebody(BUYER)
    await process.join(live, one)
    away = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", "none", "pymongo", timeout_s=0.1))
    cut_off = process.with_storage(Disputes(away, shop.log))
    entries = await offer(shop, dispute, SELLER, 300)
    assert live.dispute is not None
    live.dispute.behind = True
    reading = asyncio.ensure_future(cut_off._reload(live, live.dispute))
    await eventually(lambda: "could not be read" in caplog.text)
    assert not reading.done()
    cut_off._disputes = shop.disputes  # the database is back
    await reading
    assert one.told() == [entries[-1].seq]
    await away.close()


async def test_a_room_that_is_gone_is_not_read_anew(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    await process.join(live, Somebody(BUYER))
    assert live.dispute is not None
    live.dispute.behind = True
    del process.live[live.id]
    await process.disputes._reload(live, live.dispute)
    assert live.dispute.behind


async def test_an_order_room_has_no_dispute(process: Process, shop: Shop) -> None:
    await shop.opened()
    live = await process.open_room(order_room(ORDER))
    assert await process.disputes.known(live) is None
    with pytest.raises(NotFound):
        await process.disputes.change(live.facts, Escalate(BUYER, shop.command(), "why"))


async def test_a_room_without_its_dispute_is_not_found(process: Process, shop: Shop) -> None:
    facts = RoomFacts(
        RoomId("dispute-" + "0" * 20), RoomKind.DISPUTE, ORDER, FACTS.buyer, FACTS.buyer, shop.clock.now()
    )
    with pytest.raises(NotFound):
        await process.disputes.known(LiveRoom(facts, 0))


async def test_only_what_staff_read_is_on_record_in_order_rooms_too(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    order_room_live = await process.open_room(order_room(ORDER))
    await process.disputes.record_read(live.facts, BUYER.id, Role.BUYER, "room.join", after=3)
    await process.disputes.record_read(order_room_live.facts, AGENT.id, Role.AGENT, "room.join", after=3)
    await process.disputes.record_read(live.facts, AGENT.id, Role.AGENT, "room.join", after=None)
    await process.disputes.record_read(live.facts, AGENT.id, Role.AGENT, "room.history", before=7, after=None)
    page = await process.audit.page(dispute.id, 10)
    seen = {(each.actor, each.action, each.room, tuple(each.details.items())) for each in page.records}
    assert seen == {
        (AGENT.id, "room.join", live.id, ()),
        (AGENT.id, "room.history", live.id, (("before", 7),)),
    }
    [talk] = await shop.database.collection("audit").find({"room": order_room(ORDER)})
    assert (talk["actor"]["id"], talk["action"], talk["details"]) == (AGENT.id, "room.join", {"after": 3})


# Leases


async def claimed(shop: Shop) -> Dispute:
    dispute = await shop.opened()
    shop.clock.advance(25 * HOUR.total_seconds())
    await shop.run(dispute.id, JoinAsAgent(AGENT, shop.command()))
    return dispute


async def test_agents_who_are_here_keep_their_cases(process: Process, shop: Shop) -> None:
    dispute = await claimed(shop)
    live = await process.open_room(dispute.room)
    await process.join(live, Somebody(BUYER))
    await process.join(live, Somebody(SENIOR))
    until = shop.clock.now() + LEASE
    shop.clock.advance(59)
    await process.disputes.renew_claims()  # the agent is elsewhere
    assert await shop.claims.expired(until, 10) != []
    await process.join(live, Somebody(AGENT))
    await process.disputes.renew_claims()
    assert await shop.claims.expired(until + timedelta(seconds=58), 10) == []
    assert [each.agent for each in await shop.claims.expired(until + timedelta(seconds=59), 10)] == [AGENT.id]


async def test_without_the_database_no_lease_is_renewed_and_nothing_breaks(
    process: Process, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    dispute = await claimed(shop)
    live = await process.open_room(dispute.room)
    await process.join(live, Somebody(AGENT))
    away = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", "none", "pymongo", timeout_s=0.1))
    process.disputes._claims = type(shop.claims)(away)
    await process.disputes.renew_claims()
    assert "claims could not be renewed" in caplog.text
    await away.close()


# The staff log


@dataclass
class Rooms:
    """Rooms in service, as the hub keeps them."""

    log: RoomLog
    opened: list[LiveRoom] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.ready.set()
        self.logs = StaffLogs(self.log, self.open_room, self.close_room, self.start)

    async def open_room(self, facts: RoomFacts) -> LiveRoom:
        found = next((live for live in self.opened if live.id == facts.id), None)
        live = found or LiveRoom(facts, 0)
        live.openers += 1
        if found is None:
            self.opened.append(live)
        await self.ready.wait()
        return live

    def close_room(self, live: LiveRoom) -> None:
        live.openers -= 1
        if not live.openers:
            self.opened.remove(live)

    def start(self, live: LiveRoom, head: int) -> None:
        live.feed.start(head)


async def test_one_staff_log_is_in_service_while_staff_are_there(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    rooms = Rooms(shop.log)
    buyer, agent, senior = Somebody(BUYER), Somebody(AGENT), Somebody(SENIOR)
    for one in (buyer, agent, senior):
        live.members[one] = Membership(one, one.role)
    rooms.ready.clear()
    following = [asyncio.ensure_future(rooms.logs.follow(live)) for _ in range(2)]
    await eventually(lambda: bool(rooms.opened) and rooms.opened[0].openers == 2)
    rooms.ready.set()
    await asyncio.gather(*following)
    (staff,) = rooms.opened
    assert (staff.id, staff.facts.kind, staff.openers) == (f"staff-{dispute.id}", RoomKind.STAFF, 1)
    assert live.staff_log is staff
    await rooms.logs.follow(live)
    assert staff.openers == 1
    del live.members[agent]
    rooms.logs.release(live)
    assert live.staff_log is staff
    del live.members[senior]
    rooms.logs.release(live)
    assert live.staff_log is None
    assert staff.delivered is None
    assert rooms.opened == []
    rooms.logs.release(live)


async def test_notes_go_to_the_staff_who_are_live(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    rooms = Rooms(shop.log)
    buyer, agent, senior, joining = Somebody(BUYER), Somebody(AGENT), Somebody(SENIOR), Somebody(SENIOR)
    for one in (buyer, agent, senior, joining):
        membership = live.members[one] = Membership(one, one.role)
        if one is not joining:
            membership.position.go_live(1, 1)
    await rooms.logs.follow(live)
    staff = live.staff_log
    assert staff is not None
    assert staff.delivered is not None
    await shop.chat(staff.id, AGENT, "the third case")
    (entry,) = await shop.log.read_after(staff.id, Seq(0), 10)
    staff.delivered([Publication.of(entry)])
    (own,), (other,) = agent.frames, senior.frames
    assert (own["type"], own["room"], own["entry"]["body"]) == ("note", live.id, {"text": "the third case"})
    assert own["entry"].pop("command_id") == entry.command_id
    assert own == other
    assert buyer.frames == joining.frames == []


async def test_an_order_room_has_no_staff_log(process: Process, shop: Shop) -> None:
    await shop.opened()
    rooms = Rooms(shop.log)
    await rooms.logs.follow(await process.open_room(order_room(ORDER)))
    assert rooms.opened == []


async def test_without_the_database_no_staff_log_stays_open(process: Process, shop: Shop) -> None:
    dispute = await shop.opened()
    live = await process.open_room(dispute.room)
    away = open_database(MongoConfig("mongodb://127.0.0.1:1/?replicaSet=rs0", "none", "pymongo", timeout_s=0.1))
    rooms = Rooms(RoomLog(away, GroupCommit(away)))
    with pytest.raises(Unavailable):
        await rooms.logs.follow(live)
    assert rooms.opened == []
    assert live.staff_log is None
    await away.close()
