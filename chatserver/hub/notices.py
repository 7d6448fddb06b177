"""Typing and receipts: what members tell each other beside the log.

They are ephemeral on the way (a slow client loses them first). Typing is kept nowhere; receipts are stored, gathered
over a moment, because every client sends one for every message it sees.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import orjson

from chatserver.clock import Clock
from chatserver.hub.live_room import LiveRoom
from chatserver.hub.mailbag import Mailbag
from chatserver.hub.receipts import Advance, ReceiptLedger
from chatserver.hub.socket import text_frame
from chatserver.hub.typing_notices import TypingNotices
from chatserver.settings import Settings
from policies.errors import ChatError
from policies.vocabulary import RoomId, UserId
from storage.cursors import Cursors

logger = logging.getLogger(__name__)


class Notices:
    """Typing and receipts of the rooms of one process.

    Args:
        live: the rooms in service, owned by the hub.
        spawn: runs a coroutine beside the flow of frames.
    """

    def __init__(
        self,
        settings: Settings,
        mailbag: Mailbag,
        store: Cursors,
        clock: Clock,
        live: dict[RoomId, LiveRoom],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._flush_s = settings.receipt_flush_s
        self._typing = TypingNotices(settings.typing_lapse_s)
        self._ledger = ReceiptLedger()
        self._mailbag = mailbag
        self._cursors = store
        self._clock = clock
        self._live = live
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._lapse_timer: asyncio.TimerHandle | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._seen: dict[tuple[RoomId, UserId], datetime] = {}

    # Typing

    def typing(self, live: LiveRoom, user: UserId, on: bool) -> None:
        """A member says that they type, or stopped."""
        if self._typing.set(live.id, user, on, self._loop.time()):
            self._mailbag.put(live.channel, "typing", [live.id, user, on])
            tell_typing(live, user, on)
        self._watch_lapses()

    def on_typing(self, live: LiveRoom, item: list[Any]) -> None:
        """A member of another process types; that process also says when it lapses, unless it dies."""
        _, user, on = item
        if self._typing.set(live.id, UserId(user), on, self._loop.time()):
            tell_typing(live, user, on)
        self._watch_lapses()

    def _watch_lapses(self) -> None:
        if self._lapse_timer is None and (at := self._typing.next_at) is not None:
            self._lapse_timer = self._loop.call_at(at, self._lapse)

    def _lapse(self) -> None:
        self._lapse_timer = None
        for room_id, user in self._typing.lapsed(self._loop.time()):
            if (live := self._live.get(room_id)) is not None:
                tell_typing(live, user, on=False)
        self._watch_lapses()

    # Receipts

    def receipt(self, live: LiveRoom, user: UserId, delivered: int | None, read: int | None) -> None:
        """A member's client has received, its user has read."""
        if self._ledger.advance(live.id, user, live.feed.known_head, delivered, read):
            self._flush_soon()

    def learn_cursor(self, room: RoomId, user: UserId, delivered: int, read: int) -> None:
        """A cursor as it is stored."""
        self._ledger.learn(room, user, delivered, read)

    def on_receipt(self, live: LiveRoom, item: list[Any]) -> None:
        """A receipt of another process, already stored there."""
        _, user, delivered, read = item
        self._ledger.learn(live.id, UserId(user), delivered, read)
        tell_receipt(live, UserId(user), delivered, read)

    def left(self, live: LiveRoom, user: UserId) -> None:
        """A user's last connection in the room on this process is gone."""
        self.typing(live, user, on=False)
        self._ledger.forget(live.id, user)
        self._seen[(live.id, user)] = self._clock.now()
        self._flush_soon()

    def closed(self, room: RoomId) -> None:
        """The room is out of service on this process."""
        self._ledger.forget_room(room)

    def _flush_soon(self) -> None:
        if self._flush_timer is None:
            self._flush_timer = self._loop.call_later(self._flush_s, lambda: self._spawn(self.flush()))

    async def flush(self) -> None:
        """Store what has gathered, then tell it; what cannot be stored waits for the next time."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        advances = self._ledger.take()
        seen, self._seen = self._seen, {}
        try:
            if advances:
                await self._cursors.advance(advances)
            if seen:
                await self._cursors.seen(seen)
        except ChatError as error:
            logger.warning("receipts could not be stored yet", extra={"code": error.code.value})
            self._ledger.put_back(advances)
            self._seen = seen | self._seen
            self._flush_soon()
            return
        for advance in advances:
            self._tell(advance)

    def _tell(self, advance: Advance) -> None:
        if (live := self._live.get(advance.room)) is not None:
            self._mailbag.put(live.channel, "receipts", list(advance))
            tell_receipt(live, advance.user, advance.delivered, advance.read)


def tell_typing(live: LiveRoom, user: UserId, on: bool) -> None:
    frame = {"type": "typing", "room": live.id, "user": user, "on": on}
    live.tell(text_frame(orjson.dumps(frame)), besides=user)


def tell_receipt(live: LiveRoom, user: UserId, delivered: int, read: int) -> None:
    frame = {"type": "receipt", "room": live.id, "user": user, "delivered": delivered, "read": read}
    live.tell(text_frame(orjson.dumps(frame)))
