"""How many connections a user holds, over all processes.

One Redis sorted set per user: a member per connection, its score the time when it lapses unless renewed. Seats of a
hub that died are taken back when somebody else needs one. While Redis is away only this process's own connections
are counted, so a user may hold up to the limit on each process; when it is back, ``renew`` makes them count again, and
nobody who is connected is thrown out.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import REDIS_ERRORS, Client
from chatserver.hub.round_trips import Command, RoundTrips
from chatserver.hub.tasks import end
from policies.vocabulary import UserId

log = logging.getLogger(__name__)

# ARGV: seat, limit, lease in ms, then the living hubs, if seats of others shall be taken back.
# Redis's clock alone counts, so that processes need not agree on the time.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if #ARGV > 3 then
  local live = {}
  for i = 4, #ARGV do live[ARGV[i]] = true end
  for _, seat in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if not live[string.match(seat, '^([^|]*)')] then redis.call('ZREM', KEYS[1], seat) end
  end
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
_UNRELEASED: Final = 50_000
"""While Redis is away, so many seats that it should free are remembered; the rest lapses by itself."""


class Seats:
    """Gives out the seats of users.

    Args:
        limit: seats per user.
        lease_s: a seat that is not renewed for so long is free again. Between ``start`` and ``stop`` all are renewed
            every third of it. Dead hubs are noticed much earlier, by their own lease.
        retry_s: pause before what Redis did not take is tried again.
    """

    def __init__(
        self,
        client: Client,
        *,
        prefix: str,
        hubs: HubRegistry,
        limit: int,
        lease_s: float = 600.0,
        retry_s: float = 2.0,
    ) -> None:
        self._trips = RoundTrips(client)
        self._prefix = prefix
        self._hubs = hubs
        self._limit = limit
        self._lease_s = lease_s
        self._retry_s = retry_s
        self._own: dict[UserId, set[str]] = {}
        self._unreleased: set[tuple[UserId, str]] = set()
        self._failed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Keep the seats of this process from lapsing."""
        self._task = asyncio.create_task(self._keep(), name="seats")

    async def stop(self) -> None:
        """Stop renewing. Seats that are still held are free once this hub has left."""
        await end(self._task)

    async def take(self, user: UserId, session: str) -> bool:
        """Take a seat for a session; taking it again renews it. False when the user holds as many as allowed.

        When Redis is away, the sessions of this process alone decide.
        """
        own = self._own.setdefault(user, set())
        if session not in own and len(own) >= self._limit:
            return False
        # Counted before Redis is asked, so that several at the same moment cannot all pass the line above.
        own.add(session)
        try:
            taken = await self._ask(user, session, ()) or await self._ask_without_the_dead(user, session)
        except REDIS_ERRORS as error:
            self._note(error)
            return True
        if not taken:
            self._forget(user, session)
        return taken

    async def release(self, user: UserId, session: str) -> None:
        """Give a seat back; giving back one that is not held does nothing. Due also when ``take`` was cancelled."""
        self._forget(user, session)
        await self._free([(user, session)])

    async def renew(self) -> bool:
        """Make every seat of this process count for another lease, also those that Redis forgot.

        Returns:
            False when Redis is away.
        """
        unreleased, self._unreleased = self._unreleased, set()
        if not await self._free([seat for seat in unreleased if seat[1] not in self._own.get(seat[0], ())]):
            return False
        # Whoever sits already is not refused: the limit is for those who come.
        commands = [
            self._command(user, session, limit=2**31) for user, sessions in self._own.items() for session in sessions
        ]
        try:
            await self._trips.run(commands)
        except REDIS_ERRORS as error:
            self._note(error)
            return False
        return True

    async def _ask_without_the_dead(self, user: UserId, session: str) -> bool:
        """Ask again, letting go of what hubs that are gone for certain still hold."""
        return await self._hubs.announce() and await self._ask(user, session, self._hubs.live)

    async def _ask(self, user: UserId, session: str, live: tuple[str, ...]) -> bool:
        return bool((await self._trips.run([self._command(user, session, self._limit, live)]))[0])

    async def _free(self, seats: Sequence[tuple[UserId, str]]) -> bool:
        try:
            await self._trips.run([("ZREM", self._key(user), self._seat(session)) for user, session in seats])
        except REDIS_ERRORS as error:
            self._note(error)
            self._unreleased.update(seats)
            if len(self._unreleased) > _UNRELEASED:
                self._unreleased.clear()
            return False
        return True

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / 3):
                    await self._failed.wait()
                    await asyncio.sleep(self._retry_s)
            self._failed.clear()
            await self.renew()

    def _note(self, error: Exception) -> None:
        log.debug("seats are counted in this process only: %s", error)
        self._failed.set()

    def _forget(self, user: UserId, session: str) -> None:
        own = self._own.get(user)
        if own is not None:
            own.discard(session)
            if not own:
                del self._own[user]

    def _command(self, user: UserId, session: str, limit: int, live: tuple[str, ...] = ()) -> Command:
        lease_ms = round(self._lease_s * 1000)
        return ("EVAL", _TAKE, 1, self._key(user), self._seat(session), limit, lease_ms, *live)

    def _key(self, user: UserId) -> str:
        return f"{self._prefix}:seats:{user}"

    def _seat(self, session: str) -> str:
        return f"{self._hubs.hub_id}|{session}"
