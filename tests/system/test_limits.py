"""Every limit, at the limit and one past it."""

import asyncio
import json

import pytest

from chatserver.errors import MESSAGE_TOO_BIG, CloseCode
from tests.eventually import eventually
from tests.system.conftest import Dial, Knock, Serve
from tests.system.peer import Peer, new_id
from tests.system.site import Order, Server, Site, token, unique
from tests.system.wire import UPGRADE

Pair = tuple[Server, Server]
FRAME_BYTES = 32 * 1024
MESSAGE_CHARS = 4_000
WIDE = "\N{PACKAGE}"
"""Four bytes in UTF-8."""


@pytest.fixture
def order(site: Site, pair: Pair) -> Order:
    return site.order(pair[0])


@pytest.fixture
async def buyer(dial: Dial, pair: Pair, order: Order) -> Peer:
    return await dial(pair[0], order.buyer, [order.room])


def ping_of(size: int) -> str:
    """A ping of so many bytes."""
    frame = json.dumps({"type": "ping", "id": "big", "padding": ""})
    return frame.replace('""', f'"{"x" * (size - len(frame))}"')


async def test_a_frame_of_32_kib_is_taken(buyer: Peer) -> None:
    await buyer.raw(ping_of(FRAME_BYTES))
    assert (await buyer.answer("big"))["type"] == "pong"


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_frame_over_32_kib_closes_with_1009(pieces: int, buyer: Peer) -> None:
    frame = ping_of(FRAME_BYTES + 1)
    size = -(-len(frame) // pieces)
    await buyer.websocket.send(frame if pieces == 1 else [frame[i : i + size] for i in range(0, len(frame), size)])
    assert await buyer.closed() == MESSAGE_TOO_BIG


async def test_the_longest_message_has_4000_characters_of_any_width(buyer: Peer, order: Order) -> None:
    await buyer.say(order.room, WIDE * MESSAGE_CHARS)
    assert (await buyer.expect("entry"))["entry"]["body"]["text"] == WIDE * MESSAGE_CHARS
    error = await buyer.refusal("message.send", "too_large", room=order.room, text="x" * (MESSAGE_CHARS + 1))
    assert (error["details"], error["temporary"]) == ({"limit": MESSAGE_CHARS}, False)


@pytest.mark.parametrize("text", ["", " ", "\n\t\r", "\u200b\u2060", "\u00a0\u3000"])
async def test_a_message_without_anything_to_see_is_refused(text: str, buyer: Peer, order: Order) -> None:
    await buyer.refusal("message.send", "bad_request", room=order.room, text=text)
    await buyer.say(order.room, "x")


async def test_ten_messages_at_once_are_taken_more_are_told_when_to_come_back(buyer: Peer, order: Order) -> None:
    ids = [new_id() for _ in range(30)]
    for number, command in enumerate(ids):
        await buyer.send("message.send", id=command, room=order.room, text=str(number))
    answers = [await buyer.answer(command) for command in ids]
    assert [answer["type"] for answer in answers[:10]] == ["ack"] * 10
    refused = [answer for answer in answers[10:] if answer["type"] == "error"]
    # Every 200 ms there is room for one more.
    assert len(refused) >= 10
    for answer in refused:
        assert (answer["code"], answer["temporary"]) == ("rate_limited", True)
        assert 0 < answer["retry_after_ms"] <= 200
    last = await buyer.ask("message.send", expect="error", room=order.room, text="again", id="again")
    assert last["code"] == "rate_limited"
    await asyncio.sleep(last["retry_after_ms"] / 1000)
    ack = await buyer.say(order.room, "again", id="again")
    assert ack["duplicate"] is False, "a refused command has left nothing behind"


async def test_the_message_rate_is_the_users_on_all_connections(
    dial: Dial, pair: Pair, buyer: Peer, order: Order
) -> None:
    other = await dial(pair[0], order.buyer, [order.room])
    for number in range(20):
        await (buyer, other)[number % 2].send("message.send", id=f"m{number}", room=order.room, text=str(number))
    answers = [await (buyer, other)[number % 2].answer(f"m{number}") for number in range(20)]
    assert sum(answer["type"] == "error" for answer in answers) >= 5


async def test_the_message_rate_is_the_users_on_all_processes(site: Site, serve: Serve, dial: Dial) -> None:
    """Whichever of the two processes writes the room."""
    apart = site.apart()
    servers = await asyncio.gather(*(serve(apart, messages_per_s=0.01, message_burst=3) for _ in range(2)))
    for attempt in range(6):
        order = apart.order(servers[0])
        one, two = [await dial(servers[(attempt + number) % 2], order.buyer, [order.room]) for number in range(2)]
        seller = await dial(servers[1], order.seller, [order.room])
        await one.say(order.room, "The first")
        await two.say(order.room, "The second")
        await one.reaches(order.room, 2)
        await one.say(order.room, "The third")
        await two.reaches(order.room, 3)
        for peer in (one, two):
            error = await peer.refusal("message.send", "rate_limited", room=order.room, text="A fourth")
            assert 0 < error["retry_after_ms"] <= 100_000, "each counts once"
        await seller.say(order.room, "Nobody pays for another")


async def test_other_commands_are_limited_too(buyer: Peer, order: Order) -> None:
    for number in range(120):
        await buyer.send("ping", id=f"p{number}")
    answers = [await buyer.answer(f"p{number}") for number in range(120)]
    # The first of 60 was the connect.
    assert [answer["type"] for answer in answers[:59]] == ["pong"] * 59
    errors = [answer for answer in answers if answer["type"] == "error"]
    assert len(errors) >= 10
    assert {(error["code"], error["temporary"]) for error in errors} == {("rate_limited", True)}
    assert all(error["retry_after_ms"] > 0 for error in errors)
    await buyer.say(order.room, "Messages have a limit of their own")


async def test_a_user_holds_five_connections_over_all_processes(dial: Dial, knock: Knock, pair: Pair) -> None:
    user = unique("busy")
    held = [await dial(pair[number % 2], user) for number in range(5)]
    for server in pair:
        sixth = await knock(server)
        error = await sixth.refusal("connect", "forbidden", token=token(user))
        assert error["details"] == {"limit": 5}
        assert await sixth.closed() == CloseCode.TOO_MANY_CONNECTIONS
    await held[0].close()

    async def try_again() -> None:
        peer = await knock(pair[1])
        await peer.send("connect", id="again", token=token(user))
        types.append((await peer.answer("again"))["type"])

    types: list[str] = []
    await eventually(lambda: types[-1:] == ["connected"], try_again)


async def test_a_connection_joins_20_rooms_and_staff_128(site: Site, dial: Dial, pair: Pair) -> None:
    buyer = unique("collector")
    orders = [Order(unique("o"), buyer, unique("seller")) for _ in range(129)]
    for order in orders:
        site.put_order(pair[0], order)
    rooms = [order.room for order in orders]
    for user, role, limit in ((buyer, None, 20), (unique("agent"), "agent", 128)):
        peer = await dial(pair[1], user, rooms[:limit], role=role)
        assert peer.of_type("connected")[0]["limits"]["rooms_per_connection"] == limit
        error = await peer.refusal("join", "forbidden", room=rooms[limit])
        assert error["details"] == {"limit": limit}
        await peer.join(rooms[0])
        await peer.ask("leave", expect="ack", room=rooms[0])
        await peer.join(rooms[limit])
        await peer.say(rooms[limit], "And this one is served")
        await peer.expect("entry", room=rooms[limit])


@pytest.mark.parametrize("limit", [1, 100])
async def test_a_history_page_of_1_to_100_is_given(limit: int, buyer: Peer, order: Order) -> None:
    await buyer.say(order.room, "one")
    await buyer.say(order.room, "two")
    page = await buyer.ask("history", expect="history", room=order.room, limit=limit)
    assert (len(page["entries"]), page["more"]) == (min(limit, 2), limit == 1)


@pytest.mark.parametrize("limit", [-1, 0, 101, 10**12])
async def test_another_history_page_is_refused(limit: int, buyer: Peer, order: Order) -> None:
    error = await buyer.refusal("history", "bad_request", room=order.room, limit=limit)
    assert error["details"] == {"field": "limit", "limit": 100}


async def test_history_pages_are_full_at_the_limit(site: Site, fast: Server, dial: Dial) -> None:
    order = site.order(fast)
    buyer = await dial(fast, order.buyer, [order.room])
    await asyncio.gather(*(buyer.say(order.room, str(number)) for number in range(101)))
    page = await buyer.ask("history", expect="history", room=order.room, limit=100)
    assert ([entry["seq"] for entry in page["entries"]], page["more"]) == ([*range(2, 102)], True)
    joined = await buyer.join(order.room)
    assert ([entry["seq"] for entry in joined["entries"]], joined["more"]) == ([*range(52, 102)], True)


async def test_a_command_id_has_1_to_64_characters(buyer: Peer, order: Order) -> None:
    for number, command in enumerate(("i", "i" * 64, WIDE * 64), start=1):
        assert (await buyer.say(order.room, "x", id=command))["seq"] == number
        assert (await buyer.expect("entry", seq=number))["entry"]["command_id"] == command
    wrong: list[object] = ["", "i" * 65, 7, None, ["i"]]
    for none in wrong:
        await buyer.send("message.send", id=none, room=order.room, text="x")
        error = await buyer.expect("error")
        assert (error["code"], error["details"]) == ("bad_request", {"field": "id"})
        assert "id" not in error, "an id that is none cannot be repeated"


async def test_a_room_id_has_up_to_160_characters(buyer: Peer) -> None:
    await buyer.refusal("join", "not_found", room="r" * 160)
    error = await buyer.refusal("join", "bad_request", room="r" * 161)
    assert error["details"] == {"field": "room"}


async def test_the_limits_that_are_told_are_those_that_hold(buyer: Peer) -> None:
    assert buyer.of_type("connected")[0]["limits"] == {
        "frame_bytes": FRAME_BYTES,
        "message_chars": MESSAGE_CHARS,
        "messages_per_s": 5.0,
        "message_burst": 10,
        "connections_per_user": 5,
        "rooms_per_connection": 20,
        "history_page": 100,
    }


async def test_a_process_that_is_full_says_so_before_the_upgrade(site: Site, serve: Serve, knock: Knock) -> None:
    small = await serve(site.apart(), connections=2)
    held = [await knock(small) for _ in range(2)]
    refused = site.http.get(small.url + "/v1/ws", headers=UPGRADE)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "5"
    await held[0].close()
    await eventually(lambda: small.metric("connections") == 1)
    await knock(small)
