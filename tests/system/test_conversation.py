"""A conversation between people whose connections are on different processes."""

from typing import Any

import pytest

from policies.entry import Author, Draft
from policies.vocabulary import CommandId, EntryKind, Role, UserId, Visibility
from tests.eventually import eventually
from tests.system.conftest import Dial, Serve
from tests.system.peer import Peer
from tests.system.record import Record
from tests.system.site import Order, Server, Site, token

Pair = tuple[Server, Server]


@pytest.fixture
def order(site: Site, pair: Pair) -> Order:
    return site.order(pair[0])


@pytest.fixture
async def buyer(dial: Dial, pair: Pair, order: Order) -> Peer:
    return await dial(pair[0], order.buyer, [order.room])


@pytest.fixture
async def seller(dial: Dial, pair: Pair, order: Order) -> Peer:
    return await dial(pair[1], order.seller, [order.room])


def texts(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["body"]["text"] for entry in entries if entry["kind"] == "message"]


async def test_both_directions_arrive_once_and_in_order(order: Order, buyer: Peer, seller: Peer) -> None:
    said = []
    for number in range(4):
        for peer, who in ((buyer, "buyer"), (seller, "seller")):
            said.append(f"{who} {number}")
            await peer.say(order.room, said[-1])
    for peer in (buyer, seller):
        await peer.reaches(order.room, 8)
        assert peer.seqs(order.room) == list(range(1, 9))
        assert texts(peer.entries(order.room)) == said


async def test_an_ack_says_where_the_entry_is_and_the_entry_says_the_same(
    order: Order, buyer: Peer, seller: Peer
) -> None:
    ack = await buyer.say(order.room, "Where is it?", id="first")
    assert ack == {
        "type": "ack",
        "id": "first",
        "room": order.room,
        "seq": 1,
        "entry_id": ack["entry_id"],
        "at": ack["at"],
        "duplicate": False,
    }
    seen = (await seller.expect("entry", seq=1))["entry"]
    assert seen == {
        "seq": 1,
        "id": ack["entry_id"],
        "kind": "message",
        "author": {"id": order.buyer, "role": "buyer", "name": seen["author"]["name"]},
        "at": ack["at"],
        "body": {"text": "Where is it?"},
    }
    own = (await buyer.expect("entry", seq=1))["entry"]
    assert own == {**seen, "command_id": "first"}, "its author alone is told the command id"


async def test_what_the_author_hears_of_an_entry_is_the_same_on_another_device(
    dial: Dial, pair: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    tablet = await dial(pair[1], order.buyer, [order.room])
    await buyer.say(order.room, "From my phone", id="phone-1")
    assert (await tablet.expect("entry", seq=1))["entry"]["command_id"] == "phone-1"
    assert "command_id" not in (await seller.expect("entry", seq=1))["entry"]
    again = await tablet.say(order.room, "From my phone", id="phone-1")
    assert (again["seq"], again["duplicate"]) == (1, True)


async def test_a_reply_names_the_entry_it_answers(order: Order, buyer: Peer, seller: Peer) -> None:
    await buyer.say(order.room, "Where is it?")
    await seller.expect("entry", seq=1)
    await seller.say(order.room, "On its way", reply_to=1)
    assert (await buyer.expect("entry", seq=2))["entry"]["body"] == {"text": "On its way", "reply_to": 1}
    error = await seller.refusal("message.send", "bad_request", room=order.room, text="To whom?", reply_to=3)
    assert error["details"] == {"reply_to": 3}


async def test_history_reads_forwards_and_backwards(order: Order, buyer: Peer, seller: Peer) -> None:
    for number in range(1, 8):
        await (buyer if number % 2 else seller).say(order.room, str(number))

    async def read(**place: Any) -> tuple[list[str], bool]:
        page = await seller.ask("history", expect="history", room=order.room, **place)
        return texts(page["entries"]), page["more"]

    assert await read() == (["1", "2", "3", "4", "5", "6", "7"], False)
    assert await read(limit=2) == (["6", "7"], True)
    assert await read(before=6, limit=2) == (["4", "5"], True)
    assert await read(before=3, limit=2) == (["1", "2"], False)
    assert await read(before=1) == ([], False)
    assert await read(after=0, limit=3) == (["1", "2", "3"], True)
    assert await read(after=5, limit=2) == (["6", "7"], False)
    assert await read(after=7) == ([], False)


async def test_a_latecomer_gets_the_latest_page_and_then_what_is_new(
    dial: Dial, pair: Pair, order: Order, buyer: Peer
) -> None:
    await buyer.say(order.room, "one")
    await buyer.say(order.room, "two")
    seller = await dial(pair[1], order.seller)
    joined = await seller.join(order.room)
    assert (joined["head"], joined["more"], texts(joined["entries"])) == (2, False, ["one", "two"])
    assert (joined["kind"], joined["you"], joined["available_actions"]) == ("order", {"role": "seller"}, [])
    await buyer.say(order.room, "three")
    await seller.reaches(order.room, 3)
    assert seller.seqs(order.room) == [1, 2, 3]


async def test_staff_see_the_room_and_speak_as_staff(
    dial: Dial, pair: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    agent = await dial(pair[1], "agent-7", [order.room], role="agent")
    joined = agent.of_type("joined")[0]
    assert joined["you"] == {"role": "agent"}
    assert [(each["user"], each["role"]) for each in joined["members"]] == [
        (order.buyer, "buyer"),
        (order.seller, "seller"),
        ("agent-7", "agent"),
    ]
    await agent.say(order.room, "Support here")
    assert (await buyer.expect("entry", seq=1))["entry"]["author"]["role"] == "agent"


async def test_two_connections_of_a_user_on_two_processes_are_one_presence(
    dial: Dial, pair: Pair, order: Order, buyer: Peer
) -> None:
    phone = await dial(pair[0], order.seller, [order.room])
    online = await buyer.expect("presence", user=order.seller)
    assert (online["state"], online["role"]) == ("online", "seller")
    laptop = await dial(pair[1], order.seller, [order.room])
    # What comes after a change arrives after whatever the change has brought.
    await laptop.say(order.room, "Here too")
    await buyer.reaches(order.room, 1)
    await phone.close()
    await laptop.say(order.room, "Still here")
    await buyer.reaches(order.room, 2)
    assert len(buyer.of_type("presence")) == 1
    await laptop.close()
    offline = await buyer.expect("presence", user=order.seller, state="offline")
    assert len(buyer.of_type("presence")) == 2
    assert offline["role"] == "seller"


async def test_who_joins_is_told_who_is_there_already(dial: Dial, pair: Pair, order: Order, buyer: Peer) -> None:
    agent = await dial(pair[1], "agent-8", [order.room], role="agent")
    members = {each["user"]: each["state"] for each in agent.of_type("joined")[0]["members"]}
    assert members == {order.buyer: "online", order.seller: "offline", "agent-8": "online"}


async def test_who_has_left_was_last_seen_then(site: Site, dial: Dial, pair: Pair, order: Order, buyer: Peer) -> None:
    seller = await dial(pair[1], order.seller, [order.room])
    await seller.close()
    await buyer.expect("presence", user=order.seller, state="offline")

    async def look() -> None:
        joined = await buyer.join(order.room)
        members.update({each["user"]: each for each in joined["members"]})

    members: dict[str, dict[str, Any]] = {}
    await eventually(lambda: "last_seen" in members.get(order.seller, {}), look)
    assert members[order.seller]["state"] == "offline"


async def test_who_does_nothing_is_away_and_whoever_acts_is_back(site: Site, serve: Serve, dial: Dial) -> None:
    server = await serve(site.apart(), away_after_s=0.5)
    order = site.order(server)
    seller = await dial(server, order.seller, [order.room])
    buyer = await dial(server, order.buyer, [order.room])
    await seller.expect("presence", user=order.buyer, state="online")
    await seller.expect("presence", user=order.buyer, state="away")
    members = {each["user"]: each["state"] for each in (await seller.join(order.room))["members"]}
    assert members[order.buyer] == "away"
    await buyer.send("typing", room=order.room, on=True)
    await seller.expect("presence", user=order.buyer, state="online")


async def test_typing_is_shown_ends_and_lapses(order: Order, buyer: Peer, seller: Peer) -> None:
    await buyer.send("typing", room=order.room, on=True)
    assert (await seller.expect("typing"))["on"] is True
    await buyer.send("typing", room=order.room, on=False)
    assert (await seller.expect("typing"))["on"] is False
    await seller.send("typing", room=order.room, on=True)
    assert (await buyer.expect("typing"))["on"] is True
    assert (await buyer.expect("typing"))["on"] is False, "without renewal it lapses"
    assert {frame["user"] for frame in buyer.of_type("typing")} == {order.seller}, "nobody is told that they type"


async def test_typing_ends_with_the_connection(order: Order, buyer: Peer, seller: Peer) -> None:
    await buyer.send("typing", room=order.room, on=True)
    assert (await seller.expect("typing"))["on"] is True
    buyer.abort()
    assert (await seller.expect("typing"))["on"] is False


async def test_receipts_are_gathered_told_and_stored(
    site: Site, dial: Dial, pair: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    for number in range(1, 6):
        await buyer.say(order.room, str(number))
    await seller.reaches(order.room, 5)
    for seq in range(1, 5):
        await seller.send("receipt", room=order.room, delivered=seq)
    await seller.send("receipt", room=order.room, delivered=5, read=3)
    for peer in (buyer, seller):
        told = await peer.expect("receipt", user=order.seller, delivered=5)
        assert told["read"] == 3
        assert len(peer.of_type("receipt")) <= 2, "five receipts in a row are told together"
    again = await dial(pair[0], order.seller, [order.room])
    assert again.of_type("joined")[0]["cursors"] == {order.seller: {"delivered": 5, "read": 3}}
    (summary,) = site.get(pair[1], "/v1/rooms", token(order.seller))["rooms"]
    assert summary["unread"] == 2
    assert summary["cursor"] == {"delivered": 5, "read": 3}
    assert (summary["room"], summary["head"]) == (order.room, 5)


async def test_a_receipt_cannot_go_back_or_beyond_what_exists(
    site: Site, pair: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    await buyer.say(order.room, "one")
    await buyer.say(order.room, "two")
    await seller.reaches(order.room, 2)
    await seller.send("receipt", room=order.room, read=99)
    assert (await buyer.expect("receipt", user=order.seller))["read"] == 2
    await seller.send("receipt", room=order.room, delivered=1, read=1)
    await buyer.say(order.room, "three")
    await seller.reaches(order.room, 3)
    await seller.send("receipt", room=order.room, read=3)
    assert (await buyer.expect("receipt", user=order.seller))["read"] == 3


async def test_a_withheld_message_keeps_its_place_for_all_and_its_words_for_author_and_staff(
    site: Site, dial: Dial, pair: Pair, record: Record, order: Order, buyer: Peer, seller: Peer
) -> None:
    agent = await dial(pair[0], "agent-9", [order.room], role="agent")
    author = Author(UserId(order.seller), Role.SELLER, "Sal")
    body = {"text": "Write me elsewhere"}
    hidden = Draft(author, CommandId("hidden"), EntryKind.MESSAGE, body, visibility=Visibility.WITHHELD)
    await record.append(order.room, [hidden])
    own = (await seller.expect("entry", seq=1))["entry"]
    assert (own["body"], own["withheld"], own["command_id"]) == (body, True, "hidden")
    staffs = (await agent.expect("entry", seq=1))["entry"]
    assert (staffs["body"], staffs["withheld"]) == (body, True)
    assert "command_id" not in staffs
    others = (await buyer.expect("entry", seq=1))["entry"]
    assert others == {**staffs, "body": {}}
    # Every way to read it shows each reader the same.
    for peer, user, role, seen in ((buyer, order.buyer, None, others), (agent, "agent-9", "agent", staffs)):
        assert (await peer.join(order.room))["entries"] == [seen]
        assert (await peer.ask("history", expect="history", room=order.room))["entries"] == [seen]
        path = f"/v1/rooms/{order.room}/entries"
        assert site.get(pair[1], path, token(user, role=role))["entries"] == [seen]


@pytest.mark.parametrize("setting", [{"mongo_driver": "pymongo"}, {"compression": True}])
async def test_the_same_conversation_with_other_settings(
    setting: dict[str, object], site: Site, serve: Serve, dial: Dial, record: Record
) -> None:
    server = await serve(site.apart(), messages_per_s=1000, message_burst=1000, **setting)
    order = site.order(server)
    buyer, seller = [
        await dial(server, user, [order.room], compression="deflate") for user in (order.buyer, order.seller)
    ]
    assert bool(buyer.websocket.protocol.extensions) is bool(setting.get("compression"))
    said = []
    for number in range(40):
        said.append(f"{number} " + "The parcel has not arrived. " * number * 3)
        await (buyer, seller)[number % 2].say(order.room, said[-1])
    for peer in (buyer, seller):
        await peer.reaches(order.room, 40)
        assert texts(peer.entries(order.room)) == said
    page = await buyer.ask("history", expect="history", room=order.room, after=0, limit=100)
    assert texts(page["entries"]) == said
    await seller.send("receipt", room=order.room, read=40)
    await buyer.expect("receipt", read=40)
    assert await record.texts(order.room) == said


async def test_a_room_is_read_over_http_as_over_the_socket(
    site: Site, pair: Pair, order: Order, buyer: Peer, seller: Peer
) -> None:
    for number in range(1, 4):
        await buyer.say(order.room, str(number))
    await buyer.reaches(order.room, 3)
    await seller.reaches(order.room, 3)
    for peer, user in ((buyer, order.buyer), (seller, order.seller)):
        page = site.get(pair[1], f"/v1/rooms/{order.room}/entries", token(user))
        assert page["entries"] == peer.entries(order.room)
    page = site.get(pair[0], f"/v1/rooms/{order.room}/entries", site.api_key, after=1, limit=1)
    assert (texts(page["entries"]), page["more"]) == (["2"], True)
