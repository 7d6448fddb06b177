"""What was acknowledged is not lost and nothing is repeated, whatever ends a connection."""

import asyncio
from urllib.parse import urlsplit

import pytest

from chatserver.errors import CloseCode
from tests.eventually import eventually
from tests.proxy import Proxy
from tests.system.conftest import Dial, Serve
from tests.system.record import Record
from tests.system.site import Server, Site
from tests.system.traveller import Traveller

Pair = tuple[Server, Server]
LEASE_S = 1.5


@pytest.fixture
async def mortal(site: Site, serve: Serve) -> tuple[Site, Server, Server]:
    """Two processes of which one will be killed; that is noticed soon."""
    apart = site.apart()
    one, two = await asyncio.gather(*(serve(apart, hub_lease_s=LEASE_S, sweep_s=1) for _ in range(2)))
    return apart, one, two


async def test_after_kill_9_of_a_process_everybody_goes_on_at_another(
    mortal: tuple[Site, Server, Server], dial: Dial, record: Record
) -> None:
    site, doomed, other = mortal
    order = site.order(other)
    buyer = Traveller(dial, [doomed, other], order.buyer, order.room)
    seller = Traveller(dial, [other], order.seller, order.room)
    await asyncio.gather(buyer.arrive(), seller.arrive())

    async def talk(who: Traveller) -> None:
        for number in range(8):
            await who.say(f"{who.user} {number}")

    talking = asyncio.gather(talk(buyer), talk(seller))
    await buyer.reaches(4)
    doomed.kill()
    await talking
    texts = await record.texts(order.room)
    assert sorted(texts) == sorted(f"{who.user} {number}" for who in (buyer, seller) for number in range(8))
    for who in (buyer, seller):
        await who.reaches(16)
        assert who.seqs == list(range(1, 17))
        assert [texts[who.acks[f"{who.user} {number}"]["seq"] - 1] for number in range(8)] == [
            f"{who.user} {number}" for number in range(8)
        ]
    assert len(buyer.peers) == 2


async def test_users_of_a_killed_process_go_offline_and_their_seats_are_free_again(
    mortal: tuple[Site, Server, Server], dial: Dial
) -> None:
    site, doomed, other = mortal
    order = site.order(other)
    for _ in range(5):
        await dial(doomed, order.buyer, [order.room])
    seller = await dial(other, order.seller, [order.room])
    assert {each["user"]: each["state"] for each in seller.of_type("joined")[0]["members"]} == {
        order.buyer: "online",
        order.seller: "online",
    }
    doomed.kill()
    await seller.expect("presence", user=order.buyer, state="offline")
    for _ in range(5):
        await dial(other, order.buyer, [order.room])
    await seller.expect("presence", user=order.buyer, state="online")
    assert [each["state"] for each in seller.of_type("presence")] == ["offline", "online"]


async def test_a_process_that_hangs_and_wakes_up_has_missed_nothing(
    mortal: tuple[Site, Server, Server], dial: Dial, record: Record
) -> None:
    site, hanging, other = mortal
    order = site.order(other)
    buyer = await dial(hanging, order.buyer, [order.room])
    seller = await dial(other, order.seller, [order.room])
    await seller.say(order.room, "one")
    await buyer.reaches(order.room, 1)
    hanging.pause()
    try:
        await buyer.send("message.send", id="asleep", room=order.room, text="Anybody there?")
        await seller.expect("presence", user=order.buyer, state="offline")
        await seller.say(order.room, "two")
        await seller.say(order.room, "three")
    finally:
        hanging.resume()
    assert (await buyer.answer("asleep"))["type"] == "ack"
    await seller.expect("presence", user=order.buyer, state="online")
    await buyer.say(order.room, "Back again")
    for peer in (buyer, seller):
        await peer.reaches(order.room, 5)
        assert peer.seqs(order.room) == [1, 2, 3, 4, 5]
    assert sorted(await record.texts(order.room)) == ["Anybody there?", "Back again", "one", "three", "two"]


async def test_a_client_that_breaks_off_resumes_after_the_last_entry_it_has(site: Site, pair: Pair, dial: Dial) -> None:
    order = site.order(pair[0])
    seller = await dial(pair[1], order.seller, [order.room])
    buyer = await dial(pair[0], order.buyer, [order.room])
    await seller.say(order.room, "one")
    await buyer.reaches(order.room, 1)
    buyer.abort()
    await seller.expect("presence", user=order.buyer, state="offline")
    for text in ("two", "three", "four"):
        await seller.say(order.room, text)
    back = await dial(pair[1], order.buyer, [(order.room, 1)])
    assert (back.of_type("joined")[0]["head"], back.of_type("joined")[0]["more"]) == (4, False)
    await seller.say(order.room, "five")
    await back.reaches(order.room, 5)
    assert buyer.seqs(order.room) + back.seqs(order.room) == [1, 2, 3, 4, 5]


async def test_a_long_absence_is_made_up_for_with_history(site: Site, fast: Server, dial: Dial) -> None:
    """More entries than one answer holds."""
    order = site.order(fast)
    seller = await dial(fast, order.seller, [order.room])
    await asyncio.gather(*(seller.say(order.room, str(number)) for number in range(230)))
    buyer = await dial(fast, order.buyer)
    joined = await buyer.join(order.room, after=3)
    assert ([each["seq"] for each in joined["entries"]], joined["more"]) == ([*range(4, 104)], True)
    assert joined["head"] == 230
    await seller.say(order.room, "live")
    assert (await buyer.expect("entry"))["entry"]["seq"] == 231, "live entries follow the head, not the page"
    seqs = [each["seq"] for each in joined["entries"]]
    more = True
    while seqs[-1] < joined["head"]:
        page = await buyer.ask("history", expect="history", room=order.room, after=seqs[-1], limit=100)
        seqs += [each["seq"] for each in page["entries"]]
        more = page["more"]
    assert seqs == [*range(4, 232)]
    assert more is False


async def test_a_position_beyond_the_end_is_refused(site: Site, pair: Pair, dial: Dial) -> None:
    order = site.order(pair[0])
    buyer = await dial(pair[0], order.buyer)
    await buyer.join(order.room, after=0)
    error = await buyer.refusal("join", "bad_request", room=order.room, after=1)
    assert error["details"] == {"head": 0}
    await buyer.join(order.room)


@pytest.mark.parametrize("silent", ["client", "network"])
async def test_a_silent_disconnect_is_noticed_and_nothing_is_lost_by_it(
    silent: str, site: Site, serve: Serve, dial: Dial, record: Record
) -> None:
    """The connection stays open, and nobody answers: the battery is empty, or a router forgot the connection."""
    server = await serve(site.apart(), heartbeat_s=1.5, heartbeat_timeout_s=1.5)
    order = site.order(server)
    seller = await dial(server, order.seller, [order.room])
    async with Proxy(server.url) as proxy:
        way = f"ws://{urlsplit(proxy.url).netloc}{urlsplit(server.websocket_url).path}"
        buyer = await dial(way, order.buyer, [order.room])
        await seller.say(order.room, "one")
        await buyer.reaches(order.room, 1)
        if silent == "network":
            proxy.hold()
            await buyer.send("message.send", id="lost", room=order.room, text="Did this arrive?")
        else:
            buyer.stop_reading()
        await seller.say(order.room, "two")
        await eventually(lambda: server.metric("closes_total", code=str(int(CloseCode.NO_HEARTBEAT))) == 1)
        if silent == "client":
            buyer.read_on()
            assert await buyer.closed() == CloseCode.NO_HEARTBEAT
        await seller.expect("presence", user=order.buyer, state="offline")
        back = await dial(server, order.buyer, [(order.room, buyer.head(order.room))])
        ack = await back.say(order.room, "Did this arrive?", id="lost")
        assert (ack["seq"], ack["duplicate"]) == (3, False)
        await seller.reaches(order.room, 3)
        await back.reaches(order.room, 3)
        assert buyer.seqs(order.room) + back.seqs(order.room) == [1, 2, 3]
        assert await record.texts(order.room) == ["one", "two", "Did this arrive?"]


async def test_a_command_of_unknown_outcome_is_written_once(site: Site, pair: Pair, dial: Dial, record: Record) -> None:
    """The answer got lost, not the command."""
    order = site.order(pair[0])
    deaf = await dial(pair[0], order.buyer, [order.room])
    deaf.stop_reading()
    await deaf.send("message.send", id="same", room=order.room, text="once")
    witness = await dial(pair[1], order.seller, [(order.room, 0)])
    await witness.reaches(order.room, 1)
    deaf.abort()
    for server in pair:
        buyer = await dial(server, order.buyer, [order.room])
        ack = await buyer.say(order.room, "once", id="same")
        assert (ack["seq"], ack["duplicate"]) == (1, True)
        assert ack["entry_id"] == witness.entries(order.room)[0]["id"]
    assert await record.texts(order.room) == ["once"]
