"""MongoDB is the truth: while it does not answer nothing is acknowledged, and retries find out what became of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from chatserver.embedded import Mongod
from storage.client import MongoConfig, open_database
from tests.eventually import eventually
from tests.system.conftest import Dial, Knock
from tests.system.record import Record
from tests.system.site import Server, Site, token
from tests.system.traveller import Traveller

TIMEOUT_S = 1.5


@dataclass(frozen=True)
class Deployment:
    """Two processes on a MongoDB of their own, which the tests treat badly."""

    site: Site
    mongod: Mongod
    one: Server
    two: Server


@pytest.fixture(scope="module")
def deployment(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with ExitStack() as stack:
        mongod = stack.enter_context(Mongod(tmp_path_factory.mktemp("mongod")))
        site = stack.enter_context(Site.prepare(mongod.url, redis_url))
        begun = [site.begin(mongo_timeout_s=TIMEOUT_S, sweep_s=1) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield Deployment(site, mongod, one, two)


@pytest.fixture
async def own_record(deployment: Deployment) -> AsyncIterator[Record]:
    record = Record(open_database(MongoConfig(deployment.site.mongo_url, deployment.site.database)))
    yield record
    await record.close()


async def test_a_pause_of_mongodb_of_5_s_is_said_and_retries_succeed_once(
    deployment: Deployment, knock: Knock, dial: Dial, own_record: Record
) -> None:
    one, two, mongod = deployment.one, deployment.two, deployment.mongod
    order = deployment.site.order(one)
    room = order.room
    buyer = Traveller(dial, [one], order.buyer, room)
    seller = Traveller(dial, [two], order.seller, room)
    agents = [Traveller(dial, [server], f"agent-{server.port}", room, role="agent") for server in (one, two)]
    everybody = [buyer, seller, *agents]
    for each in everybody:
        await each.arrive()
    await buyer.say("before")
    await asyncio.gather(*(each.reaches(1) for each in everybody))
    watching = await dial(one, "agent-watches", role="agent")
    mongod.pause()
    try:
        resume_at = time.monotonic() + 5
        talking = asyncio.gather(*(each.say(f"{each.user} {n}") for each in everybody for n in range(2)))
        began = time.monotonic()
        stranger = await knock(one)
        refusals = await asyncio.gather(
            watching.refusal("join", "unavailable", room=room),
            stranger.refusal("connect", "unavailable", token=token("somebody")),
        )
        assert time.monotonic() - began < 2 * TIMEOUT_S + 2, "it is said in time"
        assert all(refusal["temporary"] is True for refusal in refusals)
        ready = await asyncio.to_thread(deployment.site.http.get, f"{two.url}/readyz")
        assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "ok")
        assert ready.json()["checks"]["mongodb"] != "ok"
        assert (await asyncio.to_thread(deployment.site.http.get, f"{two.url}/healthz")).status_code == 200
        await watching.in_step()
        await eventually(lambda: time.monotonic() >= resume_at)
        assert not any(each.acks.keys() - {"before"} for each in everybody), "nothing is acknowledged meanwhile"
    finally:
        mongod.resume()
    acks = await talking
    assert {refusal["code"] for each in everybody for refusal in each.refusals} == {"unavailable"}
    texts = await own_record.texts(room)
    assert sorted(texts) == sorted(["before", *(f"{each.user} {n}" for each in everybody for n in range(2))])
    assert [texts[ack["seq"] - 1] for ack in acks] == [f"{each.user} {n}" for each in everybody for n in range(2)]
    for each in everybody:
        await each.reaches(9)
        assert each.seqs == list(range(1, 10))
        assert len(each.peers) == 1, "nobody was disconnected"
    await watching.join(room)
    await stranger.ask("connect", expect="connected", token=token("somebody"))


async def test_what_was_acknowledged_survives_kill_9_of_mongodb(
    deployment: Deployment, dial: Dial, own_record: Record
) -> None:
    one, two, mongod = deployment.one, deployment.two, deployment.mongod
    order = deployment.site.order(one)
    buyer = Traveller(dial, [one], order.buyer, order.room)
    seller = Traveller(dial, [two], order.seller, order.room)
    await asyncio.gather(buyer.arrive(), seller.arrive())

    async def talk(who: Traveller) -> None:
        for number in range(8):
            await who.say(f"{who.user} {number}")

    talking = asyncio.gather(talk(buyer), talk(seller))
    await buyer.reaches(4)
    mongod.kill()
    at_the_crash = {**buyer.acks, **seller.acks}
    await asyncio.to_thread(mongod.start)
    await talking
    texts = await own_record.texts(order.room)
    assert all(texts[ack["seq"] - 1] == text for text, ack in at_the_crash.items())
    assert sorted(texts) == sorted(f"{who.user} {number}" for who in (buyer, seller) for number in range(8))
    for who in (buyer, seller):
        await who.reaches(16)
        assert who.seqs == list(range(1, 17))
