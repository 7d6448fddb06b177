"""Where webhooks are managed, for the HTTP API and the command line alike."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chatserver.clock import Clock
from chatserver.webhooks.guard import Guard
from chatserver.webhooks.sender import Answer, Sender
from chatserver.webhooks.signing import payload, signed_headers
from policies.errors import BadRequest, NotFound
from policies.vocabulary import WebhookType
from storage.deliveries import Deliveries, Delivery, DeliveryPage, DeliveryState
from storage.webhooks import Endpoint, Webhooks

TEST_TYPE: Final = "webhook.test"
"""What a test sends: a type of its own, so that no receiver takes it for something that happened."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An endpoint, and how many of its deliveries are pending and parked."""

    endpoint: Endpoint
    pending: int
    parked: int


class WebhookDesk:
    """Manages webhooks. Every method raises ``Unavailable`` when the database does not answer, and those that name an
    endpoint raise ``NotFound`` where there is none.

    Args:
        webhooks: the endpoints.
        deliveries: what is sent to them.
        guard: says where they may be.
        sender: sends tests.
        clock: the deployment's time.
        real: the real time, for signatures.
        secret: gives 32 fresh random bytes.
        overlap: how long a replaced secret signs, unless a rotation says otherwise.
    """

    def __init__(
        self,
        *,
        webhooks: Webhooks,
        deliveries: Deliveries,
        guard: Guard,
        sender: Sender,
        clock: Clock,
        real: Clock,
        secret: Callable[[], bytes],
        overlap: timedelta,
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._guard = guard
        self._sender = sender
        self._clock = clock
        self._real = real
        self._secret = secret
        self._overlap = overlap

    async def close(self) -> None:
        """Let go of what is open."""
        await self._sender.close()

    # Endpoints

    async def add(self, url: str, types: Iterable[WebhookType], description: str) -> tuple[Standing, str]:
        """Add an endpoint; it and its secret, which is not shown again.

        Raises:
            BadRequest: nothing may be sent to this URL.
            Conflict: there are as many as there may be.
        """
        await self._guard.require_usable(url)
        endpoint, secret = await self._webhooks.create(url, types, description, self._secret(), self._clock.now())
        return Standing(endpoint, 0, 0), secret

    async def all(self) -> list[Standing]:
        """Every endpoint, oldest first."""
        return [await self._standing(endpoint) for endpoint in await self._webhooks.list()]

    async def get(self, endpoint: str) -> Standing:
        """One endpoint."""
        return await self._standing(await self._require(endpoint))

    async def change(
        self,
        endpoint: str,
        *,
        url: str | None = None,
        types: Iterable[WebhookType] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Standing:
        """Change what is given.

        Raises:
            BadRequest: nothing may be sent to this URL.
        """
        if url is not None:
            await self._guard.require_usable(url)
        changed = await self._webhooks.change(
            endpoint, self._clock.now(), url=url, types=types, description=description, enabled=enabled
        )
        if changed is None:
            raise _no_such_webhook()
        return await self._standing(changed)

    async def rotate(self, endpoint: str, overlap: timedelta | None = None) -> tuple[Standing, str]:
        """Give an endpoint a new secret; it and the secret, which is not shown again.

        Args:
            endpoint: whose.
            overlap: how long the old secret signs beside the new one; nothing for one that leaked.

        Raises:
            Conflict: too many secrets hold already.
        """
        overlap = self._overlap if overlap is None else overlap
        try:
            changed, secret = await self._webhooks.rotate(endpoint, self._secret(), self._clock.now(), overlap)
        except KeyError:
            raise _no_such_webhook() from None
        return await self._standing(changed), secret

    async def remove(self, endpoint: str) -> None:
        """Forget an endpoint with all that waits for it."""
        if not await self._webhooks.remove(endpoint):
            raise _no_such_webhook()

    async def test(self, endpoint: str) -> Answer:
        """Send something now, and wait for the answer. It is tried once, whether the endpoint is enabled or not."""
        found = await self._require(endpoint)
        now, real = self._clock.now(), self._real.now()
        body = payload(TEST_TYPE, now, {"webhook": found.id})
        event = f"test-{self._secret().hex()[:20]}"
        return await self._sender.send(found.url, signed_headers(event, found.signing(now), body, real), body)

    # Deliveries

    async def log(
        self, endpoint: str, states: Collection[DeliveryState], limit: int, cursor: str | None = None
    ) -> DeliveryPage:
        """Deliveries in these states, what happened last first.

        Raises:
            BadRequest: the cursor is none of ours.
        """
        found = await self._require(endpoint)
        return await self._deliveries.page(found.id, states, limit, cursor)

    async def delivery(self, endpoint: str, event: str) -> Delivery:
        """One event's delivery, with its attempts."""
        found = await self._deliveries.get((await self._require(endpoint)).id, event)
        if found is None:
            raise _no_such_event()
        return found

    async def replay(
        self, endpoint: str, *, event: str | None = None, since: datetime | None = None, parked: bool = False
    ) -> int:
        """Send again: one event, or all that happened since a time, or all that is parked.

        Returns:
            How many events.

        Raises:
            BadRequest: not exactly one of the three is given.
        """
        if (event is not None) + (since is not None) + parked != 1:
            raise BadRequest("Say what to replay: one event, or those since a time, or those that are parked.")
        found, now = await self._require(endpoint), self._clock.now()
        if event is not None:
            if not await self._deliveries.replay_event(found.id, event, now):
                raise _no_such_event()
            return 1
        if since is not None:
            return await self._deliveries.replay_since(found, since, now)
        return await self._deliveries.replay_parked(found.id, now)

    async def _require(self, endpoint: str) -> Endpoint:
        found = await self._webhooks.get(endpoint)
        if found is None:
            raise _no_such_webhook()
        return found

    async def _standing(self, endpoint: Endpoint) -> Standing:
        counts = await self._deliveries.counts(endpoint.id)
        return Standing(endpoint, counts[DeliveryState.PENDING], counts[DeliveryState.PARKED])


def _no_such_webhook() -> NotFound:
    return NotFound("There is no such webhook.")


def _no_such_event() -> NotFound:
    return NotFound("This webhook has no such event.")
