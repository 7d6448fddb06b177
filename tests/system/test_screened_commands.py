"""What parties say in the commands of a dispute, as the other side, staff and the marketplace get it."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storage.client import MongoConfig, open_database
from tests.system.case import Case, open_case, write_policy
from tests.system.conftest import Dial
from tests.system.peer import Peer, new_id
from tests.system.schemas import FrameSchemas
from tests.system.site import Server, Site, token, unique

NUMBER = "+49 151 12345678"
OUTSIDE = f"Call me on {NUMBER}, it is quicker."
MASKED = "Call me on ••• ••• ••••••••, it is quicker."


@pytest.fixture(scope="module")
def court(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process with the rules of moderation that hold when nobody says otherwise."""
    policy = write_policy(tmp_path_factory.mktemp("policy"))
    server = site.apart().begin(policy_file=policy, messages_per_s=1000, message_burst=1000)
    with server.program:
        yield server.await_start()


@pytest.fixture
def case(site: Site, court: Server) -> Case:
    return open_case(site, court)


@pytest.fixture
async def buyer(dial: Dial, court: Server, case: Case) -> Peer:
    return await dial(court, case.order.buyer, [case.room])


@pytest.fixture
async def seller(dial: Dial, court: Server, case: Case) -> Peer:
    return await dial(court, case.order.seller, [case.room])


@pytest.fixture
async def agent(dial: Dial, court: Server, case: Case) -> Peer:
    return await dial(court, unique("agent"), [case.room], role="agent")


async def told_anew(peer: Peer, room: str) -> dict[str, Any]:
    """The dispute, as who joins once more is told."""
    dispute: dict[str, Any] = (await peer.join(room))["dispute"]
    return dispute


async def told(peer: Peer, room: str, seq: int) -> dict[str, Any]:
    """The entry of a room, as a peer got it."""
    return await peer.until(
        lambda: next((each for each in peer.entries(room) if each["seq"] == seq), None), f"entry {seq}"
    )


async def test_an_offers_note_is_masked_for_all_but_staff_and_its_author(
    site: Site, court: Server, case: Case, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    offer = {"room": case.room, "resolution": "replacement", "note": OUTSIDE, "id": new_id()}
    ack = await seller.ask("proposal.make", expect="ack", **offer)
    assert ack["notice"]["mark"] == "masked"
    again = await seller.ask("proposal.make", expect="ack", **offer)
    assert (again["duplicate"], again["seq"], again["notice"]) == (True, ack["seq"], ack["notice"])
    await seller.refusal("proposal.make", "conflict", **(offer | {"note": MASKED}))

    seen = await told(buyer, case.room, ack["seq"])
    assert seen["body"]["note"] == MASKED
    assert not {"whole", "flag", "command_id"} & seen.keys()
    own = await told(seller, case.room, ack["seq"])
    assert (own["body"]["note"], own["whole"]) == (MASKED, {"note": OUTSIDE})
    assert "flag" not in own
    whole = await told(agent, case.room, ack["seq"])
    assert (whole["body"]["note"], whole["whole"]) == (MASKED, {"note": OUTSIDE})
    assert whole["flag"]["mark"] == "masked"
    assert ("phone", "note") in {(cause["category"], cause["field"]) for cause in whole["flag"]["causes"]}
    for peer in (buyer, seller, agent):
        attended, reminder = [await told(peer, case.room, ack["seq"] + later) for later in (1, 2)]
        assert (attended["kind"], reminder["kind"]) == ("dispute.attended", "notice")
        assert (reminder["body"]["notice"], reminder["body"]["about"]) == ("contact", ack["seq"])
        states = [frame for frame in peer.frames if frame["type"] == "dispute"]
        assert states
        assert NUMBER not in json.dumps(states)
    for user in (case.order.buyer, case.order.seller):
        view = json.dumps(site.get(court, f"/v1/disputes/{case.id}", token(user)), ensure_ascii=False)
        assert MASKED in view
        assert NUMBER not in view
    file = site.get(court, f"/v1/rooms/{case.room}/transcript", token(case.order.buyer), format="json")
    assert NUMBER not in json.dumps(file)
    database = open_database(MongoConfig(site.mongo_url, site.database))
    events = await database.collection("outbox").find({"dispute": case.id, "type": "proposal.made"})
    await database.close()
    assert len(events) == 1
    assert NUMBER not in str(events)


async def test_reasons_and_notes_are_screened_wherever_they_are_given(
    case: Case, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    async def do(peer: Peer, kind: str, field: str, **fields: Any) -> int:
        ack = await peer.ask(kind, expect="ack", room=case.room, **fields, **{field: OUTSIDE})
        assert ack["notice"]["mark"] == "masked", kind
        other = seller if peer is buyer else buyer
        assert (await told(other, case.room, ack["seq"]))["body"][field] == MASKED
        assert (await told(agent, case.room, ack["seq"]))["whole"] == {field: OUTSIDE}
        return int(ack["seq"])

    async def offer(peer: Peer, resolution: str) -> int:
        ack = await peer.ask("proposal.make", expect="ack", room=case.room, resolution=resolution)
        assert "notice" not in ack
        return int(ack["seq"])

    await do(buyer, "proposal.reject", "reason", proposal=await offer(seller, "replacement"))
    await do(seller, "proposal.withdraw", "reason", proposal=await offer(seller, "delivery_fix"))
    await do(buyer, "dispute.close", "reason")
    await do(buyer, "dispute.reopen", "reason")
    accepted = await offer(seller, "replacement")
    await buyer.ask("proposal.accept", expect="ack", room=case.room, proposal=accepted)
    await do(seller, "fulfillment.mark", "note")
    await do(buyer, "dispute.escalate", "reason")


async def test_released_words_are_read_wherever_the_dispute_repeats_them(
    site: Site, court: Server, case: Case, dial: Dial, tmp_path: Path, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    ack = await seller.ask("proposal.make", expect="ack", room=case.room, resolution="replacement", note=OUTSIDE)
    seq = ack["seq"]

    async def shows(note: str) -> None:
        """Everywhere, to those who were there and to who comes now."""

        def told(peer: Peer) -> bool | None:
            frames = [frame for frame in peer.frames if frame["type"] == "dispute"]
            return (bool(frames) and frames[-1]["dispute"]["offers"][0].get("note") == note) or None

        for peer in (buyer, seller, agent):
            await peer.until(partial(told, peer), note)
            assert (await told_anew(peer, case.room))["offers"][0]["note"] == note
        for user in (case.order.buyer, case.order.seller):
            joined = await (await dial(court, user)).join(case.room)
            assert joined["dispute"]["offers"][0]["note"] == note
            seen = await asyncio.to_thread(site.get, court, f"/v1/disputes/{case.id}", token(user))
            assert seen["offers"][0]["note"] == note
            path = f"/v1/rooms/{case.room}/transcript"
            file = await asyncio.to_thread(site.get, court, path, token(user), format="json")
            assert file["dispute"]["offers"][0]["note"] == note
            (tmp_path / "case.json").write_text(json.dumps(file))
            await asyncio.to_thread(site.run, "verify", str(tmp_path / "case.json"))
        await asyncio.to_thread(site.run, "verify", case.room)

    await shows(MASKED)
    await agent.ask("message.release", expect="ack", room=case.room, seq=seq, reason="The shop's own number")
    await shows(OUTSIDE)
    await agent.ask("message.redact", expect="ack", room=case.room, seq=seq, reason="No, it is not")
    await shows(MASKED)
    changed = [frame["entry"] for frame in buyer.frames if frame["type"] == "entry.changed"]
    assert [(each["body"]["note"], each.get("whole")) for each in changed] == [
        (MASKED, {"note": OUTSIDE}),
        (MASKED, None),
    ]


async def test_both_sides_are_reminded_once_of_notes_and_messages_together(
    case: Case, buyer: Peer, seller: Peer
) -> None:
    def reminders() -> list[int]:
        return [entry["body"]["about"] for entry in buyer.entries(case.room) if "about" in entry["body"]]

    async def offers(resolution: str) -> int:
        offer = {"room": case.room, "resolution": resolution, "note": OUTSIDE}
        return int((await seller.ask("proposal.make", expect="ack", **offer))["seq"])

    first = await offers("replacement")
    await offers("delivery_fix")
    assert (await seller.say(case.room, OUTSIDE))["notice"]["mark"] == "withheld"
    last = (await seller.say(case.room, "When may I send it?"))["seq"]
    await buyer.reaches(case.room, last)
    assert reminders() == [first]
    warned = (await buyer.say(case.room, OUTSIDE))["seq"]
    await buyer.ask("dispute.close", expect="ack", room=case.room, reason=OUTSIDE)
    await buyer.in_step()
    assert reminders() == [first, warned]


async def test_what_staff_write_is_not_screened(case: Case, buyer: Peer, seller: Peer, agent: Peer) -> None:
    await buyer.ask("dispute.escalate", expect="ack", room=case.room, reason="We are stuck.")
    await agent.ask("agent.join", expect="ack", room=case.room)
    ack = await agent.ask("evidence.request", expect="ack", room=case.room, of="seller", what=OUTSIDE)
    assert "notice" not in ack
    assert (await told(seller, case.room, ack["seq"]))["body"]["what"] == OUTSIDE


async def test_a_name_with_contact_details_is_seen_by_nobody(
    court: Server, case: Case, schemas: FrameSchemas, buyer: Peer, agent: Peer
) -> None:
    named = token(case.order.seller, name=f"Sal {NUMBER}")
    async with await Peer.enter(court.websocket_url, schemas, named, [case.room, case.order.room]) as seller:
        said = await seller.say(case.room, "Which scratch do you mean?")
        offered = await seller.ask("proposal.make", expect="ack", room=case.room, resolution="replacement")
        await seller.say(case.order.room, "I have answered there.")
        for peer in (buyer, agent):
            for ack in (said, offered):
                assert (await told(peer, case.room, ack["seq"]))["author"]["name"] == "Seller"
            assert NUMBER not in json.dumps(peer.frames)
        assert seller.frames[0]["user"]["name"] == case.order.seller
        assert NUMBER not in json.dumps(seller.frames)
