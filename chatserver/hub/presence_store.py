"""Who is in which room, over all processes: one Redis hash per room, a field per hub and user.

What a killed process left behind does not count: fields of hubs that do not live are skipped and removed. Redis may
lose all of it; each hub knows what it stored and can do so again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from chatserver.hub.hubs import HubRegistry
from chatserver.hub.redis_url import REDIS_ERRORS, Client
from chatserver.hub.round_trips import Command, RoundTrips
from chatserver.hub.tasks import end
from policies.vocabulary import PresenceState, Role, RoomId, UserId

log = logging.getLogger(__name__)

_UNREMOVED_ROOMS: Final = 50_000
"""While Redis is away, what it should forget is remembered for so many rooms; the rest lapses by itself."""


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
        ttl_s: presence that nobody set again for so long is forgotten, so that nothing stays for ever. Between
            ``start`` and ``stop`` everything is set again every third of it.
        retry_s: pause before what Redis did not take is tried again.
    """

    def __init__(
        self, client: Client, *, prefix: str, hubs: HubRegistry, ttl_s: float = 3600.0, retry_s: float = 2.0
    ) -> None:
        self._trips = RoundTrips(client)
        self._prefix = prefix
        self._hubs = hubs
        self._ttl_s = ttl_s
        self._retry_s = retry_s
        self._own: dict[RoomId, dict[str, bytes]] = {}
        """What Redis should have of this hub."""
        self._unremoved: dict[RoomId, set[str]] = {}
        """What Redis may have and should not."""
        self._failed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Keep what this hub stores from being forgotten."""
        self._task = asyncio.create_task(self._keep(), name="presence")

    async def stop(self) -> None:
        """Take away everything this hub stored."""
        await end(self._task)
        own, self._own = self._own, {}
        await self._remove({room: set(fields) for room, fields in own.items()})

    async def set_many(self, presences: Iterable[Presence]) -> bool:
        """Store presences of this hub's users; of several for the same room and user the last one counts.

        Returns:
            False when Redis is away: they are stored when it is back.
        """
        changed: dict[RoomId, dict[str, bytes]] = {}
        for presence in presences:
            changed.setdefault(presence.room, {})[self._field(presence.user)] = _encode(presence)
        for room, fields in changed.items():
            self._own.setdefault(room, {}).update(fields)
        return await self._store(changed)

    async def remove_many(self, gone: Iterable[tuple[RoomId, UserId]]) -> bool:
        """Forget users of this hub; as ``set_many``."""
        rooms: dict[RoomId, set[str]] = {}
        for room, user in gone:
            rooms.setdefault(room, set()).add(self._field(user))
        for room, fields in rooms.items():
            own = self._own.get(room, {})
            for field in fields:
                own.pop(field, None)
            if not own:
                self._own.pop(room, None)
        return await self._remove(rooms)

    async def announce_all(self) -> bool:
        """Store everything again: Redis was away or empty, or others took this hub for dead. False: it is away."""
        unremoved, self._unremoved = self._unremoved, {}
        # First what is gone: who came back meanwhile is among those stored.
        return await self._remove(unremoved) and await self._store(self._own)

    async def contributions(self, room: RoomId) -> list[tuple[str, Presence]]:
        """Who is in a room by which hub: (hub id, presence). Empty when Redis is away."""
        return (await self._read([room]))[room]

    async def of_room(self, room: RoomId) -> list[Presence]:
        """Who is in a room: one presence per user, the best of all hubs, by user id. Empty when Redis is away."""
        return _best(await self.contributions(room))

    async def of_rooms(self, rooms: Sequence[RoomId]) -> dict[RoomId, list[Presence]]:
        """``of_room`` for many rooms at once."""
        return {room: _best(present) for room, present in (await self._read(rooms)).items()}

    async def _store(self, rooms: dict[RoomId, dict[str, bytes]]) -> bool:
        commands: list[Command] = []
        for room, fields in rooms.items():
            pairs = [item for pair in fields.items() for item in pair]
            commands.append(("HSET", self._key(room), *pairs))
            commands.append(("PEXPIRE", self._key(room), round(self._ttl_s * 1000)))
        return await self._run(commands) is not None

    async def _remove(self, rooms: dict[RoomId, set[str]]) -> bool:
        if await self._run([("HDEL", self._key(room), *fields) for room, fields in rooms.items()]) is not None:
            return True
        for room, fields in rooms.items():
            self._unremoved.setdefault(room, set()).update(fields)
        if len(self._unremoved) > _UNREMOVED_ROOMS:
            self._unremoved.clear()
        return False

    async def _read(self, rooms: Sequence[RoomId]) -> dict[RoomId, list[tuple[str, Presence]]]:
        found: dict[RoomId, list[tuple[str, Presence]]] = {room: [] for room in rooms}
        answers = await self._run([("HGETALL", self._key(room)) for room in found])
        if answers is None:
            return found
        for room, fields in zip(found, answers, strict=True):
            found[room] = [_decode(room, field, value) for field, value in fields.items()]
        await self._drop_the_dead(found)
        return found

    async def _drop_the_dead(self, found: dict[RoomId, list[tuple[str, Presence]]]) -> None:
        seen = {hub for present in found.values() for hub, _ in present}
        # A hub that is not known here may be dead, or newer than what is known here.
        if seen <= set(self._hubs.live) or not await self._hubs.announce():
            return
        live = set(self._hubs.live)
        commands: list[Command] = []
        for room, present in found.items():
            dead = [f"{hub}|{presence.user}" for hub, presence in present if hub not in live]
            if dead:
                commands.append(("HDEL", self._key(room), *dead))
                found[room] = [(hub, presence) for hub, presence in present if hub in live]
        await self._run(commands)

    async def _run(self, commands: list[Command]) -> list[Any] | None:
        try:
            return await self._trips.run(commands)
        except REDIS_ERRORS as error:
            log.debug("presence could not be stored or read: %s", error)
            self._failed.set()
            return None

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ttl_s / 3):
                    await self._failed.wait()
                    await asyncio.sleep(self._retry_s)
            self._failed.clear()
            await self.announce_all()

    def _key(self, room: RoomId) -> str:
        return f"{self._prefix}:presence:{room}"

    def _field(self, user: UserId) -> str:
        return f"{self._hubs.hub_id}|{user}"


class PresenceReader:
    """Presence as seen by a process that is no hub.

    Args:
        prefix: that of the hubs.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._trips = RoundTrips(client)
        self._prefix = prefix

    async def online(self, rooms: Collection[RoomId]) -> dict[RoomId, set[UserId]]:
        """Who is online in each of the rooms. Nobody, when Redis is away."""
        asked = list(rooms)
        keys = [f"{self._prefix}:presence:{room}" for room in asked]
        try:
            hubs, *present = await self._trips.run(
                [("ZRANGE", f"{self._prefix}:hubs", 0, -1), *(("HGETALL", key) for key in keys)]
            )
        except REDIS_ERRORS as error:
            log.debug("presence could not be read: %s", error)
            return {room: set() for room in asked}
        # A hub that was killed is still listed for the rest of its lease: its users count as online for that long.
        live = {hub.decode() for hub in hubs}
        found: dict[RoomId, set[UserId]] = {}
        for room, fields in zip(asked, present, strict=True):
            held = (_decode(room, field, value) for field, value in fields.items())
            found[room] = {
                presence.user for hub, presence in held if hub in live and presence.state is PresenceState.ONLINE
            }
        return found


def _best(contributions: Iterable[tuple[str, Presence]]) -> list[Presence]:
    """One presence per user: online before away, and of equals the one that began first."""
    best: dict[UserId, Presence] = {}
    for _, presence in contributions:
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
