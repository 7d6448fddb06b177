"""Who is in which room, over all processes: one Redis hash per room, a field per hub and user.

What a killed process left behind does not count: fields of hubs that do not live are skipped and removed. Redis may
lose all of it; each hub can say it all again with ``set_many``.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
from redis.typing import EncodableT

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import REDIS_ERRORS, Client
from policies.vocabulary import PresenceState, Role, RoomId, UserId

log = logging.getLogger(__name__)

_ROOMS_AT_ONCE: Final = 500
"""Rooms of one pipeline: a few milliseconds of Redis, so that publications do not wait behind it."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Presence:
    """A user's presence in a room: on one hub when it is stored, over all hubs when it is read.

    Args:
        since: when the state began.
    """

    room: RoomId
    user: UserId
    role: Role
    name: str
    state: PresenceState
    since: datetime


class PresenceStore:
    """Presence of this hub's users for the others, and of the others' for this hub.

    Args:
        hubs: says which hubs live.
        ttl_s: presence that nobody set again for so long is forgotten, so that nothing stays for ever. Set everything
            again well before, such as every third of it.
    """

    def __init__(self, client: Client, *, prefix: str, hubs: HubRegistry, ttl_s: float = 3600.0) -> None:
        self._client = client
        self._prefix = prefix
        self._hubs = hubs
        self._ttl_ms = round(ttl_s * 1000)

    async def set_many(self, presences: Iterable[Presence]) -> bool:
        """Store presences of this hub's users; of several for the same room and user the last one counts.

        Also what a hub does with all of its presences when Redis came back, or when its lease had lapsed.

        Returns:
            False when Redis is away; nothing is kept for later.
        """
        rooms: dict[RoomId, dict[EncodableT, EncodableT]] = {}
        for presence in presences:
            rooms.setdefault(presence.room, {})[self._field(presence.user)] = _encode(presence)
        try:
            for some in _in_chunks(list(rooms.items())):
                pipeline = self._client.pipeline(transaction=False)
                for room, fields in some:
                    pipeline.hset(self._key(room), mapping=fields)
                    pipeline.pexpire(self._key(room), self._ttl_ms)
                await pipeline.execute()
        except REDIS_ERRORS as error:
            log.debug("presence could not be stored: %s", error)
            return False
        return True

    async def remove_many(self, gone: Iterable[tuple[RoomId, UserId]]) -> bool:
        """Forget users of this hub. False when Redis is away."""
        rooms: dict[RoomId, set[str]] = {}
        for room, user in gone:
            rooms.setdefault(room, set()).add(self._field(user))
        return await self._delete({room: sorted(fields) for room, fields in rooms.items()})

    async def of_room(self, room: RoomId) -> list[Presence]:
        """Who is in a room, by user id. Empty when Redis is away."""
        return (await self.of_rooms([room]))[room]

    async def of_rooms(self, rooms: Sequence[RoomId]) -> dict[RoomId, list[Presence]]:
        """Who is in each of the rooms: one presence per user, the best of all hubs, by user id.

        Rooms are empty when Redis is away.
        """
        found: dict[RoomId, list[tuple[str, Presence]]] = {room: [] for room in rooms}
        try:
            for some in _in_chunks(list(found)):
                pipeline = self._client.pipeline(transaction=False)
                for room in some:
                    pipeline.hgetall(self._key(room))
                for room, fields in zip(some, await pipeline.execute(), strict=True):
                    found[room] = [_decode(room, field, value) for field, value in fields.items()]
        except REDIS_ERRORS as error:
            log.debug("presence could not be read: %s", error)
            return {room: [] for room in rooms}
        await self._without_the_dead(found)
        return {room: _best(presence for _, presence in present) for room, present in found.items()}

    async def _without_the_dead(self, found: dict[RoomId, list[tuple[str, Presence]]]) -> None:
        seen = {hub for present in found.values() for hub, _ in present}
        if seen <= set(self._hubs.live()):
            return
        # A hub that is not known here may be dead, or newer than what is known here.
        if not await self._hubs.announce():
            return
        live = set(self._hubs.live())
        dead: dict[RoomId, list[str]] = {}
        for room, present in found.items():
            dead[room] = [f"{hub}|{presence.user}" for hub, presence in present if hub not in live]
            found[room] = [(hub, presence) for hub, presence in present if hub in live]
        await self._delete({room: fields for room, fields in dead.items() if fields})

    async def _delete(self, rooms: dict[RoomId, list[str]]) -> bool:
        try:
            for some in _in_chunks(list(rooms.items())):
                pipeline = self._client.pipeline(transaction=False)
                for room, fields in some:
                    pipeline.hdel(self._key(room), *fields)
                await pipeline.execute()
        except REDIS_ERRORS as error:
            log.debug("presence could not be removed: %s", error)
            return False
        return True

    def _key(self, room: RoomId) -> str:
        return f"{self._prefix}:presence:{room}"

    def _field(self, user: UserId) -> str:
        return f"{self._hubs.hub_id}|{user}"


def _best(presences: Iterable[Presence]) -> list[Presence]:
    """One presence per user: online before away, and of equals the one that began first."""
    best: dict[UserId, Presence] = {}
    for presence in presences:
        known = best.get(presence.user)
        if known is None or _rank(presence) < _rank(known):
            best[presence.user] = presence
    return [best[user] for user in sorted(best)]


def _rank(presence: Presence) -> tuple[int, datetime]:
    order = (PresenceState.ONLINE, PresenceState.AWAY, PresenceState.OFFLINE)
    return order.index(presence.state), presence.since


def _encode(presence: Presence) -> bytes:
    return orjson.dumps(
        {"role": presence.role, "name": presence.name, "state": presence.state, "since": presence.since}
    )


def _decode(room: RoomId, field: bytes, value: bytes) -> tuple[str, Presence]:
    hub, _, user = field.decode().partition("|")
    facts: dict[str, Any] = orjson.loads(value)
    return hub, Presence(
        room=room,
        user=UserId(user),
        role=Role(facts["role"]),
        name=facts["name"],
        state=PresenceState(facts["state"]),
        since=datetime.fromisoformat(facts["since"]),
    )


def _in_chunks(items: list[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), _ROOMS_AT_ONCE):
        yield items[start : start + _ROOMS_AT_ONCE]
