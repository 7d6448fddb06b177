"""The parts of the webhooks, made from the settings."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from random import Random
from secrets import token_bytes, token_hex

from chatserver.clock import Clock, SystemClock
from chatserver.hub.presence_store import PresenceReader
from chatserver.hub.redis_url import close_redis, open_redis
from chatserver.settings import Settings
from chatserver.webhooks.courier import Courier, CourierParts
from chatserver.webhooks.desk import WebhookDesk
from chatserver.webhooks.guard import Guard
from chatserver.webhooks.metrics import CourierMetrics
from chatserver.webhooks.retries import Retries
from chatserver.webhooks.sender import Sender
from chatserver.webhooks.unread import UnreadLookout
from policies.vocabulary import RoomId, UserId
from storage.client import Database
from storage.cursors import Cursors
from storage.deliveries import Deliveries
from storage.rooms import Rooms
from storage.unread import Unread
from storage.webhooks import SECRET_BYTES, Webhooks


def webhook_desk(settings: Settings, database: Database, clock: Clock) -> WebhookDesk:
    """What manages the webhooks; to be closed after use."""
    guard = Guard(private=settings.webhook_private_targets)
    return WebhookDesk(
        webhooks=Webhooks(database),
        deliveries=_deliveries(settings, database),
        guard=guard,
        sender=_sender(settings, guard),
        clock=clock,
        real=SystemClock(),
        secret=lambda: token_bytes(SECRET_BYTES),
        overlap=timedelta(seconds=settings.webhook_overlap_s),
    )


def _sender(settings: Settings, guard: Guard) -> Sender:
    return Sender(
        guard,
        timeout_s=settings.webhook_timeout_s,
        agent=f"dispute-chat-server/{version('dispute-chat-server')}",
        ca_file=settings.webhook_ca_file,
    )


def _deliveries(settings: Settings, database: Database) -> Deliveries:
    return Deliveries(database, timedelta(seconds=settings.webhook_keep_s))


@asynccontextmanager
async def courier(
    settings: Settings, database: Database, clock: Clock, random: Random, metrics: CourierMetrics
) -> AsyncIterator[Courier]:
    """A courier; what it has under way is broken off and given back at the end."""
    async with _sender(settings, Guard(private=settings.webhook_private_targets)) as sending:
        made = Courier(
            CourierParts(
                webhooks=Webhooks(database),
                deliveries=_deliveries(settings, database),
                sender=sending,
                retries=Retries(
                    timedelta(seconds=settings.webhook_retry_first_s),
                    timedelta(seconds=settings.webhook_retry_longest_s),
                    timedelta(seconds=settings.webhook_retry_for_s),
                ),
                clock=clock,
                real=SystemClock(),
                token=lambda: token_hex(8),
                uniform=random.uniform,
                metrics=metrics,
                timeout_s=settings.webhook_timeout_s,
                concurrency=settings.webhook_concurrency,
            )
        )
        try:
            yield made
        finally:
            await made.stop()


@asynccontextmanager
async def lookout(settings: Settings, database: Database, clock: Clock) -> AsyncIterator[UnreadLookout]:
    """What looks for unread messages. Without Redis it takes nobody for online."""
    after = timedelta(seconds=settings.unread_after_s)
    url = settings.redis_url.get_secret_value()
    client = open_redis(url) if url else None
    online = PresenceReader(client, settings.redis_prefix).online if client else _nobody
    try:
        yield UnreadLookout(Unread(database, after), Rooms(database), Cursors(database), online, clock, after)
    finally:
        if client is not None:
            await close_redis(client)


async def _nobody(_: Collection[RoomId]) -> dict[RoomId, set[UserId]]:
    return {}
