"""Deadlines with real workers: several at once, killed at any moment, beside people who act at the same moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from policies.dispute.policy import parse_policy
from policies.errors import Unavailable
from storage.client import MongoConfig, open_database
from tests.chatserver.moving_time import HandClock
from tests.chatserver.office import Office
from tests.eventually import eventually
from tests.program import Program
from tests.system.conftest import Dial, Serve
from tests.system.site import Site, token, unique

ESCALATED = "dispute.escalated"
OVERDUE = timedelta(hours=24, minutes=1)
SILENT = parse_policy({"terms": {"reminders": {"seller_attend": 0}}})


@pytest.fixture
def lone(mongo_url: str, redis_url: str) -> Iterator[Site]:
    """A deployment of the test's own."""
    with Site.prepare(mongo_url, redis_url) as site:
        yield site


@pytest.fixture
async def office(lone: Site) -> AsyncIterator[Office]:
    """Writes into that deployment's database what happened a day ago."""
    database = open_database(MongoConfig(lone.mongo_url, lone.database, timeout_s=2.0))
    made = Office(database, HandClock(datetime.now(UTC).replace(microsecond=0) - OVERDUE), SILENT)
    yield made
    await made.close()
    await database.close()


def worker(site: Site, **settings: object) -> Program:
    return Program(["-m", "chatserver", "worker"], site.environment(**settings))


async def fired(office: Office) -> Counter[str]:
    """How often each dispute was escalated."""
    found = await office.database.collection("entries").find({"kind": ESCALATED}, projection={"room": 1})
    return Counter(document["room"] for document in found)


async def release_claims(office: Office) -> None:
    """What a dead worker had claimed becomes due again after some seconds: at once, for the test. What it has locked in
    the middle of a transaction is set free by the workers after it."""
    disputes = office.database.collection("disputes")
    claimed = await disputes.find({"claimed_by": {"$exists": True}}, projection={"_id": 1})
    released = {"$set": {"next_at": office.clock.now()}}
    releasing = (disputes.update_one({"_id": each["_id"]}, released) for each in claimed)
    failed = [each for each in await asyncio.gather(*releasing, return_exceptions=True) if isinstance(each, Exception)]
    assert all(isinstance(each, Unavailable) for each in failed), failed


async def test_workers_that_are_killed_at_random_leave_nothing_undone_and_nothing_doubled(
    lone: Site, office: Office
) -> None:
    count = 120
    disputes = [await office.open(number) for number in range(1, count + 1)]
    expected = Counter({dispute.room: 1 for dispute in disputes})
    chance = random.Random(8)
    seen: list[Counter[str]] = [Counter()]

    async def look() -> None:
        seen[0] = await fired(office)

    def reached(goal: int) -> bool:
        return len(seen[0]) >= goal

    with ExitStack() as stack:
        for _ in range(4):
            doomed = stack.enter_context(worker(lone, deadlines_every_s=0.1, mongo_timeout_s=2))
            goal = min(count, len(seen[0]) + 1)
            await eventually(partial(reached, goal), look, 30)
            await asyncio.sleep(chance.uniform(0, 0.03))
            doomed.process.kill()
            doomed.wait()
            await release_claims(office)
        for _ in range(2):
            stack.enter_context(worker(lone, mongo_timeout_s=2))
        await eventually(partial(reached, count), look, 90)
        assert await fired(office) == expected
    told = await office.database.collection("outbox").find({"type": ESCALATED})
    assert len({document["dispute"] for document in told}) == len(told) == count
    verified = await asyncio.to_thread(lone.run, "verify", "--all", check=False)
    assert verified.returncode == 0, verified.stdout


async def test_the_claims_of_a_dead_worker_run_out_by_themselves(lone: Site, office: Office) -> None:
    dispute = await office.open()
    now = datetime.now(UTC)
    assert await office.disputes.claim_due(now, now + timedelta(seconds=2), 10, "dead") == [dispute.id]
    seen: list[Counter[str]] = [Counter()]

    async def look() -> None:
        seen[0] = await fired(office)

    with worker(lone), worker(lone):
        await eventually(lambda: len(seen[0]) == 1, look, 30)
    [document] = await office.database.collection("entries").find({"kind": ESCALATED})
    assert document["at"] >= now.replace(microsecond=0) + timedelta(seconds=2)


async def test_rooms_hear_at_once_of_what_a_worker_writes_and_people_may_act_at_the_same_moment(
    lone: Site, serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = "hasty"\n[terms]\nattend_within = "3s"\n[terms.reminders]\nseller_attend = "0s"\n')
    # A sweep so slow that nobody hears of anything but by Redis.
    server = await serve(lone, policy_file=policy, sweep_s=600, messages_per_s=1000, message_burst=1000)
    headers = {"Authorization": f"Bearer {lone.api_key}"}

    def open_one() -> dict[str, Any]:
        order = lone.order(server)
        wanted = {
            "order_id": order.id,
            "reason": "defective",
            "description": "It does not switch on.",
            "desired_resolution": "full_refund",
        }
        headers["Authorization"] = f"Bearer {token(order.buyer)}"
        answer = lone.http.post(f"{server.url}/v1/disputes", json=wanted, headers=headers)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told | {"seller": order.seller}

    with worker(lone), worker(lone):
        disputes = [await asyncio.to_thread(open_one) for _ in range(8)]
        watching = await dial(server, unique("agent"), [each["room"] for each in disputes], role="agent")
        sellers = [await dial(server, each["seller"], [each["room"]]) for each in disputes]

        async def answer_late(number: int) -> None:
            room = disputes[number]["room"]
            due_at = datetime.fromisoformat(watching.entries(room)[0]["at"]) + timedelta(seconds=3)
            await asyncio.sleep((due_at - datetime.now(UTC)).total_seconds() + 0.002 * number)
            await sellers[number].say(room, "Here I am.")

        await asyncio.gather(*(answer_late(number) for number in range(len(disputes))))
        for each in disputes:
            room = each["room"]

            def done(room: str = room) -> bool | None:
                kinds = [entry["kind"] for entry in watching.entries(room)]
                return True if {ESCALATED, "message", "dispute.attended"} <= set(kinds) else None

            await watching.until(done, f"the end of {room}")
            kinds = Counter(entry["kind"] for entry in watching.entries(room))
            assert (kinds[ESCALATED], kinds["dispute.attended"], kinds["message"]) == (1, 1, 1)
    verified = await asyncio.to_thread(lone.run, "verify", "--all", check=False)
    assert verified.returncode == 0, verified.stdout
