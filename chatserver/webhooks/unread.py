"""``participant.unread``: somebody has a message, has not read it for a while, and is not there to read it now.

Each stretch of unread messages is told once: when its first message has had its time, unless its reader is online in
the room; then the room is looked at again, at growing pauses. Reading ends the stretch, and what is unread after that
is the next one.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from chatserver.clock import Clock
from policies.instant import rfc3339
from policies.room import Party, RoomFacts
from policies.vocabulary import DisputeId, Role, RoomId, RoomKind, Seq, UserId, WebhookType
from storage.chain import KEY_SEPARATOR
from storage.cursors import Cursor, Cursors
from storage.outbox import OutboxEvent
from storage.rooms import Rooms
from storage.unread import Unread, UnreadMessages, Watch

ROOMS_AT_ONCE: Final = 100
LONGEST_PAUSE: Final = timedelta(minutes=10)
"""A room whose reader is online and does not read is looked at so often, at least."""

Online = Callable[[Collection[RoomId]], Awaitable[Mapping[RoomId, Collection[UserId]]]]
"""Who is online in each of the rooms."""


class UnreadLookout:
    """Looks at the rooms that are due.

    Args:
        unread: the marks.
        rooms, cursors: what is known of the rooms, and of how far their members have read.
        online: who is online; of nobody, when that cannot be known: a needless push is better than none.
        clock: the deployment's time.
        after: how long a message may be unread.
    """

    def __init__(
        self, unread: Unread, rooms: Rooms, cursors: Cursors, online: Online, clock: Clock, after: timedelta
    ) -> None:
        self._unread = unread
        self._rooms = rooms
        self._cursors = cursors
        self._online = online
        self._clock = clock
        self._after = after

    async def look(self) -> int:
        """Look at some of the rooms that are due; how many that were.

        Raises:
            Unavailable: the database does not answer.
        """
        now = self._clock.now()
        watches = await self._unread.due(now, ROOMS_AT_ONCE)
        if watches:
            online = await self._online([watch.room for watch in watches])
            for watch in watches:
                await self._look_at(watch, online.get(watch.room, ()), now)
        return len(watches)

    async def _look_at(self, watch: Watch, online: Collection[UserId], now: datetime) -> None:
        facts = await self._rooms.facts(watch.room)
        again: list[datetime] = []
        if facts is not None and facts.kind is not RoomKind.STAFF:
            cursors = await self._cursors.of_room(watch.room)
            for side, party in ((Role.BUYER, facts.buyer), (Role.SELLER, facts.seller)):
                at = await self._look_for(watch, facts, side, party, cursors.get(party.id), party.id in online, now)
                again += [] if at is None else [at]
        await self._unread.look_again(watch, min(again, default=None))

    async def _look_for(
        self,
        watch: Watch,
        facts: RoomFacts,
        side: Role,
        party: Party,
        cursor: Cursor | None,
        online: bool,
        now: datetime,
    ) -> datetime | None:
        """Tell what one side has not read, if it is time; when to look for it again."""
        read = Seq(0) if cursor is None else cursor.read
        stream = _stream(facts.id, party.id)
        if watch.told.get(stream, Seq(0)) > read:
            return None  # this stretch was told
        found = await self._unread.messages(watch.room, party.id, read)
        if found is None:
            return None
        if (due_at := found.at + self._after) > now:
            return due_at
        if online:
            return now + min(max((now - found.at) / 2, self._after / 2), LONGEST_PAUSE)
        data = _data(facts, side, party, found)
        await self._unread.tell(watch, OutboxEvent(stream, found.first, WebhookType.PARTICIPANT_UNREAD, data, now))
        return None


def _stream(room: RoomId, reader: UserId) -> DisputeId:
    """What tells a reader of a room is in order. Hashed: a webhook-id must not hold a full stop, and ids may."""
    return DisputeId("unread-" + hashlib.sha256(f"{room}{KEY_SEPARATOR}{reader}".encode()).hexdigest()[:20])


def _data(facts: RoomFacts, side: Role, party: Party, found: UnreadMessages) -> dict[str, Any]:
    """What is told; no text, since it ends up on lock screens."""
    return {
        "room": facts.id,
        "kind": facts.kind.value,
        "order_id": facts.order_id,
        "user": party.id,
        "side": side.value,
        "seq": found.first,
        "at": rfc3339(found.at),
        "count": found.count,
        "from": {"id": found.author.id, "role": found.author.role.value, "name": found.author.name},
    }
