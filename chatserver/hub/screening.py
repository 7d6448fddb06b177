"""Screening messages on the process that receives them, before they go on their way.

Nearly always that is done at once. What has to wait is the first message in a room (what was said before is read), and
a long text, which is screened beside the event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from chatserver.clock import Clock
from chatserver.hub.live_room import LiveRoom
from chatserver.hub.publication import Publication
from chatserver.hub.senders import Senders
from chatserver.reminders import ENTRIES
from chatserver.screening import AT_ONCE_CHARS, TextScreening
from policies.contact import OrderContext
from policies.errors import RateLimited
from policies.screener import Screener
from policies.screening import Screening
from storage.orders import Orders
from storage.room_log import RoomLog

ORDER_COUNTS: Final = timedelta(minutes=1)
"""What is known of an order is read again after this time, for the order's own room alone is told of a change."""


class MessageScreening:
    """Screens what parties write in the rooms of this process.

    Args:
        screener: by the rules in force.
    """

    def __init__(self, screener: Callable[[], Screener], log: RoomLog, orders: Orders, clock: Clock) -> None:
        self._screener = screener
        self._log = log
        self._clock = clock
        self._texts = TextScreening(screener, orders, clock)

    def at_once(self, live: LiveRoom, text: str) -> bool:
        """Whether ``screen`` can be called; if not, ``screen_later``."""
        return self._known(live) and len(text) <= AT_ONCE_CHARS

    def screen(self, live: LiveRoom, user: str, command_id: str, text: str) -> Screening | None:
        """What is wrong with a message; None for nearly all of them."""
        return self._noted(live, user, command_id, self._reading(live, user, command_id, text)())

    async def screen_later(self, live: LiveRoom, user: str, command_id: str, text: str) -> Screening | None:
        """The same for a room of which nothing is known yet, or for a long text.

        Raises:
            Unavailable: what was said before cannot be read.
        """
        if not self._known(live):
            await self._prepare(live)
        if len(text) <= AT_ONCE_CHARS:
            return self.screen(live, user, command_id, text)
        found = await asyncio.to_thread(self._reading(live, user, command_id, text))
        return self._noted(live, user, command_id, found)

    async def texts(self, live: LiveRoom, texts: Mapping[str, str]) -> Screening | None:
        """What is wrong with a command's texts, by the names that they have in the body of its entry.

        Raises:
            Unavailable: what is known of the order cannot be read.
        """
        if not any(texts.values()):
            return None
        if not self._known(live):
            await self._prepare(live)
        return await self._texts.texts(texts, live.order or OrderContext())

    def _reading(self, live: LiveRoom, user: str, command_id: str, text: str) -> Callable[[], Screening | None]:
        """A message is on its way: what reads it in the light of those before it, beside the event loop if need be."""
        senders, order = live.senders, live.order
        if senders is None or order is None:
            raise RuntimeError("nothing is known of this room yet")
        now = self._clock.now()
        _require_patience(live, senders, user, command_id, now)
        earlier = senders.earlier(user, command_id, now)
        senders.sent(user, command_id, text, now)
        return partial(self._screener().message, text, earlier, order, now)

    def _noted(self, live: LiveRoom, user: str, command_id: str, found: Screening | None) -> Screening | None:
        """What was found counts for the next message, which need not wait until this one is stored."""
        if found is not None and live.senders is not None:
            live.senders.found(user, command_id, found.flag, self._clock.now())
        return found

    def _known(self, live: LiveRoom) -> bool:
        return live.order is not None and live.order_until is not None and self._clock.now() < live.order_until

    async def _prepare(self, live: LiveRoom) -> None:
        """Read of a room's order, and at first what was said in it before. The stream is listened to first, so nothing
        is missed in between; two who are at it at the same time do no harm."""
        if live.senders is None:
            live.senders = Senders(self._screener().remembered)
        senders = live.senders
        until = self._clock.now() + ORDER_COUNTS
        order = await self._texts.order(live.facts.order_id)
        if not senders.begun:
            page = await self._log.read_before(live.id, None, ENTRIES)
            if not senders.begun:
                senders.begin([Publication.of(entry) for entry in page])
        live.order, live.order_until = order, until


def _require_patience(live: LiveRoom, senders: Senders, user: str, command_id: str, now: datetime) -> None:
    """In slow mode a party waits between two messages; to send the same one again is no other message."""
    every = timedelta(seconds=live.slow_mode_s)
    last = senders.last(user, command_id) if every else None
    if last is not None and (wait := last + every - now) > timedelta():
        milliseconds = -(-wait // timedelta(milliseconds=1))
        details = {"slow_mode_s": live.slow_mode_s}
        raise RateLimited("This room is in slow mode: please wait.", details=details, retry_after_ms=milliseconds)
