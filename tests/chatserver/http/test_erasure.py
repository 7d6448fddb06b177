"""Erasing what a person has said and shown in disputes, with the record still whole."""

from datetime import timedelta
from typing import Any, cast

import pytest

from chatserver.disputes.snapshots import SnapshotBreak, check_snapshot
from chatserver.erasure import Archive, Erased, Erasure
from chatserver.evidence.inventory import Inventory
from chatserver.transcript.reading import read_case_file
from chatserver.transcript.verification import verify_case_file
from policies.dispute.commands import Escalate, MakeProposal, RedactMessage, SendMessage
from policies.dispute.state import Dispute
from policies.entry import Author
from policies.report import Report, ReportCategory
from policies.vocabulary import CommandId, EntryKind, OrderId, Resolution, Role, RoomId, Seq, UserId
from storage.chain import verify
from storage.disputes import Disputes
from storage.evidence import EvidenceState
from storage.holds import Hold
from storage.reports import report_id
from tests.chatserver.http.evidence_room import Room, dispute_of, dispute_room, gate, order_room, settings

__all__ = ["dispute_room", "gate", "order_room", "settings"]


def erasure_of(room: Room, disputes: Disputes) -> Erasure:
    services, office = room.backstage.services, room.backstage.office
    reports = services.moderation.reports
    archive = Archive(services.log, services.rooms, disputes, office.known, office.holds, reports, office.store)
    return Erasure(archive, room.backstage.clock)


@pytest.fixture
def erasure(dispute_room: Room) -> Erasure:
    return erasure_of(dispute_room, dispute_room.backstage.services.disputes)


async def said_and_shown(room: Room) -> None:
    """Both sides say and show something, and the dispute ends."""
    backstage, dispute = room.backstage, dispute_of(room)
    buyer, seller = (
        Author(UserId(backstage.buyer), Role.BUYER, "Ada"),
        Author(UserId(backstage.seller), Role.SELLER, "Shop"),
    )
    await backstage.services.desk.run(dispute, SendMessage(seller, CommandId("m1"), "I am Sal and sorry."))
    await room.sealed(room.buyer, caption="my kitchen")
    await room.sealed(room.seller, caption="my workshop")
    await room.upload(room.buyer, caption="my cellar")
    await backstage.services.desk.run(
        dispute, MakeProposal(seller, CommandId("p1"), Resolution.FULL_REFUND, note="from my purse")
    )
    backstage.clock.advance(timedelta(days=1).total_seconds())
    await backstage.services.desk.run(dispute, Escalate(buyer, CommandId("e1"), "Sal lies."))
    backstage.clock.advance(timedelta(minutes=1).total_seconds())
    await backstage.close(dispute)


async def closed(room: Room) -> None:
    room.backstage.clock.advance(timedelta(days=2).total_seconds())
    await room.backstage.tick(dispute_of(room))


async def require_whole(room: Room) -> None:
    services, office = room.backstage.services, room.backstage.office
    entries = [entry async for entry in services.log.scan(room.room)]
    assert verify(room.room, entries) is None
    found = await check_snapshot(dispute_of(room), services.log, services.disputes)
    assert not isinstance(found, SnapshotBreak)  # of what was erased it cannot always be told
    inventory = Inventory(office.store, office.known, services.log, deep=True)
    assert [fault async for fault in inventory.faults(room.room)] == []


async def everything(room: Room) -> str:
    """All that is kept of the dispute, as text."""
    services = room.backstage.services
    dispute = await services.disputes.get(dispute_of(room))
    entries = [entry async for entry in services.log.scan(room.room)]
    pieces = [await room.backstage.office.known.of_uploader(room.room, UserId(user)) for user in
              (room.backstage.buyer, room.backstage.seller)]  # fmt: skip
    rooms = [await services.rooms.facts(RoomId(f"{kind}-{dispute_of(room)}")) for kind in ("dispute", "staff")]
    names = [report_id(room.room, UserId(user), Seq(1)) for user in (room.backstage.buyer, room.backstage.seller)]
    reports = [await services.moderation.reports.get(name) for name in names]
    return repr((dispute, entries, pieces, rooms, reports))


async def erased_of(erasure: Erasure, user: str) -> dict[RoomId, Erased]:
    return {each.room: each async for each in erasure.erase(UserId(user))}


async def test_what_a_buyer_has_said_and_shown_is_gone(dispute_room: Room, erasure: Erasure) -> None:
    await said_and_shown(dispute_room)
    buyer = dispute_room.backstage.buyer
    going_on = await erased_of(erasure, buyer)
    assert all(each.kept == f"dispute {dispute_of(dispute_room)} is not closed" for each in going_on.values())
    assert len(going_on) == 2
    assert "my kitchen" in await everything(dispute_room)
    seller = dispute_room.backstage.seller
    reports = dispute_room.backstage.services.moderation.reports
    now = dispute_room.backstage.clock.now()
    room, category = dispute_room.room, ReportCategory.OTHER
    for author, text in ((buyer, "in my bedroom"), (seller, "in my office")):
        reporter = Author(UserId(author), Role.BUYER, "A name")
        name = report_id(room, reporter.id, Seq(1))
        assert await reports.add(Report(name, room, Seq(1), reporter, UserId("x"), category, text, now))
    await closed(dispute_room)
    looked = [each async for each in erasure.erase(UserId(buyer), only_look=True)]
    assert [(each.kept, each.entries) for each in looked] == [(None, 0)] * 2
    done = (await erased_of(erasure, buyer))[dispute_room.room]
    assert (done.pieces, done.kept) == (2, None)
    assert done.entries >= 3
    left = await everything(dispute_room)
    for words in ("my kitchen", "my cellar", "does not light up", "Sal lies", "It works now", "my bedroom"):
        assert words not in left, words
    for words in ("I am Sal and sorry.", "my workshop", "from my purse", "my office"):
        assert words in left, words
    pieces = await dispute_room.backstage.office.known.of_uploader(dispute_room.room, UserId(buyer))
    assert {piece.state for piece in pieces} == {EvidenceState.DELETED}
    assert all(piece.said.sha256 for piece in pieces)
    await require_whole(dispute_room)
    again = (await erased_of(erasure, buyer))[dispute_room.room]
    assert (again.entries, again.pieces) == (0, 0)


async def test_what_a_seller_has_said_and_shown_is_gone(dispute_room: Room, erasure: Erasure) -> None:
    await said_and_shown(dispute_room)
    await closed(dispute_room)
    await erased_of(erasure, dispute_room.backstage.seller)
    left = await everything(dispute_room)
    for words in ("I am Sal", "my workshop", "from my purse"):
        assert words not in left, words
    for words in ("my kitchen", "does not light up"):
        assert words in left, words
    await require_whole(dispute_room)


async def test_what_was_masked_and_why_it_was_flagged_is_gone(dispute_room: Room, erasure: Erasure) -> None:
    backstage, dispute, log = dispute_room.backstage, dispute_of(dispute_room), dispute_room.backstage.services.log
    number = "+49 151 12345678"
    piece = await dispute_room.sealed(dispute_room.buyer, caption=f"Call {number}", filename=f"{number}.jpg")
    await dispute_room.buyer.client.request(
        "DELETE", f"/v1/evidence/{piece}", json={"reason": f"Call {number}"}, headers=dispute_room.buyer.headers
    )
    flagged = [entry.seq async for entry in log.scan(dispute_room.room) if entry.flag is not None and entry.whole]
    assert len(flagged) == 2
    await backstage.close(dispute)
    await closed(dispute_room)
    await erased_of(erasure, backstage.buyer)
    left = [entry async for entry in log.scan(dispute_room.room)]
    for entry in (each for each in left if each.seq in flagged):
        assert (entry.body, entry.written, entry.flag, entry.whole) == ({}, {}, None, None)
    assert "12345678" not in await everything(dispute_room)
    await require_whole(dispute_room)
    backstage.clock.advance(timedelta(days=1).total_seconds())
    agent = {"Authorization": f"Bearer {backstage.token('agent-1', Role.AGENT)}"}
    answer = await dispute_room.agent.client.get(f"/v1/rooms/{dispute_room.room}/transcript", headers=agent)
    assert verify_case_file(read_case_file(answer.content)).findings == ()


class Busy:
    """Disputes of which one changes as soon as they were read: support rules on an entry."""

    def __init__(self, room: Room, about: Seq) -> None:
        self._room = room
        self._about = about

    async def of_order(self, order: OrderId) -> list[Dispute]:
        services, agent = self._room.backstage.services, Author(UserId("kim"), Role.AGENT, "Kim")
        found = await services.disputes.of_order(order)
        ruling = RedactMessage(agent, CommandId("ruling"), self._about, "Not fit")
        await services.desk.run(dispute_of(self._room), ruling)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._room.backstage.services.disputes, name)


async def test_a_ruling_while_it_is_erased_keeps_no_words(dispute_room: Room) -> None:
    """The state is that of a later entry by then."""
    backstage, dispute = dispute_room.backstage, dispute_of(dispute_room)
    services = backstage.services
    await said_and_shown(dispute_room)
    await closed(dispute_room)
    entries = [entry async for entry in services.log.scan(dispute_room.room)]
    about = next(each.seq for each in entries if each.kind is EntryKind.MESSAGE)
    archive = erasure_of(dispute_room, cast(Disputes, Busy(dispute_room, about)))
    async for erased in archive.erase(UserId(backstage.buyer)):
        assert erased.kept is None
    stored = await services.disputes.get(dispute)
    assert stored is not None
    assert (stored.dispute.description, stored.dispute.buyer.name) == ("", "")
    await require_whole(dispute_room)


async def test_a_seller_who_said_nothing_leaves_the_record_whole(dispute_room: Room, erasure: Erasure) -> None:
    await dispute_room.backstage.close(dispute_of(dispute_room))
    await closed(dispute_room)
    done = await erased_of(erasure, dispute_room.backstage.seller)
    assert [each.entries for each in done.values()] == [0, 0]
    await require_whole(dispute_room)


async def test_a_seller_who_only_talked_leaves_the_record_whole(dispute_room: Room, erasure: Erasure) -> None:
    seller = Author(UserId(dispute_room.backstage.seller), Role.SELLER, "Shop")
    for number in (1, 2):
        command = SendMessage(seller, CommandId(f"m{number}"), f"I am Sal and sorry, {number} times.")
        await dispute_room.backstage.services.desk.run(dispute_of(dispute_room), command)
    await dispute_room.backstage.close(dispute_of(dispute_room))
    await closed(dispute_room)
    await erased_of(erasure, seller.id)
    assert "I am Sal" not in await everything(dispute_room)
    await require_whole(dispute_room)


async def test_what_is_held_is_kept(dispute_room: Room, erasure: Erasure) -> None:
    await said_and_shown(dispute_room)
    await closed(dispute_room)
    backstage = dispute_room.backstage
    hold = Hold(dispute_of(dispute_room), UserId("senior-1"), Role.SENIOR_AGENT, "a lawsuit", backstage.clock.now())
    await backstage.services.holds.put(hold)
    kept = await erased_of(erasure, backstage.buyer)
    assert {each.kept for each in kept.values()} == {f"dispute {hold.dispute} is held"}
    assert "my kitchen" in await everything(dispute_room)
