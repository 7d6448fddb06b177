"""The connections of one process: who holds them, how many there may be, and how they end together."""

import asyncio
from datetime import datetime
from random import Random
from typing import Final, Protocol

from chatserver.auth import Identity
from chatserver.errors import CloseCode
from chatserver.metrics import Metrics
from policies.vocabulary import UserId

GOODBYES_AT_ONCE: Final = 200
"""A planned stop speaks to so many connections in one turn of the loop, so that commands under way are answered
in between."""


class Connection(Protocol):
    """A session as the registry sees it. It can be hashed, by identity."""

    @property
    def user_id(self) -> UserId:
        """Who holds it; only asked once it was admitted."""

    @property
    def identity(self) -> Identity:
        """What their token says of them; likewise."""

    def goodbye(self, reason: str, reconnect_after_ms: int) -> None:
        """Say ``bye`` and take no more commands."""

    def close(self, code: CloseCode, reason: str) -> None: ...
    def check_away(self, now: float) -> None:
        """See whether anybody still sits in front of it."""


class Sessions:
    """All connections of a process, by user once they have said who they are.

    Args:
        most: connections the process accepts.
        spread_s: clients of a stopping process come back at random over this long.
    """

    def __init__(self, most: int, spread_s: float, random: Random, metrics: Metrics) -> None:
        self._most = most
        self._spread_s = spread_s
        self._random = random
        self._metrics = metrics
        self._all: set[Connection] = set()
        self._by_user: dict[UserId, set[Connection]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.stopping = False
        """A planned stop has begun: nobody is let in."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def full(self) -> bool:
        """Whether the process takes no further connection."""
        return self.stopping or len(self._all) >= self._most

    def add(self, connection: Connection) -> None:
        """A connection was accepted; nothing is known of it yet."""
        self._all.add(connection)
        self._empty.clear()
        self._metrics.connections.set(len(self._all))

    def admit(self, connection: Connection) -> None:
        """A connection has said who holds it."""
        self._by_user.setdefault(connection.user_id, set()).add(connection)
        self._metrics.connects.inc()

    def remove(self, connection: Connection, user: UserId | None) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if not self._all:
            self._empty.set()
        self._metrics.connections.set(len(self._all))
        if user is not None and (held := self._by_user.get(user)) is not None:
            held.discard(connection)
            if not held:
                del self._by_user[user]

    def of_user(self, user: UserId) -> tuple[Connection, ...]:
        return tuple(self._by_user.get(user, ()))

    def revoke(self, user: UserId, at: datetime) -> None:
        """A user's access was taken away at this time: close what they have open. Who came in with a later token
        stays."""
        for connection in self.of_user(user):
            if connection.identity.issued_by(at):
                connection.close(CloseCode.ACCESS_REVOKED, "access revoked")

    def check_away(self, now: float) -> None:
        for connection in tuple(self._all):
            connection.check_away(now)

    async def say_goodbye(self) -> None:
        """Tell everybody that the process stops, and when to come back: at random, so that not all come at once."""
        self.stopping = True
        for number, connection in enumerate(tuple(self._all), start=1):
            connection.goodbye("server is stopping", round(self._random.uniform(0, self._spread_s) * 1000))
            if number % GOODBYES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def close_all(self, seconds: float) -> None:
        """Close every connection and wait until they are gone, at most so long."""
        for connection in tuple(self._all):
            connection.close(CloseCode.GOING_AWAY, "going away")
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass  # who does not answer the close frame is cut off with the process
