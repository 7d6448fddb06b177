"""Who is typing where: what the others must be told, and when it lapses."""

from collections import OrderedDict
from typing import Final, NamedTuple

from policies.vocabulary import RoomId, UserId

CAPACITY: Final = 100_000
"""Users typing at once on one hub; about 30 MB. Who types beyond it does so unseen."""

_NEVER: Final = float("-inf")


class _Typing(NamedTuple):
    until: float
    told_at: float
    """When the others were last told that the user types; _NEVER: not lately."""
    shown: bool
    """The others believe it: they must be told when it ends."""


class TypingNotices:
    """Typing of all rooms of one hub.

    A client renews its notice while its user types. The others lapse what they were told after ``lapse_s`` on their own
    (a server may die without saying that it ended), so renewals are passed on: three times in that span, so that one
    may be lost, and not more often. The same pause holds for a user who starts and stops all the time.

    Args:
        lapse_s: how long a notice holds without renewal.
        capacity: most users (times rooms) remembered.
    """

    __slots__ = ("_capacity", "_lapse_s", "_repeat_s", "_stopped", "_typing")

    def __init__(self, lapse_s: float, *, capacity: int = CAPACITY) -> None:
        self._lapse_s = lapse_s
        self._repeat_s = lapse_s / 3
        self._capacity = capacity
        # In order of renewal, which is the order in which they lapse, since all hold equally long.
        self._typing: OrderedDict[tuple[RoomId, UserId], _Typing] = OrderedDict()
        # Who stopped lately, and when the others were last told that they typed.
        self._stopped: OrderedDict[tuple[RoomId, UserId], float] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Users (times rooms) that take memory; at most twice the capacity."""
        return len(self._typing) + len(self._stopped)

    @property
    def next_at(self) -> float | None:
        """When `lapsed` has something to do next; None while nobody types."""
        return next(iter(self._typing.values())).until if self._typing else None

    def set(self, room: RoomId, user: UserId, on: bool, now: float) -> bool:
        """The user types, or stopped. Returns whether the others must be told so."""
        key = (room, user)
        if not on:
            return self._stop(key, now)
        current = self._typing.get(key)
        if current is not None:
            told_at = current.told_at
        elif len(self._typing) < self._capacity:
            told_at = self._stopped.pop(key, _NEVER)
        else:
            return False
        tell = now - told_at >= self._repeat_s
        shown = tell or (current is not None and current.shown)
        self._typing[key] = _Typing(now + self._lapse_s, now if tell else told_at, shown)
        self._typing.move_to_end(key)
        return tell

    def lapsed(self, now: float) -> list[tuple[RoomId, UserId]]:
        """End what was not renewed. Returns where and of whom the others must be told that it ended."""
        self._forget_stopped(now)
        ended: list[tuple[RoomId, UserId]] = []
        while self._typing and next(iter(self._typing.values())).until <= now:
            key, notice = self._typing.popitem(last=False)
            if notice.shown:
                ended.append(key)
        return ended

    def _stop(self, key: tuple[RoomId, UserId], now: float) -> bool:
        self._forget_stopped(now)
        notice = self._typing.pop(key, None)
        if notice is None:
            return False
        if len(self._stopped) < self._capacity:
            self._stopped[key] = notice.told_at
        return notice.shown

    def _forget_stopped(self, now: float) -> None:
        while self._stopped and now - next(iter(self._stopped.values())) >= self._repeat_s:
            self._stopped.popitem(last=False)
