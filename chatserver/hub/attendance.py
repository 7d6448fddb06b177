"""Who is in which room: what this process knows of its own members, and what the others tell."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson

from chatserver.clock import Clock
from chatserver.hub.live_room import LiveRoom, Member
from chatserver.hub.mailbag import Mailbag
from chatserver.hub.presence_store import Presence, PresenceStore
from chatserver.hub.roster import Change
from chatserver.hub.socket import text_frame
from policies.vocabulary import PresenceState, Role, RoomId, UserId


class Attendance:
    """Presence in the rooms of this process.

    A user's connections in a room on this process are one contribution, told to the other processes and kept in the
    store for those that open the room later.

    Args:
        spawn: runs a coroutine beside the flow of frames.
    """

    def __init__(
        self,
        hub_id: str,
        mailbag: Mailbag,
        store: PresenceStore,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._hub_id = hub_id
        self._mailbag = mailbag
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._unstored: dict[tuple[RoomId, UserId], Presence | None] = {}

    def changed(self, room: LiveRoom, user: UserId) -> None:
        """A connection of this process came, left, went away or came back."""
        self._contribute(room, user)

    async def learn(self, room: LiveRoom) -> None:
        """Ask the store who is in a room that was opened here just now."""
        for hub, one in await self._store.contributions(room.id):
            if hub != self._hub_id:
                self._tell(room, room.roster.set(hub, one.user, one.role, one.name, one.state))

    def on_item(self, room: LiveRoom, hub: str, item: list[Any]) -> None:
        """Another process says how one of its users is in the room."""
        _, user, role, name, state = item
        self._tell(room, room.roster.set(hub, UserId(user), Role(role), name, PresenceState(state)))

    def drop_hub(self, rooms: Iterable[LiveRoom], hub: str) -> None:
        """A process is gone without a word."""
        for room in rooms:
            self._tell(room, room.roster.drop_hub(hub))

    def announce(self, rooms: Iterable[LiveRoom]) -> None:
        """Say again what this process knows, after the store or the bus lost it."""
        for room in rooms:
            for user in {member.user_id for member in room.members}:
                self._mailbag.put(room.channel, "presence", self._item(room, user))
        self._spawn(self._store_again())

    def _contribute(self, room: LiveRoom, user: UserId) -> None:
        best = self._best(room, user)
        if best is None:
            changes = room.roster.remove(self._hub_id, user)
            self._store_later(room.id, user, None)
        else:
            member, role, state = best
            changes = room.roster.set(self._hub_id, user, role, member.name, state)
            presence = Presence(room.id, user, role, member.name, state, self._clock.now())
            self._store_later(room.id, user, presence)
        self._mailbag.put(room.channel, "presence", self._item(room, user))
        self._tell(room, changes)

    def _item(self, room: LiveRoom, user: UserId) -> list[Any]:
        best = self._best(room, user)
        if best is None:
            return [room.id, user, Role.SYSTEM.value, "", PresenceState.OFFLINE.value]
        member, role, state = best
        return [room.id, user, role.value, member.name, state.value]

    def _best(self, room: LiveRoom, user: UserId) -> tuple[Member, Role, PresenceState] | None:
        best: tuple[Member, Role, PresenceState] | None = None
        for membership in room.of_user(user):
            if not membership.member.away:
                return membership.member, membership.role, PresenceState.ONLINE
            best = membership.member, membership.role, PresenceState.AWAY
        return best

    def _tell(self, room: LiveRoom, changes: list[Change]) -> None:
        for change in changes:
            frame = {
                "type": "presence",
                "room": room.id,
                "user": change.user,
                "role": change.role.value,
                "state": change.state.value,
            }
            room.tell(text_frame(orjson.dumps(frame)), besides=change.user)

    def _store_later(self, room: RoomId, user: UserId, presence: Presence | None) -> None:
        if not self._unstored:
            self._spawn(self._store_all())
        self._unstored[room, user] = presence

    async def _store_all(self) -> None:
        """What changed in one turn of the loop is stored together. When Redis is away it is lost, and announced again
        when Redis is back."""
        changed, self._unstored = self._unstored, {}
        await self._store.set_many([presence for presence in changed.values() if presence is not None])
        await self._store.remove_many([key for key, presence in changed.items() if presence is None])

    async def _store_again(self) -> None:
        await self._store.announce_all()
