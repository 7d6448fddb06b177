"""Webhooks as a whole: the server writes what happens, worker processes deliver it, the operator looks after it."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from policies.vocabulary import DisputeId, WebhookType
from storage.client import Database, MongoConfig, Session, open_database
from storage.outbox import Outbox, OutboxEvent
from tests.chatserver.webhooks.receiver import Received, Receiver, Respond, receiving, status
from tests.eventually import eventually
from tests.program import Program
from tests.system.site import Order, Site, token, unique


class Deployment:
    """A deployment of a test's own, with workers and an endpoint."""

    def __init__(self, site: Site, stack: ExitStack, database: Database) -> None:
        self.site = site
        self._stack = stack
        self._database = database

    def worker(self, **settings: object) -> Program:
        """A running worker that retries within fractions of a second."""
        chosen = {
            "webhook_private_targets": True,
            "webhook_every_s": 0.05,
            "webhook_retry_first_s": 0.2,
            "webhook_retry_longest_s": 0.4,
            "webhook_timeout_s": 1,
            **settings,
        }
        program = Program(["-m", "chatserver", "worker"], self.site.environment(**chosen))
        return self._stack.enter_context(program)

    async def run(self, *arguments: str, check: bool = True) -> str:
        """A command of the operator's; what it printed."""
        variables = {"webhook_private_targets": True}
        ended = await asyncio.to_thread(self.site.run, "webhooks", *arguments, check=check, **variables)
        return ended.stdout if check else f"{ended.returncode} {ended.stdout}{ended.stderr}"

    async def add(self, receiver: Receiver, *options: str) -> tuple[str, str]:
        """An endpoint's id and secret."""
        webhook, secret = (await self.run("add", receiver.url, *options)).split()
        return webhook, secret

    async def happen(self, dispute: str, *numbers: int) -> None:
        """Events, as the desk writes them."""
        events = [
            OutboxEvent(DisputeId(dispute), n, WebhookType.PROPOSAL_MADE, {"n": n}, datetime.now(UTC)) for n in numbers
        ]

        async def work(session: Session) -> None:
            await Outbox(self._database).put(events, session)

        await self._database.transact(work)


@pytest.fixture
def own_site(mongo_url: str, redis_url: str) -> Iterator[Site]:
    with Site.prepare(mongo_url, redis_url) as site:
        yield site


@pytest.fixture
async def deployment(own_site: Site) -> AsyncIterator[Deployment]:
    database = open_database(MongoConfig(own_site.mongo_url, own_site.database))
    with ExitStack() as stack:
        yield Deployment(own_site, stack, database)
    await database.drop()
    await database.close()


def of(receiver: Receiver, dispute: str) -> list[str]:
    return [event for event in receiver.events if event.startswith(f"{dispute}:")]


def in_order(events: list[str]) -> bool:
    """Whether each event came after all those before it, repetitions aside."""
    numbers = [int(event.rpartition(":")[2]) for event in events]
    reached = 0
    for number in numbers:
        if number > reached + 1:
            return False
        reached = max(reached, number)
    return True


async def test_a_dispute_is_told_to_the_marketplace(deployment: Deployment) -> None:
    site = deployment.site
    with site.begin().program as program:
        server_url = await asyncio.to_thread(program.line, "listening on ")
        deployment.worker()
        async with receiving(Receiver()) as receiver:
            _, secret = await deployment.add(receiver)
            order = Order(unique("o"), unique("buyer"), unique("seller"))
            async with httpx.AsyncClient(base_url=server_url, trust_env=False) as http:
                key = {"Authorization": f"Bearer {site.api_key}"}
                placed = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
                put = await http.put(f"/v1/orders/{order.id}", json=order.report(placed_at=placed), headers=key)
                put.raise_for_status()
                wanted = {
                    "order_id": order.id, "reason": "not_received", "description": "It never came.",
                    "desired_resolution": "full_refund",
                }  # fmt: skip
                buyer = {"Authorization": f"Bearer {token(order.buyer)}"}
                opened = (await http.post("/v1/disputes", json=wanted, headers=buyer)).raise_for_status().json()
            await eventually(lambda: len(receiver.received) >= 2)
            told = [request.verified(secret) for request in receiver.received]
            assert [each["type"] for each in told] == ["dispute.opened", "payment.hold_requested"]
            assert all(each["data"]["dispute"] == opened["id"] for each in told)
            assert receiver.events == [f"{opened['id']}:1", f"{opened['id']}:2"]
            assert told[0]["data"]["reason"] == "not_received"
            assert told[1]["data"]["amount"] == 12_500


async def test_a_killed_worker_skips_nothing(deployment: Deployment) -> None:
    """Killed again and again in the middle of everything, with a receiver that fails now and then."""
    count = 0

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await status(204)(writer)

    def answer(_: Received) -> Respond:
        nonlocal count
        count += 1
        return status(503) if count % 7 == 0 else slowly

    async with receiving(Receiver(answer)) as receiver:
        webhook, _ = await deployment.add(receiver)
        for number in range(12):
            await deployment.happen(f"d{number}", *range(1, 6))
        for round_ in range(1, 4):
            worker = deployment.worker()
            await eventually(lambda: len(receiver.events) >= 12 * round_, within_s=40)  # noqa: B023
            worker.process.kill()
            worker.wait()
        deployment.worker()
        deployment.worker()
        await eventually(lambda: all(f"d{number}:5" in receiver.events for number in range(12)), within_s=60)
        for number in range(12):
            arrived = of(receiver, f"d{number}")
            assert set(arrived) == {f"d{number}:{n}" for n in range(1, 6)}
            assert in_order(arrived)

        listed = ""

        async def look() -> None:
            nonlocal listed
            listed = await deployment.run("list")

        await eventually(lambda: "  0 pending  0 parked  " in listed, look, within_s=60)
        assert webhook in listed


async def test_two_workers_share_the_work_and_send_each_event_once(deployment: Deployment) -> None:
    async def soon(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await status(204)(writer)

    async with receiving(Receiver(lambda _: soon)) as receiver:
        await deployment.add(receiver)
        workers = [deployment.worker(webhook_concurrency=3) for _ in range(2)]
        for n in range(1, 5):
            for number in range(15):
                await deployment.happen(f"d{number}", n)
        await eventually(lambda: len(receiver.events) >= 60, within_s=40)
        assert receiver.most_under_way <= 6
        for number in range(15):
            assert of(receiver, f"d{number}") == [f"d{number}:{n}" for n in range(1, 5)]
        for worker in workers:
            assert await asyncio.to_thread(worker.stop) == 0, "\n".join(worker.output)


async def test_a_worker_stops_in_time_while_an_endpoint_is_silent(deployment: Deployment) -> None:
    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with receiving(Receiver(lambda _: never)) as receiver:
        await deployment.add(receiver)
        await deployment.happen("d1", 1)
        worker = deployment.worker(webhook_timeout_s=100)
        await eventually(lambda: receiver.events == ["d1:1"], within_s=30)
        assert await asyncio.to_thread(worker.stop, signal.SIGTERM, 5.0) == 0
        assert "Traceback" not in "\n".join(worker.output)
        # What it had under way was given back: nobody waits for the end of its claim.
        receiver.answer = lambda _: status(204)
        deployment.worker(webhook_timeout_s=100)
        await eventually(lambda: receiver.events == ["d1:1", "d1:1"])


async def test_the_operator_looks_after_them(deployment: Deployment) -> None:
    answers = {"code": 500}
    async with receiving(Receiver(lambda _: status(answers["code"]))) as receiver:
        webhook, secret = await deployment.add(receiver, "--type", "proposal.made", "--description", "the shop")
        assert secret.startswith("whsec_")
        listed = await deployment.run("list")
        assert listed == f"{webhook}  enabled  0 pending  0 parked  proposal.made  {receiver.url}  the shop\n"
        assert "not delivered: status 500" in await deployment.run("test", webhook, check=False)

        worker = deployment.worker(webhook_retry_for_s=0, webhook_retry_first_s=0.01)
        await deployment.happen("d1", 1, 2)

        parked = ""

        async def look() -> None:
            nonlocal parked
            parked = await deployment.run("parked", webhook)

        await eventually(lambda: len(parked.splitlines()) == 2, look, within_s=40)
        assert all(re.fullmatch(r"\S+Z  d1:[12]  proposal\.made  parked  500", line) for line in parked.splitlines())
        details = (await deployment.run("log", webhook, "d1:1")).splitlines()
        assert details[1] == '{"n":1}'
        assert len(details) == 2 + 5, "five attempts"

        answers["code"] = 204
        before = len(receiver.events)
        assert await deployment.run("replay", webhook, "--parked") == "2 events will be sent again\n"
        await eventually(lambda: receiver.events[before:] == ["d1:1", "d1:2"])
        assert await deployment.run("replay", webhook, "d1:2") == "1 event will be sent again\n"
        await eventually(lambda: receiver.events[before + 2 :] == ["d1:2"])
        assert (
            await deployment.run("replay", webhook, "--since", "2026-01-31T09:30:00Z")
            == "2 events will be sent again\n"
        )
        await eventually(lambda: receiver.events[before + 3 :] == ["d1:1", "d1:2"])
        assert "delivered: status 204" in await deployment.run("test", webhook)

        printed = await deployment.run("list") + await deployment.run("log", webhook)
        assert "whsec_" not in printed
        assert "whsec_" not in "\n".join(worker.output)


async def test_the_operator_replaces_a_secret_and_makes_a_pause(deployment: Deployment) -> None:
    async with receiving(Receiver()) as receiver:
        webhook, _ = await deployment.add(receiver)
        new = (await deployment.run("rotate", webhook, "--overlap", "0")).strip()
        await deployment.run("disable", webhook)
        deployment.worker()
        await deployment.happen("d1", 1)
        assert "  disabled  " in await deployment.run("list")
        await deployment.run("enable", webhook)
        await eventually(lambda: receiver.events == ["d1:1"], within_s=40)
        assert receiver.received[0].verified(new)["data"] == {"n": 1}
        await deployment.run("remove", webhook)
        assert await deployment.run("list") == ""


async def test_the_operator_is_told_what_is_wrong(deployment: Deployment) -> None:
    for wrong, code, why in (
        (("log", "wh_0"), 1, "no such webhook"),
        (("remove", "wh_0"), 1, "no such webhook"),
        (("rotate", "wh_0", "--overlap", "soon"), 2, "no duration"),
        (("replay", "wh_0", "--since", "2026-01-31T09:30:00"), 2, "no time"),
        (("replay", "wh_0"), 2, "Say what to replay"),
        (("add", "ftp://shop.example/"), 2, "begins with https://"),
    ):
        told = await deployment.run(*wrong, check=False)
        assert told.startswith(f"{code} "), told
        assert why in told


async def test_a_private_address_is_refused_unless_the_configuration_allows_it(deployment: Deployment) -> None:
    site = deployment.site
    for url in ("http://8.8.8.8/", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/"):
        ended = await asyncio.to_thread(site.run, "webhooks", "add", url, check=False)
        assert ended.returncode == 2
        assert "public address" in ended.stderr or "https://" in ended.stderr
    async with receiving(Receiver()) as receiver:
        # Added by one whose configuration allows it, delivered by one whose does not: nothing leaves.
        webhook, _ = await deployment.add(receiver)
        deployment.worker(webhook_private_targets=False)
        await deployment.happen("d1", 1)

        log = ""

        async def look() -> None:
            nonlocal log
            log = await deployment.run("log", webhook)

        await eventually(lambda: "https://" in log, look, within_s=40)
        assert receiver.received == []
