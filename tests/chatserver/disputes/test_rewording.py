"""Masked words that a dispute's state repeats, released and masked again: everybody reads them there as in the room."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pytest

from chatserver.disputes.snapshots import check_snapshot
from chatserver.disputes.view import dispute_view
from chatserver.moderation import Moderation, Ruled
from chatserver.rulings import wrongly_shown
from chatserver.transcript.case_file import Reader
from chatserver.transcript.gathering import CaseFiles
from chatserver.transcript.verification import verify_case_file
from policies.dispute.commands import (
    AcceptProposal,
    AddEvidence,
    Command,
    Decide,
    Escalate,
    FileAppeal,
    JoinAsAgent,
    MakeProposal,
)
from policies.dispute.rewording import repeats
from policies.dispute.state import Dispute
from policies.errors import Refused
from policies.flag import Flag, FlagState, Mark
from policies.screening import Screening
from policies.verdicts import Verdict
from policies.vocabulary import CommandId, EvidenceKind, Outcome, Resolution, Role, Seq
from storage.audit import Audit
from storage.client import Database
from tests.chatserver.disputes.desks import AGENT, BUYER, HOUR, SELLER, Shop
from tests.chatserver.disputes.flagging import PHONE

WHOLE: Final = "Call me 0176 123 456"
MASKED: Final = "Call me •••• ••• •••"


def masking(field: str) -> Screening:
    return Screening(Flag(Mark.MASKED, 96, (PHONE,)), shown={field: MASKED}, whole={field: WHOLE})


@dataclass
class Court:
    """A dispute, and support."""

    shop: Shop
    dispute: Dispute

    async def does(self, command: Command, screening: Screening | None = None) -> Seq:
        ran = await self.shop.desk.run(self.dispute.id, command, screening)
        assert ran.first is not None
        return ran.first.seq

    async def rules(self, verdict: Verdict, seq: Seq) -> Ruled:
        shop = self.shop
        salt = lambda: os.urandom(16)  # noqa: E731
        moderation = Moderation(shop.desk, shop.log, Audit(shop.database), shop.clock, salt, shop._announce)
        facts = await shop.rooms.facts(self.dispute.room)
        assert facts is not None
        return await moderation.rule(facts, AGENT, verdict, seq, "Looked at", CommandId(os.urandom(8).hex()))

    async def reads(self, words: Callable[[Dispute], str]) -> str:
        """What all can read, which is what the log adds up to."""
        state = await self.shop.desk.state(self.dispute.id)
        for role in (Role.BUYER, Role.SELLER, Role.SYSTEM):
            assert words(state) in str(dispute_view(state, role))
        assert await check_snapshot(self.dispute.id, self.shop.log, self.shop.disputes) is None
        assert await wrongly_shown(self.dispute.room, self.shop.log) is None
        return words(state)


@pytest.fixture
def shop(own_database: Database) -> Shop:
    return Shop(own_database)


@pytest.fixture
async def court(shop: Shop) -> Court:
    await shop.order()
    opened = await shop.open(description=WHOLE, screening=masking("description"))
    return Court(shop, opened.dispute)


async def follow(court: Court, seq: Seq, words: Callable[[Dispute], str]) -> None:
    """Release the words of an entry, mask them again, and release them once more."""
    assert await court.reads(words) == MASKED
    assert repeats(await court.shop.desk.state(court.dispute.id), seq)
    assert (await court.rules(Verdict.RELEASE, seq)).entry is not None
    assert await court.reads(words) == WHOLE
    await court.shop.say(court.dispute.id, BUYER, "Thank you")  # and so it stays
    assert await court.reads(words) == WHOLE
    assert (await court.rules(Verdict.REDACT, seq)).entry is not None
    assert await court.rules(Verdict.REDACT, seq) == Ruled(None)
    assert await court.reads(words) == MASKED
    entry = await court.shop.log.read(court.dispute.room, seq)
    assert entry is not None
    assert entry.flag is not None
    assert (entry.hidden, entry.released, entry.flag.state) == (False, False, FlagState.CONFIRMED)
    assert (await court.rules(Verdict.RELEASE, seq)).entry is not None
    assert await court.reads(words) == WHOLE


async def test_the_description(court: Court) -> None:
    await follow(court, Seq(1), lambda state: state.description)


async def test_the_note_of_an_offer_open_or_accepted(court: Court) -> None:
    offer = MakeProposal(SELLER, CommandId("offer"), Resolution.REPLACEMENT, note=WHOLE)
    seq = await court.does(offer, masking("note"))
    await follow(court, seq, lambda state: state.offers[0].note)
    assert (await court.rules(Verdict.REDACT, seq)).entry is not None
    await court.does(AcceptProposal(BUYER, CommandId("yes"), seq))

    def agreed(state: Dispute) -> str:
        assert state.fulfillment is not None
        return state.fulfillment.offer.note

    await follow(court, seq, agreed)


async def test_an_offer_that_is_gone(court: Court) -> None:
    """Another one took its place: the words of the first are nowhere but in the log."""
    first = await court.does(MakeProposal(SELLER, CommandId("1"), Resolution.REPLACEMENT, note=WHOLE), masking("note"))
    await court.does(MakeProposal(SELLER, CommandId("2"), Resolution.FULL_REFUND, note="All of it"))
    assert (await court.rules(Verdict.RELEASE, first)).entry is not None
    assert await court.reads(lambda state: state.offers[0].note) == "All of it"


async def escalated(court: Court) -> Seq:
    await court.shop.say(court.dispute.id, SELLER)
    court.shop.clock.advance(25 * HOUR.total_seconds())
    return await court.does(Escalate(BUYER, CommandId("escalate"), WHOLE), masking("reason"))


async def test_the_reason_of_an_escalation(court: Court) -> None:
    def why(state: Dispute) -> str:
        assert state.escalation is not None
        return state.escalation.reason

    await follow(court, await escalated(court), why)


async def test_the_reason_of_an_appeal(court: Court) -> None:
    await escalated(court)
    await court.does(JoinAsAgent(AGENT, CommandId("claim")))
    ruling = (Outcome.SELLER_FAVOR, Resolution.RELEASE_TO_SELLER, "It lights.", ("works",))
    await court.does(Decide(AGENT, CommandId("decide"), *ruling))
    await court.does(AddEvidence(BUYER, CommandId("e1"), "e1", EvidenceKind.PHOTO))
    seq = await court.does(FileAppeal(BUYER, CommandId("appeal"), WHOLE, ("e1",)), masking("reason"))

    def why(state: Dispute) -> str:
        assert state.appeal is not None
        return state.appeal.reason

    await follow(court, seq, why)


async def test_what_was_never_released_cannot_be_hidden(court: Court) -> None:
    """An offer is what both sides have to know; its masked words are hidden already."""
    seq = await court.does(MakeProposal(SELLER, CommandId("plain"), Resolution.REPLACEMENT, note="As agreed"))
    with pytest.raises(Refused):
        await court.rules(Verdict.REDACT, seq)
    assert await court.rules(Verdict.REDACT, Seq(1)) == Ruled(None)
    assert await court.reads(lambda state: state.description) == MASKED


async def test_a_case_file_that_is_made_while_staff_rule_is_no_forgery(court: Court) -> None:
    """Its entries are shown as they are a moment after the head that it ends at."""
    shop, dispute = court.shop, court.dispute
    files = CaseFiles(shop.log, shop.rooms, shop.orders, shop.disputes)
    facts = await shop.rooms.facts(dispute.room)
    assert facts is not None
    for verdict in (Verdict.RELEASE, Verdict.REDACT):
        for reader in (Reader(Role.BUYER, BUYER.id), Reader(Role.SELLER, SELLER.id), Reader(Role.SYSTEM, None)):
            cover = await files.cover(facts, reader, shop.clock.now())
            await court.rules(verdict, Seq(1))
            case = await files.collect(cover, 1000, 1_000_000)
            assert verify_case_file(case).findings == ()
            await court.rules(Verdict.REDACT if verdict is Verdict.RELEASE else Verdict.RELEASE, Seq(1))
            case = await files.collect(await files.cover(facts, reader, shop.clock.now()), 1000, 1_000_000)
            assert verify_case_file(case).findings == ()
            forged = replace(case.cover, dispute={**(case.cover.dispute or {}), "description": "It was not delivered."})
            assert "not what its entries add up to" in str(verify_case_file(replace(case, cover=forged)).findings)
        await court.rules(Verdict.RELEASE, Seq(1))
