"""Who may come in and stay: tokens at the door, their expiry and renewal, and access that is taken away."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from chatserver.errors import CloseCode
from tests.eventually import eventually
from tests.system.conftest import Dial, Knock, Serve
from tests.system.peer import Closed, Peer
from tests.system.site import SECRET, Order, Server, Site, token, unique

Pair = tuple[Server, Server]


@pytest.fixture
def order(site: Site, pair: Pair) -> Order:
    return site.order(pair[0])


@pytest.fixture
async def strict(site: Site, serve: Serve) -> Server:
    """A process that warns a second before a token's end and keeps the connection for another one."""
    return await serve(site.apart(), token_warning_s=1, token_grace_s=1)


def without(claim: str) -> str:
    claims: dict[str, Any] = {"sub": "u", "aud": "dispute-chat", "exp": datetime.now(UTC) + timedelta(hours=1)}
    del claims[claim]
    return jwt.encode(claims, SECRET, "HS256")


# At the door


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        "nonsense",
        jwt.encode({"sub": "u", "aud": "dispute-chat", "exp": 4_000_000_000}, "x" * 40, "HS256"),
        jwt.encode({"sub": "u", "aud": "dispute-chat", "exp": 4_000_000_000}, "", "none"),
        token("u", aud="another-service"),
        token("u", role="admin"),
        token("system"),
        without("sub"),
        without("aud"),
        without("exp"),
    ],
    ids=["none", "empty", "nonsense", "forged", "alg none", "audience", "role", "system", "no sub", "no aud", "no exp"],
)
async def test_a_bad_token_closes_with_4501(bad: str | None, knock: Knock, pair: Pair) -> None:
    peer = await knock(pair[0])
    await peer.refusal("connect", "unauthenticated", token=bad)
    assert await peer.closed() == CloseCode.INVALID_TOKEN


async def test_an_expired_token_closes_with_4001(knock: Knock, pair: Pair) -> None:
    peer = await knock(pair[0])
    await peer.refusal("connect", "token_expired", token=token(unique("user"), ttl_s=-30))
    assert await peer.closed() == CloseCode.TOKEN_EXPIRED


async def test_a_native_client_may_send_the_token_in_a_header(knock: Knock, pair: Pair) -> None:
    user = unique("native")
    peer = await knock(pair[0], headers={"Authorization": f"Bearer {token(user)}"})
    assert (await peer.ask("connect", expect="connected"))["user"]["id"] == user
    other = unique("frame")
    peer = await knock(pair[0], headers={"Authorization": f"Bearer {token(user)}"})
    connected = await peer.ask("connect", expect="connected", token=token(other))
    assert connected["user"]["id"] == other, "the frame's token comes first"
    peer = await knock(pair[0], headers={"Authorization": "Bearer nonsense"})
    await peer.refusal("connect", "unauthenticated")
    assert await peer.closed() == CloseCode.INVALID_TOKEN


async def test_a_token_in_the_url_opens_nothing(knock: Knock, pair: Pair) -> None:
    peer = await knock(f"{pair[0].websocket_url}?token={token(unique('user'))}&access_token={token(unique('user'))}")
    await peer.refusal("connect", "unauthenticated")
    assert await peer.closed() == CloseCode.INVALID_TOKEN


async def test_who_does_not_say_who_they_are_is_closed_with_4508(site: Site, serve: Serve, knock: Knock) -> None:
    server = await serve(site.apart(), connect_timeout_s=1)
    silent = await knock(server)
    chatty = await knock(server)
    await chatty.in_step()
    connected = await knock(server)
    await connected.ask("connect", expect="connected", token=token(unique("user")))
    assert await silent.closed() == CloseCode.NO_CONNECT
    assert await chatty.closed() == CloseCode.NO_CONNECT
    await connected.in_step()


async def test_guessing_is_slowed_down_and_good_tokens_are_not(knock: Knock, serve: Serve, site: Site) -> None:
    server = await serve(site.apart())
    codes = []
    for _ in range(25):
        peer = await knock(server)
        error = await peer.ask("connect", expect="error", token="guess")
        codes.append(error["code"])
    assert codes[:20] == ["unauthenticated"] * 20
    assert "rate_limited" in codes[20:]
    peer = await knock(server)
    await peer.ask("connect", expect="connected", token=token(unique("user")))


# Expiry and renewal


async def test_a_token_is_said_to_expire_a_minute_before(knock: Knock, pair: Pair) -> None:
    peer = await knock(pair[0])
    await peer.ask("connect", expect="connected", token=token(unique("user"), ttl_s=62))
    in_s = (await peer.expect("token.expiring"))["in_s"]
    assert 55 < in_s < 60.5  # the timer and the time of day are two clocks


async def test_an_expired_token_ends_the_connection_after_the_grace(strict: Server, knock: Knock) -> None:
    peer = await knock(strict)
    await peer.ask("connect", expect="connected", token=token(unique("user"), ttl_s=2))
    assert (await peer.expect("token.expiring"))["in_s"] <= 1
    await peer.in_step()
    assert await peer.closed() == CloseCode.TOKEN_EXPIRED


async def test_a_refreshed_token_keeps_the_connection(strict: Server, site: Site, knock: Knock) -> None:
    user = unique("user")
    peer = await knock(strict)
    await peer.ask("connect", expect="connected", token=token(user, ttl_s=2))
    unrefreshed = await knock(strict)
    await unrefreshed.ask("connect", expect="connected", token=token(unique("user"), ttl_s=2))
    await peer.expect("token.expiring")
    await peer.ask("token.refresh", expect="ack", token=token(user, ttl_s=4))
    assert await unrefreshed.closed() == CloseCode.TOKEN_EXPIRED
    await peer.in_step()
    await peer.expect("token.expiring")
    await peer.ask("token.refresh", expect="ack", token=token(user))
    await peer.in_step()
    assert len(peer.of_type("token.expiring")) == 2


async def test_only_a_good_token_of_the_same_user_refreshes(pair: Pair, dial: Dial, order: Order) -> None:
    buyer = await dial(pair[0], order.buyer, [order.room])
    for offered, code in (
        (token(order.seller), "forbidden"),
        (token(order.buyer, role="agent"), "forbidden"),
        (token(order.buyer, ttl_s=-30), "token_expired"),
        ("nonsense", "unauthenticated"),
    ):
        await buyer.refusal("token.refresh", code, token=offered)
    await buyer.say(order.room, "The first token still holds")


# Access taken away


async def test_a_revoked_user_is_put_out_everywhere_and_a_later_token_opens_again(
    site: Site, pair: Pair, dial: Dial, knock: Knock, order: Order
) -> None:
    old = token(order.buyer)
    peers = [await dial(server, order.buyer, [order.room]) for server in pair for _ in range(2)]
    seller = await dial(pair[1], order.seller, [order.room])
    await asyncio.to_thread(site.run, "revoke", order.buyer)
    for peer in peers:
        assert await peer.closed() == CloseCode.ACCESS_REVOKED
    await seller.expect("presence", user=order.buyer, state="offline")
    for server in pair:
        peer = await knock(server)
        await peer.refusal("connect", "unauthenticated", token=old)
        assert await peer.closed() == CloseCode.ACCESS_REVOKED
        answer = site.http.get(f"{server.url}/v1/rooms", headers={"Authorization": f"Bearer {old}"})
        assert answer.status_code == 401

    async def try_again() -> None:
        # A token's time has whole seconds: one of the same second counts as older.
        peer = await knock(pair[0])
        await peer.send("connect", id="again", token=token(order.buyer), rooms=[{"room": order.room}])
        if (await peer.answer("again"))["type"] == "connected":
            back.append(peer)

    back: list[Peer] = []
    await eventually(lambda: bool(back), try_again)
    await back[0].expect("joined")
    # When the word of a revocation is lost, processes find it by themselves; that must not hit who came back.
    missed = await dial(pair[0], unique("user"))
    await asyncio.to_thread(site.apart().run, "revoke", missed.user)
    assert await missed.closed() == CloseCode.ACCESS_REVOKED
    await back[0].say(order.room, "Here again")
    await seller.reaches(order.room, 1)


async def test_access_given_back_opens_the_old_token(site: Site, pair: Pair, knock: Knock) -> None:
    user = unique("user")
    old = token(user)
    await asyncio.to_thread(site.run, "revoke", user)
    peer = await knock(pair[0])
    await peer.refusal("connect", "unauthenticated", token=old)
    await asyncio.to_thread(site.run, "revoke", "--lift", user)
    types: list[str] = []

    async def try_again() -> None:
        peer = await knock(pair[0])
        await peer.send("connect", id="again", token=old)
        types.append((await peer.answer("again"))["type"])

    await eventually(lambda: types[-1:] == ["connected"], try_again)


async def test_a_seller_who_is_replaced_is_put_out_everywhere_and_the_new_one_comes_in(
    site: Site, pair: Pair, dial: Dial, order: Order
) -> None:
    buyer = await dial(pair[0], order.buyer, [order.room])
    old = [await dial(server, order.seller, [order.room]) for server in pair]
    agent = await dial(pair[1], unique("agent"), [order.room], role="agent")
    await buyer.say(order.room, "To the old seller")
    successor = unique("successor")
    changed = Order(order.id, order.buyer, successor)
    site.put_order(pair[0], changed)
    for peer in old:
        assert await peer.closed() == CloseCode.ACCESS_REVOKED
    for peer in (buyer, agent):
        update = (await peer.expect("entry", kind="order.updated"))["entry"]
        assert update["seq"] == 2
        assert update["author"] == {"id": "system", "role": "system", "name": "system"}
    again = await dial(pair[1], order.seller)
    await again.refusal("join", "not_found", room=order.room)
    assert [room["room"] for room in site.get(pair[0], "/v1/rooms", token(order.seller))["rooms"]] == []
    new = await dial(pair[1], successor, [order.room])
    joined = new.of_type("joined")[0]
    assert (joined["you"], joined["head"]) == ({"role": "seller"}, 2)
    assert [member["user"] for member in joined["members"] if member["role"] == "seller"] == [successor]
    await new.say(order.room, "The new one")
    await buyer.reaches(order.room, 3)
    assert buyer.seqs(order.room) == [1, 2, 3]
    rejoined = await buyer.join(order.room)
    assert [member["user"] for member in rejoined["members"] if member["role"] == "seller"] == [successor]


async def test_a_message_under_way_when_the_parties_change_is_refused_or_was_first(
    site: Site, pair: Pair, dial: Dial, order: Order
) -> None:
    """Whoever is first in the log wins: after the change the old seller has no entry."""
    old = await dial(pair[1], order.seller, [order.room])
    sent = [f"m{number}" for number in range(8)]
    changing = asyncio.to_thread(site.put_order, pair[0], Order(order.id, order.buyer, unique("successor")))
    task = asyncio.create_task(changing)
    with contextlib.suppress(ConnectionClosed):  # the change may be the faster one
        for command in sent:
            await old.send("message.send", id=command, room=order.room, text=command)
            await asyncio.sleep(0)
    await task
    assert await old.closed() == CloseCode.ACCESS_REVOKED
    buyer = await dial(pair[0], order.buyer, [(order.room, 0)])
    entries = buyer.entries(order.room)
    update = next(entry["seq"] for entry in entries if entry["kind"] == "order.updated")
    written = [entry for entry in entries if entry["author"]["id"] == order.seller]
    assert all(entry["seq"] < update for entry in written)
    stands_at = {entry["body"]["text"]: entry["seq"] for entry in written}
    assert len(stands_at) == len(written), "nothing twice"
    acked = {frame["id"]: frame["seq"] for frame in old.of_type("ack") if frame["id"] in sent}
    assert acked.items() <= stands_at.items(), "what was acknowledged stands where its acknowledgement says"


async def test_who_joins_while_the_parties_change_is_in_the_room_only_by_right(
    site: Site, serve: Serve, dial: Dial
) -> None:
    """What a join decides on the facts of before must not outlive the change."""
    apart = site.apart()
    one, two = await asyncio.gather(*(serve(apart, fanout_partitions=1024) for _ in range(2)))
    for attempt in range(60):
        order = apart.order(one)
        old = await dial((one, two)[attempt % 2], order.seller)
        change = asyncio.to_thread(apart.put_order, one, Order(order.id, order.buyer, unique("successor")))
        changed = asyncio.create_task(change)
        with contextlib.suppress(ConnectionClosed, Closed):
            # Each attempt at another moment of the change.
            for _ in range(attempt % 20):
                await old.in_step()
            await old.send("join", id="join", room=order.room)
            await old.answer("join")
            await changed
            await shut_out(old, order.room)
        await changed
        await old.close()


async def shut_out(peer: Peer, room: str) -> None:
    """Wait until a peer is not in a room. Ends with an error when it is disconnected, too."""
    codes: list[str] = []

    async def look() -> None:
        await peer.send("history", id="look", room=room, limit=1)
        codes.append((await peer.answer("look")).get("code", "shown"))

    await eventually(lambda: codes[-1:] == ["not_found"], look)


# Logs


async def test_no_token_and_nobodys_words_are_logged(site: Site, serve: Serve, dial: Dial, knock: Knock) -> None:
    server = await serve(site.apart(), log_level="debug", token_warning_s=1, token_grace_s=1)
    order = site.order(server)
    words = unique("confidential")
    tokens = [token(order.buyer), token(order.seller), token(order.buyer, ttl_s=-30), token(order.buyer, ttl_s=900)]
    buyer = await dial(server, order.buyer, [order.room])
    await buyer.say(order.room, words)
    await buyer.ask("token.refresh", expect="ack", token=tokens[3])
    await buyer.refusal("token.refresh", "token_expired", token=tokens[2])
    await buyer.refusal("token.refresh", "forbidden", token=tokens[1])
    await buyer.refusal("message.send", "bad_request", room=order.room, text=words, reply_to=99)
    await buyer.raw(f'{{"type":"message.send","text":"{words}","token":"{tokens[0]}"')
    assert await buyer.closed() == CloseCode.BAD_FRAME
    for headers, query in (({"Authorization": f"Bearer {tokens[0]}"}, ""), ({}, f"?token={tokens[0]}")):
        peer = await knock(f"{server.websocket_url}{query}", headers=headers)
        await peer.in_step()
        for path in ("/v1/rooms", f"/v1/rooms/{order.room}/entries", "/v1/nowhere"):
            answer = site.http.get(f"{server.url}{path}{query}", headers=headers)
            assert answer.status_code in (200, 401, 404)
        site.http.put(f"{server.url}/v1/orders/{order.id}", headers=headers, json={"title": words})
    assert server.program.output, "something is logged"
    log = "\n".join(server.program.output)
    assert "http_request" in log
    for secret in (*tokens, SECRET, site.api_key, words):
        assert secret not in log
        assert secret.rpartition(".")[2] not in log, "nor a token's signature alone"
