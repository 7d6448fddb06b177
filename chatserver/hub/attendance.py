"""Who is in which room: what this process knows of its own members, and what the others tell."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson

from chatserver.clock import Clock
from chatserver.hub.live_room import LiveRoom, Member
from chatserver.hub.mailbag import Mailbag
from chatserver.hub.presence_store import Presence, PresenceStore
from chatserver.hub.roster import Change, Present
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

    async def learn(self, room: LiveRoom) -> None:
        """Ask the store who is in a room: when it is opened here, and when words of the others may have been lost."""
        contributions = await self._store.contributions(room.id)
        if not contributions:
            return  # most likely Redis is away, and what is known stays
        by_hub: dict[str, list[Present]] = {hub: [] for hub in room.roster.contributors()}
        for hub, one in contributions:
            by_hub.setdefault(hub, []).append(Present(one.user, one.role, one.name, one.state))
        by_hub.pop(self._hub_id, None)
        for hub, present in by_hub.items():
            self._tell(room, room.roster.replace(hub, present))

    async def learn_all(self, rooms: Iterable[LiveRoom]) -> None:
        """``learn`` for rooms that are in service."""
        for room in tuple(rooms):
            await self.learn(room)

    def tell_all(self, room: LiveRoom, member: Member) -> None:
        """Tell a member everybody's presence: it read too slowly and may have missed a change."""
        for one in room.roster.members():
            if one.user != member.user_id:
                member.send(_frame(room, Change(one.user, one.role, one.state)), ephemeral=True)

    def on_item(self, room: LiveRoom, hub: str, item: list[Any]) -> None:
        """Another process says how one of its users is in the room."""
        _, user, role, name, state = item
        self._tell(room, room.roster.set(hub, UserId(user), Role(role), name, PresenceState(state)))

    def drop_hub(self, rooms: Iterable[LiveRoom], hub: str) -> None:
        """A process is gone without a word."""
        for room in rooms:
            self._tell(room, room.roster.drop_hub(hub))

    def announce(self, rooms: Iterable[LiveRoom]) -> None:
        """Say again, and as a whole, what this process knows: the store or the others may have missed some of it."""
        for room in rooms:
            items = [self._item(room, user) for user in {each.user_id for each in room.members.values()}]
            self._mailbag.put(room.channel, "present", [room.id, items])
        self._spawn(self._store_again())

    def on_announced(self, room: LiveRoom, hub: str, item: list[Any]) -> None:
        """Another process says all that it knows of a room."""
        present = [
            Present(UserId(user), Role(role), name, PresenceState(state)) for _, user, role, name, state in item[1]
        ]
        self._tell(room, room.roster.replace(hub, present))

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
            room.tell(_frame(room, change), besides=change.user)

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


def _frame(room: LiveRoom, change: Change) -> bytes:
    return text_frame(
        orjson.dumps(
            {
                "type": "presence",
                "room": room.id,
                "user": change.user,
                "role": change.role.value,
                "state": change.state.value,
            }
        )
    )
