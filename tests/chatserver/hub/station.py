"""A bus whose messages and troubles are written down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from chatserver.hub.bus import Bus, BusCounts
from chatserver.hub.publisher import BusTimes
from chatserver.hub.redis_url import RedisLimits, close_redis, open_redis

QUICK: Final = BusTimes(
    connect_s=1.0,
    reply_s=1.0,
    confirm_s=1.0,
    probe_every_s=0.05,
    probe_within_s=1.0,
    retry_base_s=0.01,
    retry_cap_s=0.1,
)
QUICK_LIMITS: Final = RedisLimits(timeout_s=1.0, connect_timeout_s=1.0)


class Observer(BusCounts):
    """Counts, and remembers each batch and each change of ``alive``."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.lives: list[bool] = []

    def published(self, count: int) -> None:
        super().published(count)
        self.batches.append(count)

    def alive(self, alive: bool) -> None:
        super().alive(alive)
        self.lives.append(alive)


@dataclass
class Station:
    bus: Bus
    observer: Observer
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)

    def on(self, channel: str) -> list[bytes]:
        """The payloads that came on one channel."""
        return [payload for name, payload in self.messages if name == channel]


@asynccontextmanager
async def station(
    url: str, hub_id: str = "one", *, prefix: str = "t", times: BusTimes = QUICK, start: bool = True
) -> AsyncIterator[Station]:
    client = open_redis(url, QUICK_LIMITS)
    messages: list[tuple[str, bytes]] = []
    troubles: list[str] = []
    observer = Observer()

    def on_message(channel: str, payload: bytes) -> None:
        messages.append((channel, payload))
        if payload == b"raise":
            raise ValueError("a message that cannot be handled")

    def on_trouble(reason: str) -> None:
        troubles.append(reason)
        if "raise" in prefix:
            raise ValueError("trouble that cannot be handled")

    unheard: list[str] = []

    def on_unheard(channel: str) -> None:
        unheard.append(channel)
        if "raise" in channel:
            raise ValueError("a channel without listeners that cannot be handled")

    options: dict[str, Any] = {"on_message": on_message, "on_trouble": on_trouble, "on_unheard": on_unheard}
    bus = Bus(
        client, prefix=prefix, hub_id=hub_id, uniform=Random(7).uniform, times=times, observer=observer, **options
    )
    if start:
        await bus.start()
    try:
        yield Station(bus, observer, messages, troubles, unheard)
    finally:
        await bus.stop()
        await close_redis(client)
