"""``contact.flagged`` as a whole: a server that screens, a worker, a seller who goes on, and the marketplace."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.chatserver.webhooks.receiver import Receiver, receiving
from tests.eventually import eventually
from tests.program import Program
from tests.system.case import open_case
from tests.system.conftest import Dial, Serve
from tests.system.site import Site

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
