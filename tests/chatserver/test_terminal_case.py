"""Disputes in the terminal: what a person types, and how a dispute is told."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import orjson
import pytest

from chatserver.client.frames import Noted
from chatserver.protocol import DisputeNow
from chatserver.terminal.case import CaseCommands, Misused
from chatserver.terminal.lines import LineDisplay
from chatserver.terminal.talk import Talk, UnknownCommand
from chatserver.terminal.text import explained
from policies.errors import Refused
from tests.chatserver.client_peer import (
    AT,
    DISPUTE,
    DISPUTE_CHANGED,
    DISPUTE_ROOM,
    Peer,
    in_dispute,
    joined,
    listening,
    meeting,
    wire_entry,
)

AGENT = {"you": {"role": "agent"}}
SELLER = {"you": {"role": "seller"}}


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening() as peer:
        yield peer


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("offer full", {"type": "proposal.make", "resolution": "full_refund"}),
        ("offer fix I send it again", {"resolution": "delivery_fix", "note": "I send it again"}),
        ("offer replacement", {"resolution": "replacement", "note": ""}),
        ("offer partial 12.50 for the scratch", {"amount": 1250, "note": "for the scratch"}),
        ("offer partial 12", {"amount": 1200}),
        ("accept", {"type": "proposal.accept", "proposal": 9}),
        ("accept #12", {"proposal": 12}),
        ("accept 12", {"proposal": 12}),
        ("reject too little", {"type": "proposal.reject", "proposal": 9, "reason": "too little"}),
        ("reject #12 too little", {"proposal": 12, "reason": "too little"}),
        ("done sent today", {"type": "fulfillment.mark", "note": "sent today"}),
        ("confirm", {"type": "fulfillment.confirm"}),
        ("escalate nobody answers", {"type": "dispute.escalate", "reason": "nobody answers"}),
        ("close it came", {"type": "dispute.close", "reason": "it came"}),
        ("reopen it broke", {"type": "dispute.reopen", "reason": "it broke"}),
        (
            "offer delivery_fix a new plug",
            {"type": "proposal.make", "resolution": "delivery_fix", "note": "a new plug"},
        ),
        ("offer partial_refund 0.01", {"resolution": "partial_refund", "amount": 1}),
        ("appeal e1,e2 look", {"type": "dispute.appeal", "evidence": ["e1", "e2"], "reason": "look"}),
        ("claim", {"type": "agent.join", "take_over": False}),
        ("claim over", {"take_over": True}),
        ("unclaim", {"type": "agent.leave", "recuse": False, "reason": ""}),
        ("unclaim end of shift", {"recuse": False, "reason": "end of shift"}),
        ("unclaim recuse I know them", {"recuse": True, "reason": "I know them"}),
        ("release 12", {"type": "message.release", "seq": 12, "reason": ""}),
        ("release #12 an order number", {"seq": 12, "reason": "an order number"}),
        ("redact 12 a home address", {"type": "message.redact", "seq": 12, "reason": "a home address"}),
        ("ask seller the tracking", {"type": "evidence.request", "of": "seller", "what": "the tracking"}),
        (
            "decide buyer_favor partial_refund 0.01 late,wet It was late.",
            {
                "type": "decision.issue",
                "outcome": "buyer_favor",
                "amount": 1,
                "reason_codes": ["late", "wet"],
                "statement": "It was late.",
            },
        ),
        ("recommend compromise full_refund late Late.", {"type": "decision.recommend", "resolution": "full_refund"}),
        ("note odd", {"type": "note.add", "text": "odd"}),
    ],
)
async def test_a_line_is_a_command(peer: Peer, line: str, frame: dict[str, Any]) -> None:
    async with in_dispute(peer) as (client, room, wire):
        commands = CaseCommands(client, room)
        name, _, argument = line.partition(" ")
        running = asyncio.create_task(commands.run(name, argument))
        sent = await wire.receive()
        assert {field: sent.get(field) for field in frame} == frame
        await wire.ack(sent, 15)
        assert await running == ()
        assert commands.written == 15


async def test_the_own_offer_is_withdrawn_without_its_number(peer: Peer) -> None:
    async with in_dispute(peer, **SELLER) as (client, room, wire):
        running = asyncio.create_task(CaseCommands(client, room).run("withdraw", "a mistake"))
        sent = await wire.receive("proposal.withdraw")
        assert (sent["proposal"], sent["reason"]) == (9, "a mistake")
        await wire.ack(sent, 15)
        await running


@pytest.mark.parametrize(("line", "told"), [("release 3", "everybody can see #3"), ("redact 3 rude", "#3 is hidden")])
async def test_a_ruling_that_changes_nothing_says_so(peer: Peer, line: str, told: str) -> None:
    async with in_dispute(peer, **AGENT) as (client, room, wire):
        commands = CaseCommands(client, room)
        name, _, argument = line.partition(" ")
        running = asyncio.create_task(commands.run(name, argument))
        frame = await wire.receive()
        await wire.send(type="ack", id=frame["id"], room=frame["room"])
        assert await running == (told,)
        assert commands.written == 0


async def test_what_became_of_a_note_is_told(peer: Peer) -> None:
    async with in_dispute(peer) as (client, room, wire):
        running = asyncio.create_task(CaseCommands(client, room).run("reject", "call me"))
        frame = await wire.receive("proposal.reject")
        ack = {"type": "ack", "id": frame["id"], "room": room.id, "seq": 12, "entry_id": "e", "at": AT}
        await wire.send(ack | {"notice": {"mark": "masked", "message": "A part of this is hidden."}})
        assert await running == ("#12: A part of this is hidden.",)


async def test_a_note_says_where_it_is(peer: Peer) -> None:
    async with in_dispute(peer, **AGENT) as (client, room, wire):
        running = asyncio.create_task(CaseCommands(client, room).run("note", "odd"))
        await wire.ack(await wire.receive("note.add") | {"room": "staff-1"}, 3)
        assert await running == ("stored as #3 of staff-1",)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("offer half", "/offer"),
        ("offer partial", "which amount of EUR"),
        ("offer partial much", "which amount of EUR"),
        ("offer partial 1.005", "2 decimals"),
        ("accept all of it", "/accept"),
        ("withdraw", "no pending offer"),
        ("escalate", "/escalate REASON"),
        ("appeal e1", "/appeal"),
        ("claim now", "/claim over"),
        ("release recuse", "to give the case back: /unclaim"),
        ("redact it", "/redact N REASON"),
        ("redact 12", "/redact N REASON"),
        ("ask agent x", "/ask"),
        ("ask buyer", "/ask"),
        ("decide agreed split late x", "an outcome is one of buyer_favor, seller_favor, compromise"),
        ("decide compromise half late x", "a resolution is one of"),
        ("decide compromise split 5 late", "/decide"),
        ("note", "/note TEXT"),
        ("open defective full broken", "in the room of its order"),
    ],
)
async def test_a_line_that_says_too_little_is_explained(peer: Peer, line: str, told: str) -> None:
    async with in_dispute(peer) as (client, room, _):
        name, _, argument = line.partition(" ")
        with pytest.raises(Misused, match=told):
            await CaseCommands(client, room).run(name, argument)


async def test_how_the_dispute_stands(peer: Peer) -> None:
    settled = DISPUTE | {
        "agent": {"id": "a1", "role": "agent", "name": "Ada\x1b[2J", "since": DISPUTE["opened_at"]},
        "outcome": "compromise",
        "resolution": "partial_refund",
        "resolved_amount": 2500,
        "settlement": {
            "status": "pending",
            "refund": 2500,
            "release": 0,
            "refund_done": False,
            "release_done": True,
            "attempts": 1,
        },
        "frozen": True,
    }
    async with in_dispute(peer, dispute=settled) as (client, room, _):
        told = await CaseCommands(client, room, UTC).run("dispute", "")
    assert told is not None
    assert told[:6] == (
        "negotiation: waiting for buyer, frozen by a chargeback",
        "about A used camera for 125.00 EUR: not as described",
        "offer #9 by the seller: partial refund of 25.00 EUR, until 2026-02-03 09:30:00",
        "with Ada of support",
        "outcome compromise: partial refund, 25.00 EUR",
        "settlement pending",
    )
    assert any(line.startswith("due 2026-") for line in told)
    assert any(line.startswith("you may proposal.accept") for line in told)


async def test_an_order_room_has_no_dispute_but_opens_one(peer: Peer) -> None:
    async with meeting(peer) as (client, wire):
        joining = asyncio.create_task(client.join("order-1"))
        await wire.send(joined(id=(await wire.receive("join"))["id"]))
        commands = CaseCommands(client, await joining)
        for line in ("dispute", "accept"):
            with pytest.raises(Misused, match="no dispute"):
                await commands.run(line, "")
        for argument, told in (
            ("boredom full x", "a reason is one of not_received"),
            ("defective half x", "/open"),
            ("defective partial 1.5 x", "minor units"),
            ("defective full", "/open"),
        ):
            with pytest.raises(Misused, match=told):
                await commands.run("open", argument)
        assert await commands.run("dance", "") is None


def test_a_refusal_says_from_or_until_when() -> None:
    too_early = Refused("It is too early.", details={"rule": "escalate_from", "opens_at": "2026-02-01T08:00:00.000Z"})
    assert explained(too_early, UTC) == "It is too early. (from 2026-02-01 08:00:00)"
    unheard = Refused("The seller has time.", details={"due_at": "2026-02-01T08:00:00.000Z"})
    assert explained(unheard, UTC) == "The seller has time. (until 2026-02-01 08:00:00)"
    for other in (Refused("No.", details={"due_at": "soon"}), Refused("No."), Misused("No.")):
        assert explained(other, UTC) == "No."


@pytest.mark.parametrize(("you", "shown", "hidden"), [({}, "/accept", "/decide"), (AGENT, "/decide", "/accept")])
async def test_help_is_for_the_role(peer: Peer, you: dict[str, Any], shown: str, hidden: str) -> None:
    async with in_dispute(peer, **you) as (client, room, _):
        out = io.StringIO()
        assert await Talk(client, room, LineDisplay(out, io.StringIO())).command("/help")
        assert shown in out.getvalue()
        assert hidden not in out.getvalue()


async def test_changes_and_notes_are_told(peer: Peer) -> None:
    async with in_dispute(peer) as (client, room, _):
        err = io.StringIO()
        talk = Talk(client, room, LineDisplay(io.StringIO(), err))
        changed = DisputeNow.model_validate_json(orjson.dumps(DISPUTE_CHANGED))
        talk.tell(changed, first=False)
        talk.tell(changed, first=False)
        noted = Noted.model_validate_json(
            orjson.dumps({"type": "note", "room": DISPUTE_ROOM, "entry": wire_entry(3, "odd\x07")})
        )
        talk.tell(noted, first=False)
        with pytest.raises(UnknownCommand):
            await talk.command("/dance")
    assert (
        err.getvalue() == "chatserver: the dispute: negotiation, waiting for buyer\nchatserver: note #3 by Bob: odd\n"
    )
