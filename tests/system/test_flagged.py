"""``contact.flagged`` as a whole: a server that screens, a worker, a seller who goes on, and the marketplace."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.chatserver.webhooks.receiver import Receiver, receiving
from tests.eventually import eventually
from tests.program import Program
from tests.system.case import open_case
from tests.system.conftest import Dial, Serve
from tests.system.site import Site, token, unique

ELSEWHERE = "My phone number is +49 176 12345678, call me on whatsapp"


@pytest.fixture
def own_site(mongo_url: str, redis_url: str) -> Iterator[Site]:
    with Site.prepare(mongo_url, redis_url) as site:
        yield site


async def test_what_was_withheld_is_told_once_and_without_its_text(own_site: Site, serve: Serve, dial: Dial) -> None:
    settings = {"webhook_private_targets": True, "webhook_every_s": 0.1, "policy_file": ""}
    server = await serve(own_site, **settings)
    case = open_case(own_site, server)
    with Program(["-m", "chatserver", "worker"], own_site.environment(**settings)):
        async with receiving(Receiver()) as receiver:
            adding = ("webhooks", "add", receiver.url, "--type", "contact.flagged")
            await asyncio.to_thread(own_site.run, *adding, webhook_private_targets=True)
            seller = await dial(server, case.order.seller, [case.room, case.order.room])
            await seller.say(case.room, "Good morning")
            await seller.say(case.room, ELSEWHERE)
            await seller.say(case.order.room, ELSEWHERE)
            await eventually(lambda: len(receiver.received) == 2, within_s=30)
            told = [each.payload["data"] for each in receiver.received]
            assert {each.get("dispute") for each in told} == {case.id, None}
            for each in told:
                assert (each["user"], each["role"], each["mark"]) == (case.order.seller, "seller", "withheld")
                assert "phone" in each["categories"]
            assert max(each["strikes"] for each in told) == pytest.approx(2.0, abs=0.01)
            assert b"12345678" not in b"".join(each.body for each in receiver.received)
            await asyncio.sleep(2.5)
            assert len(receiver.received) == 2


async def test_a_flood_is_told_once(own_site: Site, serve: Serve, dial: Dial) -> None:
    settings = {"webhook_private_targets": True, "webhook_every_s": 0.1, "policy_file": ""}
    server = await serve(own_site, **settings, messages_per_s=1000, message_burst=1000)
    order = own_site.order(server)
    with Program(["-m", "chatserver", "worker"], own_site.environment(**settings)):
        async with receiving(Receiver()) as receiver:
            adding = ("webhooks", "add", receiver.url, "--type", "contact.flagged")
            await asyncio.to_thread(own_site.run, *adding, webhook_private_targets=True)
            seller = await dial(server, order.seller, [order.room])
            acks = [await seller.say(order.room, f"Where do I find step {number} of it?") for number in range(300)]
            assert sum("notice" in ack for ack in acks) > 250
            agent = await dial(server, unique("agent"), role="agent")

            waiting: list[int] = []

            async def look() -> None:
                reader = token(agent.user, role="agent")
                found = await asyncio.to_thread(own_site.get, server, "/v1/flags", reader, limit=100)
                waiting[:] = [flag["entry"]["seq"] for flag in found["flags"]]

            await eventually(lambda: len(waiting) <= 2, look, within_s=60)
            members = (await agent.join(order.room))["members"]
            [strikes] = [each["strikes"] for each in members if each["role"] == "seller"]
            assert strikes <= 0.5
            await eventually(lambda: len(receiver.received) > 0, within_s=30)
            told = [each.payload["data"]["categories"] for each in receiver.received]
            assert len(told) <= 2, told
            assert "flooding" in told[0] or "repeating" in told[0]
