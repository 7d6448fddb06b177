"""``participant.unread`` as a whole: a server, a worker, people who are there or not, and the marketplace."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.chatserver.webhooks.receiver import Receiver, receiving
from tests.eventually import eventually
from tests.program import Program
from tests.system.conftest import Dial, Serve
from tests.system.site import Site


@pytest.fixture
def own_site(mongo_url: str, redis_url: str) -> Iterator[Site]:
    with Site.prepare(mongo_url, redis_url) as site:
        yield site


async def test_who_is_away_is_told_once_and_who_is_there_is_not(own_site: Site, serve: Serve, dial: Dial) -> None:
    settings = {"unread_after_s": 1, "webhook_private_targets": True, "webhook_every_s": 0.1}
    server = await serve(own_site, **settings)
    order = own_site.order(server)
    with Program(["-m", "chatserver", "worker"], own_site.environment(**settings)):
        async with receiving(Receiver()) as receiver:
            adding = ("webhooks", "add", receiver.url, "--type", "participant.unread")
            await asyncio.to_thread(own_site.run, *adding, webhook_private_targets=True)

            buyer = await dial(server, order.buyer, [order.room])
            seller = await dial(server, order.seller, [order.room])
            await buyer.say(order.room, "Hello?")
            await asyncio.sleep(2.5)  # the seller is there, and has not read it
            assert receiver.received == []

            await seller.close()
            await eventually(lambda: len(receiver.received) == 1, within_s=30)
            (first,) = receiver.received
            assert first.payload["type"] == "participant.unread"
            told = first.payload["data"]
            assert (told["user"], told["side"], told["seq"], told["count"]) == (order.seller, "seller", 1, 1)
            assert told["room"] == order.room
            assert "Hello" not in first.body.decode()

            await buyer.say(order.room, "Are you there?")
            await asyncio.sleep(2.5)
            assert len(receiver.received) == 1, "it is the same stretch"

            seller = await dial(server, order.seller, [order.room])
            await seller.send("receipt", room=order.room, read=2)
            await buyer.expect("receipt", user=order.seller, read=2)
            await seller.close()
            await buyer.say(order.room, "Still there?")
            await eventually(lambda: len(receiver.received) == 2, within_s=30)
            assert receiver.received[1].payload["data"]["seq"] == 3
