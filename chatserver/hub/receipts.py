"""How far the members of rooms have received and read, gathered before it is stored and told."""

from collections.abc import Iterable
from typing import NamedTuple

from policies.vocabulary import RoomId, UserId


class Advance(NamedTuple):
    """A member's cursor after it moved. ``delivered >= read``."""

    room: RoomId
    user: UserId
    delivered: int
    read: int


class ReceiptLedger:
    """The cursors of the members on one hub.

    A cursor only moves forward: receipts may come late, twice and from several devices. What is read was received.
    Nobody can have received what does not exist yet. Several moves between two calls of `take` are one advance.

    Memory: a cursor for each user of a room until `forget` or `forget_room`; what waits to be taken is kept longer.
    """

    __slots__ = ("_changed", "_known")

    def __init__(self) -> None:
        self._known: dict[RoomId, dict[UserId, tuple[int, int]]] = {}
        self._changed: dict[tuple[RoomId, UserId], tuple[int, int]] = {}

    @property
    def waiting(self) -> int:
        """Advances that wait to be taken."""
        return len(self._changed)

    @property
    def remembered(self) -> int:
        """Cursors that take memory."""
        return sum(map(len, self._known.values()))

    def advance(self, room: RoomId, user: UserId, head: int, delivered: int | None, read: int | None) -> bool:
        """The user's client says how far it is. Returns whether that moved the cursor.

        Args:
            head: the last seq known to exist in the room; a position beyond it counts as this one.
            delivered: the seq up to which the client has received; None: not said.
            read: the seq up to which the user has read; None: not said.
        """
        known = self._cursor(room, user)
        new_read = max(known[1], min(read or 0, head))
        new_delivered = max(known[0], min(delivered or 0, head), new_read)
        if (new_delivered, new_read) == known:
            return False
        self._known.setdefault(room, {})[user] = self._changed[room, user] = (new_delivered, new_read)
        return True

    def learn(self, room: RoomId, user: UserId, delivered: int, read: int) -> None:
        """The cursor is known to be this far: as stored, or as another hub told it. Nothing to store or to tell."""
        learned = (max(delivered, read), read)
        merged = _farthest(self._cursor(room, user), learned)
        self._known.setdefault(room, {})[user] = merged
        if (room, user) in self._changed:
            if merged == learned:
                del self._changed[room, user]
            else:
                self._changed[room, user] = merged

    def take(self) -> list[Advance]:
        """What moved since the last call, one advance for each cursor."""
        changed, self._changed = self._changed, {}
        return [Advance(room, user, delivered, read) for (room, user), (delivered, read) in changed.items()]

    def put_back(self, advances: Iterable[Advance]) -> None:
        """What was taken could not be stored: the next `take` returns it again, as far as the cursors are by then."""
        for room, user, delivered, read in advances:
            self._changed[room, user] = _farthest(self._cursor(room, user), (delivered, read))

    def forget(self, room: RoomId, user: UserId) -> None:
        """The user left the room on this hub. What waits is still taken."""
        if (cursors := self._known.get(room)) is not None:
            cursors.pop(user, None)
            if not cursors:
                del self._known[room]

    def forget_room(self, room: RoomId) -> None:
        """The hub serves the room no longer: forget everybody's cursor there. What waits is still taken."""
        self._known.pop(room, None)

    def _cursor(self, room: RoomId, user: UserId) -> tuple[int, int]:
        cursor = self._known[room].get(user) if room in self._known else None
        return cursor or self._changed.get((room, user), (0, 0))


def _farthest(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])
