"""Stored states that are then tampered with, as somebody with access to the database could."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from chatserver.disputes.snapshots import (
    Incomparable,
    SnapshotBreak,
    SnapshotFault,
    check_snapshot,
    dispute_of_room,
)
from chatserver.integrity import IntegrityCheck
from policies.dispute.commands import AddEvidence, Close, Decide, Escalate, FileAppeal, JoinAsAgent, MakeProposal
from policies.dispute.state import Dispute
from policies.vocabulary import (
    CommandId,
    DisputeId,
    EntryKind,
    EvidenceKind,
    Outcome,
    Resolution,
    RoomId,
    Seq,
)
from storage.checkpoints import Checkpoints
from storage.client import Database
from storage.disputes import Disputes
from storage.room_log import RoomLog
from tests.chatserver.disputes.desks import AGENT, BUYER, HOUR, SELLER, Shop
from tests.chatserver.moving_time import NOW

NOTHING = DisputeId("0" * 20)


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
async def dispute(shop: Shop) -> Dispute:
    """One in which something has happened, and something was said after that."""
    opened = await shop.opened()
    await shop.say(opened.id, SELLER)
    offer = MakeProposal(SELLER, CommandId("offer"), Resolution.PARTIAL_REFUND, 500, note="I can do that.")
    ran = await shop.run(opened.id, offer)
    await shop.chat(opened.room, BUYER)
    assert ran.state.seq == 5
    return ran.state


async def check(shop: Shop, dispute: Dispute) -> tuple[int, SnapshotFault] | None:
    found = await check_snapshot(dispute.id, shop.log, shop.disputes)
    assert found is None or (isinstance(found, SnapshotBreak) and found.room == dispute.room)
    return None if found is None else (found.seq, found.fault)


async def rewrite(shop: Shop, dispute: Dispute, changes: dict[str, Any]) -> None:
    assert await shop.database.collection("disputes").update_one({"_id": dispute.id}, {"$set": changes})


async def test_what_the_desk_writes_is_what_the_entries_add_up_to(shop: Shop, dispute: Dispute) -> None:
    assert await check(shop, dispute) is None
    current = await shop.disputes.current(dispute.id)
    assert current is not None
    await shop.disputes.put_later(current.dispute, current.saved)
    assert await check(shop, dispute) is None
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    assert await check(shop, dispute) is None


@pytest.mark.parametrize(
    "changes",
    [{"state.status": "resolved"}, {"state.resolved_amount": 1}, {"state.offers": []}, {"state.buyer.id": "cy"}],
)
async def test_a_rewritten_state(shop: Shop, dispute: Dispute, changes: dict[str, Any]) -> None:
    await rewrite(shop, dispute, changes)
    assert await check(shop, dispute) == (5, SnapshotFault.DIFFERS)


async def test_a_state_put_back_to_an_earlier_one(shop: Shop, dispute: Dispute) -> None:
    document = await shop.database.collection("disputes").find_one({"_id": dispute.id})
    assert document is not None
    await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    await rewrite(shop, dispute, {"seq": document["seq"], "state": document["state"]})
    assert await check(shop, dispute) == (7, SnapshotFault.BEHIND)


async def test_a_state_without_its_entries(shop: Shop, dispute: Dispute) -> None:
    await shop.database.collection("entries").delete_many({"room": dispute.room, "seq": {"$gte": 4}})
    assert await check(shop, dispute) == (4, SnapshotFault.AHEAD)


async def test_entries_without_a_state(shop: Shop, dispute: Dispute) -> None:
    await shop.database.collection("disputes").delete_one({"_id": dispute.id})
    assert await check(shop, dispute) == (1, SnapshotFault.MISSING)


async def test_entries_that_make_no_dispute(shop: Shop, dispute: Dispute) -> None:
    await shop.database.collection("entries").delete_one({"room": dispute.room, "seq": 1})
    assert await check(shop, dispute) == (2, SnapshotFault.DIFFERS)


async def erase(shop: Shop, dispute: Dispute, kind: EntryKind) -> list[Seq]:
    """Erase what a dispute's entries of a kind say."""
    seqs = [entry.seq for entry in await shop.entries(dispute) if entry.kind is kind]
    assert await shop.log.erase(dispute.room, seqs=seqs) == len(seqs) > 0
    return seqs


async def test_erased_messages_hide_no_rewritten_state(shop: Shop, dispute: Dispute) -> None:
    ran = await shop.run(dispute.id, Close(BUYER, shop.command(), "It lights now."))
    await erase(shop, dispute, EntryKind.MESSAGE)
    assert await check(shop, dispute) is None
    await rewrite(shop, dispute, {"state.resolved_amount": 1})
    assert await check(shop, dispute) == (ran.state.seq, SnapshotFault.DIFFERS)


async def test_a_message_erased_while_the_seller_has_not_attended(shop: Shop) -> None:
    """What was said then is kept as digests, which nobody can compute again."""
    opened = await shop.opened()
    await shop.chat(opened.room, BUYER)
    current = await shop.disputes.current(opened.id)
    assert current is not None
    await shop.disputes.put_later(current.dispute, current.saved)
    await erase(shop, opened, EntryKind.MESSAGE)
    assert await check(shop, opened) is None
    await rewrite(shop, opened, {"state.status": "waiting_for_buyer"})
    assert await check(shop, opened) == (current.dispute.seq, SnapshotFault.DIFFERS)


@pytest.mark.parametrize("answer", ["No, it does not.", "..."])
async def test_an_erased_answer_to_an_appeal(shop: Shop, answer: str) -> None:
    """Whether it said anything is not known any more; both are right, and nothing else is."""
    opened = await shop.opened()
    await shop.say(opened.id, SELLER)
    shop.clock.advance(24 * HOUR.total_seconds())
    await shop.run(opened.id, Escalate(BUYER, shop.command(), "Help"))
    await shop.run(opened.id, JoinAsAgent(AGENT, shop.command()))
    ruled = (Outcome.SELLER_FAVOR, Resolution.RELEASE_TO_SELLER, "It works.", ("works",))
    await shop.run(opened.id, Decide(AGENT, shop.command(), *ruled))
    added = await shop.run(opened.id, AddEvidence(BUYER, shop.command(), "e1", EvidenceKind.PHOTO))
    await shop.run(opened.id, FileAppeal(BUYER, shop.command(), "It does not light.", ("e1",)))
    await shop.chat(opened.room, SELLER, answer)
    current = await shop.disputes.current(opened.id)
    assert current is not None
    assert current.dispute.appeal is not None
    assert current.dispute.appeal.answered == (answer != "...")
    await shop.disputes.put_later(current.dispute, current.saved)
    assert added.state.seq < current.dispute.seq
    await erase(shop, opened, EntryKind.MESSAGE)
    assert await check(shop, opened) is None
    await rewrite(shop, opened, {"state.stage": "mediation"})
    assert await check(shop, opened) == (current.dispute.seq, SnapshotFault.DIFFERS)


@pytest.mark.parametrize("kind", [EntryKind.DISPUTE_OPENED, EntryKind.PROPOSAL_MADE])
async def test_what_depends_on_erased_content_cannot_be_compared(shop: Shop, dispute: Dispute, kind: EntryKind) -> None:
    [seq] = await erase(shop, dispute, kind)
    found = await check_snapshot(dispute.id, shop.log, shop.disputes)
    assert found == Incomparable(dispute.room, seq)


async def test_the_continuous_check_says_what_it_could_not_compare(shop: Shop, dispute: Dispute) -> None:
    [seq] = await erase(shop, dispute, EntryKind.PROPOSAL_MADE)
    with capture_logs() as logs:
        done = await continuous(shop).run()
    assert (done.breaks, done.not_compared) == (0, 1)
    assert [(line["event"], line["room"], line["erased"]) for line in logs] == [
        ("record_not_compared", dispute.room, seq)
    ]
    assert (await continuous(shop).run()).not_compared == 0, "it looks where something is new"


async def test_a_change_while_it_is_looked_at_is_no_break(
    shop: Shop, dispute: Dispute, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Disputes.get
    changes = iter(range(100))

    async def slowly(self: Disputes, name: DisputeId) -> Any:
        stored = await get(self, name)
        await shop.run(dispute.id, MakeProposal(SELLER, shop.command(), Resolution.PARTIAL_REFUND, 600 + next(changes)))
        return stored

    async def once(self: Disputes, name: DisputeId) -> Any:
        monkeypatch.setattr(Disputes, "get", get)
        return await slowly(self, name)

    monkeypatch.setattr(Disputes, "get", once)
    assert await check(shop, dispute) is None
    assert next(changes) == 1


async def test_a_dispute_that_never_stands_still_is_left_for_the_next_time(
    shop: Shop, dispute: Dispute, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rewrite(shop, dispute, {"state.frozen": True})
    get = Disputes.get
    told = iter(range(100))

    async def changing(self: Disputes, name: DisputeId) -> Any:
        await rewrite(shop, dispute, {"told": next(told)})
        return await get(self, name)

    monkeypatch.setattr(Disputes, "get", changing)
    assert await check(shop, dispute) is None
    assert next(told) == 10
    monkeypatch.undo()
    assert await check(shop, dispute) == (5, SnapshotFault.DIFFERS)


def test_which_rooms_are_of_disputes() -> None:
    assert dispute_of_room(RoomId(f"dispute-{NOTHING}")) == NOTHING
    assert dispute_of_room(RoomId("order-dispute-1")) is None
    assert dispute_of_room(RoomId(f"staff-{NOTHING}")) is None
    assert SnapshotBreak(RoomId("r"), Seq(1), SnapshotFault.AHEAD).fault.value == "snapshot_ahead"


# The continuous check


def continuous(shop: Shop) -> IntegrityCheck:
    return IntegrityCheck(shop.log, shop.disputes, Checkpoints(shop.database))


async def test_the_continuous_check_reports_a_rewritten_state_in_every_round(shop: Shop, dispute: Dispute) -> None:
    assert (await continuous(shop).run()).breaks == 0
    await rewrite(shop, dispute, {"state.status": "resolved"})
    assert (await continuous(shop).run()).breaks == 0  # it looks where something is new
    await shop.chat(dispute.room, BUYER)
    with capture_logs() as logs:
        assert [(await continuous(shop).run()).breaks for _ in range(2)] == [1, 1]
    found = [(line["event"], line["room"], line["seq"], line["what"]) for line in logs]
    assert found == [("record_broken", dispute.room, 5, "snapshot_differs")] * 2
    await rewrite(shop, dispute, {"state.status": "waiting_for_buyer"})
    assert (await continuous(shop).run()).breaks == 0


async def test_a_broken_chain_is_reported_as_that(shop: Shop, dispute: Dispute) -> None:
    update = {"$set": {"body.amount": 1}}
    await shop.database.collection("entries").update_one({"room": dispute.room, "seq": 5}, update)
    with capture_logs() as logs:
        assert (await continuous(shop).run()).breaks == 1
    assert [(line["seq"], line["what"]) for line in logs] == [(5, "content")]


async def test_the_check_needs_no_more_than_the_log(shop: Shop, dispute: Dispute) -> None:
    """It runs on a worker, which has connections of its own."""
    log = RoomLog(shop.database, None)  # type: ignore[arg-type]  # it appends nothing
    shop.clock.at = NOW
    assert await check_snapshot(dispute.id, log, Disputes(shop.database, log)) is None
