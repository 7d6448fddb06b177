"""The worker's part: queue what is new, claim what is due, send it.

Each claimed stream is sent by a task of its own, which then goes on with another one of the same endpoint. An endpoint
that is slow or dead holds up nobody but itself: it has its own share of tasks, and rounds go on for the others.

At every moment the process may die. What was sent is noted after the answer; a claim ends by itself; so an event may be
sent again, and is never left out.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from chatserver.clock import Clock
from chatserver.webhooks.metrics import CourierMetrics
from chatserver.webhooks.retries import Retries
from chatserver.webhooks.sender import Answer, Sender
from chatserver.webhooks.signing import payload, signed_headers
from policies.errors import Unavailable
from storage.deliveries import Attempt, Claim, Deliveries, Delivery
from storage.webhooks import Endpoint, Webhooks

EVENTS_OF_A_STREAM: Final = 100
"""So many events of a stream are sent before others that are due get their turn."""
MARGIN_S: Final = 5.0
"""An attempt begins only if its claim lasts so much longer than the attempt may."""
LEASE_S: Final = 10.0
"""How much longer than that a claim is taken for, so that it need not be renewed for every event."""
QUEUEING_ROUNDS: Final = 20
"""So often a round goes on queueing before it sends."""

log = structlog.stdlib.get_logger("chatserver.webhooks")


@dataclass(frozen=True, slots=True)
class CourierParts:
    """What a courier works with.

    Args:
        clock: the deployment's time: when events are due.
        real: the real time, which a sandbox does not move: that of claims, and of signatures.
        token: makes the name of a claim, unlike any other.
        uniform: a random number between two.
        timeout_s: the sender's longest attempt.
        concurrency: streams of one endpoint that are sent at once.
    """

    webhooks: Webhooks
    deliveries: Deliveries
    sender: Sender
    retries: Retries
    clock: Clock
    real: Clock
    token: Callable[[], str]
    uniform: Callable[[float, float], float]
    metrics: CourierMetrics
    timeout_s: float
    concurrency: int


class Courier:
    """Delivers events. Any number of couriers share the work."""

    def __init__(self, parts: CourierParts) -> None:
        self._parts = parts
        self._sending: dict[asyncio.Task[None], Claim] = {}
        self._claiming = asyncio.Lock()
        """Tasks of one process claim one after the other, so that they do not reach for the same streams."""

    async def round(self) -> None:
        """Queue what is new, and begin to send what is due; comes back without waiting for that.

        Raises:
            Unavailable: the database does not answer.
        """
        parts = self._parts
        for _ in range(QUEUEING_ROUNDS):
            queued = await parts.deliveries.queue_new(parts.clock.now())
            if not queued:
                break
            parts.metrics.queued.inc(queued)
        busy = Counter(claim.endpoint for claim in self._sending.values())
        for endpoint in await parts.webhooks.list():
            free = parts.concurrency - busy[endpoint.id]
            if endpoint.enabled and free > 0:
                for claim in await self._claim(endpoint.id, free):
                    task = asyncio.create_task(self._send_streams(claim), name=f"webhook {claim.endpoint}")
                    self._sending[task] = claim
                    task.add_done_callback(self._ended)
        parts.metrics.under_way.set(len(self._sending))

    async def settle(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._sending:
            await asyncio.wait(list(self._sending))

    async def stop(self) -> None:
        """Break off what is under way, and give it back for other workers to go on with."""
        claims = list(self._sending.values())
        for task in self._sending:
            task.cancel()
        await self.settle()
        with contextlib.suppress(Unavailable):  # then the claims end by themselves
            await self._parts.deliveries.abandon(claims)

    async def _claim(self, endpoint: str, limit: int) -> list[Claim]:
        parts = self._parts
        async with self._claiming:
            real = parts.real.now()
            return await parts.deliveries.claim(
                endpoint, parts.token(), parts.clock.now(), real, real + self._lasting(), limit
            )

    def _ended(self, task: "asyncio.Task[None]") -> None:
        claim = self._sending.pop(task)
        self._parts.metrics.under_way.set(len(self._sending))
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, Unavailable):  # its claim ends by itself, and it is sent then
            log.warning("webhook_postponed", endpoint=claim.endpoint, reason=error.message)
        else:
            log.error("webhook_failed", endpoint=claim.endpoint, exc_info=error)

    def _lasting(self) -> timedelta:
        return timedelta(seconds=self._parts.timeout_s + MARGIN_S + LEASE_S)

    async def _send_streams(self, claim: Claim) -> None:
        """Send a stream, and then others of its endpoint for as long as some are due."""
        task = asyncio.current_task()
        assert task is not None
        while True:
            await self._send_stream(claim)
            endpoint = await self._parts.webhooks.get(claim.endpoint)
            if endpoint is None or not endpoint.enabled:
                return
            more = await self._claim(claim.endpoint, 1)
            if not more:
                return
            claim = self._sending[task] = more[0]

    async def _send_stream(self, claim: Claim) -> None:
        """Send a stream's events, one after the other, until there are none, one fails, or the claim is lost."""
        parts = self._parts
        held: Claim | None = claim
        for _ in range(EVENTS_OF_A_STREAM):
            assert held is not None
            held = await self._hold(held)
            if held is None:
                return
            delivery = await parts.deliveries.first(held)
            if delivery is None:
                if await parts.deliveries.finish(held):
                    return
            elif delivery.due_at > parts.clock.now():
                if await parts.deliveries.release(held, delivery.due_at):
                    return
            else:
                endpoint = await parts.webhooks.get(claim.endpoint)
                if endpoint is None or not endpoint.enabled:
                    break
                await self._deliver(endpoint, delivery)
                continue
            # Something was added while this looked, or the claim is somebody else's.
            if (held := await parts.deliveries.renew(held, parts.real.now() + self._lasting())) is None:
                return
        # The endpoint was disabled, or the others are to have their turn.
        if held is not None and not await parts.deliveries.release(held, parts.clock.now()):
            await parts.deliveries.abandon([held])

    async def _hold(self, claim: Claim) -> Claim | None:
        """The claim, good for another attempt; None when it was lost."""
        real = self._parts.real.now()
        if claim.until - real >= timedelta(seconds=self._parts.timeout_s + MARGIN_S):
            return claim
        return await self._parts.deliveries.renew(claim, real + self._lasting())

    async def _deliver(self, endpoint: Endpoint, delivery: Delivery) -> None:
        """One attempt, and what follows from it."""
        parts = self._parts
        at, real = parts.clock.now(), parts.real.now()
        body = payload(delivery.type, delivery.at, delivery.data)
        headers = signed_headers(delivery.event, endpoint.signing(at), body, real)
        answer = await parts.sender.send(endpoint.url, headers, body)
        await self._note(endpoint, delivery, answer, Attempt(at, answer.status, answer.error, answer.took_ms))

    async def _note(self, endpoint: Endpoint, delivery: Delivery, answer: Answer, attempt: Attempt) -> None:
        parts = self._parts
        now = parts.clock.now()
        if answer.accepted:
            await parts.deliveries.delivered(delivery, attempt, now)
            parts.metrics.attempted("delivered", answer.took_ms)
            return
        facts = {"endpoint": endpoint.id, "webhook_id": delivery.event, "status": answer.status, "error": answer.error}
        if answer.gone:
            # The endpoint wants nothing any more; what waits for it is kept until an operator says otherwise.
            await parts.deliveries.failed(delivery, attempt, now)
            await parts.webhooks.disable(endpoint.id, "it answered 410 Gone", now)
            parts.metrics.attempted("gone", answer.took_ms)
            log.warning("webhook_disabled", **facts)
            return
        begun_at = max(delivery.begun_at, endpoint.enabled_at)
        again = parts.retries.next_at(delivery.attempts + 1, begun_at, now, parts.uniform(-1, 1), answer.asked)
        if again is None:
            await parts.deliveries.parked(delivery, attempt, now)
            parts.metrics.attempted("parked", answer.took_ms)
            log.warning("webhook_parked", **facts)
        else:
            await parts.deliveries.failed(delivery, attempt, again)
            parts.metrics.attempted("failed", answer.took_ms)
            log.info("webhook_retry", attempts=delivery.attempts + 1, **facts)
