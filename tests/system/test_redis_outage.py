"""Redis is the doorbell, not the truth: without it everything is stored, acknowledged and delivered all the same."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from chatserver.embedded import Valkey
from tests.eventually import eventually
from tests.system.conftest import Dial, Knock, Serve
from tests.system.peer import Peer
from tests.system.record import Record
from tests.system.site import Server, Site, token, unique
from tests.system.traveller import Traveller

SWEEP_S = 2.0


@dataclass(frozen=True)
class Deployment:
    """Two processes and the Redis that they share, which the tests treat badly."""

    site: Site
    valkey: Valkey
    one: Server
    two: Server

    @contextmanager
    def without_redis(self) -> Iterator[None]:
        """Kill it, and start it again, with nothing in it, in the end."""
        self.valkey.kill()
        try:
            yield
        finally:
            self.valkey.start()

    async def connected(self) -> None:
        """Wait until both processes hear each other."""
        for server in (self.one, self.two):
            await eventually(lambda server=server: server.metric("bus_alive") == 1)  # type: ignore[misc]


@pytest.fixture(scope="module")
def deployment(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey(tmp_path_factory.mktemp("valkey")))
        apart = site.apart(valkey.url)
        begun = [apart.begin(sweep_s=SWEEP_S, hub_lease_s=3) for _ in range(2)]
        for server in begun:
            stack.enter_context(server.program)
        one, two = (server.await_start() for server in begun)
        yield Deployment(apart, valkey, one, two)


_numbers = count(1)
"""Short ones: the time would now and then be taken for the number of a card, and masked."""


async def assert_lively(here: Traveller, there: Traveller) -> None:
    """Messages cross between the two without waiting for a sweep, which would take a second on average each time."""
    began = time.monotonic()
    for number in range(8):
        speaker, hearer = (here, there) if number % 2 else (there, here)
        ack = await speaker.say(f"lively {next(_numbers)}")
        await hearer.reaches(ack["seq"])
    assert time.monotonic() - began < 4 * SWEEP_S


async def test_after_kill_9_of_redis_all_is_stored_acknowledged_and_delivered(
    deployment: Deployment, dial: Dial, record: Record
) -> None:
    one, two = deployment.one, deployment.two
    order = deployment.site.order(one)
    buyer = Traveller(dial, [one], order.buyer, order.room)
    seller = Traveller(dial, [two], order.seller, order.room)
    await asyncio.gather(buyer.arrive(), seller.arrive())
    agents = [await dial(server, f"agent-{server.port}", [order.room], role="agent") for server in (one, two)]
    await assert_lively(buyer, seller)
    with deployment.without_redis():
        for speaker, hearer, beside in ((buyer, seller, agents[0]), (seller, buyer, agents[1])):
            for number in range(3):
                ack = await speaker.say(f"{speaker.user} {number}")
                # On the same process it is there before anything else happens; on the other one a sweep finds it.
                await beside.in_step()
                assert beside.head(order.room) == ack["seq"]
            await hearer.reaches(ack["seq"])
        assert one.metric("tails_repaired_total") + two.metric("tails_repaired_total") >= 2
        # Who comes now is served as well.
        late = await dial(two, "agent-late", [order.room], role="agent")
        assert late.seqs(order.room) == list(range(1, 15))
    await deployment.connected()
    await assert_lively(buyer, seller)
    texts = await record.texts(order.room)
    assert sorted(texts) == sorted([*buyer.acks, *seller.acks])
    for who in (buyer, seller):
        await who.reaches(22)
        assert who.seqs == list(range(1, 23))
        assert len(who.peers) == 1, "nobody was disconnected"
        assert who.refusals == []


async def test_what_staff_change_without_redis_is_shown_on_both_processes(deployment: Deployment, dial: Dial) -> None:
    one, two = deployment.one, deployment.two
    order = deployment.site.order(one)
    buyer = await dial(one, order.buyer, [order.room])
    seller = await dial(two, order.seller, [order.room])
    agent = await dial(one, unique("agent"), [order.room], role="agent")
    seq = (await buyer.say(order.room, "It is broken, I say."))["seq"]
    await seller.reaches(order.room, seq)

    async def shown(kind: str, count: int) -> dict[str, Any]:
        """The entry as it is shown after the latest of so many rulings."""
        await agent.ask(kind, expect="ack", room=order.room, seq=seq, reason="So it is")
        await seller.until(lambda: len(changes(seller)) >= count or None, f"change {count}")
        return changes(seller)[-1]

    with deployment.without_redis():
        assert (await shown("message.redact", 1))["body"] == {}
        assert (await shown("message.release", 2))["body"] == {"text": "It is broken, I say."}
    await deployment.connected()
    assert (await shown("message.redact", 3))["withheld"] is True


def changes(peer: Peer) -> list[dict[str, Any]]:
    return [frame["entry"] for frame in peer.frames if frame["type"] == "entry.changed"]


async def test_presence_is_known_again_after_redis_forgot_it(deployment: Deployment, dial: Dial) -> None:
    order = deployment.site.order(deployment.one)
    buyer = await dial(deployment.one, order.buyer, [order.room])
    await dial(deployment.two, order.seller, [order.room])
    await buyer.expect("presence", user=order.seller, state="online")
    with deployment.without_redis():
        pass
    await deployment.connected()
    states: dict[str, str] = {}

    async def look() -> None:
        async with await dial(deployment.one, "agent-looks", [order.room], role="agent") as agent:
            joined = agent.of_type("joined")[0]
            states.update({each["user"]: each["state"] for each in joined["members"]})

    # The first that opens the room on the first process after it lost all: it asks Redis anew.
    await buyer.close()
    await eventually(lambda: states.get(order.seller) == "online", look)
    assert states[order.buyer] == "offline"


async def test_a_pause_of_redis_of_10_s_costs_delay_and_nothing_else(
    deployment: Deployment, dial: Dial, record: Record
) -> None:
    one, two, valkey = deployment.one, deployment.two, deployment.valkey
    order = deployment.site.order(one)
    buyer = Traveller(dial, [one], order.buyer, order.room)
    seller = Traveller(dial, [two], order.seller, order.room)
    await asyncio.gather(buyer.arrive(), seller.arrive())
    await assert_lively(buyer, seller)
    valkey.pause()
    try:
        resume_at = time.monotonic() + 10
        slowest = 0.0

        async def talk(who: Traveller, to: Traveller) -> None:
            nonlocal slowest
            number = 0
            while time.monotonic() < resume_at:
                began = time.monotonic()
                ack = await who.say(f"{who.user} {number}")
                slowest = max(slowest, time.monotonic() - began)
                await to.reaches(ack["seq"])
                number += 1

        async def arrive_late() -> float:
            began = time.monotonic()
            async with await dial(two, "agent-patient", [order.room], role="agent") as late:
                await late.say(order.room, "agent-patient is here")
            return time.monotonic() - began

        took, *_ = await asyncio.gather(arrive_late(), talk(buyer, seller), talk(seller, buyer))
    finally:
        valkey.resume()
    # The writer's answer is waited for as long as a second before a process writes itself.
    assert slowest < 5
    assert took < 10, "who connects does not wait for the end of it"
    await deployment.connected()
    await assert_lively(buyer, seller)
    texts = await record.texts(order.room)
    assert len(set(texts)) == len(texts), "nothing is doubled"
    assert set(texts) == {*buyer.acks, *seller.acks, "agent-patient is here"}
    for who in (buyer, seller):
        await who.reaches(len(texts))
        assert who.seqs == list(range(1, len(texts) + 1))
        assert len(who.peers) == 1
        assert {refusal["code"] for refusal in who.refusals} <= {"rate_limited"}


async def test_who_gives_up_connecting_during_a_pause_takes_no_seat_for_good(
    deployment: Deployment, knock: Knock, dial: Dial
) -> None:
    user = unique("impatient")
    deployment.valkey.pause()
    try:
        for _ in range(5):
            peer = await knock(deployment.one)
            await peer.send("connect", id="c", token=token(user))
            # By the time this is answered the connection waits for its seat.
            deployment.site.get(deployment.one, "/v1/rooms", token(user))
            peer.abort()
        await eventually(lambda: deployment.one.metric("connections") == 0)
    finally:
        deployment.valkey.resume()
    await deployment.connected()
    for number in range(5):
        await dial((deployment.one, deployment.two)[number % 2], user)


async def test_a_process_that_starts_without_redis_serves_and_joins_the_others_later(
    deployment: Deployment, serve: Serve, dial: Dial, record: Record
) -> None:
    with deployment.without_redis():
        third = await serve(deployment.site, sweep_s=SWEEP_S, hub_lease_s=3)
        ready = deployment.site.http.get(f"{third.url}/readyz")
        assert (ready.status_code, ready.json()["checks"]["mongodb"]) == (503, "ok")
        assert ready.json()["checks"]["redis"] != "ok"
        order = deployment.site.order(third)
        buyer = Traveller(dial, [third], order.buyer, order.room)
        seller = Traveller(dial, [deployment.one], order.seller, order.room)
        await asyncio.gather(buyer.arrive(), seller.arrive())
        await buyer.say("Is anybody there?")
        await seller.reaches(1)
    await deployment.connected()
    await eventually(lambda: third.metric("bus_alive") == 1)
    assert deployment.site.http.get(f"{third.url}/readyz").status_code == 200
    await assert_lively(buyer, seller)
    assert len(await record.whole(order.room)) == 9
