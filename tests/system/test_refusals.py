"""What is no frame, no command, or not for this user: which error or close code it meets, and nothing else."""

import json
from typing import Any, Final

import pytest
from pymongo import MongoClient

from chatserver.errors import CloseCode
from tests.system.conftest import Dial, Knock
from tests.system.peer import Frame, Peer
from tests.system.record import Record
from tests.system.site import ORIGIN, Order, Server, Site, token, unique
from tests.system.wire import UPGRADE

Pair = tuple[Server, Server]


@pytest.fixture
def order(site: Site, pair: Pair) -> Order:
    return site.order(pair[0])


@pytest.fixture
async def buyer(dial: Dial, pair: Pair, order: Order) -> Peer:
    return await dial(pair[0], order.buyer, [order.room])


# Frames


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "",
        "[]",
        "7",
        '"ping"',
        "null",
        '{"type":"ping"',
        '{"type":"ping"} {}',
        '{"type":"ping","t":' + "[" * 9_000 + "]" * 9_000 + "}",
        '{"type":' * 3_000 + "1" + "}" * 3_000,
    ],
    ids=["text", "empty", "array", "number", "string", "null", "cut off", "two", "deep array", "deep object"],
)
async def test_what_is_no_json_object_closes_with_4500(message: str, buyer: Peer) -> None:
    await buyer.raw(message)
    assert await buyer.closed() == CloseCode.BAD_FRAME


async def test_a_binary_frame_closes_with_4500(buyer: Peer) -> None:
    await buyer.raw(b'{"type":"ping"}')
    assert await buyer.closed() == CloseCode.BAD_FRAME


async def test_text_that_is_not_utf_8_closes(buyer: Peer) -> None:
    await buyer.websocket.send(b'{"type":"ping","t":"\xff\xfe"}', text=True)
    assert await buyer.closed() in (CloseCode.BAD_FRAME, 1007)


_OFFER: Final = {"type": "proposal.make", "room": "r", "resolution": "delivery_fix"}


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ({}, "type"),
        ({"type": None}, "type"),
        ({"type": "shout"}, "type"),
        ({"type": "connected"}, "type"),
        ({"type": "join"}, "room"),
        ({"type": "join", "room": 7}, "room"),
        ({"type": "join", "room": ""}, "room"),
        ({"type": "join", "room": "r", "after": -1}, "after"),
        ({"type": "join", "room": "r", "after": "1"}, "after"),
        ({"type": "join", "room": "r", "after": 1.5}, "after"),
        ({"type": "join", "room": "r", "after": 2**53}, "after"),
        ({"type": "message.send", "room": "r"}, "text"),
        ({"type": "message.send", "room": "r", "text": ["a"]}, "text"),
        ({"type": "message.send", "room": "r", "text": "a", "reply_to": 0}, "reply_to"),
        ({"type": "history", "room": "r", "before": 0}, "before"),
        ({"type": "connect", "token": 5}, "token"),
        ({"type": "connect", "token": "t" * 8193}, "token"),
        ({"type": "connect", "rooms": ["r"]}, "rooms.0"),
        ({**_OFFER, "expires_at": "2026-02-01T00:00:00"}, "expires_at"),
        ({**_OFFER, "expires_at": "2023-02-29T00:00:00Z"}, "expires_at"),
        ({**_OFFER, "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({**_OFFER, "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
    ],
)
async def test_what_is_no_command_names_the_field(frame: Frame, field: str, buyer: Peer, order: Order) -> None:
    frame = dict(frame)
    kind = frame.pop("type", ...)
    if kind is ...:
        await buyer.raw('{"id":"c"}')
        error = await buyer.answer("c")
        assert error["code"] == "bad_request"
    else:
        error = await buyer.refusal(kind, "bad_request", **frame)
    assert error["details"] == {"field": field}
    assert error["temporary"] is False
    await buyer.say(order.room, "The connection goes on")


async def test_half_a_surrogate_pair_is_no_text(buyer: Peer, order: Order) -> None:
    frame = {"type": "message.send", "id": "half", "room": order.room, "text": "Half an emoji: \ud83d"}
    await buyer.raw(json.dumps(frame))
    assert (await buyer.answer("half"))["code"] == "bad_request"
    await buyer.say(order.room, "The connection goes on")


async def test_unknown_fields_are_ignored(buyer: Peer, order: Order) -> None:
    await buyer.say(order.room, "From a newer client", mood="curious", nested={"a": [1, {}]})
    assert (await buyer.expect("entry"))["entry"]["body"] == {"text": "From a newer client"}


async def test_before_and_after_exclude_each_other(buyer: Peer, order: Order) -> None:
    error = await buyer.refusal("history", "bad_request", room=order.room, before=2, after=1)
    assert error["details"] == {"field": "before"}


async def test_a_pong_says_what_the_ping_said(buyer: Peer) -> None:
    for said in (1, 1.5, "now"):
        pong = await buyer.ask("ping", expect="pong", t=said)
        assert pong["t"] == said
    await buyer.send("ping", t="without an id")
    assert "id" not in await buyer.expect("pong", t="without an id")


# Coming in


@pytest.mark.parametrize("subprotocol", [None, "dispute-chat.v2"])
async def test_another_subprotocol_closes_with_4506(subprotocol: str | None, knock: Knock, pair: Pair) -> None:
    peer = await knock(pair[0], subprotocol=subprotocol)
    assert await peer.closed() == CloseCode.WRONG_SUBPROTOCOL


async def test_the_right_subprotocol_is_chosen_and_no_other(knock: Knock, pair: Pair) -> None:
    peer = await knock(pair[0], subprotocol="dispute-chat.v1")
    assert peer.websocket.subprotocol == "dispute-chat.v1"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "http://shop.example", "null", ""]
)
async def test_a_page_of_another_origin_is_refused_before_the_upgrade(origin: str, site: Site, pair: Pair) -> None:
    answer = site.http.get(f"{pair[0].url}/v1/ws", headers={**UPGRADE, "Origin": origin})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["status"]) == ("forbidden", 403)


async def test_a_page_of_a_listed_origin_and_a_native_client_come_in(dial: Dial, pair: Pair) -> None:
    for origin in (ORIGIN, ORIGIN.upper(), None):
        await (await dial(pair[0], unique("user"), origin=origin)).in_step()


async def test_nothing_is_served_before_connect(knock: Knock, pair: Pair, order: Order) -> None:
    peer = await knock(pair[0])
    commands: list[tuple[str, Frame]] = [
        ("join", {"room": order.room}),
        ("leave", {"room": order.room}),
        ("history", {"room": order.room}),
        ("message.send", {"room": order.room, "text": "x"}),
        ("token.refresh", {"token": token(order.buyer)}),
    ]
    for kind, fields in commands:
        await peer.refusal(kind, "unauthenticated", **fields)
    notices: list[tuple[str, Frame]] = [("typing", {"on": True}), ("receipt", {"read": 1})]
    for kind, fields in notices:
        await peer.send(kind, room=order.room, **fields)
        assert (await peer.expect("error"))["code"] == "unauthenticated"
    await peer.ask("connect", expect="connected", token=token(order.buyer))
    await peer.join(order.room)


async def test_a_connection_connects_once(buyer: Peer, order: Order) -> None:
    await buyer.refusal("connect", "conflict", token=token(order.buyer))
    await buyer.say(order.room, "The first one holds")


async def test_connected_says_who_one_is_and_joined_follows_for_each_room(
    site: Site, knock: Knock, pair: Pair, order: Order
) -> None:
    second = Order(unique("o"), order.buyer, unique("seller"))
    site.put_order(pair[0], second)
    peer = await knock(pair[1])
    await peer.send(
        "connect",
        id="c",
        token=token(order.buyer, name="Bo"),
        client={"name": "tests", "version": "1"},
        rooms=[{"room": order.room}, {"room": "order-none"}, {"room": second.room, "after": 0}],
    )
    connected = await peer.expect("connected")
    assert (connected["id"], connected["user"]) == ("c", {"id": order.buyer, "name": "Bo"})
    await peer.expect("joined", room=order.room)
    error = await peer.expect("error", id="c")
    assert (error["code"], error["details"]) == ("not_found", {"room": "order-none"})
    await peer.expect("joined", room=second.room)


async def test_nobody_gets_a_role_by_claiming_it(knock: Knock, dial: Dial, pair: Pair, order: Order) -> None:
    impostor = await knock(pair[0])
    await impostor.refusal("connect", "unauthenticated", token=token(unique("user"), role="buyer"))
    assert await impostor.closed() == CloseCode.INVALID_TOKEN
    seller = await dial(pair[0], order.seller, [order.room], role="senior_agent")
    assert seller.of_type("joined")[0]["you"] == {"role": "seller"}, "nobody acts as staff in their own case"


# Rooms


async def test_an_unknown_room_and_a_foreign_one_answer_alike(site: Site, dial: Dial, pair: Pair, order: Order) -> None:
    stranger = await dial(pair[0], unique("stranger"))
    unknown = f"order-{unique('none')}"

    commands: list[tuple[str, Frame]] = [
        ("join", {}),
        ("join", {"after": 0}),
        ("join", {"after": 99}),
        ("leave", {}),
        ("history", {}),
        ("message.send", {"text": "x"}),
    ]
    notices: list[tuple[str, Frame]] = [("typing", {"on": True}), ("receipt", {"read": 1})]

    async def answers(room: str) -> list[Any]:
        found: list[Any] = []
        for kind, fields in commands:
            found.append(await stranger.refusal(kind, "not_found", room=room, id="same", **fields))
        for kind, fields in notices:
            await stranger.send(kind, room=room, **fields)
            found.append(await stranger.expect("error"))
        for path in (f"/v1/rooms/{room}/entries", f"/v1/orders/{room.removeprefix('order-')}"):
            authorization = {"Authorization": f"Bearer {token(stranger.of_type('connected')[0]['user']['id'])}"}
            answer = site.http.get(pair[0].url + path, headers=authorization)
            found.append((answer.status_code, answer.json()))
        return found

    assert await answers(order.room) == await answers(unknown)


async def test_a_room_that_was_left_is_no_longer_served(buyer: Peer, order: Order, dial: Dial, pair: Pair) -> None:
    seller = await dial(pair[0], order.seller, [order.room])
    await buyer.ask("leave", expect="ack", room=order.room)
    await buyer.refusal("message.send", "not_found", room=order.room, text="x")
    await seller.expect("presence", user=order.buyer, state="offline")
    await seller.say(order.room, "Gone?")
    await seller.reaches(order.room, 1)
    await buyer.in_step()
    assert buyer.seqs(order.room) == []
    assert (await buyer.join(order.room, after=0))["head"] == 1


async def test_an_auditor_reads_and_does_not_write(dial: Dial, pair: Pair, buyer: Peer, order: Order) -> None:
    auditor = await dial(pair[1], unique("auditor"), [order.room], role="auditor")
    await buyer.say(order.room, "Hello?")
    await auditor.reaches(order.room, 1)
    assert len((await auditor.ask("history", expect="history", room=order.room))["entries"]) == 1
    error = await auditor.refusal("message.send", "forbidden", room=order.room, text="I should not")
    assert error["temporary"] is False
    await buyer.say(order.room, "Still two")
    await auditor.reaches(order.room, 2)


async def test_a_closed_room_is_read_only(record: Record, dial: Dial, pair: Pair, order: Order) -> None:
    await record.database.collection("rooms").update_one({"_id": order.room}, {"$set": {"closed": True}})
    for server in pair:
        peer = await dial(server, order.seller, [order.room])
        await peer.refusal("message.send", "room_closed", room=order.room, text="Too late")
    assert await record.whole(order.room) == []


# Retries


async def test_the_same_command_again_gets_the_first_answer(
    dial: Dial, pair: Pair, record: Record, buyer: Peer, order: Order
) -> None:
    first = await buyer.say(order.room, "one", id="same")
    await buyer.say(order.room, "two")
    elsewhere = await dial(pair[1], order.buyer, [order.room])
    for peer in (buyer, elsewhere):
        again = await peer.say(order.room, "one", id="same")
        assert again == {**first, "duplicate": True}
    assert await record.texts(order.room) == ["one", "two"]


async def test_the_same_command_twice_at_once_is_written_once(
    dial: Dial, pair: Pair, record: Record, buyer: Peer, order: Order
) -> None:
    elsewhere = await dial(pair[1], order.buyer, [order.room])
    for number in range(1, 6):
        for peer in (buyer, elsewhere):
            await peer.send("message.send", id=f"twin-{number}", room=order.room, text=str(number))
        acks = [await peer.answer(f"twin-{number}") for peer in (buyer, elsewhere)]
        assert [(ack["type"], ack["seq"]) for ack in acks] == [("ack", number)] * 2
        assert len({ack["entry_id"] for ack in acks}) == 1
    assert await record.texts(order.room) == ["1", "2", "3", "4", "5"]


async def test_the_same_id_with_other_content_is_a_conflict(
    dial: Dial, pair: Pair, record: Record, buyer: Peer, order: Order
) -> None:
    await buyer.say(order.room, "one", id="same")
    elsewhere = await dial(pair[1], order.buyer, [order.room])
    for peer in (buyer, elsewhere):
        error = await peer.refusal("message.send", "conflict", room=order.room, text="two", id="same")
        assert (error["details"], error["temporary"]) == ({"seq": 1}, False)
        await peer.refusal("message.send", "conflict", room=order.room, text="one", reply_to=1, id="same")
    assert await record.texts(order.room) == ["one"]


async def test_an_id_is_the_authors_own_and_the_rooms(
    site: Site, dial: Dial, pair: Pair, buyer: Peer, order: Order
) -> None:
    second = Order(unique("o"), order.buyer, order.seller)
    site.put_order(pair[0], second)
    seller = await dial(pair[0], order.seller, [order.room])
    await buyer.join(second.room)
    assert (await buyer.say(order.room, "buyer's", id="1"))["seq"] == 1
    assert (await seller.say(order.room, "seller's", id="1"))["seq"] == 2
    assert (await buyer.say(second.room, "elsewhere", id="1"))["seq"] == 1


# The server's own faults


async def test_a_fault_of_the_server_is_said_and_ends_the_connection_only(
    site: Site, record: Record, dial: Dial, pair: Pair, buyer: Peer, order: Order
) -> None:
    """An entry that nobody can read: somebody has changed the database by hand."""
    seller = await dial(pair[0], order.seller, [order.room])
    await buyer.say(order.room, "one")
    with MongoClient[dict[str, Any]](site.mongo_url) as mongo:
        entries = mongo[site.database]["entries"]
        (whole,) = entries.find({"room": order.room})
        entries.update_one({"room": order.room}, {"$unset": {"author": ""}}, bypass_document_validation=True)
        error = await buyer.refusal("history", "internal", room=order.room)
        entries.replace_one({"_id": whole["_id"]}, whole)
    assert error["temporary"] is False
    assert await buyer.closed() == CloseCode.SERVER_ERROR
    await seller.say(order.room, "The others go on")
    assert await record.texts(order.room) == ["one", "The others go on"]
