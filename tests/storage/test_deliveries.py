import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from policies.errors import BadRequest
from policies.vocabulary import DisputeId, WebhookType
from storage.client import Database, Session
from storage.deliveries import EVENTS_AT_ONCE, LOGGED_ATTEMPTS, Attempt, Claim, Deliveries, Delivery, DeliveryState
from storage.outbox import Outbox, OutboxEvent
from storage.webhooks import Endpoint, Webhooks
from tests.storage.making import NOW

SECOND = timedelta(seconds=1)
KEEPING = timedelta(days=36_500)
"""From ``NOW``, which is in the past: MongoDB itself goes by the real time."""
UNTIL = NOW + 60 * SECOND
PENDING, DELIVERED, PARKED = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.PARKED
TAKEN = Attempt(NOW, 204, None, 12)
REFUSED = Attempt(NOW, 500, None, 34)


@pytest.fixture
def webhooks(database: Database) -> Webhooks:
    return Webhooks(database)


@pytest.fixture
def deliveries(database: Database) -> Deliveries:
    return Deliveries(database, KEEPING)


@pytest.fixture
async def shop(webhooks: Webhooks) -> Endpoint:
    return await endpoint(webhooks, 1)


async def endpoint(webhooks: Webhooks, number: int, *types: WebhookType) -> Endpoint:
    made, _ = await webhooks.create("https://shop.example/", types, "", number.to_bytes(32, "big"), NOW)
    return made


def event(dispute: str, n: int, at: datetime = NOW, kind: WebhookType = WebhookType.DISPUTE_OPENED) -> OutboxEvent:
    return OutboxEvent(DisputeId(dispute), n, kind, {"dispute": dispute}, at)


async def happen(database: Database, *events: OutboxEvent) -> None:
    async def work(session: Session) -> None:
        await Outbox(database).put(events, session)

    await database.transact(work)


async def queue_all(deliveries: Deliveries, now: datetime = NOW) -> int:
    total = 0
    while queued := await deliveries.queue_new(now):
        total += queued
    return total


async def claimed(deliveries: Deliveries, endpoint: Endpoint, token: str = "t", now: datetime = NOW) -> list[Claim]:
    return await deliveries.claim(endpoint.id, token, now, now, now + 60 * SECOND, 10)


async def the_claim(deliveries: Deliveries, endpoint: Endpoint, token: str = "t", now: datetime = NOW) -> Claim:
    (claim,) = await claimed(deliveries, endpoint, token, now)
    return claim


async def the_first(deliveries: Deliveries, claim: Claim) -> Delivery:
    found = await deliveries.first(claim)
    assert found is not None
    return found


async def states(deliveries: Deliveries, endpoint: Endpoint) -> dict[str, DeliveryState]:
    page = await deliveries.page(endpoint.id, list(DeliveryState), 100)
    return {delivery.event: delivery.state for delivery in page.deliveries}


class TestQueueing:
    async def test_an_event_is_queued_for_all_who_want_it(
        self, database: Database, webhooks: Webhooks, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        appeals = await endpoint(webhooks, 2, WebhookType.APPEAL_FILED)
        await happen(database, event("d1", 1), event("d1", 2, kind=WebhookType.APPEAL_FILED))
        assert await deliveries.queue_new(NOW) == 2
        assert await states(deliveries, shop) == {"d1:1": PENDING, "d1:2": PENDING}
        assert await states(deliveries, appeals) == {"d1:2": PENDING}
        found = await deliveries.get(shop.id, "d1:1")
        assert found is not None
        assert (found.stream, found.n, found.data, found.at) == ("d1", 1, {"dispute": "d1"}, NOW)
        assert (found.attempts, found.log, found.ended_at) == (0, (), None)
        assert await deliveries.queue_new(NOW) == 0

    async def test_what_nobody_wants_is_done_with(self, database: Database, deliveries: Deliveries) -> None:
        await happen(database, event("d1", 1))
        assert await deliveries.queue_new(NOW) == 1
        assert await deliveries.queue_new(NOW) == 0

    async def test_a_disabled_endpoint_misses_nothing_and_a_removed_one_gets_nothing(
        self, database: Database, webhooks: Webhooks, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        removed = await endpoint(webhooks, 2)
        await webhooks.disable(shop.id, "because", NOW)
        await webhooks.remove(removed.id)
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        assert await states(deliveries, shop) == {"d1:1": PENDING}
        assert await states(deliveries, removed) == {}

    async def test_many_workers_queue_each_event_once(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        for number in range(40):
            await happen(database, *(event(f"d{number}", n) for n in range(1, 4)))
        assert sum(await asyncio.gather(*(queue_all(deliveries) for _ in range(4)))) == 120
        page = await deliveries.page(shop.id, [PENDING], 200)
        assert len(page.deliveries) == 120
        assert {delivery.revision for delivery in page.deliveries} == {1}

    async def test_more_events_than_one_transaction_takes_keep_their_order(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, *(event("d1", n) for n in range(1, EVENTS_AT_ONCE + 2)))
        assert await deliveries.queue_new(NOW) == EVENTS_AT_ONCE
        assert await deliveries.get(shop.id, f"d1:{EVENTS_AT_ONCE}") is not None
        assert await deliveries.get(shop.id, f"d1:{EVENTS_AT_ONCE + 1}") is None
        assert await deliveries.queue_new(NOW) == 1

    async def test_events_are_kept_for_a_while(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        waiting = await database.collection("outbox").find_one({})
        assert waiting is not None
        assert "expires_at" not in waiting
        await queue_all(deliveries)
        kept = await database.collection("outbox").find_one({})
        assert kept is not None
        assert kept["expires_at"] == NOW + KEEPING

    async def test_an_endpoint_that_goes_away_meanwhile_leaves_nothing_behind(
        self, database: Database, webhooks: Webhooks, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        for number in range(30):
            await happen(database, event(f"d{number}", 1))
        await asyncio.gather(queue_all(deliveries), webhooks.remove(shop.id))
        await queue_all(deliveries)
        for collection in ("webhooks", "webhook_streams", "webhook_deliveries"):
            assert await database.collection(collection).find({}) == []


class TestClaiming:
    async def test_a_stream_has_one_claim(self, database: Database, deliveries: Deliveries, shop: Endpoint) -> None:
        await happen(database, event("d1", 1), event("d1", 2))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop, "a")
        assert (claim.endpoint, claim.stream, claim.token, claim.until) == (shop.id, "d1", "a", UNTIL)
        assert await claimed(deliveries, shop, "b", UNTIL - SECOND) == []
        taken = await the_claim(deliveries, shop, "b", UNTIL)
        assert taken.token == "b"
        assert await deliveries.renew(claim, UNTIL) is None
        assert not await deliveries.finish(claim)
        assert not await deliveries.release(claim, NOW)
        await deliveries.abandon([claim])
        assert await deliveries.renew(taken, UNTIL + 60 * SECOND) is not None

    async def test_of_many_workers_each_gets_others(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, *(event(f"d{number}", 1) for number in range(50)))
        await queue_all(deliveries)
        claims = await asyncio.gather(
            *(deliveries.claim(shop.id, f"t{worker}", NOW, NOW, UNTIL, 30) for worker in range(6))
        )
        streams = [claim.stream for found in claims for claim in found]
        assert len(streams) == len(set(streams))
        assert streams != []

    async def test_one_endpoint_does_not_see_the_streams_of_another(
        self, database: Database, webhooks: Webhooks, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        other = await endpoint(webhooks, 2)
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        assert (await the_claim(deliveries, shop)).endpoint == shop.id
        assert (await the_claim(deliveries, other)).endpoint == other.id

    async def test_the_longest_due_come_first(self, database: Database, deliveries: Deliveries, shop: Endpoint) -> None:
        for number in (3, 1, 2):
            await happen(database, event(f"d{number}", 1))
            await queue_all(deliveries, NOW + number * SECOND)
        later = NOW + 10 * SECOND
        found = await deliveries.claim(shop.id, "t", later, later, later + SECOND, 2)
        assert {claim.stream for claim in found} == {"d1", "d2"}

    async def test_events_of_a_stream_have_their_turns(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, *(event("d1", n) for n in range(1, 13)))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        seen = []
        while (delivery := await deliveries.first(claim)) is not None:
            seen.append(delivery.n)
            await deliveries.delivered(delivery, TAKEN, NOW)
        assert seen == list(range(1, 13))
        assert await deliveries.finish(claim)
        assert await claimed(deliveries, shop, "u", NOW + KEEPING) == []

    async def test_what_is_added_while_a_worker_looks_is_not_left_lying(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        await deliveries.delivered(await the_first(deliveries, claim), TAKEN, NOW)
        assert await deliveries.first(claim) is None
        await happen(database, event("d1", 2))
        await queue_all(deliveries)
        assert not await deliveries.finish(claim)
        assert not await deliveries.release(claim, NOW + SECOND)
        renewed = await deliveries.renew(claim, UNTIL)
        assert renewed is not None
        assert (await the_first(deliveries, renewed)).n == 2

    async def test_a_released_stream_is_due_at_its_time(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        assert await deliveries.release(claim, NOW + 5 * SECOND)
        assert await claimed(deliveries, shop, "u", NOW + 5 * SECOND - timedelta(milliseconds=1)) == []
        assert len(await claimed(deliveries, shop, "u", NOW + 5 * SECOND)) == 1

    async def test_an_abandoned_stream_is_free_at_once(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        await deliveries.abandon([])
        await deliveries.abandon(await claimed(deliveries, shop))
        assert len(await claimed(deliveries, shop, "u")) == 1


class TestAttempts:
    @pytest.fixture
    async def claim(self, database: Database, deliveries: Deliveries, shop: Endpoint) -> Claim:
        await happen(database, event("d1", 1), event("d1", 2))
        await queue_all(deliveries)
        return await the_claim(deliveries, shop)

    async def test_a_failed_one_is_due_later_and_still_the_first(self, deliveries: Deliveries, claim: Claim) -> None:
        delivery = await the_first(deliveries, claim)
        await deliveries.failed(delivery, REFUSED, NOW + 5 * SECOND)
        again = await the_first(deliveries, claim)
        assert (again.n, again.state, again.attempts, again.due_at) == (1, PENDING, 1, NOW + 5 * SECOND)
        assert again.log == (REFUSED,)

    async def test_a_parked_one_lets_the_next_one_go(
        self, deliveries: Deliveries, claim: Claim, shop: Endpoint
    ) -> None:
        delivery = await the_first(deliveries, claim)
        await deliveries.parked(delivery, REFUSED, NOW + SECOND)
        found = await deliveries.get(shop.id, "d1:1")
        assert found is not None
        assert (found.state, found.ended_at, found.attempts) == (PARKED, NOW + SECOND, 1)
        assert (await the_first(deliveries, claim)).n == 2

    async def test_what_has_ended_is_kept_for_a_while(
        self, database: Database, deliveries: Deliveries, claim: Claim
    ) -> None:
        await deliveries.delivered(await the_first(deliveries, claim), TAKEN, NOW)
        found = await database.collection("webhook_deliveries").find({}, sort=[("n", 1)])
        assert found[0]["expires_at"] == NOW + KEEPING
        assert "expires_at" not in found[1]

    async def test_a_worker_that_was_too_slow_changes_nothing(
        self, deliveries: Deliveries, claim: Claim, shop: Endpoint
    ) -> None:
        seen = await the_first(deliveries, claim)
        await deliveries.delivered(seen, TAKEN, NOW)
        await deliveries.failed(seen, REFUSED, NOW + SECOND)
        await deliveries.parked(seen, REFUSED, NOW + SECOND)
        found = await deliveries.get(shop.id, "d1:1")
        assert found is not None
        assert (found.state, found.log) == (DELIVERED, (TAKEN,))

    async def test_the_log_keeps_the_latest_attempts(
        self, deliveries: Deliveries, claim: Claim, shop: Endpoint
    ) -> None:
        for number in range(LOGGED_ATTEMPTS + 1):
            await deliveries.failed(await the_first(deliveries, claim), Attempt(NOW, None, "no", number), NOW)
        found = await deliveries.get(shop.id, "d1:1")
        assert found is not None
        assert found.attempts == LOGGED_ATTEMPTS + 1
        assert [attempt.took_ms for attempt in found.log] == list(range(1, LOGGED_ATTEMPTS + 1))


class TestReplay:
    @pytest.fixture
    async def ended(self, database: Database, deliveries: Deliveries, shop: Endpoint) -> None:
        """d1: 1 is parked, 2 delivered; d2: 1 is delivered."""
        await happen(database, event("d1", 1), event("d1", 2, NOW + SECOND), event("d2", 1, NOW + 2 * SECOND))
        await queue_all(deliveries)
        for claim in await claimed(deliveries, shop):
            while (delivery := await deliveries.first(claim)) is not None:
                if delivery.event == "d1:1":
                    await deliveries.parked(delivery, REFUSED, NOW + 3 * SECOND)
                else:
                    await deliveries.delivered(delivery, TAKEN, NOW + 3 * SECOND)
            assert await deliveries.finish(claim)

    @pytest.mark.usefixtures("ended")
    async def test_one_event(self, deliveries: Deliveries, shop: Endpoint) -> None:
        later = NOW + timedelta(days=5)
        assert await deliveries.replay_event(shop.id, "d1:2", later)
        assert not await deliveries.replay_event(shop.id, "d1:3", later)
        assert not await deliveries.replay_event("wh_0", "d1:2", later)
        assert await states(deliveries, shop) == {"d1:1": PARKED, "d1:2": PENDING, "d2:1": DELIVERED}
        delivery = await the_first(deliveries, await the_claim(deliveries, shop, now=later))
        assert (delivery.event, delivery.begun_at, delivery.due_at, delivery.attempts) == ("d1:2", later, later, 0)
        assert delivery.log == (TAKEN,), "the log goes on"

    @pytest.mark.usefixtures("ended")
    async def test_what_is_pending_again_does_not_expire(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await deliveries.replay_event(shop.id, "d1:1", NOW)
        found = await database.collection("webhook_deliveries").find_one({"event": "d1:1"})
        assert found is not None
        assert "expires_at" not in found
        assert found["ended_at"] is None

    @pytest.mark.usefixtures("ended")
    async def test_all_parked(self, deliveries: Deliveries, shop: Endpoint) -> None:
        assert await deliveries.replay_parked(shop.id, NOW + 3 * SECOND) == 1
        assert await deliveries.replay_parked(shop.id, NOW + 3 * SECOND) == 0
        assert await states(deliveries, shop) == {"d1:1": PENDING, "d1:2": DELIVERED, "d2:1": DELIVERED}

    @pytest.mark.usefixtures("ended")
    async def test_since_a_time(self, deliveries: Deliveries, shop: Endpoint) -> None:
        assert await deliveries.replay_since(shop, NOW + SECOND, NOW + 9 * SECOND) == 2
        assert await states(deliveries, shop) == {"d1:1": PARKED, "d1:2": PENDING, "d2:1": PENDING}
        assert await deliveries.replay_since(shop, NOW + 3 * SECOND, NOW + 9 * SECOND) == 0

    @pytest.mark.usefixtures("ended")
    async def test_a_new_endpoint_may_have_what_happened_before_it(
        self, webhooks: Webhooks, deliveries: Deliveries
    ) -> None:
        late = await endpoint(webhooks, 9, WebhookType.DISPUTE_OPENED)
        picky = await endpoint(webhooks, 8, WebhookType.APPEAL_FILED)
        assert await deliveries.replay_since(late, NOW, NOW + 9 * SECOND) == 3
        assert await deliveries.replay_since(picky, NOW, NOW + 9 * SECOND) == 0
        assert set((await states(deliveries, late)).values()) == {PENDING}

    async def test_more_than_one_transaction_takes(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, *(event(f"d{number}", 1) for number in range(EVENTS_AT_ONCE + 1)))
        await queue_all(deliveries)
        assert await deliveries.replay_since(shop, NOW, NOW) == EVENTS_AT_ONCE + 1
        await database.collection("webhook_deliveries").update_many({}, {"$set": {"state": "parked", "ended_at": NOW}})
        assert await deliveries.replay_parked(shop.id, NOW) == EVENTS_AT_ONCE + 1

    async def test_nothing_is_replayed_to_an_endpoint_that_was_removed(
        self, database: Database, webhooks: Webhooks, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        await database.collection("webhook_deliveries").update_many({}, {"$set": {"state": "parked", "ended_at": NOW}})
        await database.collection("webhooks").update_one({"_id": shop.id}, {"$set": {"removed": True}})
        assert not await deliveries.replay_event(shop.id, "d1:1", NOW)
        assert await deliveries.replay_parked(shop.id, NOW) == 0
        assert await deliveries.replay_since(shop, NOW, NOW) == 0

    async def test_what_is_replayed_comes_before_what_waits_and_at_once(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1), event("d1", 2))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        await deliveries.delivered(await the_first(deliveries, claim), TAKEN, NOW)
        await deliveries.failed(await the_first(deliveries, claim), REFUSED, NOW + 99 * SECOND)
        assert await deliveries.release(claim, NOW + 99 * SECOND)
        await deliveries.replay_event(shop.id, "d1:1", NOW + SECOND)
        again = await the_claim(deliveries, shop, "u", NOW + SECOND)
        assert (await the_first(deliveries, again)).n == 1

    async def test_a_replay_during_an_attempt_is_not_swallowed(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, event("d1", 1))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        delivery = await the_first(deliveries, claim)
        await deliveries.replay_event(shop.id, "d1:1", NOW + SECOND)
        await deliveries.delivered(delivery, TAKEN, NOW)
        assert not await deliveries.finish(claim)
        assert (await the_first(deliveries, claim)).event == "d1:1"


class TestReading:
    async def test_pages_are_newest_first_and_have_no_gap(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        await happen(database, *(event(f"d{number}", 1, NOW + number // 2 * SECOND) for number in range(7)))
        await queue_all(deliveries)
        seen: list[str] = []
        cursor = None
        while True:
            page = await deliveries.page(shop.id, list(DeliveryState), 2, cursor)
            seen += [delivery.event for delivery in page.deliveries]
            if (cursor := page.cursor) is None:
                break
        assert seen == ["d6:1", "d4:1", "d5:1", "d2:1", "d3:1", "d0:1", "d1:1"]
        with pytest.raises(BadRequest):
            await deliveries.page(shop.id, list(DeliveryState), 2, "nonsense")

    async def test_counts(self, database: Database, deliveries: Deliveries, shop: Endpoint) -> None:
        assert await deliveries.counts(shop.id) == {PENDING: 0, PARKED: 0}
        await happen(database, *(event("d1", n) for n in (1, 2, 3, 4)))
        await queue_all(deliveries)
        claim = await the_claim(deliveries, shop)
        await deliveries.delivered(await the_first(deliveries, claim), TAKEN, NOW)
        await deliveries.parked(await the_first(deliveries, claim), REFUSED, NOW)
        assert await deliveries.counts(shop.id) == {PENDING: 2, PARKED: 1}
        assert await deliveries.counts("wh_0") == {PENDING: 0, PARKED: 0}

    async def test_nothing_is_found_where_there_is_nothing(self, deliveries: Deliveries, shop: Endpoint) -> None:
        assert await deliveries.get(shop.id, "d1:1") is None
        assert await deliveries.page(shop.id, list(DeliveryState), 10) == (await deliveries.page("wh_0", [PENDING], 10))

    async def test_idle_questions_are_answered_from_indexes(
        self, database: Database, deliveries: Deliveries, shop: Endpoint
    ) -> None:
        """What every worker asks all day long must not grow with what was delivered."""
        await happen(database, *(event(f"d{number}", 1) for number in range(300)))
        await queue_all(deliveries)

        async def examined(collection: str, query: dict[str, Any], sort: Iterable[tuple[str, int]]) -> int:
            find = {"find": collection, "filter": query, "sort": dict(sort), "limit": 1}
            told = await database.command({"explain": find, "verbosity": "executionStats"})
            stats = told["executionStats"]
            return int(stats["totalDocsExamined"]) + int(stats["totalKeysExamined"])

        assert await examined("outbox", {"waiting": True}, [("dispute", 1), ("n", 1)]) <= 1
        due = {"endpoint": shop.id, "due_at": {"$lte": NOW - SECOND}}
        assert await examined("webhook_streams", due, [("due_at", 1)]) <= 1
        turn = {"endpoint": shop.id, "state": "pending", "stream": "d7"}
        assert await examined("webhook_deliveries", turn, [("n", 1)]) <= 2
