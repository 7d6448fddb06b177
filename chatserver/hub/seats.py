"""How many connections a user holds, over all processes.

One Redis sorted set per user: a member per connection, its score the time when it lapses unless renewed. Seats of a
hub that died are taken back when somebody else needs one; and nobody is refused for seats of a hub that has not shown
that it lives, for after a crash its users come back at once.

While Redis is away only this process's own connections are counted, so a user may hold up to the limit on each
process; when it is back, ``renew`` makes them count again, and nobody who is connected is thrown out.
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

# ARGV: seat, limit, lease in ms, then the living hubs, if seats of others shall be taken back. Answers nothing when the
# seat was given, else the hubs that hold the seats.
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
  local holders = redis.call('ZRANGE', KEYS[1], 0, -1)
  for i, seat in ipairs(holders) do holders[i] = string.match(seat, '^([^|]*)') end
  return holders
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {}
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
        self._releasing: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Keep the seats of this process from lapsing."""
        self._task = asyncio.create_task(self._keep(), name="seats")

    async def stop(self) -> None:
        """Stop renewing. Seats that are still held are free once this hub has left."""
        await end(self._task)
        await asyncio.gather(*self._releasing)

    async def take(self, user: UserId, session: str) -> bool:
        """Take a seat for a session; taking it again renews it. False when the user holds as many as allowed.

        A refusal may take as long as a hub's lease, where a hub that holds one of the seats may have died. When Redis
        is away, the sessions of this process alone decide.
        """
        own = self._own.setdefault(user, set())
        if session not in own and len(own) >= self._limit:
            return False
        # Counted before Redis is asked, so that several at the same moment cannot all pass the line above.
        own.add(session)
        try:
            holders = await self._ask(user, session)
            taken = not holders or await self._insist(user, session, holders)
        except REDIS_ERRORS as error:
            self._note(error)
            return True
        except BaseException:
            # Nobody waits any more, and what was asked is done all the same.
            task = asyncio.create_task(self.release(user, session))
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)
            raise
        if not taken:
            self._forget(user, session)
        return taken

    async def release(self, user: UserId, session: str) -> None:
        """Give a seat back; giving back one that is not held does nothing."""
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

    async def _insist(self, user: UserId, session: str, holders: set[str]) -> bool:
        """Ask again until a seat is free, or every hub that holds one has renewed its lease since."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._hubs.lease_s
        first_seen: dict[str, int] = {self._hubs.hub_id: -1}
        while True:
            live = self._hubs.live if await self._hubs.announce() else ()
            leases = self._hubs.leases
            holders = await self._ask(user, session, live)
            if not holders:
                return True
            for hub in holders:
                first_seen.setdefault(hub, leases.get(hub, 0))
            alive = all(leases.get(hub, 0) > first_seen[hub] for hub in holders)
            if alive or clock() >= deadline:
                return False
            await asyncio.sleep(self._hubs.lease_s / 8)

    async def _ask(self, user: UserId, session: str, live: tuple[str, ...] = ()) -> set[str]:
        """The hubs that hold the user's seats, or nothing: then the seat is taken."""
        answer: list[bytes] = (await self._trips.run([self._command(user, session, self._limit, live)]))[0]
        return {hub.decode() for hub in answer}

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
