"""Couriers on a real database, and a real receiver; events are due on a clock that moves by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from chatserver.clock import Clock, SystemClock
from chatserver.webhooks.courier import LEASE_S, MARGIN_S, Courier, CourierParts
from chatserver.webhooks.guard import Guard
from chatserver.webhooks.metrics import CourierMetrics
from chatserver.webhooks.retries import LEAST_ATTEMPTS, Retries
from chatserver.webhooks.sender import Sender
from policies.errors import Unavailable
from policies.vocabulary import DisputeId, WebhookType
from storage.client import Database, Session
from storage.deliveries import Deliveries, Delivery, DeliveryState
from storage.outbox import Outbox, OutboxEvent
from storage.webhooks import Endpoint, Webhooks
from tests.chatserver.moving_time import HandClock
from tests.chatserver.webhooks.receiver import Received, Receiver, Respond, receiving, status
from tests.eventually import eventually

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Stage:
    """A database with endpoints, and couriers that share its work."""

    def __init__(self, database: Database, stack: AsyncExitStack) -> None:
        self.database = database
        self.webhooks = Webhooks(database)
        self.deliveries = Deliveries(database, 36_500 * DAY)  # MongoDB itself goes by the real time
        self.clock = HandClock()
        self.registry = CollectorRegistry()
        self._metrics = CourierMetrics(self.registry)
        self._stack = stack
        self._numbers = count(1)

    async def courier(self, real: Clock | None = None, concurrency: int = 8, timeout_s: float = 5.0) -> Courier:
        sender = await self._stack.enter_async_context(Sender(Guard(private=True), timeout_s=timeout_s, agent="tests"))
        courier = Courier(
            CourierParts(
                webhooks=self.webhooks,
                deliveries=self.deliveries,
                sender=sender,
                retries=Retries(),
                clock=self.clock,
                real=real or SystemClock(),
                token=lambda: f"token-{next(self._numbers)}",
                uniform=lambda low, high: (low + high) / 2,
                metrics=self._metrics,
                timeout_s=timeout_s,
                concurrency=concurrency,
            )
        )
        self._stack.push_async_callback(courier.stop)
        return courier

    async def endpoint(self, receiver: Receiver, *types: WebhookType) -> tuple[Endpoint, str]:
        secret = next(self._numbers).to_bytes(32, "big")
        return await self.webhooks.create(receiver.url, types, "", secret, self.clock.now())

    async def happen(self, dispute: str, *numbers: int) -> None:
        events = [
            OutboxEvent(
                DisputeId(dispute), n, WebhookType.DISPUTE_OPENED, {"dispute": dispute, "n": n}, self.clock.now()
            )
            for n in numbers
        ]

        async def work(session: Session) -> None:
            await Outbox(self.database).put(events, session)

        await self.database.transact(work)

    async def delivery(self, endpoint: Endpoint, event: str) -> Delivery:
        found = await self.deliveries.get(endpoint.id, event)
        assert found is not None
        return found

    def attempts(self, outcome: str) -> float:
        return self.registry.get_sample_value("dispute_chat_webhook_attempts_total", {"outcome": outcome}) or 0


@pytest.fixture
async def stage(own_database: Database) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(own_database, stack)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Receiver()) as listening:
        yield listening


async def turn(*couriers: Courier, rounds: int = 1) -> None:
    """Rounds, each with all that was begun in it."""
    for _ in range(rounds):
        await asyncio.gather(*(courier.round() for courier in couriers))
        await asyncio.gather(*(courier.settle() for courier in couriers))


def failing(events: set[str], code: int = 500) -> Callable[[Received], Respond]:
    """Refuse some events for as long as they are in the set."""
    return lambda request: status(code if request.event in events else 204)


class TestDelivery:
    async def test_events_arrive_signed_and_in_order(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, secret = await stage.endpoint(receiver)
        await stage.happen("d1", *range(1, 13))
        await turn(await stage.courier())
        assert receiver.events == [f"d1:{n}" for n in range(1, 13)]
        first = receiver.received[0]
        assert first.verified(secret) == {
            "type": "dispute.opened",
            "timestamp": "2026-01-31T09:30:00.000Z",
            "data": {"dispute": "d1", "n": 1},
        }
        found = await stage.delivery(endpoint, "d1:1")
        assert found.state is DeliveryState.DELIVERED
        assert [(attempt.status, attempt.error) for attempt in found.log] == [(204, None)]
        assert stage.attempts("delivered") == 12

    async def test_each_endpoint_gets_what_it_wants(self, stage: Stage, receiver: Receiver) -> None:
        await stage.endpoint(receiver, WebhookType.APPEAL_FILED)
        await stage.happen("d1", 1)
        await turn(await stage.courier())
        assert receiver.received == []

    async def test_idle_couriers_send_nothing_again(self, stage: Stage, receiver: Receiver) -> None:
        await stage.endpoint(receiver)
        await stage.happen("d1", 1)
        courier = await stage.courier()
        await turn(courier, rounds=3)
        stage.clock.advance(DAY.total_seconds())
        await turn(courier)
        assert receiver.events == ["d1:1"]

    async def test_while_a_secret_is_replaced_requests_are_signed_by_both(
        self, stage: Stage, receiver: Receiver
    ) -> None:
        endpoint, old = await stage.endpoint(receiver)
        _, new = await stage.webhooks.rotate(endpoint.id, bytes(31) + b"\xff", stage.clock.now(), MINUTE)
        courier = await stage.courier()
        await stage.happen("d1", 1)
        await turn(courier)
        stage.clock.advance(60)
        await stage.happen("d1", 2)
        await turn(courier)
        during, after = receiver.received
        assert during.verified(old) == during.verified(new)
        assert len(after.headers["webhook-signature"].split()) == 1
        assert after.verified(new)["data"]["n"] == 2


class TestRetry:
    async def test_a_retrying_event_holds_back_those_of_its_dispute_and_no_others(
        self, stage: Stage, receiver: Receiver
    ) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        refused = {"d1:1"}
        receiver.answer = failing(refused)
        await stage.happen("d1", 1, 2)
        await stage.happen("d2", 1, 2)
        courier = await stage.courier()
        await turn(courier, rounds=2)
        assert sorted(receiver.events) == ["d1:1", "d2:1", "d2:2"]
        stage.clock.advance(5)
        await turn(courier)
        assert receiver.events.count("d1:1") == 2
        refused.clear()
        stage.clock.advance(14.9)
        await turn(courier)
        assert receiver.events.count("d1:1") == 2
        stage.clock.advance(0.1)
        await turn(courier)
        assert receiver.events[-2:] == ["d1:1", "d1:2"]
        log = (await stage.delivery(endpoint, "d1:1")).log
        assert [attempt.status for attempt in log] == [500, 500, 204]
        assert {
            request.headers["webhook-id"]
            for request in receiver.received
            if request.payload["data"] == {"dispute": "d1", "n": 1}
        } == {"d1:1"}
        assert stage.attempts("failed") == 2

    async def test_what_it_holds_back_at_one_endpoint_arrives_at_another(
        self, stage: Stage, receiver: Receiver
    ) -> None:
        receiver.answer = failing({"d1:1"})
        async with receiving(Receiver()) as other:
            await stage.endpoint(receiver)
            await stage.endpoint(other)
            await stage.happen("d1", 1, 2)
            await turn(await stage.courier())
            assert other.events == ["d1:1", "d1:2"]
            assert receiver.events == ["d1:1"]

    @pytest.mark.parametrize("code", [301, 400, 401, 404, 422, 429, 500, 503])
    async def test_nothing_but_2xx_is_taken_for_delivered(self, stage: Stage, receiver: Receiver, code: int) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = failing({"d1:1"}, code)
        await stage.happen("d1", 1)
        await turn(await stage.courier())
        found = await stage.delivery(endpoint, "d1:1")
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 1)
        assert found.due_at == stage.clock.now() + timedelta(seconds=5)

    async def test_an_endpoint_that_asks_for_a_pause_gets_it(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = lambda _: status(429, "Retry-After: 600")
        await stage.happen("d1", 1)
        await turn(await stage.courier())
        assert (await stage.delivery(endpoint, "d1:1")).due_at == stage.clock.now() + 10 * MINUTE

    async def test_after_three_days_it_is_parked_and_the_next_one_goes_on(
        self, stage: Stage, receiver: Receiver
    ) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = failing({"d1:1"})
        await stage.happen("d1", 1, 2)
        courier = await stage.courier()
        begun = stage.clock.now()
        for _ in range(40):
            await turn(courier)
            found = await stage.delivery(endpoint, "d1:1")
            if found.state is DeliveryState.PARKED:
                break
            stage.clock.at = found.due_at
        assert found.state is DeliveryState.PARKED
        assert found.ended_at == begun + 3 * DAY
        assert receiver.events == ["d1:1"] * found.attempts + ["d1:2"]
        assert 15 <= found.attempts <= 20
        assert stage.attempts("parked") == 1
        page = await stage.deliveries.page(endpoint.id, [DeliveryState.PARKED], 10)
        assert [delivery.event for delivery in page.deliveries] == ["d1:1"]

    async def test_behind_a_parked_one_nobody_waits_another_three_days(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = lambda _: status(500)
        await stage.happen("d1", 1, 2)
        courier = await stage.courier()
        begun = stage.clock.now()
        await turn(courier)
        for event in ("d1:1", "d1:2"):
            while (found := await stage.delivery(endpoint, event)).state is DeliveryState.PENDING:
                stage.clock.at = max(stage.clock.at, found.due_at)
                await turn(courier)
        assert found.attempts == LEAST_ATTEMPTS
        assert stage.clock.now() < begun + 3 * DAY + 10 * MINUTE


class TestEndpoints:
    async def test_a_disabled_endpoint_gets_nothing_and_everything_when_it_is_enabled(
        self, stage: Stage, receiver: Receiver
    ) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        await stage.webhooks.change(endpoint.id, stage.clock.now(), enabled=False)
        await stage.happen("d1", 1, 2)
        courier = await stage.courier()
        await turn(courier)
        assert receiver.received == []
        stage.clock.advance(10 * DAY.total_seconds())
        await turn(courier)
        assert receiver.received == []
        await stage.webhooks.change(endpoint.id, stage.clock.now(), enabled=True)
        await turn(courier)
        assert receiver.events == ["d1:1", "d1:2"]

    async def test_its_three_days_begin_when_it_is_enabled(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = lambda _: status(500)
        await stage.webhooks.change(endpoint.id, stage.clock.now(), enabled=False)
        await stage.happen("d1", 1)
        courier = await stage.courier()
        await turn(courier)
        stage.clock.advance(10 * DAY.total_seconds())
        await stage.webhooks.change(endpoint.id, stage.clock.now(), enabled=True)
        enabled = stage.clock.now()
        while (found := await stage.delivery(endpoint, "d1:1")).state is DeliveryState.PENDING:
            stage.clock.at = max(stage.clock.at, found.due_at)
            await turn(courier)
        assert found.ended_at == enabled + 3 * DAY

    async def test_410_disables_and_loses_nothing(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = lambda _: status(410)
        await stage.happen("d1", 1)
        courier = await stage.courier()
        await turn(courier)
        found = await stage.webhooks.get(endpoint.id)
        assert found is not None
        assert (found.enabled, found.disabled_because) == (False, "it answered 410 Gone")
        assert stage.attempts("gone") == 1
        stage.clock.advance(DAY.total_seconds())
        await turn(courier)
        assert receiver.events == ["d1:1"]
        receiver.answer = lambda _: status(204)
        await stage.webhooks.change(endpoint.id, stage.clock.now(), enabled=True)
        await turn(courier)
        assert receiver.events == ["d1:1", "d1:1"]

    async def test_what_waits_goes_to_the_new_url(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        receiver.answer = lambda _: status(404)
        await stage.happen("d1", 1)
        courier = await stage.courier()
        await turn(courier)
        async with receiving(Receiver()) as moved:
            await stage.webhooks.change(endpoint.id, stage.clock.now(), url=moved.url)
            stage.clock.advance(5)
            await turn(courier)
            assert moved.events == ["d1:1"]

    async def test_a_removed_endpoint_gets_nothing_more(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, _ = await stage.endpoint(receiver)
        release = asyncio.Event()

        async def late(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await status(204)(writer)

        receiver.answer = lambda _: late
        await stage.happen("d1", 1, 2)
        courier = await stage.courier()
        await courier.round()
        await eventually(lambda: receiver.events == ["d1:1"])
        await stage.webhooks.remove(endpoint.id)
        release.set()
        await courier.settle()
        assert receiver.events == ["d1:1"]
        assert await stage.database.collection("webhook_deliveries").find({}) == []

    async def test_a_replayed_event_is_sent_again_under_its_id(self, stage: Stage, receiver: Receiver) -> None:
        endpoint, secret = await stage.endpoint(receiver)
        await stage.happen("d1", 1, 2)
        courier = await stage.courier()
        await turn(courier)
        await stage.deliveries.replay_event(endpoint.id, "d1:1", stage.clock.now())
        await turn(courier)
        assert receiver.events == ["d1:1", "d1:2", "d1:1"]
        assert receiver.received[0].body == receiver.received[2].body
        assert receiver.received[2].verified(secret)


class TestCrowd:
    async def test_a_slow_endpoint_holds_up_nobody_else(self, stage: Stage, receiver: Receiver) -> None:
        async def never(_: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        async with receiving(Receiver(lambda _: never)) as slow:
            await stage.endpoint(slow)
            await stage.endpoint(receiver)
            for number in range(40):
                await stage.happen(f"d{number}", 1, 2)
            courier = await stage.courier(concurrency=3, timeout_s=60)
            await eventually(lambda: len(receiver.events) == 80, courier.round)
            assert slow.most_under_way == 3
            assert len(slow.received) == 3
            await courier.stop()

    async def test_one_endpoint_is_asked_for_so_much_at_a_time(self, stage: Stage, receiver: Receiver) -> None:
        release = asyncio.Event()

        async def late(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await status(204)(writer)

        receiver.answer = lambda _: late
        await stage.endpoint(receiver)
        for number in range(12):
            await stage.happen(f"d{number}", 1)
        courier = await stage.courier(concurrency=4, timeout_s=60)
        await courier.round()
        await eventually(lambda: receiver.under_way == 4)
        await courier.round()
        release.set()
        await eventually(lambda: len(receiver.events) == 12, courier.round)
        assert receiver.most_under_way == 4

    async def test_many_couriers_keep_the_order_and_send_once(self, stage: Stage, receiver: Receiver) -> None:
        async def soon(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.003)
            await status(204)(writer)

        receiver.answer = lambda _: soon
        await stage.endpoint(receiver)
        couriers = [await stage.courier() for _ in range(3)]
        for n in range(1, 6):
            for dispute in range(10):
                await stage.happen(f"d{dispute}", n)
            await asyncio.gather(*(courier.round() for courier in couriers))

        async def look() -> None:
            await asyncio.gather(*(courier.round() for courier in couriers))

        await eventually(lambda: len(receiver.events) >= 50, look)
        await turn(*couriers)
        for dispute in range(10):
            arrived = [event for event in receiver.events if event.startswith(f"d{dispute}:")]
            assert arrived == [f"d{dispute}:{n}" for n in range(1, 6)]

    async def test_a_long_stream_lets_others_have_their_turn(
        self, stage: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chatserver.webhooks.courier.EVENTS_OF_A_STREAM", 3)

        def answer(_: Received) -> Respond:
            stage.clock.advance(0.01)
            return status(204)

        receiver.answer = answer
        await stage.endpoint(receiver)
        courier = await stage.courier(concurrency=1)
        await stage.happen("long", *range(1, 8))
        assert await stage.deliveries.queue_new(stage.clock.now()) == 7
        stage.clock.advance(0.005)
        await stage.happen("short", 1)
        await turn(courier)
        assert receiver.events[:4] == ["long:1", "long:2", "long:3", "short:1"]
        assert receiver.events[4:] == [f"long:{n}" for n in range(4, 8)]

    async def test_a_crowd_of_short_streams_does_not_wait_for_rounds(self, stage: Stage, receiver: Receiver) -> None:
        await stage.endpoint(receiver)
        for number in range(30):
            await stage.happen(f"d{number}", 1)
        await turn(await stage.courier(concurrency=2))
        assert len(receiver.events) == 30


class TestCrash:
    async def test_a_courier_that_dies_after_the_answer_repeats_it_and_skips_nothing(
        self, stage: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await stage.endpoint(receiver)
        await stage.happen("d1", 1, 2, 3)
        real = HandClock()
        dying = await stage.courier(real)

        async def die(*_: object) -> None:
            raise Unavailable("The database is not available.")

        with monkeypatch.context() as patch:
            patch.setattr(stage.deliveries, "delivered", die)
            await turn(dying)
        assert receiver.events == ["d1:1"]
        heir = await stage.courier(real)
        real.advance(5 + MARGIN_S + LEASE_S - 0.001)
        await turn(heir)
        assert receiver.events == ["d1:1"], "the claim still holds"
        real.advance(0.001)
        await turn(heir)
        assert receiver.events == ["d1:1", "d1:1", "d1:2", "d1:3"]

    async def test_one_that_stops_gives_back_what_it_had_under_way(self, stage: Stage, receiver: Receiver) -> None:
        async def never(_: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        await stage.endpoint(receiver)
        await stage.happen("d1", 1)
        receiver.answer = lambda _: never
        first, second = await stage.courier(), await stage.courier()
        await first.round()
        await eventually(lambda: receiver.events == ["d1:1"])
        await second.round()
        await first.stop()
        receiver.answer = lambda _: status(204)
        await turn(second)
        assert receiver.events == ["d1:1", "d1:1"]

    async def test_one_that_was_stuck_finds_its_claim_lost(self, stage: Stage, receiver: Receiver) -> None:
        """It went on after others had taken over: what it sent is a repetition, and it sends nothing more."""
        real = HandClock()
        await stage.endpoint(receiver)
        await stage.happen("d1", 1, 2)
        release = asyncio.Event()

        async def late(writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await status(500)(writer)

        answers = [late]
        receiver.answer = lambda _: answers.pop() if answers else status(204)
        stuck, heir = await stage.courier(real), await stage.courier(real)
        await stuck.round()
        await eventually(lambda: receiver.events == ["d1:1"])
        real.advance(5 + MARGIN_S + LEASE_S)
        await turn(heir)
        assert receiver.events == ["d1:1", "d1:1", "d1:2"]
        release.set()
        with capture_logs() as logged:
            await stuck.settle()
        assert [line for line in logged if line["log_level"] == "error"] == []
        assert receiver.events == ["d1:1", "d1:1", "d1:2"]

    async def test_a_claim_is_renewed_for_a_stream_that_takes_long(self, stage: Stage, receiver: Receiver) -> None:
        real = HandClock()

        def answer(_: Received) -> Respond:
            real.advance(8)
            return status(204)

        receiver.answer = answer
        await stage.endpoint(receiver)
        await stage.happen("d1", *range(1, 9))
        first, second = await stage.courier(real), await stage.courier(real)
        await first.round()
        await turn(second, rounds=3)
        await first.settle()
        assert receiver.events == [f"d1:{n}" for n in range(1, 9)]

    async def test_a_bug_is_logged_and_ends_nothing_else(
        self, stage: Stage, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await stage.endpoint(receiver)
        await stage.happen("d1", 1)
        await stage.happen("d2", 1)
        deliver = Courier._deliver

        async def fail(courier: Courier, endpoint: Endpoint, delivery: Delivery) -> None:
            if delivery.stream == "d1":
                raise ZeroDivisionError
            await deliver(courier, endpoint, delivery)

        monkeypatch.setattr(Courier, "_deliver", fail)
        with capture_logs() as logged:
            await turn(await stage.courier())
        assert [(line["event"], line["log_level"]) for line in logged] == [("webhook_failed", "error")]
        assert receiver.events == ["d2:1"]
