"""How many connections a user holds, over all processes.

One Redis sorted set per user: a member per connection, its score the time when it lapses unless renewed. Seats of a
hub that died are taken back when somebody else needs one. While Redis is away only this process's own connections
are counted, so a user may hold up to the limit on each process; when it is back, ``renew`` makes them count again, and
nobody who is connected is thrown out.
"""

import logging
from typing import Any, Final

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import REDIS_ERRORS, Client
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
_SEATS_AT_ONCE: Final = 500


class Seats:
    """Gives out the seats of users.

    Args:
        limit: seats per user.
        lease_s: a seat that is not renewed for so long is free again. Call ``renew`` well before, such as every
            third of it. Dead hubs are noticed much earlier, by their own lease.
    """

    def __init__(self, client: Client, *, prefix: str, hubs: HubRegistry, limit: int, lease_s: float = 600.0) -> None:
        self._client = client
        self._prefix = prefix
        self._hubs = hubs
        self._limit = limit
        self._lease_ms = round(lease_s * 1000)
        self._own: dict[UserId, set[str]] = {}

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
            log.debug("seats are counted in this process only: %s", error)
            return True
        if not taken:
            self._forget(user, session)
        return taken

    async def release(self, user: UserId, session: str) -> None:
        """Give a seat back; giving back one that is not held does nothing. Due also when ``take`` was cancelled."""
        self._forget(user, session)
        try:
            await self._client.zrem(self._key(user), self._seat(session))
        except REDIS_ERRORS as error:
            log.debug("a seat stays taken until its lease ends: %s", error)

    async def renew(self) -> bool:
        """Make every seat of this process count for another lease, also those that Redis forgot.

        Returns:
            False when Redis is away.
        """
        seats = [(user, session) for user, sessions in self._own.items() for session in sessions]
        try:
            for start in range(0, len(seats), _SEATS_AT_ONCE):
                some = seats[start : start + _SEATS_AT_ONCE]
                pipeline = self._client.pipeline(transaction=False)
                for user, session in some:
                    # Whoever sits already is not refused: the limit is for those who come.
                    pipeline.eval(_TAKE, 1, self._key(user), self._seat(session), str(2**31), str(self._lease_ms))
                await pipeline.execute()
                for user, session in some:
                    if session not in self._own.get(user, ()):
                        # Released meanwhile, and taken again by the line above.
                        await self.release(user, session)
        except REDIS_ERRORS as error:
            log.debug("seats could not be renewed: %s", error)
            return False
        return True

    async def _ask_without_the_dead(self, user: UserId, session: str) -> bool:
        """Ask again, letting go of what hubs that are gone for certain still hold."""
        if not await self._hubs.announce():
            return False
        return await self._ask(user, session, self._hubs.live())

    async def _ask(self, user: UserId, session: str, live: tuple[str, ...]) -> bool:
        answer: Any = await self._client.eval(
            _TAKE, 1, self._key(user), self._seat(session), str(self._limit), str(self._lease_ms), *live
        )
        return bool(answer)

    def _forget(self, user: UserId, session: str) -> None:
        own = self._own.get(user)
        if own is not None:
            own.discard(session)
            if not own:
                del self._own[user]

    def _key(self, user: UserId) -> str:
        return f"{self._prefix}:seats:{user}"

    def _seat(self, session: str) -> str:
        return f"{self._hubs.hub_id}|{session}"
