"""What becomes of messages, on servers with the rules that hold when nobody says otherwise."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from chatserver.client import Changed, ChatClient, Entry
from policies.entry import Author, Draft
from policies.flag import Cause, CauseKind, Flag, Mark
from policies.vocabulary import CommandId, EntryKind, Role, UserId
from tests.system.conftest import Dial, Serve
from tests.system.peer import Frame, Peer, new_id
from tests.system.record import Record
from tests.system.site import Order, Server, Site, token, unique

Pair = tuple[Server, Server]
WITHIN_S: Final = 30.0

NUMBER: Final = "+49 151 12345678"
OUTSIDE: Final = f"Call me on {NUMBER}, it is quicker."
ORDINARY: Final = (
    "Where is it?",
    "The parcel left our warehouse on Tuesday. How are you?",
    "Order 4711-2024-0815, tracking 1Z999AA10123456784, posted on 2026-01-29 at 14:30.",
    "He asked me for my whatsapp, I said no. No paypal please, only here.",
    "It cost 1.250,00 EUR and weighs 12.5 kg, version 10.0.19045.3803.",
    "\u8c22\u8c22\uff0c\u5305\u88f9\u660e\u5929\u5230\u3002",
)
QUICK: Final[dict[str, Any]] = {"policy_file": "", "messages_per_s": 1000, "message_burst": 1000, "sweep_s": 1}
"""Settings of a server with the default rules where people may write faster than is usual."""


@pytest.fixture(scope="module")
def guarded(site: Site) -> Iterator[Pair]:
    """Two processes of a deployment."""
    apart = site.apart()
    with ExitStack() as stack:
        begun = [apart.begin(**QUICK, hub_lease_s=5) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield one, two


@pytest.fixture
def order(site: Site, guarded: Pair) -> Order:
    return site.order(guarded[0])


@pytest.fixture
async def buyer(dial: Dial, guarded: Pair, order: Order) -> Peer:
    return await dial(guarded[0], order.buyer, [order.room])


@pytest.fixture
async def seller(dial: Dial, guarded: Pair, order: Order) -> Peer:
    return await dial(guarded[1], order.seller, [order.room])


@pytest.fixture
async def agent(dial: Dial, guarded: Pair, order: Order) -> Peer:
    return await dial(guarded[1], unique("agent"), [order.room], role="agent")


async def got(peer: Peer, room: str, seq: int) -> Frame:
    """The entry of a room, as a peer got it first."""
    return await peer.until(
        lambda: next((each for each in peer.entries(room) if each["seq"] == seq), None), f"entry {seq}"
    )


def reminders(peer: Peer, room: str) -> list[tuple[str, int]]:
    """Of what a room was reminded, and after which entry."""
    bodies = [each["body"] for each in peer.entries(room) if each["kind"] == "notice"]
    return [(body["notice"], body["about"]) for body in bodies]


def categories(entry: Frame) -> set[str]:
    return {cause["category"] for cause in entry["flag"]["causes"]}


async def test_a_withheld_message_keeps_its_place_and_is_empty_for_the_other_side(
    site: Site, guarded: Pair, dial: Dial, order: Order, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    ack = await buyer.say(order.room, OUTSIDE)
    assert (ack["seq"], ack["duplicate"], ack["notice"]["mark"]) == (1, False, "withheld")
    assert "telephone number" in ack["notice"]["message"]
    assert "151" not in ack["notice"]["message"]
    await buyer.say(order.room, "Sorry. Is it on its way?")
    for peer in (buyer, seller, agent):
        await peer.reaches(order.room, 3)
        assert peer.seqs(order.room) == [1, 2, 3]
        assert reminders(peer, order.room) == [("contact", 1)]

    hidden = await got(seller, order.room, 1)
    assert (hidden["body"], hidden["withheld"], hidden["kind"]) == ({}, True, "message")
    assert {"flag", "whole", "command_id", "released"}.isdisjoint(hidden)
    own = await got(buyer, order.room, 1)
    assert (own["body"], own["withheld"], own["id"]) == ({"text": OUTSIDE}, True, hidden["id"])
    assert "flag" not in own
    flagged = await got(agent, order.room, 1)
    assert (flagged["body"], flagged["withheld"]) == ({"text": OUTSIDE}, True)
    assert (flagged["flag"]["mark"], flagged["flag"]["state"]) == ("withheld", "open")
    [phone] = [cause for cause in flagged["flag"]["causes"] if cause["category"] == "phone"]
    assert OUTSIDE[phone["start"] : phone["end"]] == NUMBER

    # Nor by any other way.
    page = await seller.ask("history", expect="history", room=order.room)
    assert page["entries"][0] == hidden
    later = await (await dial(guarded[0], order.seller)).join(order.room)
    assert later["entries"][0] == hidden
    path = f"/v1/rooms/{order.room}/entries"
    assert (await asyncio.to_thread(site.get, guarded[0], path, token(order.seller)))["entries"][0] == hidden
    transcript = await asyncio.to_thread(
        site.get, guarded[0], f"/v1/rooms/{order.room}/transcript", token(order.seller), format="json"
    )
    rooms = await asyncio.to_thread(site.get, guarded[0], "/v1/rooms", token(order.seller))
    assert NUMBER not in json.dumps([seller.frames, later, transcript, rooms], ensure_ascii=False)


async def test_sent_again_it_gets_the_same_answer_from_any_process(
    guarded: Pair, dial: Dial, order: Order, buyer: Peer, record: Record
) -> None:
    first = await buyer.say(order.room, OUTSIDE, id="once")
    tablet = await dial(guarded[1], order.buyer, [order.room])
    for peer in (buyer, tablet):
        again = await peer.say(order.room, OUTSIDE, id="once")
        assert again == {**first, "duplicate": True}
        await peer.refusal("message.send", "conflict", room=order.room, text="Hello?", id="once")
    assert len(await record.whole(order.room)) == 2, "the message, and one reminder"


async def test_a_warned_message_is_shown_and_each_kind_is_reminded_of_once(
    order: Order, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    for text in ("You are an idiot.", "What an idiot you are!"):
        ack = await buyer.say(order.room, text)
        assert ack["notice"]["mark"] == "warned"
    await buyer.say(order.room, OUTSIDE)
    await seller.say(order.room, "You are the idiot!")
    last = await buyer.say(order.room, "When does it come?")
    assert "notice" not in last
    for peer in (buyer, seller, agent):
        await peer.reaches(order.room, last["seq"])
        # Of conduct after either side's, of contact as well; not again within ten minutes.
        assert reminders(peer, order.room) == [("conduct", 1), ("contact", 4), ("conduct", 6)]
    assert (await got(seller, order.room, 1))["body"] == {"text": "You are an idiot."}
    assert categories(await got(agent, order.room, 3)) == {"insult"}


@pytest.mark.parametrize(("minutes", "reminded"), [(9, []), (11, [("conduct", 2)])])
async def test_ten_minutes_later_they_are_reminded_again(
    dial: Dial, guarded: Pair, order: Order, record: Record, minutes: int, reminded: list[tuple[str, int]]
) -> None:
    flag = Flag(Mark.WARNED, 100, (Cause(CauseKind.CONDUCT, "insult", "text", 0, 5, 100, "conduct.mild"),))
    author = Author(UserId(order.buyer), Role.BUYER, "Bo")
    said = Draft(author, CommandId("then"), EntryKind.MESSAGE, {"text": "Idiot."}, flag=flag)
    await record.append(order.room, [said], ago=timedelta(minutes=minutes))
    buyer = await dial(guarded[0], order.buyer, [order.room])
    assert (await buyer.say(order.room, "I say it again: idiot."))["notice"]["mark"] == "warned"
    last = await buyer.say(order.room, "When does it come?")
    await buyer.reaches(order.room, last["seq"])
    assert reminders(buyer, order.room) == reminded


async def test_a_number_in_parts_is_found_over_two_processes(
    guarded: Pair, dial: Dial, order: Order, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    tablet = await dial(guarded[1], order.buyer, [order.room])
    assert "notice" not in await buyer.say(order.room, "my number is 0151")
    await tablet.reaches(order.room, 1)
    await tablet.say(order.room, "2345")
    await buyer.reaches(order.room, 2)
    last = await buyer.say(order.room, "678 9")
    assert last["notice"]["mark"] == "withheld"
    hidden = await got(seller, order.room, last["seq"])
    assert (hidden["body"], hidden["withheld"]) == ({}, True)
    assert categories(await got(agent, order.room, last["seq"])) == {"phone"}


async def test_a_number_in_parts_is_found_after_a_reconnect_and_a_restart(site: Site, serve: Serve, dial: Dial) -> None:
    apart = site.apart()
    server = await serve(apart, **QUICK)
    order = apart.order(server)
    buyer = await dial(server, order.buyer, [order.room])
    await buyer.say(order.room, "my number is 0151")
    await buyer.close()
    back = await dial(server, order.buyer, [order.room])
    await back.say(order.room, "2345")
    server.kill()
    other = await serve(apart, **QUICK)
    buyer = await dial(other, order.buyer, [order.room])
    assert (await buyer.say(order.room, "678 9"))["notice"]["mark"] == "withheld"


async def test_parts_of_another_sender_or_another_room_are_not_put_together(
    site: Site, guarded: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    await buyer.say(order.room, "my number is 0151")
    await seller.reaches(order.room, 1)
    assert "notice" not in await seller.say(order.room, "2345")
    other = Order(unique("o"), order.buyer, order.seller)
    await asyncio.to_thread(site.put_order, guarded[0], other)
    await buyer.join(other.room)
    assert "notice" not in await buyer.say(other.room, "2345")


async def test_secrets_are_masked_for_all_but_staff_and_the_author(
    order: Order, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    ack = await buyer.say(order.room, "password: hunter2")
    assert ack["notice"]["mark"] == "masked"
    assert "hunter2" not in ack["notice"]["message"]
    seen = await got(seller, order.room, 1)
    assert seen["body"]["text"] == "password: \u2022\u2022\u2022\u2022\u2022\u2022\u2022"
    assert seen["body"]["masked"]["fields"] == ["text"]
    assert {"whole", "withheld", "flag"}.isdisjoint(seen)
    for peer in (buyer, agent):
        entry = await got(peer, order.room, 1)
        assert (entry["body"], entry["whole"]) == (seen["body"], {"text": "password: hunter2"})
    assert categories(await got(agent, order.room, 1)) == {"password"}
    again = await buyer.say(order.room, "password: hunter2", id=ack["id"])
    assert again == {**ack, "duplicate": True}
    await buyer.in_step()
    assert reminders(buyer, order.room) == []
    assert "hunter2" not in json.dumps(seller.frames)


async def test_where_an_account_is_sold_its_password_is_shown(site: Site, guarded: Pair, dial: Dial) -> None:
    order = Order(unique("o"), unique("buyer"), unique("seller"))
    await asyncio.to_thread(site.put_order, guarded[0], order, category="account")
    seller = await dial(guarded[0], order.seller, [order.room])
    assert "notice" not in await seller.say(order.room, "password: hunter2")
    card = await seller.say(order.room, "my card is 4111 1111 1111 1111")
    assert card["notice"]["mark"] == "masked"
    buyer = await dial(guarded[1], order.buyer, [order.room])
    texts = [entry["body"]["text"] for entry in buyer.entries(order.room)]
    assert texts[0] == "password: hunter2"
    assert "4111 1111" not in texts[1]


async def test_what_the_shop_says_of_an_order_later_counts_in_its_room(
    site: Site, guarded: Pair, order: Order, seller: Peer
) -> None:
    assert (await seller.say(order.room, "password: hunter2"))["notice"]["mark"] == "masked"
    await asyncio.to_thread(site.put_order, guarded[0], order, category="account")
    await seller.expect("entry", kind="order.updated")
    assert "notice" not in await seller.say(order.room, "password: hunter3")


async def test_staff_are_never_screened(order: Order, buyer: Peer, seller: Peer, agent: Peer) -> None:
    for seq, text in enumerate((OUTSIDE, "password: hunter2", "You are an idiot."), 1):
        assert "notice" not in await agent.say(order.room, text)
        for peer in (buyer, seller, agent):
            entry = await got(peer, order.room, seq)
            assert entry["body"] == {"text": text}
            assert {"flag", "withheld", "whole"}.isdisjoint(entry)


async def test_ordinary_messages_get_no_flag(order: Order, buyer: Peer, seller: Peer, agent: Peer) -> None:
    for seq, text in enumerate(ORDINARY, 1):
        ack = await (buyer if seq % 2 else seller).say(order.room, text)
        assert ("notice" in ack, ack["seq"]) == (False, seq)
        assert (await got(agent, order.room, seq)).keys() == {"seq", "id", "kind", "author", "at", "body"}


async def test_a_retry_whose_window_has_changed_is_the_message_that_it_was(
    guarded: Pair, dial: Dial, order: Order, buyer: Peer, record: Record
) -> None:
    first = await buyer.say(order.room, "2345", id="part")
    await buyer.say(order.room, "my number is 0151")
    await buyer.say(order.room, "678 9")
    written = len(await record.whole(order.room))
    tablet = await dial(guarded[1], order.buyer, [order.room])
    for peer in (buyer, tablet):
        assert await peer.say(order.room, "2345", id="part") == {**first, "duplicate": True}
    assert len(await record.whole(order.room)) == written


async def test_a_long_text_is_screened_and_keeps_its_place(
    order: Order, buyer: Peer, seller: Peer, agent: Peer
) -> None:
    prose = "The parcel was opened by the customs office and closed again with their tape. " * 60
    long = f"{prose[: 4000 - len(OUTSIDE) - 1]} {OUTSIDE}"
    assert len(long) == 4000
    ids = [new_id() for _ in range(3)]
    for command_id, text in zip(ids, (long, "Did you see the tape?", "Hello?"), strict=True):
        await buyer.send("message.send", room=order.room, text=text, id=command_id)
    acks = [await buyer.answer(command_id) for command_id in ids]
    assert sorted(ack["seq"] for ack in acks) == [ack["seq"] for ack in acks]
    assert [ack.get("notice", {}).get("mark") for ack in acks] == ["withheld", None, None]
    await seller.reaches(order.room, acks[-1]["seq"])
    texts = [entry["body"].get("text") for entry in seller.entries(order.room) if entry["kind"] == "message"]
    assert texts == [None, "Did you see the tape?", "Hello?"]
    assert "phone" in categories(await got(agent, order.room, 1))


async def test_what_is_sent_without_waiting_is_read_together_and_reminded_of_once(
    order: Order, buyer: Peer, seller: Peer
) -> None:
    ids = [new_id() for _ in range(4)]
    for command_id, text in zip(ids, ("my number is 0151", "2345", "678 9", OUTSIDE), strict=True):
        await buyer.send("message.send", room=order.room, text=text, id=command_id)
    acks = [await buyer.answer(command_id) for command_id in ids]
    marks = [ack.get("notice", {}).get("mark") for ack in acks]
    assert marks[1] in ("warned", "withheld")
    assert (marks[0], *marks[2:]) == (None, "withheld", "withheld")
    await seller.reaches(order.room, acks[-1]["seq"])
    assert len(reminders(seller, order.room)) == 1


async def test_in_shadow_mode_only_staff_know(site: Site, serve: Serve, dial: Dial, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = "trial"\n\n[contact]\nshadow = true\n', encoding="utf-8")
    server = await serve(site.apart(), **{**QUICK, "policy_file": policy})
    order = site.order(server)
    buyer = await dial(server, order.buyer, [order.room])
    seller = await dial(server, order.seller, [order.room])
    agent = await dial(server, unique("agent"), [order.room], role="agent")
    for number in (1, 2):
        assert "notice" not in await buyer.say(order.room, OUTSIDE)
        assert (await got(seller, order.room, number))["body"] == {"text": OUTSIDE}
        seen = await got(agent, order.room, number)
        assert (seen["flag"]["mark"], "withheld" in seen) == ("noted", False)
        assert "phone" in categories(seen)
    # What is asked for about secrets and conduct is done all the same.
    assert (await buyer.say(order.room, "password: hunter2"))["notice"]["mark"] == "masked"
    await seller.reaches(order.room, 3)
    assert reminders(seller, order.room) == []


async def changed(client: ChatClient) -> Entry:
    """The next entry that staff have changed."""
    async with asyncio.timeout(WITHIN_S):
        while not isinstance(event := await anext(client.events()), Changed):
            pass
    return event.entry


async def test_the_python_client_tells_all_three_what_they_may_know(guarded: Pair, order: Order) -> None:
    def client(server: Server, user: str, role: str | None = None) -> ChatClient:
        return ChatClient(server.url, token=token(user, role=role), proxy=None)

    async with (
        client(guarded[0], order.buyer) as bo,
        client(guarded[1], order.seller) as sal,
        client(guarded[1], unique("agent"), "agent") as ada,
    ):
        buyer, seller, agent = [await each.join(order.room, after=0) for each in (bo, sal, ada)]
        sent = await buyer.send(OUTSIDE)
        assert sent.notice is not None
        assert sent.notice.mark == "withheld"
        async with asyncio.timeout(WITHIN_S):
            hidden, flagged = [await anext(room.entries()) for room in (seller, agent)]
        assert (hidden.seq, hidden.text, hidden.withheld, hidden.flag) == (1, "", True, None)
        assert flagged.flag is not None
        assert (flagged.text, flagged.flag.mark, flagged.flag.state) == (OUTSIDE, "withheld", "open")
        assert "phone" in [cause.category for cause in flagged.flag.causes]

        first = await agent.release(1, "The number of the shop", command_id="ruling")
        again = await agent.release(1, "The number of the shop", command_id="ruling")
        assert first is not None
        assert again is not None
        assert (again.seq, first.duplicate, again.duplicate) == (first.seq, False, True)
        assert await agent.release(1) is None
        shown = await changed(sal)
        assert (shown.seq, shown.text, shown.released, shown.withheld) == (1, OUTSIDE, True, None)
        assert (await changed(bo)).released
        decided = await changed(ada)
        assert decided.flag is not None
        assert (decided.flag.state, decided.flag.decided_by) == ("released", ada.user.id)

        said = await seller.send("The dog of my neighbour bites.")
        redacted = await agent.redact(said.seq, "It has nothing to do with the order")
        assert redacted is not None
        gone = await changed(bo)
        assert (gone.seq, gone.text, gone.withheld) == (said.seq, "", True)
        async with asyncio.timeout(WITHIN_S):
            told = [await anext(buyer.entries()) for _ in range(redacted.seq)]
        assert [entry.seq for entry in told] == list(range(1, redacted.seq + 1))
        assert (told[-1].kind, told[-1].body["seq"]) == ("message.redacted", said.seq)
        # What was not read before is read as it is now.
        assert (told[0].text, told[said.seq - 1].text) == (OUTSIDE, "")
